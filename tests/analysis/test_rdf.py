"""Radial distribution functions: lattices, an ideal gas, freud, published values, bad input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ase import Atoms

from tests.analysis.structures import (
    INVARIANCES,
    crystal,
    glasses,
    random_frames,
    supercell,
)
from zifbench.analysis.rdf import partial_rdfs, potential_of_mean_force
from zifbench.errors import NotDefinedError, UnknownNameError
from zifbench.frames import Frames
from zifbench.units import BOLTZMANN_EV_PER_K

TRICLINIC = np.array([[14.0, 0, 0], [3, 13, 0], [-2, 1.5, 15]])


def test_rock_salt_shells() -> None:
    """Zn at the corners, N at the edges, a = 4: six N at 2, twelve Zn at 2√2, eight N at 2√3."""
    cell = Atoms("ZnN", positions=[[0, 0, 0], [2, 0, 0]], cell=[[0, 2, 2], [2, 0, 2], [2, 2, 0]])
    frames = supercell(Frames.from_ase(Atoms(cell, pbc=True)), (4, 4, 4))
    rdfs = partial_rdfs(frames, r_max_A=4.5, bin_width_A=0.1)
    zn_n, zn_zn = rdfs["Zn", "N"], rdfs["Zn", "Zn"]
    np.testing.assert_allclose(zn_n.coordination[[18, 21, 33, 36]], [0, 6, 6, 14])
    np.testing.assert_allclose(zn_zn.coordination[[27, 29, 44]], [0, 12, 18])
    k = np.flatnonzero(zn_zn.neighbours)[0]
    shell = 4 / 3 * np.pi * (zn_zn.edges_A[k + 1] ** 3 - zn_zn.edges_A[k] ** 3)
    assert zn_zn.g[k] == pytest.approx(12 / shell / (1 / 16))  # one Zn in a³/4 = 16 Å³


def test_ideal_gas_is_flat() -> None:
    frames = random_frames({"Zn": 60, "N": 90}, cell=TRICLINIC, n_frames=300)
    for (a, b), rdf in partial_rdfs(frames, r_max_A=8.0, bin_width_A=0.5).items():
        # like pairs: N − 1 atoms are left to look at, the definition divides by N
        expected = 1.0 - 1.0 / (60 if a == "Zn" else 90) if a == b else 1.0
        assert rdf.g[4:] == pytest.approx(expected, abs=0.02)


def test_against_naive_loop_with_a_changing_cell() -> None:
    frames = random_frames({"Zn": 3, "N": 5}, cell=TRICLINIC, n_frames=2, seed=5)
    scale = np.array([1.0, 1.1])[:, None, None]
    frames = dataclasses.replace(
        frames, cell=frames.cell * scale, positions=frames.positions * scale
    )
    rdf = partial_rdfs(frames, pairs=[("Zn", "N")], r_max_A=12.0, bin_width_A=0.25)["Zn", "N"]
    g = np.zeros(48)
    images = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3), axis=-1).reshape(-1, 3)
    for t in range(2):
        step = frames.positions[t, None, 3:] - frames.positions[t, :3, None]
        r = np.linalg.norm(step[:, :, None] + images @ frames.cell[t], axis=-1)
        counts, edges = np.histogram(r, bins=48, range=(0, 12))
        g += frames.volume[t] * counts / (15 * 4 / 3 * np.pi * np.diff(edges**3)) / 2
    np.testing.assert_allclose(rdf.g, g, rtol=1e-12)


def test_a_stream_of_pieces_gives_the_same() -> None:
    frames = random_frames({"Zn": 8, "N": 12}, cell=TRICLINIC, n_frames=7)
    whole = partial_rdfs(frames, r_max_A=10.0, bin_width_A=0.1)
    pieces = partial_rdfs(frames.chunks(3), r_max_A=10.0, bin_width_A=0.1)
    for pair, rdf in whole.items():
        np.testing.assert_allclose(rdf.g, pieces[pair].g, rtol=1e-12)
    assert whole["Zn", "N"].n_frames == pieces["Zn", "N"].n_frames == 7


@pytest.mark.parametrize("move", INVARIANCES)
def test_invariance(move: str) -> None:
    frames = random_frames({"Zn": 8, "N": 12}, cell=TRICLINIC, n_frames=2)
    other = INVARIANCES[move](frames)
    before = partial_rdfs(frames, r_max_A=11.0, bin_width_A=0.1)
    after = partial_rdfs(other, r_max_A=11.0, bin_width_A=0.1)
    for pair, rdf in before.items():
        np.testing.assert_allclose(rdf.neighbours, after[pair].neighbours, atol=1e-12)


def test_supercell_has_the_same_g() -> None:
    frames = random_frames({"Zn": 8, "N": 12}, cell=TRICLINIC)
    before = partial_rdfs(frames, r_max_A=12.0, bin_width_A=0.1)
    after = partial_rdfs(supercell(frames), r_max_A=12.0, bin_width_A=0.1)
    for pair, rdf in before.items():
        np.testing.assert_allclose(rdf.g, after[pair].g, rtol=1e-9)


def test_freud_agrees() -> None:
    """freud.density.RDF with normalization_mode "exact", which divides by N·N as we do."""
    freud = pytest.importorskip("freud")
    frames = random_frames({"Zn": 20, "N": 30}, cell=TRICLINIC, n_frames=3)
    own = partial_rdfs(frames, r_max_A=6.0, bin_width_A=0.1)
    cell = np.linalg.cholesky(TRICLINIC @ TRICLINIC.T)  # freud wants a along x
    positions = frames.positions @ np.linalg.inv(TRICLINIC) @ cell
    box = freud.box.Box.from_matrix(cell.T)
    for a, b, like in (("Zn", "N", False), ("N", "N", True)):
        rdf = freud.density.RDF(bins=60, r_max=6.0)
        for t in range(3):
            group = {"Zn": positions[t, :20], "N": positions[t, 20:]}
            rdf.compute(
                (box, box.wrap(group[b])),
                query_points=box.wrap(group[a]),
                neighbors={"mode": "ball", "r_max": 6.0, "exclude_ii": like},
                reset=t == 0,
            )
        np.testing.assert_allclose(own[a, b].g, rdf.rdf, rtol=1e-4, atol=1e-6)


@pytest.mark.published
def test_published_structures() -> None:
    """analysis.md, sections 1 and 4: peaks in 0.01 Å bins and the integral to 2.5 Å."""
    zn_n = partial_rdfs(crystal())["Zn", "N"]
    assert zn_n.r_A[zn_n.g.argmax()] == pytest.approx(1.975)
    rdfs = partial_rdfs(glasses())
    zn_n, zn_zn = rdfs["Zn", "N"], rdfs["Zn", "Zn"]
    assert zn_n.r_A[zn_n.g.argmax()] == pytest.approx(2.005)
    assert zn_n.g.max() == pytest.approx(43.19, abs=0.005)
    assert zn_n.coordination[249] == pytest.approx(3.93125)
    assert zn_n.coordination[299] == pytest.approx(3.9375)
    assert zn_zn.r_A[zn_zn.g.argmax()] == pytest.approx(5.935)
    assert zn_zn.g.max() == pytest.approx(10.05, abs=0.005)
    for width, height in ((0.02, 35.0), (0.05, 30.9)):
        rdf = partial_rdfs(glasses(), pairs=[("Zn", "N")], bin_width_A=width)["Zn", "N"]
        assert rdf.g.max() == pytest.approx(height, abs=0.05)


@pytest.mark.published
@pytest.mark.parametrize("move", INVARIANCES)
def test_published_glasses_are_invariant(move: str) -> None:
    before = partial_rdfs(glasses())["Zn", "Zn"]
    after = partial_rdfs(INVARIANCES[move](glasses()))["Zn", "Zn"]
    assert after.coordination[-1] == pytest.approx(before.coordination[-1], abs=1e-9)
    # CIFs hold five digits, so that distances fall on bin edges: one bin more or less
    assert np.abs(after.coordination - before.coordination).max() < 0.05


def test_pmf_of_a_harmonic_well() -> None:
    x = np.linspace(-0.3, 0.3, 61)
    stiffness = 2.0  # eV/Å²
    density = np.exp(-0.5 * stiffness * x**2 / (BOLTZMANN_EV_PER_K * 300.0))
    pmf = potential_of_mean_force(7.3 * density, temperature_K=300.0)
    np.testing.assert_allclose(pmf, 0.5 * stiffness * x**2, atol=1e-12)


def test_pmf_is_infinite_where_nothing_was_seen() -> None:
    pmf = potential_of_mean_force(np.array([0.0, 1.0, 2.0]), temperature_K=500.0)
    assert pmf[0] == np.inf
    assert pmf[1] == pytest.approx(BOLTZMANN_EV_PER_K * 500.0 * np.log(2.0))
    assert pmf[2] == 0.0


def test_bad_input() -> None:
    frames = random_frames({"Zn": 3, "N": 4}, cell=TRICLINIC)
    positions = frames.positions.copy()
    positions[0, 2, 1] = np.nan
    with pytest.raises(NotDefinedError, match="NaN or infinite at atom 2 in frame 0"):
        partial_rdfs(dataclasses.replace(frames, positions=positions))
    with pytest.raises(NotDefinedError, match="of zero volume in frame 0"):
        partial_rdfs(dataclasses.replace(frames, cell=np.zeros((1, 3, 3))))
    with pytest.raises(NotDefinedError, match="not periodic along all three"):
        partial_rdfs(dataclasses.replace(frames, pbc=np.array([True, True, False])))
    with pytest.raises(NotDefinedError, match="no C atoms"):
        partial_rdfs(frames, pairs=[("Zn", "C")])
    with pytest.raises(UnknownNameError, match="unknown element 'Zx'; did you mean"):
        partial_rdfs(frames, pairs=[("Zx", "N")])
    with pytest.raises(NotDefinedError, match=r"beyond the shortest lattice vector, 13\.34"):
        partial_rdfs(frames, r_max_A=13.5)
    with pytest.raises(NotDefinedError, match="no whole number of bins"):
        partial_rdfs(frames, r_max_A=12.0, bin_width_A=0.7)
    with pytest.raises(NotDefinedError, match=r"bin_width_A: -0\.1 Å, wanted a positive"):
        partial_rdfs(frames, bin_width_A=-0.1)
    with pytest.raises(NotDefinedError, match="no frames"):
        partial_rdfs(frames[:0])
    with pytest.raises(NotDefinedError, match="no frames"):
        partial_rdfs([])
    other = random_frames({"Zn": 3, "N": 5}, cell=TRICLINIC)
    with pytest.raises(NotDefinedError, match=r"change from piece to piece \(7 atoms, then 8"):
        partial_rdfs([frames, other])
    with pytest.raises(NotDefinedError, match="no counts at all"):
        potential_of_mean_force(np.zeros(4), temperature_K=300.0)
    with pytest.raises(NotDefinedError, match="temperature_K: 0"):
        potential_of_mean_force(np.ones(4), temperature_K=0.0)
