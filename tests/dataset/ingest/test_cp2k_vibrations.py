"""CP2K's vibrational analysis: the published one of ZIF-4, and small ones made up here."""

from __future__ import annotations

import bz2
from pathlib import Path

import numpy as np
import pytest

from tests.published import published_file, published_vibrations
from zifbench.analysis.vibrations import normal_modes
from zifbench.dataset.ingest.cp2k_vibrations import (
    Cp2kVibrationsSource,
    is_vibrations,
    read_structure,
    read_vibrations,
)
from zifbench.dataset.ingest.source import Options
from zifbench.errors import DataError
from zifbench.frames import concatenate
from zifbench.units import BOHR_A, HARTREE_EV, HARTREE_PER_BOHR_IN_EV_PER_A

SPRING = 0.3  # hartree/bohr²
STEP = 1.0e-3


def write_analysis(directory: Path, *, n_blocks: int = 12, ended: bool = True) -> Path:
    """Two atoms 1 Å apart on a spring along x."""
    (directory / "pair.in").write_text(
        "&GLOBAL\n&END GLOBAL\n"
        " &CELL\n  A 5.0 0.0 0.0\n  B 0.0 6.0 0.0\n  C 1.0 0.0 7.0\n &END CELL\n"
        " &COORD\nZn 0.1 0.2 0.3\nH  0.3 0.2 0.3\n   SCALED T\n &END COORD\n DX 1.0E-3\n"
    )
    text = " CP2K| version string:   CP2K version 2.5.1\n GLOBAL| VIBRATIONAL_ANALYSIS\n"
    for block in range(n_blocks):
        sign, rest = (1 if block < 6 else -1), block % 6
        atom, axis = divmod(rest, 3)
        forces = np.zeros((2, 3))
        if axis == 0:
            forces[:, 0] = (-1 if atom == 0 else 1) * sign * STEP * SPRING * np.array([1, -1])
        mark = "+" if sign > 0 else "-"
        text += (
            f" VIB| REPLICA Nr.    {block % 8 + 1}- Energy and Forces for particle:"
            f"{atom + 1:5d}  coordinate: {'XYZ'[axis]} {mark} D{'XYZ'[axis]}\n"
            f" VIB|                   Total Energy:   {-60.0 + 1e-7 * block:18.9f}\n"
            " VIB|    ATOM       X      Y      Z\n"
        )
        for symbol, row in zip(("Zn", "H"), forces, strict=True):
            text += f" VIB|   {symbol:>4}   " + "".join(f"{x:18.9f}" for x in row) + "\n"
    text += " VIB|Frequency (cm^-1)     9.704734            13.709787            18.275723\n"
    (directory / "pair.out").write_text(text + ("PROGRAM ENDED AT now\n" if ended else ""))
    return directory / "pair.out"


CELL = "&CELL\n A 5 0 0\n B 0 6 0\n C 1 0 7\n&END CELL\n"


def test_carbon_is_no_cell_vector(tmp_path: Path) -> None:
    path = tmp_path / "pair.in"
    path.write_text(f"&COORD\nC 0.1 0.2 0.3\nB 0.4 0.5 0.6\n&END COORD\n{CELL}")
    found = read_structure(path)
    np.testing.assert_array_equal(found.cell, [[5, 0, 0], [0, 6, 0], [1, 0, 7]])
    np.testing.assert_array_equal(found.positions, [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("SCALED", [3, 3, 3.5]),
        ("SCALED .TRUE.", [3, 3, 3.5]),
        ("SCALED F", [0.5] * 3),
        ("UNIT angstrom", [0.5] * 3),
    ],
)
def test_coordinates_in_either_form(tmp_path: Path, line: str, place: list[float]) -> None:
    path = tmp_path / "one.in"
    path.write_text(f"{CELL}&COORD\n{line}\nH 0.5 0.5 0.5\n&END COORD\n")
    np.testing.assert_allclose(read_structure(path).positions, [place])


@pytest.mark.parametrize(("line", "step"), [("UNIT BOHR", "1.0E-3"), ("", "[angstrom] 0.01")])
def test_another_unit_is_refused(tmp_path: Path, line: str, step: str) -> None:
    path = tmp_path / "one.in"
    path.write_text(f"{CELL}&COORD\n{line}\nH 1.0 1.0 1.0\n&END COORD\n DX {step}\n")
    with pytest.raises(DataError, match=r"one\.in: a unit \S+, which is not read"):
        read_structure(path)


