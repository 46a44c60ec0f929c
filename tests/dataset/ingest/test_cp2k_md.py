"""CP2K MD output: our own CP2K runs, and files broken on purpose."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest

from tests.dataset.ingest.md_text import (
    INPUT,
    MASSES,
    NAMES,
    SYMBOLS,
    plain_run,
    record,
    write_run,
)
from zifbench.dataset.ingest.cp2k_md import ALL_COMPONENTS, open_run
from zifbench.dataset.ingest.options import CHECKS
from zifbench.dataset.ingest.source import Options
from zifbench.dataset.label.cp2k import read_single_point
from zifbench.errors import DataError
from zifbench.frames import MEAN_STRESS_ONLY, Frames, concatenate
from zifbench.units import EV_PER_A3_IN_GPA, HARTREE_EV, HARTREE_PER_BOHR_IN_EV_PER_A

RUNS = Path(__file__).parents[1] / "data" / "cp2k-md"


def read(directory: Path, options: Options | None = None) -> Frames:
    return concatenate(list(open_run(directory, options or Options()).chunks()))


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        return Path(shutil.copytree(RUNS / name, tmp_path / name))

    return make


# -- real files ------------------------------------------------------------------------------------


def test_positions_and_forces_are_the_text_that_ase_reads() -> None:
    frames = read(RUNS / "nvt")
    positions = list(ase.io.iread(RUNS / "nvt/water-pos-1.xyz", format="extxyz"))
    forces = list(ase.io.iread(RUNS / "nvt/water-frc-1.xyz", format="extxyz"))
    assert len(frames) == len(positions) == 7
    assert frames.forces is not None and frames.energy is not None
    for row in range(len(frames)):
        assert (frames.positions[row] == positions[row].positions).all()
        digits = np.round(frames.forces[row] / HARTREE_PER_BOHR_IN_EV_PER_A, 10)
        assert (digits == forces[row].positions).all()
        energy = float(re.findall(r"E = *(\S+)", (RUNS / "nvt/water-pos-1.xyz").read_text())[row])
        assert frames.energy[row] == energy * HARTREE_EV
    assert frames.symbols == ("O", "H", "H")
    assert frames.masses.tolist() == [15.9994, 2.0141, 2.0141]
    assert frames.pbc.all()
    assert frames.time_fs is not None and frames.time_fs.tolist() == [0.5 * k for k in range(7)]


def test_stress_is_that_of_cp2k_without_the_kinetic_part() -> None:
    """CP2K's single point of step 4, 1e-6 GPa: the wave function starts elsewhere."""
    point = read_single_point(RUNS / "single-point", ["O", "H", "H"])
    frame = read(RUNS / "nvt")[4]
    assert frame.stress is not None and frame.forces is not None and frame.energy is not None
    apart_GPa = np.abs(frame.stress[0] - point.stress).max() * EV_PER_A3_IN_GPA
    assert apart_GPa < 1e-6
    assert np.abs(point.stress).max() * EV_PER_A3_IN_GPA > 0.5
    assert np.abs(frame.forces[0] - point.forces).max() < 1e-6
    assert frame.energy[0] == pytest.approx(point.energy, abs=1e-7)


def test_a_restart_continues_the_run() -> None:
    whole, parts = read(RUNS / "nvt"), read(RUNS / "restart")
    assert parts.step is not None and parts.step.tolist() == list(range(7))
    assert np.abs(whole.positions - parts.positions).max() < 1e-7
    assert open_run(RUNS / "restart", Options()).report.duplicates == {}


@pytest.mark.parametrize("keep", ["first", "last"])
def test_a_restart_run_twice_gives_each_step_once(keep: str) -> None:
    trajectory = open_run(RUNS / "restart-twice", Options(keep=keep))  # type: ignore[arg-type]
    once, twice = read(RUNS / "restart"), concatenate(list(trajectory.chunks()))
    assert set(trajectory.report.duplicates.values()) == {3}
    assert len(trajectory.report.duplicates) == 6
    assert np.abs(once.positions - twice.positions).max() < 1e-8
    stresses = (RUNS / "restart-twice/water.stress").read_text().splitlines()
    row = stresses[5] if keep == "first" else stresses[8]
    run = trajectory.run
    assert run.stress_bar is not None
    assert run.stress_bar[4].ravel().tolist() == [float(w) for w in row.split()[2:]]


