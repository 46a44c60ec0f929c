"""The store of frames: Zarr v3 on disk, versioned by content, appended to without risk.

**Layout.** One group for each trajectory (fixed atoms, fields, thermodynamic state), named by
`safe_name`; one array for each field of `Frames`, frames first; labels as strings below `labels/`;
arrays of the whole trajectory, such as a Hessian, below `arrays/`. Atoms, masses and attributes are
attributes of the group. `commit.json` says what is committed, and readers trust it alone; any
program that knows Zarr v3 reads the rest.

**Pieces.** A chunk holds 16 frames of 272 atoms, a shard 8192: 1 189 836 frames are 317 files, and
one frame is one read of 35 to 45 kB for each of positions and forces. Frames of a chunk are
compressed together, with the frame as the last axis and bytes shuffled (codecs transpose, blosc
with zstd 1, crc32c). Measured on frames of `benchmarks/generated.py`, as a share of float32, for
chunks of 1, 4, 8, 16, 32 frames: positions 0.94, 0.81, 0.71, 0.66, 0.62 and forces 0.96, 0.88,
0.86, 0.83, 0.82; zstd without these two steps gives 0.92 and 0.93 from 4 frames on.

**Precision.** float32 for positions, forces, velocities; float64 for cell, energy, stress, time.
CP2K prints 10 decimals; float32 positions are off by at most 4.8e-7 Å below 16 Å (7.6e-6 Å below
256 Å, and frames beyond are refused). On the bundled frames this moves the forces of the bundled
model by 5e-6 eV/Å (root mean square; 6e-5 at most) and its energy by 4e-5 meV/atom, part of which
is the model's own float32. At the published SCF settings the forces of a frame do not even sum to
zero, by 0.21 eV/Å. Forces themselves are off by at most 2.4e-7 eV/Å. The total energy of −60 083 eV
in float32 would be off by 2 meV, so it is float64; so are the small arrays, where nothing would be
saved. `exact=True` stores all of them as float64.

**Commits.** Shards are immutable once full. A commit writes the unfinished shard of each array
under a temporary name, flushes it to disk and renames it over the old one, which holds the same
frames and fewer; then the new record beside the old one (`commit.next.json`), then the `zarr.json`
that changed, then it renames the new record. Whatever is stopped in between, the old record stays
true, and the next writer removes what is beyond it. Files depend on the content alone, so a resumed
store is bit-identical. (zarr-python's own LocalStore renames too, but flushes nothing and cannot
tell committed frames from others.)

**Version.** sha256 over names, atoms, attributes (but `provenance`), types, shapes and the sha256
of every 4096 decoded frames of every array: independent of chunks, compression and how appends were
cut, and computed as frames are appended.

**Why not icechunk** (1.1.21, the newest for Python 3.11): it brings transactions and history to
Zarr, but its local storage calls itself unsafe for concurrent commits, its identifiers are random
(two equal stores have other files, and no digest names the content), it has no storage for plain
http or a zip, other Zarr programs cannot read it, and it adds 56 MB. One record that is replaced
atomically is enough for one writer that appends.
"""

from __future__ import annotations

from zifbench.dataset.store.array_reader import DamageError
from zifbench.dataset.store.layout import STORE_SCHEMA
from zifbench.dataset.store.reader import Store, Trajectory, open_store
from zifbench.dataset.store.trajectory_writer import TrajectoryWriter
from zifbench.dataset.store.writer import StoreWriter, write_store

__all__ = [
    "STORE_SCHEMA",
    "DamageError",
    "Store",
    "StoreWriter",
    "Trajectory",
    "TrajectoryWriter",
    "open_store",
    "write_store",
]