def test_frames_and_hessian_of_a_spring(tmp_path: Path) -> None:
    path = write_analysis(tmp_path)
    assert is_vibrations(path)
    (trajectory,) = Cp2kVibrationsSource(path, Options()).trajectories()
    frames = concatenate(list(trajectory.chunks()))
    assert len(frames) == trajectory.n_frames == 12
    assert frames.symbols == ("Zn", "H")
    cell = np.array([[5.0, 0, 0], [0, 6, 0], [1, 0, 7]])
    start = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.3]]) @ cell
    moved = frames.positions - start
    assert moved[4, 1, 1] == pytest.approx(STEP * BOHR_A, rel=1e-9)
    assert moved[6, 0, 0] == pytest.approx(-STEP * BOHR_A, rel=1e-9)
    assert np.count_nonzero(np.abs(moved) > 1e-12) == 12
    assert frames.labels["name"][4] == "atom 1 y+"
    assert frames.forces is not None and frames.energy is not None
    unit = HARTREE_PER_BOHR_IN_EV_PER_A
    assert frames.forces[0, 0, 0] == pytest.approx(-STEP * SPRING * unit)
    assert frames.energy[1] == pytest.approx((-60.0 + 1e-7) * HARTREE_EV, abs=1e-12)
    wanted = np.zeros((6, 6))
    wanted[np.ix_([0, 3], [0, 3])] = SPRING * np.array([[1, -1], [-1, 1]]) * unit / BOHR_A
    np.testing.assert_allclose(trajectory.arrays["hessian"], wanted, atol=1e-6)
    assert trajectory.arrays["wavenumbers_per_cm"].tolist() == [9.704734, 13.709787, 18.275723]
    rest = concatenate(list(trajectory.chunks(5)))
    assert (rest.positions == frames.positions[5:]).all()


def test_bz2_is_read_as_it_is(tmp_path: Path) -> None:
    path = write_analysis(tmp_path)
    packed = path.with_name("pair.out.bz2")
    packed.write_bytes(bz2.compress(path.read_bytes()))
    assert is_vibrations(packed)
    assert (read_vibrations(packed).forces == read_vibrations(path).forces).all()


def test_an_unfinished_analysis_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="11 displacements in 11 blocks, wanted 6 × 2 = 12"):
        read_vibrations(write_analysis(tmp_path, n_blocks=11))
    with pytest.raises(DataError, match="PROGRAM ENDED"):
        read_vibrations(write_analysis(tmp_path, ended=False))
    path = write_analysis(tmp_path)
    text = path.read_text()
    path.write_text(text[: text.index("coordinate: X - DX") + 60])
    with pytest.raises(DataError, match="truncated after 6 blocks"):
        read_vibrations(path)
    path.write_text(text.replace("VIB|     Zn", "VIB|      C", 1))
    with pytest.raises(DataError, match="block 1: not the atoms of the input"):
        read_vibrations(path)
    (tmp_path / "pair.in").unlink()
    with pytest.raises(DataError, match=r"pair\.in is not beside it"):
        read_vibrations(path)


def test_other_outputs_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "md.out").write_text(" CP2K| version string\n GLOBAL| Run type   MD\n")
    (tmp_path / "broken.out.bz2").write_bytes(b"not bz2")
    assert not is_vibrations(tmp_path / "md.out")
    assert not is_vibrations(tmp_path / "broken.out.bz2")


@pytest.mark.published
def test_the_published_analysis_of_zif4() -> None:
    """1632 frames; the assembled Hessian gives the 813 printed frequencies to 0.5 cm⁻¹."""
    path = published_file("duerholt2019/ZIF4.out.bz2")
    assert is_vibrations(path)
    found = published_vibrations()
    assert (len(found.energy), found.forces.shape) == (1632, (1632, 272, 3))
    wavenumbers = normal_modes(found.hessian(), found.masses).wavenumber_per_cm
    assert wavenumbers.shape == found.wavenumbers_per_cm.shape == (813,)
    assert np.abs(wavenumbers - found.wavenumbers_per_cm).max() < 0.1
    unit = HARTREE_PER_BOHR_IN_EV_PER_A
    assert np.abs(found.forces.sum(axis=1)).max() / unit < 4.3e-7
    assert np.abs(found.forces.mean(axis=0)).max() / unit < 4.0e-7
    assert np.ptp(found.energy) < 1.2e-5
    assert read_structure(published_file("duerholt2019/ZIF4.in")).displacement_bohr == 1.0e-3
