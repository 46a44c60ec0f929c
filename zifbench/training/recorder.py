"""What is kept of a training while it runs: learning curve, checkpoints, and the reason it ended.

Imported in the training process only, which loads Lightning. It is part of the checkpoints, so a
resumed training goes on with the curve it had.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint

from zifbench.errors import lacks_memory
from zifbench.training.curve import CURVE_FILE, Row, write_curve
from zifbench.training.ending import Ending, write_ending
from zifbench.training.paths import BEST_FILE, LAST_FILE
from zifbench.training.process import PARENT_VARIABLE

# A training whose validation loss (squared errors) is so many times the lowest one has come apart:
# a factor 1000 in errors. Early epochs of healthy ones jump by 100 in the square.
_DIVERGED = 1.0e6
_LOOK_EVERY = 10  # batches; each look waits for the GPU


class TrainingStoppedError(Exception):
    """Ends the training; the reason is on disk."""


class Recorder(Checkpoint):
    """Writes curve and checkpoints after each epoch, and ends what should not go on.

    `last.ckpt` is the state before an epoch, `best.ckpt` that with the lowest validation loss.
    Both are only written while the loss is a finite number, so they are good ones.

    Args:
        directory: Where they lie.
        monitor: Name of the validation loss.
        patience_epochs, learning_rate_below, hours: See `zifbench.training.recipe.Stop`.
    """

    def __init__(
        self,
        directory: str,
        monitor: str,
        patience_epochs: int | None = None,
        learning_rate_below: float = 0.0,
        hours: float | None = None,
    ) -> None:
        self._directory = Path(directory)
        self._monitor = monitor
        self._patience = patience_epochs
        self._least_rate = learning_rate_below
        self._hours = hours
        self._rows: list[Row] = []
        self._begun = time.monotonic()
        self._rate = 0.0  # of this epoch
        self._parent = int(os.environ.get(PARENT_VARIABLE, "0"))

    # -- part of the checkpoints ------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The curve so far."""
        return {"rows": [dict(row) for row in self._rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the curve of the checkpoint."""
        self._rows = list(state_dict["rows"])

    # -- while it runs ----------------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Everything of the epoch before is settled: the state to go on from."""
        self._begun = time.monotonic()
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]
        # Lightning would keep the plateau scheduler from its step in the first resumed epoch, which
        # is an epoch like any other.
        trainer.fit_loop.restarting = False
        if trainer.current_epoch > 0:
            # Lightning does this next anyway; a checkpoint without it would resume at the end of
            # the epoch before.
            trainer.fit_loop.epoch_loop.batch_progress.reset_on_run()
            self._save(trainer, LAST_FILE)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop at a loss that is no number, and when nobody waits any more."""
        if batch_idx % _LOOK_EVERY:
            return
        loss = float(outputs["loss"])
        if not math.isfinite(loss):
            self._fail(trainer, "diverged", f"the loss is {loss} at step {trainer.global_step}")
        if self._parent and trainer.is_global_zero and os.getppid() != self._parent:
            self._fail(trainer, "stopped", "the command that had begun the training is gone")

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """A row of the curve, the best checkpoint, and whether to go on."""
        row = self._row(trainer)
        loss = row["validation_loss"]
        if not math.isfinite(loss):
            self._fail(trainer, "diverged", f"the validation loss is {loss}")
        before = [earlier["validation_loss"] for earlier in self._rows]
        if before and loss > _DIVERGED * min(before):
            self._fail(
                trainer, "diverged", f"the validation loss is {loss:.3g}, after {min(before):.3g}"
            )
        self._rows.append(row)
        if not before or loss < min(before):
            self._save(trainer, BEST_FILE)
        if trainer.is_global_zero:
            write_curve(self._directory / CURVE_FILE, self._rows)
        self._end_early(trainer, row)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """The training is complete."""
        if trainer.is_global_zero and not trainer.should_stop:
            self._end(Ending("completed", "all epochs", len(self._rows)))

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException
    ) -> None:
        """Tell lack of memory from other failures."""
        if lacks_memory(exception):
            text = " ".join(str(exception).split())
            self._end(Ending("out of memory", text[:200], len(self._rows)))

    # -- pieces -----------------------------------------------------------------------------------

    def _row(self, trainer: lightning.Trainer) -> Row:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row: Row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": round(time.monotonic() - self._begun, 3),
            "learning_rate": self._rate,
            "train_loss": metrics["train_loss_epoch/weighted_sum"],
            "validation_loss": metrics[self._monitor],
        }
        for name, value in metrics.items():
            part, _, quantity = name.partition("/")
            subset = {"train_loss_epoch": "train", "val0_epoch": "validation"}.get(part)
            if subset and quantity != "weighted_sum":
                row[f"{subset}_{quantity}"] = value
        return row

    def _end_early(self, trainer: lightning.Trainer, row: Row) -> None:
        losses = [earlier["validation_loss"] for earlier in self._rows]
        since = len(losses) - 1 - losses.index(min(losses))
        seconds = sum(earlier["seconds"] for earlier in self._rows)
        reason = None
        if self._patience is not None and since >= self._patience:
            reason = f"{since} epochs without a better validation loss"
        elif row["learning_rate"] < self._least_rate:
            reason = f"learning rate {row['learning_rate']:.3g} below {self._least_rate:g}"
        elif self._hours is not None and seconds > 3600.0 * self._hours:
            reason = f"{self._hours:g} hours of training"
        # Clocks differ: if one process stops, all do.
        if trainer.strategy.reduce_boolean_decision(reason is not None, all=False):
            trainer.should_stop = True
            if trainer.is_global_zero:
                self._end(Ending("completed", reason or "a process stopped", len(self._rows)))

    def _save(self, trainer: lightning.Trainer, name: str) -> None:
        """Every process takes part in gathering the state; the file appears whole."""
        path = self._directory / name
        temporary = path.with_name(f".{name}.tmp")
        trainer.save_checkpoint(temporary, weights_only=False)
        if trainer.is_global_zero:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)

    def _fail(self, trainer: lightning.Trainer, kind: str, reason: str) -> None:
        ending = Ending(kind, f"{reason}, in epoch {trainer.current_epoch}", len(self._rows))
        if trainer.is_global_zero:
            self._end(ending)
        raise TrainingStoppedError(ending.reason)

    def _end(self, ending: Ending) -> None:
        write_ending(self._directory, ending)
