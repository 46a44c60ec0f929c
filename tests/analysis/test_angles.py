"""Bond angles: known geometry, both normalisations, published values."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from ase import Atoms

from tests.analysis.structures import INVARIANCES, crystal, glasses, random_frames, supercell
from zifbench.analysis.angles import bond_angle_distribution
from zifbench.errors import NotDefinedError
from zifbench.frames import Frames

CELL = np.array([[14.0, 0, 0], [3, 13, 0], [-2, 1.5, 15]])


def _tetrahedron() -> Frames:
    arms = 2.0 / np.sqrt(3.0) * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    atoms = Atoms("ZnN4", positions=np.vstack([[[0, 0, 0]], arms]), cell=[9, 9, 9], pbc=True)
    return Frames.from_ase(atoms)


def test_tetrahedron() -> None:
    angles = bond_angle_distribution(_tetrahedron())
    assert angles.n_angles == 6
    assert angles.mean_deg == pytest.approx(np.degrees(np.arccos(-1 / 3)))
    assert angles.sd_deg == pytest.approx(0.0, abs=1e-5)
    assert angles.counts[109] == 6
    assert angles.density_per_deg[109] == pytest.approx(1.0)


def test_straight_and_folded_angles_stay_in_range() -> None:
    atoms = Atoms("ZnN2", positions=[[0, 0, 0], [2, 0, 0], [-2, 0, 0]], cell=[9, 9, 9], pbc=True)
    angles = bond_angle_distribution(Frames.from_ase(atoms), bin_width_deg=5.0)
    assert angles.mean_deg == pytest.approx(180.0)
    assert angles.counts[-1] == 1


def test_random_directions() -> None:
    """Uniform directions: p(θ) = ½ sin θ, flat once the sine is taken out; both integrate to 1."""
    frames = random_frames({"Zn": 40, "N": 200}, cell=CELL, n_frames=40)
    angles = bond_angle_distribution(frames, cutoff_A=5.0, bin_width_deg=10.0)
    assert (angles.density_per_deg * 10.0).sum() == pytest.approx(1.0)
    theta = np.radians(angles.edges_deg)
    expected = 0.5 * (np.cos(theta[:-1]) - np.cos(theta[1:])) / 10.0
    np.testing.assert_allclose(angles.density_per_deg, expected, rtol=0.06)
    np.testing.assert_allclose(angles.relative_to_isotropic, 1.0, rtol=0.06)


def test_against_naive_loop() -> None:
    frames = random_frames({"Zn": 4, "N": 20}, cell=CELL, seed=3)
    images = np.array(list(itertools.product(range(-4, 5), repeat=3))) @ CELL
    values = []
    for centre in frames.positions[0, :4]:
        arms = (frames.positions[0, 4:, None] + images - centre).reshape(-1, 3)
        arms = arms[np.linalg.norm(arms, axis=1) < 6.0]
        for u, v in itertools.combinations(arms, 2):
            cosine = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
            values.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    angles = bond_angle_distribution(frames, cutoff_A=6.0)
    np.testing.assert_array_equal(angles.counts, np.histogram(values, 180, (0, 180))[0])
    assert angles.mean_deg == pytest.approx(np.mean(values))
    assert angles.sd_deg == pytest.approx(np.std(values))


@pytest.mark.published
@pytest.mark.parametrize("move", ["as published", *INVARIANCES])
def test_published_structures(move: str) -> None:
    """analysis.md, section 1."""
    change = INVARIANCES.get(move, lambda frames: frames)
    angles = bond_angle_distribution(change(crystal()))
    assert angles.n_angles == 96
    assert angles.mean_deg == pytest.approx(109.24, abs=0.005)
    assert angles.sd_deg == pytest.approx(6.94, abs=0.005)
    angles = bond_angle_distribution(change(glasses()))
    assert angles.n_angles == 928
    assert angles.mean_deg == pytest.approx(109.52, abs=0.005)
    assert angles.sd_deg == pytest.approx(8.90, abs=0.005)


@pytest.mark.published
def test_supercell_of_the_crystal() -> None:
    angles = bond_angle_distribution(supercell(crystal()))
    assert angles.n_angles == 8 * 96
    assert angles.mean_deg == pytest.approx(109.24, abs=0.005)


def test_an_atom_on_its_neighbour_makes_no_angle(zif4) -> None:
    positions = zif4.positions.copy()
    zinc, nitrogen = (np.flatnonzero(zif4.numbers == z)[0] for z in (30, 7))
    positions[1, nitrogen] = positions[1, zinc]
    found = bond_angle_distribution(dataclasses.replace(zif4, positions=positions))
    assert np.isfinite(found.mean_deg)


def test_bad_input() -> None:
    with pytest.raises(NotDefinedError, match=r"no Zn has two N within 1\.5 Å in any frame"):
        bond_angle_distribution(_tetrahedron(), cutoff_A=1.5)
    with pytest.raises(NotDefinedError, match="no C atoms"):
        bond_angle_distribution(_tetrahedron(), neighbour="C")
    with pytest.raises(NotDefinedError, match="does not divide 180"):
        bond_angle_distribution(_tetrahedron(), bin_width_deg=7.0)
