"""The training process: nequip's own `nequip-train` on the configuration that lies beside it.

    python -m zifbench.training.worker DIRECTORY

A process of its own, because nequip sets global state (seeds, precision), because lack of memory
can kill it, and because several GPUs need several of them (on several nodes begun by `srun`).
Without this module, `nequip-train -cp DIRECTORY -cn config` does the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

from zifbench.errors import lacks_memory
from zifbench.training.ending import Ending, read_ending, write_ending
from zifbench.training.paths import CONFIG_FILE, LAST_FILE


def main(directory: Path) -> None:
    """Train, from the last checkpoint if there is one."""
    from nequip.scripts import train

    sys.argv = [
        sys.argv[0],
        "-cp",
        str(directory.resolve()),
        "-cn",
        Path(CONFIG_FILE).stem,
        f"hydra.run.dir={_quoted(directory)}",
        "hydra.output_subdir=null",
        "hydra/job_logging=stdout",
    ]
    if (directory / LAST_FILE).is_file():
        sys.argv.append(f"+ckpt_path={_quoted(directory / LAST_FILE)}")
    try:
        train.main()
    except Exception as error:
        from zifbench.training.recorder import TrainingStoppedError

        # The first process has written why it stopped; another node may not see that at once.
        if not isinstance(error, TrainingStoppedError) and read_ending(directory) is None:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            kind = "out of memory" if lacks_memory(error) else "failed"
            write_ending(directory, Ending(kind, f"{type(error).__name__}: {reason}", 0))
        raise


def _quoted(path: Path) -> str:
    """A path as a value of hydra's command line, whatever is in its name."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


if __name__ == "__main__":
    words = sys.argv[1:]  # Lightning starts further processes with the words that hydra was given
    main(Path(words[words.index("-cp") + 1] if "-cp" in words else words[0]))
