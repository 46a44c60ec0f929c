"""Reading decks back, from files as LAMMPS writes them: parts, cuts, failures, mix-ups."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from typer.testing import CliRunner

from zifbench.cli import app
from zifbench.dataset.store import open_store
from zifbench.dynamics.lammps.deck import write_deck
from zifbench.dynamics.lammps.dump import CutError, read_dump, read_table
from zifbench.dynamics.lammps.log import read_log
from zifbench.dynamics.lammps.pair import classical_pair
from zifbench.dynamics.lammps.read import read_back
from zifbench.dynamics.lammps.record import read_deck
from zifbench.dynamics.lammps.shell import Machine
from zifbench.dynamics.protocol import parse_protocol
from zifbench.errors import DataError, ResultError
from zifbench.profiles import Profile

MASS_AMU, EV_PER_AMU_A2_PER_FS2 = 39.948, 103.642696562
SAME = dict.fromkeys(("quick", "standard", "paper"), 0.1)
PROTOCOL = parse_protocol(
    {
        "schema": 1, "name": "test", "about": "", "source": "", "start": "argon",
        "time_step_fs": 2.0, "replicas": {"quick": 2},
        "stages": [
            {"name": "warm", "ensemble": "nvt", "temperature_K": 40, "length_ps": SAME},
            {"name": "hold", "ensemble": "nvt", "temperature_K": 40, "length_ps": SAME,
             "sample_fs": 20},
        ],
    },
    where="test",
)  # fmt: skip
STEPS = range(10, 51, 10)


def argon() -> Atoms:
    atoms = bulk("Ar", cubic=True, a=5.3).repeat(2)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    shear = np.eye(3) + 0.1 * np.eye(3, k=1)
    atoms.set_cell(atoms.cell.array @ shear @ turn, scale_atoms=True)
    return atoms


class FakeRun:
    """Writes what LAMMPS would, for a replica of a deck; positions tell the step and the part."""

    def __init__(self, out: Path, replica: str = "argon") -> None:
        self.folder, self.record = out / replica, read_deck(out)
        self.replica, self.atoms = replica, argon()
        self.rotation = self.record.starts["argon"].rotation_array
        self.lower = self.atoms.cell.array @ self.rotation.T

    def velocities(self, step: int) -> np.ndarray:
        """In Å/fs, in the frame of the structure."""
        return np.random.default_rng(step).normal(size=(32, 3)) * 1e-3

    def positions(self, step: int, part: int = 0) -> np.ndarray:
        return self.atoms.positions + 0.001 * step + 1e-5 * part

    def dump_text(self, steps, part: int = 0, n_atoms: int = 32) -> str:
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = self.lower
        low = (min(0, xy, xz, xy + xz), min(0, yz), 0.0)
        high = (lx + max(0, xy, xz, xy + xz), ly + max(0, yz), lz)
        box = zip(low, high, (xy, xz, yz), strict=True)
        box = "".join(f"{a!r} {b!r} {c!r}\n" for a, b, c in np.array(list(box)).tolist())
        text = ""
        for step in steps:
            rows = np.hstack(
                [
                    self.positions(step, part) @ self.rotation.T,
                    self.velocities(step) @ self.rotation.T * 1000.0,
                ]
            ).tolist()
            text += (
                f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{n_atoms}\n"
                f"ITEM: BOX BOUNDS xy xz yz pp pp pp\n{box}"
                "ITEM: ATOMS id type xu yu zu vx vy vz \n"
            )
            text += "".join(
                f"{k} 1 {' '.join(map(repr, row))} \n" for k, row in enumerate(rows[:n_atoms], 1)
            )
        return text

    def table_text(self, steps) -> str:
        title = self.record.title(self.replica, "hold")
        text = f"# {title}\n"
        for step in steps:
            kinetic = 0.5 * MASS_AMU * EV_PER_AMU_A2_PER_FS2 * (self.velocities(step) ** 2).sum()
            text += f"{step} {-step / 10} {float(kinetic)!r} 100 200 300 10 20 30\n"
        return text

    def begin(self, *, end: bool = True) -> None:
        (self.folder / "01-warm.log").write_text("Loop time of 1.5 on 1 procs for 50 steps\n")
        (self.folder / "01-warm.end.restart").touch()
        (self.folder / "02-hold.log").write_text("zifbench begins at step 0\n")
        if end:
            (self.folder / "02-hold.end.restart").touch()

    def part(self, begin: int, steps, **options) -> Path:
        path = self.folder / f"02-hold.{begin}.dump"
        path.write_text(self.dump_text(steps, part=begin, **options))
        (self.folder / f"02-hold.{begin}.table").write_text(self.table_text(steps))
        return path

    def log(self, text: str) -> None:
        (self.folder / "02-hold.log").write_text(text)


@pytest.fixture
def out(tmp_path) -> Path:
    write_deck(
        PROTOCOL, classical_pair("lj/cut 5.0", ["* * 0.01 3.4"]), {"argon": argon()},
        tmp_path / "deck", profile=Profile.QUICK, machine=Machine(0, 1),
    )  # fmt: skip
    return tmp_path / "deck"


def hold(out: Path):
    with open_store(out / "frames.zarr") as store:
        trajectory = store.trajectories["argon.hold"]
        return trajectory.read(range(len(trajectory)))


def test_frames_come_back_in_the_frame_of_the_structure(out) -> None:
    run = FakeRun(out)
    run.begin()
    run.part(0, [0, *STEPS])
    found = read_back(out)
    (outcome,) = found.outcomes
    assert (outcome.replica, outcome.ended, outcome.time_fs) == ("argon", "completed", 200.0)
    assert (outcome.last_good_fs, outcome.wall_s) == (200.0, 1.5)
    assert found.notes == ["argon-1: stage warm has not begun"]
    frames = hold(out)
    assert frames.step.tolist() == [60, 70, 80, 90, 100]
    assert frames.time_fs == pytest.approx([120.0, 140.0, 160.0, 180.0, 200.0])
    for frame, step in zip(range(5), STEPS, strict=True):
        assert frames.positions[frame] == pytest.approx(run.positions(step), abs=2e-6)
        assert frames.velocities[frame] == pytest.approx(run.velocities(step), abs=1e-8)
        assert frames.cell[frame] == pytest.approx(argon().cell.array, abs=1e-12)
    assert frames.energy == pytest.approx([-1.0, -2.0, -3.0, -4.0, -5.0])
    lammps = np.array([[100, 10, 20], [10, 200, 30], [20, 30, 300]]) / -1.6021765e6
    assert frames.stress[0] == pytest.approx(run.rotation.T @ lammps @ run.rotation, abs=1e-15)
    recorded = json.loads((out / "run.json").read_text())
    assert recorded["run"]["engine"] == "lammps"
    assert [row["ended"] for row in recorded["outcomes"]] == ["completed"]


def test_of_frames_that_were_computed_twice_the_later_ones_count(out) -> None:
    run = FakeRun(out)
    run.begin()
    path = run.part(0, [0, 10, 20, 30, 40])
    path.write_text(path.read_text()[:-200])  # the kill came while step 40 was written
    run.part(20, [20, 30, 40, 50])
    assert [o.ended for o in read_back(out).outcomes] == ["completed"]
    frames = hold(out)
    assert frames.step.tolist() == [60, 70, 80, 90, 100]
    for frame, (step, part) in enumerate([(10, 0), (20, 0), (30, 20), (40, 20), (50, 20)]):
        assert frames.positions[frame] == pytest.approx(run.positions(step, part), abs=2e-6)


@pytest.mark.parametrize("cut", [1, 200, 2900, 3090])
def test_a_cut_last_frame_is_left_out_and_named(out, cut) -> None:
    run = FakeRun(out)
    run.begin(end=False)
    path = run.part(0, STEPS)
    path.write_text(path.read_text()[:-cut])
    found = read_back(out)
    assert found.outcomes == []
    assert found.n_frames == {"argon.hold": 4}
    assert "argon: left out the end of stage hold: " in found.notes[0]
    assert "02-hold.0.dump: its last frame" in found.notes[0]
    assert found.notes[1] == "argon: stage hold is not finished; bash run.sh goes on with it"


def test_a_finished_stage_without_its_last_frames_is_not_completed(out) -> None:
    run = FakeRun(out)
    run.begin()
    run.part(0, [10, 20, 30])
    found = read_back(out)
    assert found.outcomes == []
    assert found.notes[0] == "argon: stage hold: 3 of 5 frames are there"


def test_a_table_that_ends_early_cuts_the_frames(out) -> None:
    run = FakeRun(out)
    run.begin(end=False)
    run.part(0, STEPS)
    (run.folder / "02-hold.0.table").write_text(run.table_text(STEPS)[:-3])
    found = read_back(out)
    assert found.n_frames == {"argon.hold": 4}
    assert "the table beside it ends before step 50" in found.notes[0]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run: run.part(0, [10, 20, 40, 50]), "step 40 follows, wanted 30; restore the dum"),
        (
            lambda run: [run.folder.joinpath("02-hold.0.dump").unlink(), run.part(20, [30, 40])],
            "step 30 follows, wanted 10",
        ),
        (lambda run: run.part(0, STEPS, n_atoms=31), "31 atoms at step 10, wanted 32; is it of"),
        (
            lambda run: (run.folder / "02-hold.0.table").unlink(),
            "02-hold.0.table is missing, which holds the energies",
        ),
        (
            lambda run: (run.folder / "02-hold.0.table").write_text(
                run.table_text(STEPS).replace("replica argon ", "replica argon-1 ")
            ),
            "is of 'zifbench deck .* replica argon-1 stage hold', wanted",
        ),
        (
            lambda run: (run.folder / "02-hold.0.dump").write_text(run.dump_text([11, *STEPS])),
            "the table beside it lacks step 11",
        ),
        (
            lambda run: (run.folder / "02-hold.0.dump").write_text(
                run.dump_text(STEPS).replace("\n30\n", "\n10\n", 1).replace("\n10\n", "\n30\n", 1)
            ),
            "step 30 follows, wanted 10",
        ),
        (
            lambda run: (run.folder / "02-hold.0.dump").write_text(
                run.dump_text(STEPS).replace(" 1 ", " 2 ", 1)
            ),
            "holds other elements than argon at step 10; is it of another replica",
        ),
        (
            lambda run: (run.folder / "02-hold.0.dump").write_text("what is this?\n" * 20),
            "is no dump of a zifbench deck",
        ),
        (
            lambda run: (run.folder / "02-hold.0.dump").write_text(
                run.dump_text(STEPS).replace("\n3 1 ", "\n3 1 x", 1)
            ),
            "step 10 is damaged",
        ),
        (
            lambda run: (run.folder / "02-hold.0.table").write_text("10 1 2\n20 1 2\n"),
            "'20 1 2' is no line of a table",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_the_earlier_store_stays(out, spoil, reason) -> None:
    run = FakeRun(out)
    run.begin()
    run.part(0, STEPS)
    read_back(out)
    before = (out / "frames.zarr" / "commit.json").read_bytes()
    spoil(run)
    with pytest.raises(DataError, match=reason):
        read_back(out)
    assert (out / "frames.zarr" / "commit.json").read_bytes() == before
    assert not list(out.glob(".*"))


def test_dumps_of_another_run_are_noticed_by_their_kinetic_energy(out) -> None:
    """Same atoms, same names: only the velocities tell."""
    run = FakeRun(out)
    run.begin()
    path = run.part(0, STEPS)
    run.velocities = lambda step: np.random.default_rng(step + 1).normal(size=(32, 3)) * 1e-3
    path.write_text(run.dump_text(STEPS))
    with pytest.raises(DataError, match=r"velocities of step 10 make .* eV, the table beside it"):
        read_back(out)


def test_frames_after_a_broken_rule_are_left_out(out) -> None:
    run = FakeRun(out)
    run.begin()
    steady = run.positions

    def positions(step: int, part: int = 0) -> np.ndarray:
        found = steady(step, part)
        if step >= 30:
            found[7] = found[8] + [0.2, 0.0, 0.0]
        return found

    run.positions = positions
    run.part(0, STEPS)
    (outcome,) = read_back(out).outcomes
    assert (outcome.ended, outcome.time_fs, outcome.last_good_fs) == ("contact", 160.0, 140.0)
    assert outcome.reason == "Ar 7 and Ar 8 are 0.20 Å apart"
    assert hold(out).step.tolist() == [60, 70]


@pytest.mark.parametrize(
    ("temperature_K", "runaway_fs"),
    [((600.0, 40.0), 1000.0), (40.0, 400.0)],
    ids=["ramp", "at once"],
)
def test_a_quench_is_no_runaway_but_what_stays_hot_is(tmp_path, temperature_K, runaway_fs) -> None:
    """From 600 to 40 K in 1 ps, after a stage of which no frames are kept."""
    warm, hold = PROTOCOL.stages
    longer = dict.fromkeys(Profile, 1.0)
    cold = hold.model_copy(
        update={"temperature_K": temperature_K, "length_ps": longer, "sample_fs": 200.0}
    )
    hot = warm.model_copy(update={"temperature_K": 600})
    protocol = PROTOCOL.model_copy(update={"stages": (hot, cold), "replicas": {}})
    out, steps = tmp_path / "deck", range(100, 501, 100)
    write_deck(
        protocol, classical_pair("lj/cut 5.0", ["* * 0.01 3.4"]), {"argon": argon()},
        out, profile=Profile.QUICK, machine=Machine(0, 1),
    )  # fmt: skip
    for kelvin, ended, time_fs in (
        (lambda step: 40.0 + 560.0 * np.exp(-2.0 * step / 400.0), "completed", 1000.0),
        (lambda step: 800.0, "runaway", runaway_fs),
    ):
        run = FakeRun(out)
        run.velocities = lambda step, kelvin=kelvin: at_temperature(kelvin(step), seed=step)
        run.begin()
        run.part(0, steps)
        (outcome,) = read_back(out).outcomes
        assert (outcome.ended, outcome.time_fs) == (ended, 100.0 + time_fs), outcome.reason


def at_temperature(kelvin: float, *, seed: int) -> np.ndarray:
    """Velocities of 32 argon atoms, Å/fs, at that temperature exactly."""
    found = np.random.default_rng(seed).normal(size=(32, 3))
    kinetic_eV = 0.5 * MASS_AMU * EV_PER_AMU_A2_PER_FS2 * (found**2).sum()
    return found * np.sqrt(1.5 * 31 * 8.617333262e-5 * kelvin / kinetic_eV)


def test_nan_is_a_result_even_where_the_protocol_names_no_rule(out) -> None:
    path = out / "deck.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "stop_on": []}))
    run = FakeRun(out)
    run.begin()
    run.velocities = lambda step: np.full((32, 3), np.nan if step > 20 else 1e-3)
    run.part(0, STEPS)
    (outcome,) = read_back(out).outcomes
    assert (outcome.ended, outcome.time_fs) == ("not a number", 160.0)


def test_atoms_that_lammps_lost_are_a_result(out) -> None:
    run = FakeRun(out)
    run.begin(end=False)
    path = run.part(0, [0, 10, 20])
    path.write_text(path.read_text() + run.dump_text([30], n_atoms=30))
    (outcome,) = read_back(out).outcomes
    assert (outcome.ended, outcome.time_fs) == ("lost atom", 160.0)
    assert outcome.reason == "LAMMPS lost 2 of 32 atoms"


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        ("Lost atoms: original 32 current 31 (src/thermo.cpp:438)", "lost atom"),
        ("Non-numeric atom coords - simulation unstable (src/domain.cpp:553)", "not a number"),
        ("CUDA out of memory", ""),
    ],
)
def test_what_lammps_says_is_a_result_only_if_the_model_is_to_blame(out, message, rule) -> None:
    run = FakeRun(out)
    run.begin(end=False)
    run.part(0, [10, 20])
    run.log(f"zifbench begins at step 0\n10 40.0\nERROR on proc 0: {message}\nLast command: run\n")
    found = read_back(out)
    if rule:
        assert [(o.ended, o.reason) for o in found.outcomes] == [(rule, f"LAMMPS: {message}")]
        assert found.outcomes[0].last_good_fs == 140.0
    else:
        assert found.outcomes == []
        assert found.notes[0] == f"argon: stage hold stopped, LAMMPS says: {message}"


def test_only_the_last_start_counts_in_a_log(tmp_path) -> None:
    path = tmp_path / "a.log"
    path.write_text(
        "zifbench begins at step 0\nERROR: Lost atoms\nzifbench begins at step 10\n"
        "  Stopping criterion = linesearch alpha is zero\nLoop time of 2.5 on 1 procs\n"
    )
    log = read_log(path)
    assert (log.error, log.wall_s, log.not_minimised) == ("", 2.5, "linesearch alpha is zero")


@pytest.mark.parametrize(("left", "told"), [("0.02", 0), ("0.3", 1)])
def test_a_minimum_that_was_not_reached_is_told(out, left, told) -> None:
    run = FakeRun(out)
    run.begin()
    run.part(0, STEPS)
    (run.folder / "01-warm.log").write_text(
        f"zifbench begins at step 0\n  Stopping criterion = max iterations\n"
        f"  Force max component initial, final = 2.5 {left}\n"
    )
    notes = [note for note in read_back(out).notes if "max iterations and left" in note]
    assert len(notes) == told


def test_a_dump_by_hand(tmp_path) -> None:
    """A tilted box, as the LAMMPS manual describes its bounds; a corner that is not the origin."""
    path = tmp_path / "x.dump"
    path.write_text(
        "ITEM: TIMESTEP\n7\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS xy xz yz pp pp pp\n"
        "0.0 14.0 -1.0\n2.0 14.0 3.0\n3.0 10.0 -2.0\n"
        "ITEM: ATOMS id type xu yu zu vx vy vz\n1 2 1.5 4.5 3.25 1000 0 -500\n"
    )
    (found,) = read_dump(path, 1)
    # x: 14 - max(0, -1, 3, 2) - (0 - min(0, -1, 3, 2)) = 10; y: 14 - 0 - (2 + 2) = 10
    assert found.cell.tolist() == [[10.0, 0.0, 0.0], [-1.0, 10.0, 0.0], [3.0, -2.0, 7.0]]
    assert (found.step, found.types.tolist()) == (7, [2])
    assert found.positions.tolist() == [[0.5, 0.5, 0.25]]  # from the corner (1, 4, 3)
    assert found.velocities == pytest.approx(np.array([[1.0, 0.0, -0.5]]))
    path.write_text(path.read_text() + "ITEM: TIMESTEP\n8\n")
    frames = read_dump(path, 1)
    next(frames)
    with pytest.raises(CutError, match="cut within its header"):
        next(frames)


def test_an_empty_table(tmp_path) -> None:
    (tmp_path / "t").write_text("")
    assert read_table(tmp_path / "t").rows == {}


def test_what_is_no_deck_or_was_not_run(out, tmp_path) -> None:
    with pytest.raises(DataError, match="holds no dumps and no logs; run it first"):
        read_back(out)
    assert not (out / "frames.zarr").exists()
    with pytest.raises(ResultError, match=r"holds no deck\.json, so that it is no LAMMPS deck"):
        read_back(tmp_path)
    for text, reason in (
        ("{", "is no record of a deck"),
        ('{"schema_version": 9}', "schema 9, wanted 1; write the deck anew"),
        ('{"schema_version": 1}', "is damaged: zifbench is missing"),
    ):
        (out / "deck.json").write_text(text)
        with pytest.raises(ResultError, match=reason):
            read_back(out)


def test_the_command(out) -> None:
    run = FakeRun(out)
    run.begin()
    run.part(0, STEPS)
    found = CliRunner().invoke(app, ["md", "lammps-read", str(out), "--json"])
    assert found.exit_code == 0
    told = json.loads(found.stdout)
    assert told["n_frames"] == {"argon.hold": 5}
    assert told["outcomes"][0]["ended"] == "completed"
    shown = CliRunner().invoke(app, ["md", "lammps-read", str(out)])
    assert "argon.hold" in shown.stdout
