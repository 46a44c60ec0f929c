"""The text of LAMMPS decks: cells, data files, scripts, pair styles; no LAMMPS needed."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from typer.testing import CliRunner

from zifbench.bundled import BUNDLED_DATA
from zifbench.cli import app
from zifbench.dynamics.lammps.cells import box_of, cell_of, lower_triangular
from zifbench.dynamics.lammps.data_file import atom_types, data_text
from zifbench.dynamics.lammps.deck import write_deck
from zifbench.dynamics.lammps.pair import classical_pair, model_pair
from zifbench.dynamics.lammps.record import read_deck
from zifbench.dynamics.lammps.shell import Machine
from zifbench.dynamics.lammps.write import parse_supercell, write_from_names
from zifbench.dynamics.plan import plan
from zifbench.dynamics.protocol import load_protocol, protocol_names
from zifbench.dynamics.replica import drawn_momenta
from zifbench.dynamics.run import cases
from zifbench.errors import DataError, ModelError, ResultError, SpeciesError, UnknownNameError
from zifbench.profiles import Profile

CRYSTAL = str(BUNDLED_DATA["zif4-own-val"].path)
LJ = classical_pair("lj/cut 8.5", ["* * 0.01 3.4"])


def argon() -> Atoms:
    atoms = bulk("Ar", cubic=True, a=5.3).repeat(2)
    cell = np.random.default_rng(4).normal(size=(3, 3)) + atoms.cell.array
    atoms.set_cell(cell, scale_atoms=True)
    atoms.positions += [20.0, -30.0, 1.0]
    return atoms


def write(out: Path, name: str = "nvt-crystal", atoms: Atoms | None = None, **options) -> Path:
    settings = {"profile": Profile.QUICK, "machine": Machine(0, 1), **options}
    write_deck(load_protocol(name), LJ, {"argon": atoms or argon()}, out, **settings)
    return out


# -- cells and data files -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_any_right_handed_cell_is_turned(seed) -> None:
    cell = np.random.default_rng(seed).normal(size=(3, 3)) * 5.0
    cell *= np.sign(np.linalg.det(cell))
    lower, rotation = lower_triangular(cell, where="x")
    assert np.array_equal(lower, np.tril(lower))
    assert (np.diag(lower) > 0).all()
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-14)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    assert lower @ rotation == pytest.approx(cell, abs=1e-13)
    assert np.array_equal(cell_of(*box_of(lower)), lower)


def test_a_cell_that_is_triangular_already_stays() -> None:
    lower, rotation = lower_triangular(cell_of(8.0, 9.0, 10.0, -1.0, 2.0, 3.0), where="x")
    assert rotation == pytest.approx(np.eye(3), abs=1e-15)
    assert box_of(lower) == pytest.approx((8.0, 9.0, 10.0, -1.0, 2.0, 3.0))


@pytest.mark.parametrize("cell", [np.diag([5.0, 5.0, -5.0]), np.ones((3, 3))])
def test_left_handed_and_flat_cells_are_refused(cell) -> None:
    with pytest.raises(DataError, match=r"^glass: the cell vectors are left-handed or in one"):
        lower_triangular(cell, where="glass")


def test_types_are_elements_and_their_masses() -> None:
    """Deuterium beside hydrogen is a type of its own, with the same name for the model."""
    types = atom_types(np.array([30, 1, 6, 1]), np.array([65.4, 2.014, 12.0, 1.008]))
    assert types.symbols == ("H", "H", "C", "Zn")
    assert types.masses == (1.008, 2.014, 12.0, 65.4)
    assert types.of_atoms.tolist() == [4, 2, 3, 1]


def test_ase_reads_the_data_file_back(tmp_path) -> None:
    atoms = ase.io.read(CRYSTAL)
    shear = np.eye(3) + 0.1 * np.random.default_rng(1).normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    lower, rotation = lower_triangular(atoms.cell.array, where="x")
    velocities = np.random.default_rng(0).normal(size=(len(atoms), 3))
    types = atom_types(atoms.numbers, atoms.get_masses())
    text = data_text("title", types, lower, atoms.positions @ rotation.T, velocities)
    (tmp_path / "data.lmp").write_text(text)
    found = ase.io.read(tmp_path / "data.lmp", format="lammps-data", units="metal")
    assert found.get_chemical_symbols() == atoms.get_chemical_symbols()
    assert found.get_masses() == pytest.approx(atoms.get_masses(), rel=1e-9)
    assert found.cell.array == pytest.approx(lower, abs=1e-12)
    assert found.positions @ rotation == pytest.approx(atoms.positions, abs=1e-12)
    assert found.get_velocities() * units.fs == pytest.approx(velocities, rel=1e-8)
    assert found.get_all_distances(mic=True)[0] == pytest.approx(
        atoms.get_all_distances(mic=True)[0], abs=1e-9
    )


def test_velocities_are_those_of_our_engine(tmp_path) -> None:
    atoms = argon()
    out = write(tmp_path / "deck", atoms=atoms, seed=7)
    found = ase.io.read(out / "argon" / "data.lmp", format="lammps-data", units="metal")
    (case,) = cases(load_protocol("nvt-crystal"), Profile.QUICK, ["argon"], seed=7, replicas=1)
    rotation = read_deck(out).starts["argon"].rotation_array
    momenta = drawn_momenta(atoms, 600.0, case.seed)  # it begins with a minimum
    assert found.get_momenta() @ rotation == pytest.approx(momenta, rel=1e-7)


# -- scripts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", protocol_names())
@pytest.mark.parametrize("profile", Profile)
def test_every_protocol_makes_a_deck(tmp_path, name, profile) -> None:
    out = write(tmp_path / "deck", name, profile=profile)
    record = read_deck(out)
    protocol = load_protocol(name)
    assert len(record.replicas) == protocol.replicas.get(profile, 1) * max(
        1, len(protocol.temperatures_K)
    )
    for replica in record.replicas:
        scripts = sorted((out / replica.name).glob("*.in"))
        assert [path.stem[3:] for path in scripts] == [s.name for s in protocol.stages]
        for segment, path in zip(replica.segments, scripts, strict=True):
            text = path.read_text()
            assert ("dump frames" in text) == bool(segment.n_samples)
            assert ("run " in text) == bool(segment.n_steps or segment.keep)
            if segment.n_steps:
                assert f"run {segment.n_steps} upto start 0 stop {segment.n_steps}" in text
                assert f"timestep {segment.time_step_fs / 1000}\n" in text
    subprocess.run(["bash", "-n", out / "run.sh"], check=True)
    subprocess.run(["bash", "-n", out / "submit.sbatch"], check=True)


def test_ramps_go_where_the_plan_says(tmp_path) -> None:
    atoms = argon()
    out = write(tmp_path / "strain", "finite-strain", atoms)
    lower, _ = lower_triangular(atoms.cell.array, where="x")
    found = {}
    for k, segment in enumerate(plan(load_protocol("finite-strain"), Profile.QUICK), start=1):
        text = (out / "argon" / f"{k:02d}-{segment.name}.in").read_text()
        ramp = re.search(
            r"fix ramp\d+ all deform 1 x final 0.0 (\S+) y final 0.0 (\S+) z final 0.0 (\S+) "
            r"xy final (\S+) xz final (\S+) yz final (\S+) remap x flip no units box",
            text,
        )
        assert (ramp is not None) == (segment.edges is not None)
        if ramp is not None:
            cell = cell_of(*map(float, ramp.groups()))
            found[segment.name] = np.linalg.det(cell) / np.linalg.det(lower)
            assert cell / cell[0, 0] == pytest.approx(lower / lower[0, 0], abs=1e-12)
    assert list(found.values()) == pytest.approx([0.985, 1.0, 1.015, 1.03, 1.045, 1.06, 1.075])
    heat = (write(tmp_path / "melt", "melt-quench-cells") / "argon" / "03-heat.in").read_text()
    assert "fix move all nvt temp 300.0 1500.0 0.1\n" in heat
    free = write(tmp_path / "free", "strain-fluctuation") / "argon" / "03-equilibrate.in"
    assert "npt temp 300.0 300.0 0.1 tri 0.0 0.0 1.0 flip no" in free.read_text()


# -- models and machines --------------------------------------------------------------------------


def archive(path: Path, members: dict[str, str]) -> str:
    with zipfile.ZipFile(path, "w") as file:
        for name, text in members.items():
            file.writestr(f"m/{name}", text)
    return str(path)


TORCHSCRIPT = {
    "constants.pkl": "", "code/__torch__/nequip/nn/_convnetlayer.py": "",
    "extra/type_names": "H C N Zn", "extra/r_max": "6.0",
}  # fmt: skip


def compiled(inputs: str, outputs: str) -> dict[str, str]:
    metadata = {
        "nequip_aoti_inputs": inputs, "nequip_aoti_outputs": outputs,
        "type_names": "H C N Zn", "r_max": "5.0",
    }  # fmt: skip
    return {
        "data/aotinductor/model/x.so": "",
        "data/aotinductor/model/x.wrapper_metadata.json": json.dumps(metadata),
    }


LAMMPS_OUTPUTS = "atomic_energy forces virial"


def test_models_say_what_they_are(tmp_path) -> None:
    package = model_pair("nequip-small", None)
    assert (package.style, package.newton, package.several_ranks) == ("nequip", False, False)
    assert (package.stored_as, package.used_as) == ("model.nequip.zip", "model.nequip.pt2")
    assert package.card.species == ("H", "C", "N", "Zn")

    current = model_pair(archive(tmp_path / "a.nequip.pth", TORCHSCRIPT), None)
    assert (current.style, current.used_as, current.legacy) == ("nequip", "model.nequip.pth", False)
    assert current.card.cutoff_A == 6.0
    old = model_pair(archive(tmp_path / "b.pth", {**TORCHSCRIPT, "extra/n_species": "4"}), None)
    assert (old.stored_as, old.used_as, old.legacy) == ("model.pth", "model.pth", True)

    whole = compiled("pos edge_index atom_types cell edge_cell_shift", LAMMPS_OUTPUTS)
    assert model_pair(archive(tmp_path / "c.pt2", whole), None).style == "nequip"
    ghosts = compiled("pos edge_index atom_types", LAMMPS_OUTPUTS)
    allegro = model_pair(archive(tmp_path / "d.pt2", ghosts), "allegro")
    assert (allegro.style, allegro.newton, allegro.kokkos) == ("allegro", True, True)
    assert allegro.lines(["H", "H", "Zn"]) == (
        "pair_style allegro",
        "pair_coeff * * ../model.nequip.pt2 H H Zn",
    )


def test_models_that_lammps_cannot_use(tmp_path) -> None:
    for_ase = compiled("pos edge_index atom_types cell edge_cell_shift", "forces stress")
    with pytest.raises(ModelError, match="compiled for another program than LAMMPS"):
        model_pair(archive(tmp_path / "a.pt2", for_ase), None)
    unknown = {k: v for k, v in TORCHSCRIPT.items() if "convnet" not in k}
    path = archive(tmp_path / "b.pth", {**unknown, "code/x.py": ""})
    with pytest.raises(ModelError, match="does not say whether it is NequIP or Allegro; add --pa"):
        model_pair(path, None)
    assert model_pair(path, "allegro").style == "allegro"
    with pytest.raises(ModelError, match="is for pair style nequip, not allegro"):
        model_pair("nequip-small", "allegro")
    with pytest.raises(UnknownNameError, match="unknown --pair-style 'alegro'; did you mean alle"):
        model_pair("nequip-small", "alegro")
    bare = archive(tmp_path / "c.pth", {"constants.pkl": "", "code/x.py": ""})
    with pytest.raises(ModelError, match="not a deployed nequip model"):
        model_pair(bare, None)
    (tmp_path / "p.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(ModelError, match=r"is a pickle, which LAMMPS cannot use"):
        model_pair(str(tmp_path / "p.pkl"), None)


def test_a_deck_of_a_model(tmp_path) -> None:
    out = tmp_path / "deck"
    write_from_names(
        "nvt-crystal", "nequip-small", out, profile=Profile.QUICK, starts=[CRYSTAL],
        supercell="1x1x2", replicas=3, machine=Machine(2, 1),
    )  # fmt: skip
    script = (out / "zif4-own-val" / "03-measure.in").read_text()
    assert "newton off\n" in script
    assert "pair_style nequip\npair_coeff * * ../model.nequip.pt2 H C N Zn\n" in script
    assert (
        "--device cuda --mode aotinductor --target pair_nequip" in (out / "compile.sh").read_text()
    )
    assert (out / "model.nequip.zip").stat().st_size > 1_000_000
    assert len(read_deck(out).starts["zif4-own-val"].numbers) == 544
    assert "at_once=2 " in (out / "run.sh").read_text()
    found = subprocess.run(["bash", out / "run.sh"], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (
        2, "model.nequip.pt2 is not there; run: bash compile.sh\n",
    )  # fmt: skip


def test_allegro_takes_all_gpus_and_nodes(tmp_path) -> None:
    ghosts = compiled("pos edge_index atom_types", LAMMPS_OUTPUTS)
    out = tmp_path / "deck"
    write_from_names(
        "melt-quench", archive(tmp_path / "d.pt2", ghosts), out, profile=Profile.PAPER,
        starts=[CRYSTAL], supercell="3", machine=Machine(4, 2),
    )  # fmt: skip
    run, submit = ((out / name).read_text() for name in ("run.sh", "submit.sbatch"))
    assert "mpirun -np 8" in run
    assert "FLAGS=${FLAGS--k on g 4 -sf kk -pk kokkos newton on neigh half}" in run
    for line in ("nodes=2", "ntasks-per-node=4", "gpus-per-node=4", "array=0-0"):
        assert f"#SBATCH --{line}\n" in submit
    assert "newton on" in (out / "zif4-own-val" / "01-minimise.in").read_text()
    assert not (out / "compile.sh").exists()


def test_several_gpus_run_several_replicas_at_a_time(tmp_path) -> None:
    """A program that takes LAMMPS's place notes which device it was given."""
    out = tmp_path / "deck"
    write_from_names(
        "nve", "nequip-small", out, profile=Profile.QUICK, starts=[CRYSTAL], replicas=3,
        machine=Machine(2, 1),
    )  # fmt: skip
    (out / "model.nequip.pt2").touch()
    fake = tmp_path / "lmp"
    fake.write_text(
        "#!/usr/bin/env bash\necho $CUDA_VISIBLE_DEVICES > device\n"
        'printf "LammpS RestartT\\0" > "$(basename "$2" .in).end.restart"\n'
    )
    fake.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "LMP": str(fake), "CUDA_VISIBLE_DEVICES": "4,6"}
    subprocess.run(["bash", out / "run.sh"], check=True, env=environment, capture_output=True)
    names = ("zif4-own-val", "zif4-own-val-1", "zif4-own-val-2")
    assert [(out / name / "device").read_text().strip() for name in names] == ["4", "6", "4"]


