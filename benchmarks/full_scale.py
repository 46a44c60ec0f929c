"""The whole dataset at its real size: 1 189 836 frames of 272 atoms, as CP2K text, then a store.

Seven trajectories of generated text (`benchmarks.cp2k_text`) stand in for the published ones. Each
is written, ingested by the command line and deleted, so that about 7 GB of text and the store are
on disk at a time. Then 2500 random frames are read, all frames are scanned, and a flat-histogram
split is drawn from all energies. Each step runs in a process of its own, whose peak memory is
reported. Run from the repository root:

    python -m benchmarks.full_scale DIRECTORY [--frames 1189836] [--json OUT]

It takes about as long as the machine needs to write and read 43 GB of text; what is finished is
kept, and the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

N_FRAMES = 1_189_836
N_TRAJECTORIES = 7  # as published
N_RANDOM = 2500

RANDOM_READS = """
import sys, time, numpy as np
from zifbench.dataset.store import open_store
store = open_store(sys.argv[1])
rng = np.random.default_rng(0)
names, sizes = zip(*((n, len(t)) for n, t in store.trajectories.items()))
rows = np.sort(rng.choice(sum(sizes), min(int(sys.argv[2]), sum(sizes)), replace=False))
starts = np.cumsum([0, *sizes])
which = np.searchsorted(starts, rows, side="right") - 1
ids = [(names[k], int(row - starts[k])) for k, row in zip(which, rows)]
rng.shuffle(ids)
start = time.perf_counter()
for name, row in ids:
    store.trajectories[name].read(row)
print(time.perf_counter() - start)
"""
SCAN = """
import sys, time
from zifbench.dataset.store import open_store
start = time.perf_counter()
total = 0.0
for trajectory in open_store(sys.argv[1]).trajectories.values():
    for frames in trajectory.chunks():
        total += float(frames.forces[:, 0, 0].sum())
print(time.perf_counter() - start)
"""
FLAT_HISTOGRAM = """
import sys, time, numpy as np
from zifbench.dataset.store import open_store
from zifbench.dataset.splits.generators import make_split
store = open_store(sys.argv[1])
start = time.perf_counter()
made = make_split(store, "flat-histogram", seed=0, train=2500, test=200)
print(time.perf_counter() - start)
print(made.count("train"), made.count("test"), file=sys.stderr)
"""


def measured(command: list[str]) -> tuple[float, float, str]:
    """Wall time in s, peak memory in GB, and what a command printed."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        text = process.stdout.read() if process.stdout else ""
        _, status, usage = _wait(process)
    if status:
        sys.exit(f"{' '.join(command[:4])} … failed")
    return time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e9, text


def _wait(process: subprocess.Popen[str]) -> tuple[int, int, resource.struct_rusage]:
    found = os.wait4(process.pid, 0)
    process.returncode = found[1]
    return found


def ingest_all(directory: Path, n_frames: int, record: dict[str, object]) -> None:
    """Write, ingest and delete one trajectory after the other; `record` says which are done."""
    store = directory / "store"
    parts = record.setdefault("ingest", [])
    if not isinstance(parts, list):
        raise TypeError("ingest is a list")
    counts = [n_frames // N_TRAJECTORIES] * N_TRAJECTORIES
    counts[-1] += n_frames - sum(counts)
    for number in range(len(parts), len(counts)):
        text = directory / f"trajectory-{number}"
        shutil.rmtree(text, ignore_errors=True)
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "benchmarks.cp2k_text", str(text), str(counts[number])],
            check=True,
        )
        written_s = time.perf_counter() - start
        n_bytes = sum(path.stat().st_size for path in text.iterdir())
        wall, memory, _ = measured(
            [
                *("zifbench", "data", "ingest", str(text), "--out", str(store)),
                *("--name", f"run-{number}"),
            ]
        )
        shutil.rmtree(text)
        part = {
            "frames": counts[number],
            "text_GB": n_bytes / 1e9,
            "written_s": written_s,
            "ingest_s": wall,
            "MB_per_s": n_bytes / 1e6 / wall,
            "peak_GB": memory,
        }
        parts.append(part)
        save(directory, record)
        sys.stderr.write(f"{number}: {part}\n")


def save(directory: Path, record: dict[str, object]) -> None:
    """Keep what was measured so far."""
    (directory / "full-scale.json").write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    """Run what is not yet done and print the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--frames", type=int, default=N_FRAMES)
    arguments = parser.parse_args()
    directory = arguments.directory
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "full-scale.json"
    record: dict[str, object] = json.loads(file.read_text()) if file.is_file() else {}
    ingest_all(directory, arguments.frames, record)
    store = str(directory / "store")
    files = [path for path in Path(store).rglob("*") if path.is_file()]
    record["store_GB"] = sum(path.stat().st_size for path in files) / 1e9
    record["store_files"] = len(files)
    programs = {"random": RANDOM_READS, "scan": SCAN, "flat_histogram": FLAT_HISTOGRAM}
    for name, program in programs.items():
        command = [sys.executable, "-c", program, store, str(N_RANDOM)]
        wall, memory, text = measured(command)
        record[name] = {"s": float(text), "process_s": wall, "peak_GB": memory}
        save(directory, record)
    sys.stdout.write(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
