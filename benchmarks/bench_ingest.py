"""Rate of ingest in MB/s of CP2K text, beside ASE's reader in the same run. Not a test.

    python -m benchmarks.bench_ingest [--frames 1000] [--directory KEPT] [--repeats 3]

Text is generated once (`benchmarks.cp2k_text`). Times are wall clock and CPU of this process; the
page cache is warm, since the text has just been written or read. ASE parses positions of the first
frames only, as many as take it a second or two.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ase.io

from benchmarks.cp2k_text import write_run
from zifbench.dataset.ingest.cp2k_md import open_run
from zifbench.dataset.ingest.run import ingest
from zifbench.dataset.ingest.source import Options

ASE_FRAMES = 1000


def timed(run: Callable[[], int]) -> tuple[float, float]:
    """MB/s by the wall clock and by CPU time; `run` gives the bytes of text that it read."""
    wall, cpu = time.perf_counter(), time.process_time()
    n_bytes = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return n_bytes / 1e6 / wall, n_bytes / 1e6 / cpu


def with_ase(path: Path, n_frames: int) -> int:
    """ASE's streaming reader on one file of the five."""
    n = sum(1 for _ in ase.io.iread(path, index=f":{n_frames}", format="extxyz"))
    return n * (path.stat().st_size // n_frames_of(path))


def n_frames_of(path: Path) -> int:
    """Number of frames of a regular file."""
    return path.stat().st_size // 17750


def read_only(directory: Path) -> int:
    """Index, join, check and parse everything, and throw it away."""
    for _ in open_run(directory, Options()).chunks():
        pass
    return size_of(directory)


def into_store(directory: Path, store: Path) -> int:
    """The whole way."""
    shutil.rmtree(store, ignore_errors=True)
    ingest([directory], store)
    return size_of(directory)


def size_of(directory: Path) -> int:
    """Bytes in a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def from_disk(directory: Path) -> int:
    """The files as bytes, which is what the disk or the cache gives at most."""
    for path in directory.iterdir():
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
    return size_of(directory)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="Keep the text here, or use what is here.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.directory or Path(temporary) / "text"
        if not folder.exists():
            write_run(folder, options.frames)
        store = Path(temporary) / "store"
        positions = folder / "bench-pos-1.xyz"
        read_only(folder)  # compiles the loops
        few = min(ASE_FRAMES, n_frames_of(positions))
        runs: dict[str, Callable[[], int]] = {
            "bytes only": lambda: from_disk(folder),
            "ASE extxyz, positions": lambda: with_ase(positions, few),
            "read, joined and checked": lambda: read_only(folder),
            "into a store": lambda: into_store(folder, store),
        }
        best = dict.fromkeys(runs, (0.0, 0.0))
        for _ in range(options.repeats):
            for name, run in runs.items():
                best[name] = tuple(map(max, best[name], timed(run)))  # type: ignore[assignment]
        text, stored = size_of(folder), size_of(store)
    wall, cpu = best["ASE extxyz, positions"]
    sys.stdout.write(
        f"{n_frames_of_text(text)} frames, {text / 1e6:.0f} MB of text, best of {options.repeats}\n"
    )
    sys.stdout.write(f"{'':28}{'MB/s':>10}{'× ASE':>8}{'MB/s CPU':>12}{'× ASE':>8}\n")
    for name, (w, c) in best.items():
        sys.stdout.write(f"{name:28}{w:10.0f}{w / wall:8.1f}{c:12.0f}{c / cpu:8.1f}\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"store {stored / 1e6:.0f} MB, peak memory {peak:.0f} MB\n")


def n_frames_of_text(text: int) -> int:
    """Frames of a set of five files of so many bytes."""
    return text // (2 * 17750 + 225 + 200 + 130)


if __name__ == "__main__":
    main()