@pytest.mark.parametrize(
    ("gpus", "given", "begun"),
    [(0, {}, ""), (4, {}, "srun\n"), (4, {"LAUNCH": "mpirun -np 8"}, "mpirun\n")],
)
def test_what_a_slurm_job_begins(tmp_path, gpus, given, begun) -> None:
    """srun only for several ranks: an MPI that was not built for it does not start under it."""
    out, machine = tmp_path / "deck", Machine(gpus, 2 if gpus else 1)
    if gpus:
        ghosts = compiled("pos edge_index atom_types", LAMMPS_OUTPUTS)
        forces = archive(tmp_path / "d.pt2", ghosts)
        write_from_names(
            "nve", forces, out, profile=Profile.QUICK, starts=[CRYSTAL], machine=machine
        )
    else:
        write_from_names(
            "nve", None, out, profile=Profile.QUICK, starts=[CRYSTAL], machine=machine,
            pair="lj/cut 8.5", pair_coeffs=["* * 0.01 2.5"],
        )  # fmt: skip
    scripts = {
        "lmp": 'while [ "$1" != -in ]; do shift; done\n'
        'printf "LammpS RestartT\\0" > "$(basename "$2" .in).end.restart"\n',
        "srun": f'echo srun > {tmp_path}/begun; "$@"\n',
        "mpirun": f'echo mpirun > {tmp_path}/begun; shift 2; "$@"\n',
    }
    (tmp_path / "bin").mkdir()
    for name, text in scripts.items():
        (tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash\n{text}")
        (tmp_path / "bin" / name).chmod(0o755)
    job = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "0", **given}

    def submit(where):
        job["SLURM_SUBMIT_DIR"] = str(where)  # SLURM runs a copy of the script, elsewhere
        words = ["bash", str(out / "submit.sbatch")]
        return subprocess.run(words, env=job, cwd=tmp_path, capture_output=True, text=True)

    found = submit(tmp_path)
    assert (found.returncode, found.stderr) == (
        2, f"no run.sh in {tmp_path}: sbatch from the directory of the deck\n",
    )  # fmt: skip
    found = submit(out)
    assert (found.returncode, found.stdout) == (0, "zif4-own-val done\n"), found.stderr
    called = tmp_path / "begun"
    assert (called.read_text() if called.exists() else "") == begun


