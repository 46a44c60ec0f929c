"""The store beside HDF5, LMDB and extxyz: random frames, a sequential scan, size.

Every format holds the same generated frames (positions, forces, cell, energy, stress; float32 for
positions and forces where it has types) and gives them back as float64 arrays. The reference is
HDF5 as people write it: chunks of one frame, no compression. "zarr" is zarr-python 3 on the files
of our store. Everything is in the page cache; what remains is the work of the format. Writing
includes making the frames, and its names carry the size on disk as a share of float64.

`ZIFBENCH_BENCH_FRAMES` sets the number of frames (default 2000), `ZIFBENCH_BENCH_READS` how many of
them are drawn (default 2500, the size of the paper's training set).
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import ase.io
import h5py
import lmdb
import numpy as np
import pytest
import zarr

from benchmarks.generated import generated_chunks, generated_frames
from zifbench.dataset.store import StoreWriter, open_store

N_FRAMES = int(os.environ.get("ZIFBENCH_BENCH_FRAMES", "2000"))
N_READS = int(os.environ.get("ZIFBENCH_BENCH_READS", "2500"))
FIELDS = ("positions", "forces", "cell", "energy", "stress")
SMALL = ("positions", "forces")  # float32
SCAN = 512
ROUNDS = 3


def typed(frames, name):
    values = getattr(frames, name)
    return values.astype("float32") if name in SMALL else values


# -- writing --------------------------------------------------------------------------------------


def write_ours(path: Path) -> None:
    with StoreWriter(path) as store:
        writer = store.trajectory("a", generated_frames(0, 1), fields=FIELDS)
        for frames in generated_chunks(N_FRAMES):
            writer.append(frames)


def write_hdf5(path: Path, **options) -> None:
    with h5py.File(path, "w") as file:
        first = generated_frames(0, 1)
        for name in FIELDS:
            values = typed(first, name)
            chunk = (1 if name in SMALL else SCAN, *values.shape[1:])
            file.create_dataset(
                name, (N_FRAMES, *values.shape[1:]), values.dtype, chunks=chunk, **options
            )
        for frames in generated_chunks(N_FRAMES):
            rows = slice(frames.step[0], frames.step[-1] + 1)
            for name in FIELDS:
                file[name][rows] = typed(frames, name)


def write_hdf5_gzip(path: Path) -> None:
    write_hdf5(path, compression="gzip", compression_opts=1, shuffle=True)


def write_lmdb(path: Path) -> None:
    """One pickled dict of arrays for each frame, as the OCP datasets are."""
    room = N_FRAMES * 40_000 + 10_000_000
    with lmdb.open(str(path), map_size=room, subdir=False, sync=False) as env:
        for frames in generated_chunks(N_FRAMES):
            with env.begin(write=True) as txn:
                columns = {name: typed(frames, name) for name in FIELDS}
                for row, step in enumerate(frames.step.tolist()):
                    entry = {name: column[row] for name, column in columns.items()}
                    txn.put(str(step).encode(), pickle.dumps(entry, protocol=5))


def write_extxyz(path: Path) -> None:
    for frames in generated_chunks(N_FRAMES):
        ase.io.write(path, frames.to_ase(), format="extxyz", append=True)


# -- random reads ---------------------------------------------------------------------------------


def read_ours(path: Path, rows):
    with open_store(path) as store:
        frames = store.trajectories["a"].read(rows)
    return {name: getattr(frames, name) for name in FIELDS}


def read_zarr(path: Path, rows):
    group = zarr.open_group(str(path), mode="r")["a"]
    return {name: group[name].oindex[rows].astype(float) for name in FIELDS}


def read_hdf5(path: Path, rows):
    """h5py wants ascending rows without repeats; frame by frame is faster than its lists."""
    out = {}
    with h5py.File(path) as file:
        for name in FIELDS:
            data = file[name]
            out[name] = np.array([data[row] for row in rows.tolist()], dtype=float)
    return out


def read_lmdb(path: Path, rows):
    with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as env, env.begin() as txn:
        entries = [pickle.loads(txn.get(str(row).encode())) for row in rows.tolist()]
    return {name: np.array([e[name] for e in entries], dtype=float) for name in FIELDS}


def read_extxyz(path: Path, rows):
    """A text file must be read up to the frame; the index of ASE does that for each."""
    frames = [ase.io.read(path, index=int(row), format="extxyz") for row in rows]
    return {
        "positions": np.array([f.positions for f in frames]),
        "forces": np.array([f.get_forces() for f in frames]),
    }


# -- sequential scans -----------------------------------------------------------------------------


def scan_ours(path: Path):
    with open_store(path) as store:
        return sum(f.energy.sum() + f.positions[0, 0, 0] for f in store.trajectories["a"].chunks())


def scan_zarr(path: Path):
    total = 0.0
    group = zarr.open_group(str(path), mode="r")["a"]
    for start in range(0, N_FRAMES, SCAN):
        part = {n: group[n][start : start + SCAN].astype(float) for n in FIELDS}
        total += part["energy"].sum() + part["positions"][0, 0, 0]
    return total


def scan_hdf5(path: Path):
    total = 0.0
    with h5py.File(path) as file:
        for start in range(0, N_FRAMES, SCAN):
            part = {n: file[n][start : start + SCAN].astype(float) for n in FIELDS}
            total += part["energy"].sum() + part["positions"][0, 0, 0]
    return total


def scan_lmdb(path: Path):
    return sum(
        part["energy"].sum() + part["positions"][0, 0, 0]
        for start in range(0, N_FRAMES, SCAN)
        for part in [read_lmdb(path, np.arange(start, min(N_FRAMES, start + SCAN)))]
    )


def scan_extxyz(path: Path):
    total = 0.0
    for atoms in ase.io.iread(path, index=f":{min(N_FRAMES, SCAN)}", format="extxyz"):
        total += atoms.get_potential_energy()
    return total


FORMATS = {
    "HDF5, reference": (write_hdf5, read_hdf5, scan_hdf5),
    "HDF5, shuffle and gzip": (write_hdf5_gzip, read_hdf5, scan_hdf5),
    "store": (write_ours, read_ours, scan_ours),
    "zarr": (None, read_zarr, scan_zarr),
    "LMDB": (write_lmdb, read_lmdb, scan_lmdb),
    "extxyz": (write_extxyz, read_extxyz, scan_extxyz),
}
# ASE's reader needs a millisecond a frame and starts at the beginning: a few tell enough.
EXTXYZ_READS = 10


RAW = sum(getattr(generated_frames(0, 1), name).nbytes for name in FIELDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return Path(os.environ.get("ZIFBENCH_BENCH_DIR") or tmp_path_factory.mktemp("formats"))


def written(folder, name):
    """Path of a format, written on first use."""
    write = FORMATS[name][0]
    if write is None:
        return written(folder, "store")
    path = folder / str(list(FORMATS).index(name))
    if not path.exists():
        write(path)
    return path


def size(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_blocks * 512 for file in files)


@pytest.mark.parametrize("name", [name for name, (write, _, _) in FORMATS.items() if write])
def bench_write(benchmark, folder, name):
    benchmark.group = f"writing {N_FRAMES} frames"
    benchmark.pedantic(written, args=(folder, name), rounds=1)
    title = name.removesuffix(", reference")
    share = size(written(folder, name)) / (RAW * N_FRAMES)
    ending = ", reference" if name.endswith("reference") else ""
    benchmark.stats.name = f"{title}, {share:.3f} of float64{ending}"


@pytest.mark.parametrize("name", FORMATS)
def bench_random(benchmark, folder, name):
    rows = np.random.default_rng(0).integers(0, N_FRAMES, N_READS)
    benchmark.group = f"{N_READS} random frames of {N_FRAMES}"
    benchmark.name = name
    read = FORMATS[name][1]
    if name == "extxyz":
        rows = rows[:EXTXYZ_READS]
        benchmark.name = f"extxyz, {EXTXYZ_READS} frames only"
    path = written(folder, name)
    got = benchmark.pedantic(read, args=(path, rows), rounds=ROUNDS, warmup_rounds=1)
    row = int(rows[5])
    wanted = generated_frames(row, row + 1)
    np.testing.assert_allclose(got["positions"][5], wanted.positions[0], atol=2e-6)
    np.testing.assert_allclose(got["forces"][5], wanted.forces[0], atol=2e-5)


@pytest.mark.parametrize("name", FORMATS)
def bench_scan(benchmark, folder, name):
    benchmark.group = f"sequential scan of {N_FRAMES} frames"
    benchmark.name = f"extxyz, {SCAN} frames only" if name == "extxyz" else name
    path = written(folder, name)
    benchmark.pedantic(FORMATS[name][2], args=(path,), rounds=ROUNDS, warmup_rounds=1)
