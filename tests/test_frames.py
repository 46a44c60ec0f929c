"""`Frames`: shapes, slicing, joining, round trips, digests."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from zifbench.errors import DataError
from zifbench.frames import Frames, concatenate


def test_slicing_keeps_every_array_in_step(make_frames):
    frames = make_frames(5)
    part = frames[1:4:2]
    assert len(part) == 2
    for name in ("positions", "cell", "energy", "forces", "stress"):
        np.testing.assert_array_equal(getattr(part, name), getattr(frames, name)[1:4:2])
    assert part.labels["name"] == ("f1", "f3")
    np.testing.assert_array_equal(part.source_index, [1, 3])


def test_an_integer_index_keeps_the_frame_axis(make_frames):
    frame = make_frames(5)[-1]
    assert frame.positions.shape == (1, 4, 3)
    assert frame.labels["name"] == ("f4",)


def test_chunks_cover_everything_once(make_frames):
    frames = make_frames(7)
    assert concatenate(list(frames.chunks(3))).digest() == frames.digest()
    assert [len(chunk) for chunk in frames.chunks(3)] == [3, 3, 1]


def test_ase_round_trip_is_exact(make_frames):
    frames = make_frames(3)
    back = Frames.from_ase(frames.to_ase(), source=frames.source)
    assert back.digest() == frames.digest()
    assert back.labels == frames.labels
    assert back.info == frames.info


def test_ase_round_trip_of_velocities_steps_and_masses(make_frames):
    frames = dataclasses.replace(
        make_frames(2),
        velocities=np.random.default_rng(1).normal(size=(2, 4, 3)) * 1e-3,
        step=np.array([10, 20]),
        time_fs=np.array([5.0, 10.0]),
        masses=np.array([65.38, 14.007, 12.011, 2.0141]),
    )
    atoms = frames.to_ase()
    # 1/2 m v² in eV from Å/fs and amu: 1 amu Å²/fs² = 103.642697 eV.
    kinetic = 0.5 * np.sum(frames.masses[:, None] * frames.velocities[0] ** 2) * 103.642697
    assert atoms[0].get_kinetic_energy() == pytest.approx(kinetic, rel=1e-6)
    back = Frames.from_ase(atoms)
    np.testing.assert_allclose(back.velocities, frames.velocities, rtol=1e-12)
    np.testing.assert_array_equal(back.step, frames.step)
    np.testing.assert_array_equal(back.time_fs, frames.time_fs)
    np.testing.assert_allclose(back.masses, frames.masses)


def test_stress_signs_and_order_follow_ase(make_frames):
    frames = make_frames(1)
    voigt = frames.to_ase()[0].get_stress()
    s = frames.stress[0]
    expected = [s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]]
    np.testing.assert_array_equal(voigt, expected)


def test_volume_of_a_skewed_cell(make_frames):
    assert make_frames(1).volume[0] == pytest.approx(8.0 * 8.5 * 9.0)


def test_digest_changes_with_any_label(make_frames):
    frames = make_frames(2)
    energy = frames.energy.copy()
    energy[1] += 1e-9
    assert dataclasses.replace(frames, energy=energy).digest() != frames.digest()
    assert dataclasses.replace(frames, energy=None).digest() != frames.digest()
    phases = dict(frames.labels, phase=("crystal", "glass"))  # scores are split by it
    assert dataclasses.replace(frames, labels=phases).digest() != frames.digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forces": np.zeros((2, 3, 3))}, r"forces: shape \(2, 3, 3\), wanted \(2, 4, 3\)"),
        ({"energy": np.zeros(3)}, r"energy: shape \(3,\), wanted \(2,\)"),
        ({"cell": np.eye(3)}, r"cell: shape \(3, 3\), wanted \(2, 3, 3\)"),
        ({"positions": np.zeros((2, 4))}, r"wanted \(frames, atoms, 3\)"),
        ({"labels": {"phase": ("a",)}}, "label phase: 1 texts, wanted 2"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(make_frames, change, message):
    with pytest.raises(DataError, match=message):
        dataclasses.replace(make_frames(2), **change)


def test_joining_other_atoms_is_refused(make_frames):
    with pytest.raises(DataError, match="other atoms"):
        concatenate([make_frames(1), make_frames(1, symbols="ZnNCO")])
    with pytest.raises(DataError, match="only one of"):
        concatenate([make_frames(1), dataclasses.replace(make_frames(1), energy=None)])
    with pytest.raises(DataError, match="no frames"):
        concatenate([])


def test_where_names_frame_and_file(make_frames):
    assert make_frames(3)[2].where(0) == "frame 2 (f2) of random.extxyz"
