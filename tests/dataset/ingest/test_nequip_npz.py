"""The npz layout of nequip 0.5: compressed or not, fixed or per frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zifbench.dataset.ingest import nequip_npz
from zifbench.dataset.ingest.nequip_npz import NpzSource, is_npz
from zifbench.dataset.ingest.source import Options
from zifbench.errors import DataError
from zifbench.frames import Frames, concatenate


def arrays_of(frames: Frames) -> dict[str, Any]:
    """The keys of the published training input."""
    return {
        "Z": frames.numbers,
        "energy": frames.energy,
        "force": frames.forces,
        "positions": frames.positions,
        "stress": frames.stress,
        "cell": frames.cell,
        "pbc": np.tile(frames.pbc, (len(frames), 1)),
    }


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_frames_come_back(
    tmp_path: Path,
    make_frames: Callable[..., Frames],
    monkeypatch: pytest.MonkeyPatch,
    save: Callable[..., None],
) -> None:
    frames = make_frames(n_frames=23)
    save(tmp_path / "set.npz", **arrays_of(frames))
    assert is_npz(tmp_path / "set.npz")
    monkeypatch.setattr(nequip_npz, "_CHUNK_VALUES", 60)
    (trajectory,) = NpzSource(tmp_path / "set.npz", Options()).trajectories()
    assert (trajectory.name, trajectory.n_frames) == ("set", 23)
    parts = list(trajectory.chunks())
    assert len(parts) > 3
    found, rest = concatenate(parts), concatenate(list(trajectory.chunks(9)))
    for name in ("positions", "cell", "energy", "forces", "stress"):
        assert (getattr(found, name) == getattr(frames, name)).all()
        assert (getattr(rest, name) == getattr(frames, name)[9:]).all()
    assert rest.source_index is not None and rest.source_index[0] == 9
    assert found.pbc.all()


def test_other_names_and_shapes(tmp_path: Path, make_frames: Callable[..., Frames]) -> None:
    frames = make_frames(n_frames=5)
    assert frames.stress is not None and frames.energy is not None
    s = frames.stress
    voigt = np.stack([s[:, 0, 0], s[:, 1, 1], s[:, 2, 2], s[:, 1, 2], s[:, 0, 2], s[:, 0, 1]], 1)
    np.savez(
        tmp_path / "a.npz",
        z=np.tile(frames.numbers, (5, 1)),
        R=frames.positions.astype(np.float32),
        E=frames.energy[:, None],
        F=frames.forces,
        stress=voigt,
        cell=frames.cell[0],
        pbc=frames.pbc,
    )
    (trajectory,) = NpzSource(tmp_path / "a.npz", Options()).trajectories()
    found = next(iter(trajectory.chunks()))
    assert (found.positions == frames.positions.astype(np.float32)).all()
    assert found.stress is not None and (found.stress == frames.stress).all()
    assert (found.energy == frames.energy).all()
    assert (found.cell == frames.cell[:1]).all()


def test_compositions_are_sorted_out(tmp_path: Path, make_frames: Callable[..., Frames]) -> None:
    frames = make_frames(n_frames=6)
    arrays = arrays_of(frames)
    arrays["Z"] = np.tile(frames.numbers, (6, 1))
    arrays["Z"][[1, 4]] = 6
    np.savez(tmp_path / "b.npz", **arrays)
    carbon, mixed = NpzSource(tmp_path / "b.npz", Options()).trajectories()
    assert (carbon.name, carbon.n_frames, mixed.n_frames) == ("b-1", 2, 4)
    found = concatenate(list(carbon.chunks()))
    assert (found.positions == frames.positions[[1, 4]]).all()
    assert set(found.numbers.tolist()) == {6}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"force": np.zeros((4, 3, 3))}, r"forces \(4, 3, 3\), wanted \(4, 4, 3\)"),
        ({"positions": np.zeros((4, 12))}, r"positions \(4, 12\), wanted \(frames, atoms, 3\)"),
        ({"energy": None}, "no energy"),
        ({"F": np.zeros((4, 4, 3))}, "forces under force and F"),
        ({"pbc": np.eye(4, 3, dtype=bool)}, "pbc differs"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, make_frames: Callable[..., Frames], change: dict[str, Any], message: str
) -> None:
    arrays = {k: v for k, v in {**arrays_of(make_frames()), **change}.items() if v is not None}
    np.savez(tmp_path / "c.npz", **arrays)
    with pytest.raises(DataError, match=message):
        NpzSource(tmp_path / "c.npz", Options()).trajectories()


def test_a_flipped_byte_is_noticed(tmp_path: Path, make_frames: Callable[..., Frames]) -> None:
    """The checksum of the zip, at the end of each array."""
    frames = make_frames(n_frames=50)
    path = tmp_path / "d.npz"
    np.savez(path, **arrays_of(frames))
    data = bytearray(path.read_bytes())
    place = data.index(frames.positions[20].tobytes())
    data[place] ^= 1
    path.write_bytes(data)
    (trajectory,) = NpzSource(path, Options()).trajectories()
    with pytest.raises(DataError, match="damaged"):
        list(trajectory.chunks())


def test_other_zips_are_not_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", a=np.zeros(3))
    (tmp_path / "f.npz").write_text("no zip")
    assert not is_npz(tmp_path / "e.npz")
    assert not is_npz(tmp_path / "f.npz")


def test_the_same_file_elsewhere_is_the_same_input(
    tmp_path: Path, make_frames: Callable[..., Frames]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    paths = [tmp_path / "set.npz", tmp_path / "elsewhere" / "set.npz"]
    for path in paths:
        np.savez(path, **arrays_of(make_frames(n_frames=3)))
    one, other = (NpzSource(path, Options()).trajectories()[0] for path in paths)
    assert one.fingerprint == other.fingerprint