# -- what is refused ------------------------------------------------------------------------------


def test_bad_input_is_refused_and_nothing_is_written(tmp_path) -> None:
    out = tmp_path / "deck"
    left = argon()
    left.set_cell(left.cell.array[[1, 0, 2]])
    with pytest.raises(DataError, match="argon: the cell vectors are left-handed"):
        write(out, atoms=left)
    with pytest.raises(DataError, match=r"argon reaches \d+ Å; frames of more than 250 Å"):
        write(out, atoms=argon().repeat((30, 1, 1)))
    with pytest.raises(DataError, match="wanted a periodic cell of at least two atoms"):
        write(out, atoms=Atoms("Ar", cell=np.eye(3), pbc=True))
    with pytest.raises(DataError, match=r"structure 'my glass': its name becomes a folder"):
        write_deck(
            load_protocol("nve"), LJ, {"my glass": argon()}, out, profile=Profile.QUICK,
            machine=Machine(0, 1),
        )  # fmt: skip
    with pytest.raises(SpeciesError, match="but not Ar"):
        write_deck(
            load_protocol("nve"), model_pair("nequip-small", None), {"argon": argon()}, out,
            profile=Profile.QUICK, machine=Machine(1, 1),
        )  # fmt: skip
    with pytest.raises(ModelError, match="runs on one MPI rank, so on one node, got 2 nodes"):
        write_from_names(
            "nve", "nequip-small", out, profile=Profile.QUICK, starts=[CRYSTAL],
            machine=Machine(4, 2),
        )  # fmt: skip
    assert not list(tmp_path.iterdir())
    out.mkdir()
    (out / "thesis.txt").touch()
    with pytest.raises(ResultError, match="is there and not empty; give another --out"):
        write(out)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nvt-cristal", "nequip-small"], "did you mean nvt-crystal"),
        (["nve"], "give a model, or --pair"),
        (["nve", "nequip-small", "--pair", "lj/cut 5"], "one of the two"),
        (["nve", "--pair", "lj/cut 5"], "a --pair-coeff for each pair_coeff"),
        (["nve", "--pair", "lj/cut 5\nshell rm", "--pair-coeff", "x"], "is more than one line"),
        (["nve", "--pair", "x", "--pair-coeff", "x", "--pair-style", "nequip"], "for a model"),
        (["nve", "nequip-small", "--pair-coeff", "x"], "--pair-coeff is for --pair"),
        (["nve", "nequip-small", "--supercell", "2x2"], "or three such as 2x2x1"),
        (["nve", "nequip-small", "--supercell", "1000"], "wanted one number from 1 to 999"),
        (["nve", "nowhere.nequip.zip"], "no such model file"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, arguments, reason) -> None:
    out = tmp_path / "deck"
    command = ["md", "lammps", *arguments, "--start", CRYSTAL, "--out", str(out)]
    found = CliRunner().invoke(app, command)
    assert reason in str(found.exception)
    assert getattr(found.exception, "exit_code", None) == 2
    assert not list(tmp_path.iterdir())


def test_supercells() -> None:
    assert parse_supercell("3") == (3, 3, 3)
    assert parse_supercell("2x1x10") == (2, 1, 10)
    for text in ("0", "2x2", "-1", "2x2x2x2", "a", ""):
        with pytest.raises(DataError, match="wanted one number"):
            parse_supercell(text)
