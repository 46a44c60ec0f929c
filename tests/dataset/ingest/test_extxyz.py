"""extxyz files: ASE's numbers, streamed, one trajectory for each composition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest

from zifbench.ase_io import read_frames
from zifbench.dataset.ingest import extxyz
from zifbench.dataset.ingest.extxyz import ExtxyzSource, is_extxyz
from zifbench.dataset.ingest.source import Options
from zifbench.errors import DataError
from zifbench.frames import Frames, concatenate


def test_frames_are_those_that_ase_reads(
    make_frames: Callable[..., Frames],
    write_extxyz: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_extxyz(make_frames(n_frames=11))
    assert is_extxyz(path)
    monkeypatch.setattr(extxyz, "_CHUNK_BYTES", 3 * path.stat().st_size // 11)
    (trajectory,) = ExtxyzSource(path, Options()).trajectories()
    parts = list(trajectory.chunks())
    assert len(parts) > 2
    assert concatenate(parts).digest() == read_frames(path)[0].digest()
    rest = concatenate(list(trajectory.chunks(7)))
    assert rest.source_index is not None and rest.source_index.tolist() == [7, 8, 9, 10]
    assert rest.labels["name"] == ("f7", "f8", "f9", "f10")


def test_compositions_are_sorted_out_wherever_they_stand(
    tmp_path: Path, make_frames: Callable[..., Frames]
) -> None:
    one, two = make_frames(4, "ZnN", seed=1), make_frames(3, "ZnNCH", seed=2)
    mixed = [*one.to_ase(), *two.to_ase()]
    order = [0, 4, 1, 5, 2, 6, 3]
    path = tmp_path / "mixed.xyz"
    ase.io.write(path, [mixed[k] for k in order], format="extxyz")
    first, second = ExtxyzSource(path, Options()).trajectories()
    assert (first.name, second.name) == ("mixed-NZn", "mixed-CHNZn")
    frames = concatenate(list(first.chunks()))
    assert frames.source_index is not None and frames.source_index.tolist() == [0, 2, 4, 6]
    np.testing.assert_allclose(frames.positions, one.positions, atol=1e-8)
    np.testing.assert_allclose(concatenate(list(second.chunks())).positions, two.positions)


def test_a_label_names_trajectories_and_what_is_common_describes_them(
    tmp_path: Path, make_frames: Callable[..., Frames]
) -> None:
    structures = make_frames(5).to_ase()
    for number, atoms in enumerate(structures):
        atoms.info["state"] = "liquid" if number % 2 else "crystal"
        atoms.info["temperature_K"] = "1500" if number % 2 else "300"
        atoms.info["seed"] = str(number)
    path = tmp_path / "states.extxyz"
    ase.io.write(path, structures, format="extxyz")
    found = {t.name: t for t in ExtxyzSource(path, Options(by="state")).trajectories()}
    assert {name: t.n_frames for name, t in found.items()} == {"crystal": 3, "liquid": 2}
    assert found["liquid"].attributes["temperature_K"] == 1500
    assert "seed" not in found["liquid"].attributes
    frames = concatenate(list(found["liquid"].chunks()))
    assert frames.source_index is not None and frames.source_index.tolist() == [1, 3]
    with pytest.raises(DataError, match=r"frame 0 of .* has no label 'phase_'"):
        ExtxyzSource(path, Options(by="phase_")).trajectories()


def test_a_truncated_last_frame_is_left_out_and_named(
    make_frames: Callable[..., Frames], write_extxyz: Callable[..., Path]
) -> None:
    path = write_extxyz(make_frames())
    text = path.read_text()
    for cut in (1, 30, 150):
        path.write_text(text[:-cut])
        (trajectory,) = ExtxyzSource(path, Options()).trajectories()
        assert trajectory.n_frames == 3
        assert "frame 3, the last one, is truncated" in trajectory.report.damaged[0]


def test_damage_before_the_end_is_refused(
    make_frames: Callable[..., Frames], write_extxyz: Callable[..., Path]
) -> None:
    path = write_extxyz(make_frames())
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3] + lines[4:]))
    with pytest.raises(DataError, match="where frame 1 should begin"):
        ExtxyzSource(path, Options()).trajectories()
    lines[4] = lines[4].replace(".", "x", 1)
    path.write_text("".join(lines))
    (trajectory,) = ExtxyzSource(path, Options()).trajectories()
    with pytest.raises(DataError, match="frames 0 to 3"):
        list(trajectory.chunks())


def test_masses_and_attributes_come_from_the_user(
    make_frames: Callable[..., Frames], write_extxyz: Callable[..., Path]
) -> None:
    options = Options(masses={"H": 2.014}, attributes={"state": "liquid"}, name="mine")
    (trajectory,) = ExtxyzSource(write_extxyz(make_frames()), options).trajectories()
    frames = next(iter(trajectory.chunks()))
    assert frames.masses[np.array(frames.symbols) == "H"].tolist() == [2.014]
    assert (trajectory.name, trajectory.attributes["state"]) == ("mine", "liquid")


def test_a_damaged_number_of_atoms_takes_no_memory(
    make_frames: Callable[..., Frames], write_extxyz: Callable[..., Path]
) -> None:
    path = write_extxyz(make_frames(n_frames=2))
    whole = path.read_bytes()
    path.write_bytes(whole + b"9" * 15 + b"\nProperties=species:S:1:pos:R:3\nH 0 0 0\n")
    (trajectory,) = ExtxyzSource(path, Options()).trajectories()
    assert trajectory.n_frames == 2
    assert "frame 2, the last one, is truncated" in trajectory.report.damaged[0]
