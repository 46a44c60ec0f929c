"""What the training process keeps and when it ends, without a training: a trainer of our own."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from zifbench.training.curve import CURVE_FILE, read_curve
from zifbench.training.ending import Ending, read_ending
from zifbench.training.process import PARENT_VARIABLE

pytest.importorskip("lightning")

LOSS = "val0_epoch/weighted_sum"


class Trainer:
    """As much of Lightning's as the recorder sees; checkpoints hold the number of the epoch."""

    def __init__(self):
        self.current_epoch = 0
        self.global_step = 0
        self.is_global_zero = True
        self.should_stop = False
        self.optimizers = [SimpleNamespace(param_groups=[{"lr": 0.1}])]
        self.callback_metrics = {}
        self.strategy = SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision)
        progress = SimpleNamespace(reset_on_run=lambda: None)
        self.fit_loop = SimpleNamespace(
            restarting=True, epoch_loop=SimpleNamespace(batch_progress=progress)
        )

    def save_checkpoint(self, path, weights_only):
        path.write_text(f"epoch {self.current_epoch}")


def recorder_of(folder, **stop):
    from zifbench.training.recorder import Recorder

    return Recorder(str(folder), LOSS, **stop)


def trained(folder, losses, *, recorder=None, trainer=None, batch_loss=1.0, **stop):
    """Epochs with these validation losses, one batch each, until something ends them."""
    recorder = recorder or recorder_of(folder, **stop)
    trainer = trainer or Trainer()
    for loss in losses:
        recorder.on_train_epoch_start(trainer, None)
        recorder.on_train_batch_end(trainer, None, {"loss": batch_loss}, None, 0)
        trainer.global_step += 1
        trainer.callback_metrics = {
            "train_loss_epoch/weighted_sum": 2 * loss,
            "train_loss_epoch/forces_mse": 3 * loss,
            LOSS: loss,
            "val0_epoch/forces_rmse": 4 * loss,
            "other": 7.0,
        }
        recorder.on_train_epoch_end(trainer, None)
        if trainer.should_stop:
            break
        trainer.current_epoch += 1
    recorder.on_train_end(trainer, None)
    return recorder


def kept(folder):
    return {name: (folder / f"{name}.ckpt").read_text() for name in ("best", "last")}


def test_the_best_epoch_and_the_last_state_are_kept(tmp_path):
    trained(tmp_path, [4.0, 1.0, 2.0, 1.0])
    assert kept(tmp_path) == {"best": "epoch 1", "last": "epoch 3"}
    rows = read_curve(tmp_path / CURVE_FILE)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    first = {key: value for key, value in rows[0].items() if key != "seconds"}
    assert first == {
        "epoch": 0,
        "step": 1,
        "learning_rate": 0.1,
        "train_loss": 8.0,
        "validation_loss": 4.0,
        "train_forces_mse": 12.0,
        "validation_forces_rmse": 16.0,
    }
    assert read_ending(tmp_path) == Ending("completed", "all epochs", 4)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("best.ckpt", "last.ckpt", "curve.csv", "ending.json")
    }


def test_a_resumed_recorder_knows_the_curve_and_the_best_so_far(tmp_path):
    first = trained(tmp_path, [4.0, 1.0])
    again, trainer = recorder_of(tmp_path), Trainer()
    again.load_state_dict(first.state_dict())
    trainer.current_epoch = 2
    trained(tmp_path, [3.0], recorder=again, trainer=trainer)
    assert [row["validation_loss"] for row in read_curve(tmp_path / CURVE_FILE)] == [4.0, 1.0, 3.0]
    assert kept(tmp_path) == {"best": "epoch 1", "last": "epoch 2"}


@pytest.mark.parametrize(
    ("stop", "epochs", "reason"),
    [
        ({"patience_epochs": 2}, 4, "2 epochs without a better validation loss"),
        ({"learning_rate_below": 0.2}, 1, "learning rate 0.1 below 0.2"),
        ({"learning_rate_below": 0.1}, 6, "all epochs"),
        ({"hours": 1.0}, 3, "1 hours of training"),
    ],
)
def test_it_stops_early_when_it_was_told_to(monkeypatch, tmp_path, stop, epochs, reason):
    from zifbench.training import recorder

    clock = iter(range(0, 10**6, 1500))  # s: an epoch looks at it twice
    monkeypatch.setattr(recorder.time, "monotonic", lambda: next(clock))
    trained(tmp_path, [4.0, 2.0, 2.5, 3.0, 3.5, 4.0], **stop)
    assert read_ending(tmp_path) == Ending("completed", reason, epochs)
    assert len(read_curve(tmp_path / CURVE_FILE)) == epochs


@pytest.mark.parametrize(
    ("losses", "batch_loss", "reason"),
    [
        ([4.0, 1.0, float("nan")], 1.0, "the validation loss is nan, in epoch 2"),
        ([4.0, 1.0, 1.1e6], 1.0, "the validation loss is 1.1e+06, after 1, in epoch 2"),
        ([4.0], float("inf"), "the loss is inf at step 0, in epoch 0"),
    ],
)
def test_what_has_come_apart_is_ended_and_not_kept(tmp_path, losses, batch_loss, reason):
    from zifbench.training.recorder import TrainingStoppedError

    with pytest.raises(TrainingStoppedError):
        trained(tmp_path, losses, batch_loss=batch_loss)
    rows = read_curve(tmp_path / CURVE_FILE)
    assert read_ending(tmp_path) == Ending("diverged", reason, len(rows))
    assert len(rows) == len(losses) - 1
    if rows:
        assert kept(tmp_path) == {"best": "epoch 1", "last": "epoch 2"}
    else:
        assert not list(tmp_path.glob("*.ckpt"))


def test_a_loss_that_jumps_by_less_goes_on(tmp_path):
    trained(tmp_path, [4.0, 1.0, 0.9e6, 1.0])
    assert read_ending(tmp_path).kind == "completed"


def test_it_ends_when_the_command_is_gone(monkeypatch, tmp_path):
    from zifbench.training.recorder import TrainingStoppedError

    monkeypatch.setenv(PARENT_VARIABLE, str(os.getppid()))
    trained(tmp_path, [1.0])
    monkeypatch.setenv(PARENT_VARIABLE, "1073741824")  # nobody's
    with pytest.raises(TrainingStoppedError, match="the command that had begun the training is"):
        trained(tmp_path, [1.0])
    assert read_ending(tmp_path).kind == "stopped"


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), True),
        (OSError(28, "No space left on device"), False),
    ],
)
def test_lack_of_memory_is_told_from_other_failures(tmp_path, error, memory):
    recorder_of(tmp_path).on_exception(Trainer(), None, error)
    ending = read_ending(tmp_path)
    assert (ending is not None and ending.kind == "out of memory") is memory