def test_without_velocities_the_mean_pressure_is_exact(copy: Callable[[str], Path]) -> None:
    directory = copy("nvt")
    with_velocities = open_run(directory, Options())
    full = concatenate(list(with_velocities.chunks()))
    (directory / "water-vel-1.xyz").unlink()
    trajectory = open_run(directory, Options())
    frames = concatenate(list(trajectory.chunks()))
    assert full.stress is not None and frames.stress is not None and frames.velocities is None
    assert with_velocities.attributes["stress_components"] == ALL_COMPONENTS
    assert trajectory.attributes["stress_components"] == MEAN_STRESS_ONLY
    trace, wanted = (np.trace(s, axis1=1, axis2=2) for s in (frames.stress, full.stress))
    np.testing.assert_allclose(trace, wanted, atol=1e-9)
    assert np.abs(frames.stress - full.stress).max() * EV_PER_A3_IN_GPA > 0.01


def test_without_kinetic_energy_there_is_no_stress(copy: Callable[[str], Path]) -> None:
    directory = copy("nvt")
    (directory / "water-vel-1.xyz").unlink()
    (directory / "water-1.ener").unlink()
    trajectory = open_run(directory, Options())
    assert next(iter(trajectory.chunks())).stress is None
    assert any("stress left out" in note for note in trajectory.report.notes)


def test_velocities_find_other_masses(copy: Callable[[str], Path]) -> None:
    directory = copy("nvt")
    for name in ("water.inp", "water-1.restart"):
        (directory / name).unlink()
    with pytest.raises(DataError, match=r"velocities give 0\.56\d* times.*--mass H=2.014"):
        open_run(directory, Options())
    trajectory = open_run(directory, Options(masses={"H": 2.0141}))
    assert trajectory.masses.tolist() == [15.9994, 2.0141, 2.0141]


def test_inputs_that_differ_in_a_mass_are_refused(copy: Callable[[str], Path]) -> None:
    directory = copy("nvt")
    text = (directory / "water.inp").read_text().replace("MASS 2.0141", "MASS 1.008")
    (directory / "other.inp").write_text(text)
    with pytest.raises(DataError, match=r"gives H the mass.*--mass H="):
        open_run(directory, Options())
    trajectory = open_run(directory, Options(masses={"H": 2.0141}))  # what the message advises
    assert trajectory.masses.tolist() == [15.9994, 2.0141, 2.0141]


