"""Reading frame files: grouping, labels, damage."""

from __future__ import annotations

import dataclasses

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from tests.published import published_file
from zifbench.ase_io import read_frames
from zifbench.errors import DataError
from zifbench.frames import Frames


def test_extxyz_keeps_labels_and_texts(zif4):
    assert zif4.formula == "C96H96N64Zn16"
    assert zif4.positions.shape == (2, 272, 3)
    assert zif4.labels["name"] == ("harm300_2", "harm600_3")
    assert "CP2K 2023.1" in zif4.info["level_of_theory"]
    assert zif4.energy[0] == pytest.approx(-60078.36580777, abs=1e-8)
    assert np.abs(zif4.stress - zif4.stress.transpose(0, 2, 1)).max() == 0


def test_traj_and_extxyz_agree(make_frames, tmp_path):
    frames = make_frames(3)
    ase.io.write(tmp_path / "a.traj", frames.to_ase())
    (back,) = read_frames(tmp_path / "a.traj")
    np.testing.assert_array_equal(back.forces, frames.forces)
    np.testing.assert_array_equal(back.energy, frames.energy)
    np.testing.assert_array_equal(back.stress, frames.stress)


def test_a_file_with_several_compositions_gives_several_frames(make_frames, tmp_path):
    first, second = make_frames(2), make_frames(3, symbols="ZnN2")
    ase.io.write(tmp_path / "a.extxyz", first.to_ase() + second.to_ase())
    parts = read_frames(tmp_path / "a.extxyz")
    assert [len(part) for part in parts] == [2, 3]
    assert parts[1].where(0) == "frame 2 (f0) of a.extxyz"


def test_labels_in_some_frames_only_are_kept_apart(make_frames, tmp_path):
    labelled = make_frames(2)
    bare = dataclasses.replace(make_frames(1), energy=None, forces=None, stress=None)
    ase.io.write(tmp_path / "a.extxyz", labelled.to_ase() + bare.to_ase())
    parts = read_frames(tmp_path / "a.extxyz")
    assert [part.energy is None for part in parts] == [False, True]


def test_a_stress_given_as_full_tensor_is_read(tmp_path):
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.7]], cell=np.eye(3) * 5, pbc=True)
    tensor = np.array([[1.0, 4, 5], [4, 2, 6], [5, 6, 3]])
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, stress=tensor)
    np.testing.assert_array_equal(Frames.from_ase(atoms).stress[0], tensor)


def test_missing_stress_components_stay_nan(make_frames, write_extxyz):
    frames = make_frames(2)
    stress = frames.stress.copy()
    stress[:, 0, 1] = stress[:, 1, 0] = np.nan
    (back,) = read_frames(write_extxyz(dataclasses.replace(frames, stress=stress)))
    assert np.isnan(back.stress[:, 0, 1]).all()
    assert np.isfinite(back.stress[:, 2, 2]).all()


def test_labels_that_look_like_numbers_are_labels(make_frames, write_extxyz):
    frames = dataclasses.replace(make_frames(2), labels={"phase": ("300", "1500")})
    (back,) = read_frames(write_extxyz(frames))
    assert back.labels["phase"] == ("300", "1500")


@pytest.mark.parametrize("name", ["energy", "forces", "positions"])
def test_nan_is_refused_with_its_place(make_frames, write_extxyz, name):
    frames = make_frames(3)
    array = getattr(frames, name).copy()
    array[1, ...] = np.nan
    path = write_extxyz(dataclasses.replace(frames, **{name: array}))
    with pytest.raises(DataError, match=rf"{name}: NaN.*frame 1 \(f1\) of frames.extxyz"):
        read_frames(path)


def test_a_truncated_file_is_refused_wherever_it_is_cut(make_frames, write_extxyz, tmp_path):
    text = write_extxyz(make_frames(2)).read_bytes()
    cut = tmp_path / "cut.extxyz"
    for end in range(1, len(text), 37):
        cut.write_bytes(text[:end])
        complete = text[:end].endswith(b"\n") and text[:end].count(b"\n") in (6, 12)
        if complete:
            assert len(read_frames(cut)[0]) == 1
            continue
        with pytest.raises(DataError):
            read_frames(cut)


@pytest.mark.parametrize(
    ("name", "content"),
    [("empty.extxyz", b""), ("notes.txt", b"hello\n"), ("model.pth", b"PK\x03\x04junk")],
)
def test_files_that_hold_no_frames(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_frames(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone.extxyz does not exist"):
        read_frames(tmp_path / "gone.extxyz")


@pytest.mark.published
@pytest.mark.filterwarnings("ignore:crystal system")
@pytest.mark.parametrize("number", [1, 10])
def test_published_glasses(number):
    (glass,) = read_frames(published_file(f"gaillac2020/ZIF4_15glass{number:02d}.cif"))
    assert glass.formula == "C96H96N64Zn16"
    # data-sources: all glasses lie in the crystal's cell, 1.210 g/cm³ with natural hydrogen.
    density = glass.masses.sum() * 1.66053907 / glass.volume[0]
    assert density == pytest.approx(1.210, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "hint"), [("extxzy", "did you mean extxyz"), ("0", "`ase info --formats` lists them")]
)
def test_a_format_that_ase_does_not_know(tmp_path, name, hint):
    path = tmp_path / "a.xyz"
    path.write_text("1\n\nZn 0 0 0\n")
    with pytest.raises(DataError, match=f"ASE knows no format '{name}'; {hint}"):
        read_frames(path, file_format=name)
