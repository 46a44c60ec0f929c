"""Pore volumes and spheres: geometry known on paper, Zeo++, published values, bad input."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from tests.analysis.structures import INVARIANCES, crystal, glasses, supercell
from zifbench.analysis.pores import pore_volumes
from zifbench.analysis.spheres import largest_spheres
from zifbench.analysis.zeopp import zeo_pore_volumes
from zifbench.errors import MissingDependencyError, NotDefinedError
from zifbench.frames import Frames

A3_PER_AMU_IN_CM3_PER_KG = 602.214
ZINC_AMU, ZINC_RADIUS_A = 65.38, 1.39


def _lattice(cell: object, basis: object = ((1.0, 2.0, 3.0),)) -> Frames:
    positions = np.array(basis)
    return Frames.from_ase(Atoms(f"Zn{len(positions)}", positions=positions, cell=cell, pbc=True))


@pytest.mark.parametrize("spacing_A", [0.3, 0.1])
def test_one_sphere_in_a_cube(spacing_A: float) -> None:
    volume = 512.0 - 4.0 / 3.0 * np.pi * (ZINC_RADIUS_A + 1.2) ** 3
    expected = volume / ZINC_AMU * A3_PER_AMU_IN_CM3_PER_KG
    found = pore_volumes(_lattice([8, 8, 8]), spacing_A=spacing_A)
    assert found == pytest.approx(expected, rel=1e-3)


def test_overlapping_spheres_count_once() -> None:
    """Two spheres of radius R at distance d share the lens π (2R − d)² (d + 4R) / 12."""
    radius, d = ZINC_RADIUS_A + 1.2, 3.0
    lens = np.pi * (2 * radius - d) ** 2 * (d + 4 * radius) / 12.0
    covered = 2 * 4.0 / 3.0 * np.pi * radius**3 - lens
    frames = _lattice([12, 12, 12], [[0, 0, 0], [d, 0, 0]])
    expected = (12.0**3 - covered) / (2 * ZINC_AMU) * A3_PER_AMU_IN_CM3_PER_KG
    assert pore_volumes(frames, spacing_A=0.1) == pytest.approx(expected, rel=1e-3)


def test_a_sphere_larger_than_the_cell_leaves_nothing() -> None:
    assert pore_volumes(_lattice([2, 2, 9]), probe_A=8.0) == 0.0


def test_against_a_naive_grid() -> None:
    cell = np.array([[9.0, 0, 0], [3, 8, 0], [-2, 1.5, 10]])
    positions = np.random.default_rng(0).uniform(-1, 2, (6, 3)) @ cell
    frames = _lattice(cell, positions)
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    n = np.ceil(heights / 0.5).astype(int)
    grid = np.stack(np.meshgrid(*map(np.arange, n), indexing="ij"), axis=-1).reshape(-1, 3) / n
    images = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), axis=-1).reshape(-1, 3) @ cell
    wrapped = (positions @ np.linalg.inv(cell)) % 1.0 @ cell
    nearest = np.full(len(grid), np.inf)
    for atom in (wrapped[:, None] + images).reshape(-1, 3):
        nearest = np.minimum(nearest, np.linalg.norm(grid @ cell - atom, axis=1))
    free = (nearest > ZINC_RADIUS_A + 1.2).mean()
    expected = free * abs(np.linalg.det(cell)) / (6 * ZINC_AMU) * A3_PER_AMU_IN_CM3_PER_KG
    assert pore_volumes(frames, spacing_A=0.5) == pytest.approx(expected, rel=1e-6)


def test_the_mass_is_that_of_natural_elements() -> None:
    frames = _lattice([8, 8, 8])
    heavy = dataclasses.replace(frames, masses=2 * frames.masses)
    assert pore_volumes(heavy) == pore_volumes(frames)


@pytest.mark.published
def test_published_structures() -> None:
    """analysis.md, sections 1 and 7: 52.4 / 52.6 and 66.9 on grids of 0.3 / 0.1 Å."""
    assert pore_volumes(crystal()) == pytest.approx(52.43, abs=0.05)
    assert pore_volumes(crystal(), spacing_A=0.1) == pytest.approx(52.56, abs=0.02)
    volumes = pore_volumes(glasses())
    assert volumes.mean() == pytest.approx(66.95, abs=0.05)
    assert volumes.std() == pytest.approx(7.1, abs=0.1)
    assert volumes.mean() == pytest.approx(67.7, abs=1.0)
    assert pore_volumes(crystal()) == pytest.approx(53.4, abs=1.0)


@pytest.mark.published
@pytest.mark.parametrize("move", [*INVARIANCES, "2×2×2"])
def test_moves_change_the_volume_by_the_grid_error_only(move: str) -> None:
    change = INVARIANCES.get(move, supercell)
    before = np.append(pore_volumes(crystal()), pore_volumes(glasses()))
    after = np.append(pore_volumes(change(crystal())), pore_volumes(change(glasses())))
    same_grid = move not in ("translated", "2×2×2")
    np.testing.assert_allclose(after, before, atol=0.02 if same_grid else 0.3)


@pytest.mark.published
def test_zeo() -> None:
    """analysis.md, section 7: 53.35 + 0 with high accuracy and 50 000 samples."""
    pytest.importorskip("pyzeo")
    volumes = zeo_pore_volumes(crystal())
    assert volumes["accessible"] == pytest.approx(53.35, abs=0.005)
    assert volumes["non_accessible"] == 0.0
    assert volumes["total"] == pytest.approx(pore_volumes(crystal()), abs=1.0)


@pytest.mark.published
@pytest.mark.slow
def test_zeo_on_the_glasses() -> None:
    """analysis.md, section 7: 64.72 + 2.93 = 67.65, and the grid within the sampling error."""
    pytest.importorskip("pyzeo")
    volumes = zeo_pore_volumes(glasses())
    assert volumes["accessible"].mean() == pytest.approx(64.72, abs=0.005)
    assert volumes["non_accessible"].mean() == pytest.approx(2.93, abs=0.005)
    np.testing.assert_allclose(pore_volumes(glasses()), volumes["total"], atol=3.0)


def test_zeo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyzeo", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'zifbench\[zeo\]'"):
        zeo_pore_volumes(_lattice([8, 8, 8]))


@pytest.mark.parametrize("spacing_A", [0.5, 0.3])
def test_spheres_of_a_simple_cubic_lattice(spacing_A: float) -> None:
    """The largest sits at the body centre, the way between them is a face centre."""
    spheres = largest_spheres(_lattice([8, 8, 8]), spacing_A=spacing_A)
    assert spheres.included_A == pytest.approx(8 * np.sqrt(3) - 2 * ZINC_RADIUS_A, abs=2e-3)
    assert spheres.free_A == pytest.approx(8 * np.sqrt(2) - 2 * ZINC_RADIUS_A, abs=spacing_A / 1.5)


def test_a_wall_lets_nothing_through() -> None:
    """A wall of touching atoms across a and b, and another across b and c, and c and a."""
    line = np.arange(0.0, 8.0, 1.0)
    walls = [[x, y, 0.0] for x in line for y in line]
    walls += [[0.0, x, y] for x in line for y in line] + [[y, 0.0, x] for x in line for y in line]
    box = _lattice([8, 8, 8], np.unique(walls, axis=0))
    spheres = largest_spheres(box)
    assert spheres.free_A == 0.0
    assert spheres.included_A == pytest.approx(8.0 - 2 * ZINC_RADIUS_A, abs=0.01)
    one_wall = _lattice([8, 8, 8], walls[:64])  # the way along the wall stays open
    assert largest_spheres(one_wall).free_A == pytest.approx(8.0 - 2 * ZINC_RADIUS_A, abs=0.3)


@pytest.mark.published
def test_spheres_against_zeo(tmp_path: Path) -> None:
    """`network -nor -res`, all radii 0.5 Å: only for equal radii is its Voronoi network exact."""
    pyzeo = pytest.importorskip("pyzeo")
    for frames in (crystal(), glasses()[1], glasses()[9]):
        path = tmp_path / "frame.cif"
        ase.io.write(path, frames.to_ase()[0], format="cif")
        network = pyzeo.AtomNetwork.read_from_CIF(str(path), rad_flag=False)
        network.calculate_free_sphere_parameters(str(tmp_path / "frame.res"))
        included, free, _ = map(float, (tmp_path / "frame.res").read_text().split()[1:4])
        spheres = largest_spheres(frames, radii_A=dict.fromkeys(["H", "C", "N", "Zn"], 0.5))
        assert spheres.included_A == pytest.approx(included, abs=0.01)
        assert free - 0.25 < spheres.free_A[0] < free + 0.01


@pytest.mark.published
@pytest.mark.parametrize("move", INVARIANCES)
def test_spheres_are_invariant(move: str) -> None:
    before, after = largest_spheres(crystal()), largest_spheres(INVARIANCES[move](crystal()))
    assert after.included_A == pytest.approx(before.included_A, abs=0.01)
    assert after.free_A == pytest.approx(before.free_A, abs=0.2)


def test_bad_input() -> None:
    frames = _lattice([8, 8, 8])
    iron = dataclasses.replace(frames, numbers=np.array([26]))
    with pytest.raises(NotDefinedError, match="no radius for Fe in memory; give it in radii_A"):
        pore_volumes(iron)
    assert pore_volumes(iron, radii_A={"Fe": 1.5}) > 0
    with pytest.raises(NotDefinedError, match="no radius for Fe"):
        largest_spheres(iron)
    with pytest.raises(NotDefinedError, match="spacing_A: 0 Å"):
        pore_volumes(frames, spacing_A=0)
    with pytest.raises(NotDefinedError, match="probe_A: -1 Å, wanted zero or more"):
        pore_volumes(frames, probe_A=-1)
    with pytest.raises(NotDefinedError, match="not periodic"):
        pore_volumes(dataclasses.replace(frames, pbc=np.zeros(3, bool)))