def test_the_directory_that_one_is_in_has_a_name(
    copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = copy("nvt")
    monkeypatch.chdir(directory)
    trajectory = open_run(Path(), Options())
    assert (trajectory.name, trajectory.attributes["source"]) == (directory.name,) * 2


# -- files broken on purpose -----------------------------------------------------------------------


def test_a_generated_run_passes_all_checks(tmp_path: Path) -> None:
    trajectory = open_run(write_run(tmp_path, plain_run(range(40))), Options())
    assert {check.passed for check in trajectory.report.checks} == {True, None}
    assert trajectory.masses.tolist() == MASSES.tolist()
    ratio = next(c for c in trajectory.report.checks if c.name == "kinetic-temperature").value
    assert ratio == pytest.approx(1.0, abs=0.02)


def test_every_check_can_be_skipped_by_its_name(tmp_path: Path) -> None:
    trajectory = open_run(write_run(tmp_path, plain_run(range(40))), Options())
    names = [check.name for check in trajectory.report.checks]
    assert sorted(names) == sorted(CHECKS)


def test_units_of_the_input(tmp_path: Path) -> None:
    """The temperature may name its unit; the time step is that of the frames, whatever its unit."""
    write_run(tmp_path, plain_run(range(10)), masses=False)
    lines = "TIMESTEP [ps] 0.5E-3\n  TEMPERATURE [K] 300\n &END MD"
    kind = "&KIND H\n MASS 2.014101777\n&END KIND\n"
    (tmp_path / "run.inp").write_text(INPUT.replace("&END MD", lines) + kind)
    attributes = open_run(tmp_path, Options()).attributes
    assert (attributes["time_step_fs"], attributes["temperature_K"]) == (0.5, 300.0)


@pytest.mark.parametrize("kind", ["positions", "forces", "cell", "stress", "energies"])
def test_a_cut_anywhere_in_the_last_record_loses_that_one_only(tmp_path: Path, kind: str) -> None:
    texts = plain_run(range(3), [k for k in NAMES if k != "velocities"])
    last = len(record(kind, 2))
    for cut in [*range(1, last, 7), last - 1]:
        directory = tmp_path / f"{kind}-{cut}"
        write_run(directory, {**texts, kind: texts[kind][:-cut]})
        trajectory = open_run(directory, Options())
        assert trajectory.run.step.tolist() == [0, 1], cut
        assert any(NAMES[kind] in words for words in trajectory.report.damaged), cut
        assert trajectory.report.missing == {NAMES[kind]: "2"}


def test_a_step_missing_in_one_file_is_left_out_and_named(tmp_path: Path) -> None:
    texts = plain_run(range(12))
    texts["stress"] = texts["stress"].replace(record("stress", 4), "")
    texts["forces"] = texts["forces"].replace(record("forces", 7) + record("forces", 8), "")
    trajectory = open_run(write_run(tmp_path, texts), Options())
    assert trajectory.run.step.tolist() == [0, 1, 2, 3, 5, 6, 9, 10, 11]
    assert trajectory.report.missing == {"run.stress": "4", "run.frc": "7-8"}


def test_another_branch_is_refused_with_its_step(tmp_path: Path) -> None:
    texts = {
        kind: text + record(kind, 5, branch=1) + record(kind, 6, branch=1)
        for kind, text in plain_run(range(8)).items()
    }
    with pytest.raises(DataError, match=r"step 5 comes again .*another energy.*branch"):
        open_run(write_run(tmp_path, texts), Options())


def test_a_changed_cell_is_another_branch(tmp_path: Path) -> None:
    texts = plain_run(range(6))
    texts["cell"] += record("cell", 4).replace("9.5000000000", "9.4000000000")
    with pytest.raises(DataError, match=r"step 4 comes again .*another cell"):
        open_run(write_run(tmp_path, texts), Options())


def test_a_title_that_differs_in_one_file_is_refused_with_its_step(tmp_path: Path) -> None:
    texts = plain_run(range(8))
    shifted = record("forces", 3, passing=1)
    texts["forces"] = texts["forces"].replace(record("forces", 3), shifted)
    with pytest.raises(DataError, match=r"step 3: the energy .*titles of positions and of forces"):
        open_run(write_run(tmp_path, texts), Options())
    trajectory = open_run(tmp_path, Options(skip_checks=frozenset({"energy-forces"})))
    failed = [check for check in trajectory.report.checks if check.passed is False]
    assert [(c.name, c.detail) for c in failed] == [("energy-forces", "1 frames, first step 3")]


def test_files_shifted_by_a_row_are_refused(tmp_path: Path) -> None:
    """The rows of one step in each file, but a step further in one of them."""
    texts = plain_run(range(8))
    texts["energies"] = texts["energies"][: texts["energies"].index("\n") + 1] + "".join(
        f"{step:10d}{step * 0.5:20.6f}" + record("energies", step + 1)[30:] for step in range(8)
    )
    with pytest.raises(DataError, match=r"step 0: the energy in hartree .* and in energies"):
        open_run(write_run(tmp_path, texts), Options())


def test_forces_in_another_unit_are_refused(tmp_path: Path) -> None:
    texts = plain_run(range(20), [k for k in NAMES if k != "velocities"])
    texts["forces"] = _scaled(texts["forces"], HARTREE_PER_BOHR_IN_EV_PER_A)
    with pytest.raises(DataError, match=r"mass times acceleration is 0\.019\d* times the force"):
        open_run(write_run(tmp_path, texts), Options())


def _scaled(text: str, factor: float) -> str:
    number = re.compile(r"(?<=[A-Z][a-z ])((?: +-?\d+\.\d{10}){3})$", re.M)
    return number.sub(
        lambda m: "".join(f"{float(word) * factor:20.10f}" for word in m[1].split()), text
    )


def test_a_time_step_that_is_not_that_of_the_positions_is_refused(tmp_path: Path) -> None:
    """Times doubled in all files: atoms move as at a quarter of the temperature."""
    texts = plain_run(range(20), [k for k in NAMES if k != "velocities"])
    for kind, text in texts.items():
        digits, width = (6, 20) if kind == "energies" else (3, 12)
        pattern = r"(?<=time = ).{12}" if kind in ("positions", "forces") else None
        pattern = pattern or rf"(?m)(?<=^.{{{10 if kind == 'energies' else 8}}}).{{{width}}}"
        body = text if kind in ("positions", "forces") else text[text.index("\n") + 1 :]
        changed = re.sub(pattern, lambda m: f"{2 * float(m[0]):{width}.{digits}f}", body)  # noqa: B023
        texts[kind] = text[: len(text) - len(body)] + changed
    with pytest.raises(DataError, match=r"move as at 0\.2[45]\d* times the printed temperature"):
        open_run(write_run(tmp_path, texts), Options())


def test_natural_hydrogen_does_not_pass_as_deuterium(tmp_path: Path) -> None:
    texts = plain_run(range(40), [k for k in NAMES if k != "velocities"])
    with pytest.raises(DataError, match=r"times the printed temperature.*--mass H=2\.014101777"):
        open_run(write_run(tmp_path, texts, masses=False), Options())


def test_stars_are_an_error_with_their_step(tmp_path: Path) -> None:
    texts = plain_run(range(5))
    wide = record("forces", 3)
    texts["forces"] = texts["forces"].replace(wide, wide[:-21] + "*" * 20 + "\n")
    with pytest.raises(DataError, match=r"run\.frc, step 3, atom 4: stars"):
        open_run(write_run(tmp_path / "a", texts), Options())
    texts = plain_run(range(5))
    texts["cell"] = texts["cell"].replace(record("cell", 2)[20:40], "*" * 20, 1)
    with pytest.raises(DataError, match="holds stars"):
        open_run(write_run(tmp_path / "b", texts), Options())


def test_labels_of_any_length_and_line_endings(tmp_path: Path) -> None:
    """Newer versions write kind names of any length; other programs rewrite the lines."""
    kinds = [k for k in NAMES if k != "velocities"]
    texts = plain_run(range(10), kinds)
    wanted = read(write_run(tmp_path / "plain", texts))
    long = {
        k: re.sub(r"^  N  ", "  N_imidazolate", t, flags=re.M)
        if k in ("positions", "forces")
        else t
        for k, t in texts.items()
    }
    spaced = {
        k: re.sub(r"(\d) +(?=[-\d])", r"\1   ", t) if k in ("positions", "forces") else t
        for k, t in texts.items()
    }
    for name, changed in (("long", long), ("spaced", spaced)):
        found = read(write_run(tmp_path / name, changed))
        assert (found.positions == wanted.positions).all()
        assert found.forces is not None and (found.forces == wanted.forces).all()
        assert found.symbols == SYMBOLS


def test_a_kind_is_explained_by_the_input(tmp_path: Path) -> None:
    texts = {k: re.sub(r"^  H  ", "  D  ", t, flags=re.M) for k, t in plain_run(range(10)).items()}
    write_run(tmp_path, texts, masses=False)
    (tmp_path / "run.inp").write_text(INPUT + "&KIND D\n ELEMENT H\n MASS 2.014101777\n&END KIND\n")
    assert read(tmp_path).symbols == SYMBOLS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: (d / "run-1.cell").unlink(), "holds no cell"),
        (lambda d: (d / "run-pos-1.xyz").unlink(), "holds no positions"),
        (lambda d: shutil.copy(d / "run.frc", d / "more.frc"), "2 files of forces"),
        (lambda d: (d / "run.frc").write_text(""), "named as forces of CP2K and does not begin"),
        (
            lambda d: (d / "run.stress").write_text(
                (d / "run.stress").read_text().replace("[bar]", "[GPa]")
            ),
            r"the header lacks 'xx \[bar\]'",
        ),
        (
            lambda d: (d / "run.frc").write_text(
                re.sub(r"^  Zn", "  Cd", (d / "run.frc").read_text(), flags=re.M)
            ),
            "atom 0 is Cd in forces and Zn in positions",
        ),
        (
            lambda d: (d / "run.frc").write_text("5\nProperties=species:S:1:force:R:3 Step=0\n"),
            "FORMAT EXTXYZ",
        ),
        (
            lambda d: (d / "run.inp").write_text(
                INPUT + "&FORCES\n UNIT eV*angstrom^-1\n &EACH\n &END EACH\n&END FORCES\n"
            ),
            r"prints forces in eV\*angstrom",
        ),
        (
            lambda d: (d / "run.inp").write_text(
                INPUT.replace("&END MD", "TEMPERATURE [au_temp] 0.00095\n &END MD")
            ),
            r"run\.inp: TEMPERATURE is given in \[au_temp\].*write it in K",
        ),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    directory = write_run(tmp_path, plain_run(range(5)))
    change(directory)
    with pytest.raises(DataError, match=message):
        open_run(directory, Options())


def test_chunks_start_anywhere(tmp_path: Path) -> None:
    trajectory = open_run(write_run(tmp_path, plain_run(range(30))), Options())
    whole = concatenate(list(trajectory.chunks()))
    for start in (1, 17, 29):
        rest = concatenate(list(trajectory.chunks(start)))
        assert rest.digest() == whole[start:].digest()
    assert not list(trajectory.chunks(30))


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    texts = plain_run(range(10))
    one = open_run(write_run(tmp_path / "a", texts), Options()).fingerprint
    same = open_run(write_run(tmp_path / "b", texts), Options()).fingerprint
    other = open_run(tmp_path / "b", Options(keep="first")).fingerprint
    texts["cell"] = texts["cell"].replace("9.5000000000", "9.5000000001")
    changed = open_run(write_run(tmp_path / "c", texts), Options()).fingerprint
    assert one == same
    assert len({one, other, changed}) == 3
