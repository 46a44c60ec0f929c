"""The TorchSim engine beside the ASE engine, on a Lennard-Jones crystal in float64."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest

torch_sim = pytest.importorskip("torch_sim", reason="TorchSim needs Python 3.12 or newer")

import torch  # noqa: E402

from benchmarks import known_elasticity  # noqa: E402
from tests.dynamics.argon import LennardJones, argon, calculator  # noqa: E402
from tests.dynamics.test_run import SAME, StoppedError, frames_of, protocol  # noqa: E402
from zifbench.dynamics.engines import make_engine  # noqa: E402
from zifbench.dynamics.engines.torch_host import HostCrystals, HostPotential  # noqa: E402
from zifbench.dynamics.engines.torch_pairs import PairLists  # noqa: E402
from zifbench.dynamics.protocol import Protocol  # noqa: E402
from zifbench.dynamics.run import Outcome, run_protocol  # noqa: E402
from zifbench.errors import ModelError, OutOfMemoryError, ResultError  # noqa: E402
from zifbench.frames import Frames  # noqa: E402
from zifbench.potentials.torch_potential import TorchSystems  # noqa: E402
from zifbench.profiles import Profile  # noqa: E402

MODEL = {"model": "argon", "model_sha256": "0"}
SHORT = dict.fromkeys(SAME, 0.04)  # 20 steps of 2 fs
NVT = {"name": "nvt", "ensemble": "nvt", "temperature_K": 40, "length_ps": SHORT}
# Stages of every kind, a ramp of temperature and one of volume; a barostat quick to answer.
ALL = protocol(
    {"name": "down", "ensemble": "minimise", "length_ps": {}, "force_eV_per_A": 0.001},
    {**NVT, "name": "warm", "temperature_K": [20, 40], "sample_fs": 10},
    {**NVT, "name": "squeeze", "volume_change_percent": -3, "sample_fs": 10},
    {**NVT, "name": "hold", "sample_fs": 10},
    {
        "name": "free",
        "ensemble": "npt",
        "temperature_K": 40,
        "pressure_GPa": 0.1,
        "length_ps": SHORT,
        "sample_fs": 10,
    },
    {"name": "alone", "ensemble": "nve", "length_ps": SHORT, "sample_fs": 10},
    barostat_fs=400,
)


def go(
    what: Protocol, out: Path, potential=None, *, n: int = 2, engine: str = "torchsim", **options
) -> list[Outcome]:
    """Two or more crystals, each rattled another way."""
    settings = {"profile": Profile.QUICK, "model": MODEL, "checkpoint_s": 1e9, **options}
    starts = {f"argon{k}": argon(seed=k) for k in range(n)}
    return run_protocol(what, calculator(potential), starts, out, engine=engine, **settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    outcomes = go(ALL, out)
    assert [(o.replica, o.ended, o.time_fs) for o in outcomes] == [
        ("argon0", "completed", 200.0), ("argon1", "completed", 200.0),
    ]  # fmt: skip
    return out


@pytest.fixture(scope="module")
def four(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("four") / "run"
    go(ALL, out, n=4)
    return out


@pytest.fixture(scope="module")
def by_ase(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("ase") / "run"
    go(ALL, out, engine="ase")
    return out


def test_both_engines_go_the_same_way(whole, by_ase) -> None:
    """To what a chain that moves in one piece instead of three does in 100 steps of 2 fs."""
    expected = frames_of(by_ase)
    found = frames_of(whole)
    assert set(found) == set(expected)
    for name, frames in found.items():
        assert np.array_equal(frames.step, expected[name].step)
        assert frames.time_fs == pytest.approx(expected[name].time_fs)
        assert frames.cell == pytest.approx(expected[name].cell, abs=1e-5)
        assert frames.positions == pytest.approx(expected[name].positions, abs=1e-4)
        assert frames.energy == pytest.approx(expected[name].energy, abs=1e-4)
        assert frames.stress == pytest.approx(expected[name].stress, abs=1e-6)
        assert frames.velocities == pytest.approx(expected[name].velocities, abs=1e-6)


def test_each_step_takes_one_call_where_the_volume_is_driven_too(tmp_path) -> None:
    what = protocol(NVT, {**NVT, "name": "squeeze", "volume_change_percent": -3})
    for engine in ("ase", "torchsim"):
        model = Small(9, AssertionError())
        go(what, tmp_path / engine, model, n=1, engine=engine)
        assert model.left == -41  # and one before the first


def test_without_a_thermostat_the_trajectory_is_the_same(tmp_path) -> None:
    what = protocol(  # the thermostat comes after: velocities are drawn for its temperature
        {"name": "on", "ensemble": "nve", "length_ps": dict.fromkeys(SAME, 0.2), "sample_fs": 20},
        {**NVT, "length_ps": dict.fromkeys(SAME, 0.002)},
    )
    for engine in ("ase", "torchsim"):
        go(what, tmp_path / engine, engine=engine, n=1)
    found, expected = (frames_of(tmp_path / e)["argon0.on"] for e in ("torchsim", "ase"))
    # Stored as float32; 100 steps.
    assert np.abs(found.positions - expected.positions).max() < 2e-6
    assert found.energy == pytest.approx(expected.energy, abs=1e-9)


def test_a_replica_does_not_feel_its_batch(tmp_path, whole, four) -> None:
    """Alone, in pairs and among four: the same bits, as this model's rounding is that exact."""
    go(ALL, tmp_path / "alone", n=2, batch_atoms=1)
    together = frames_of(four)
    for out in (whole, tmp_path / "alone"):
        for name, frames in frames_of(out).items():
            assert frames.digest() == together[name].digest(), name
    assert together["argon0.hold"].digest() != together["argon1.hold"].digest()


class Fragile(LennardJones):
    """Stops the program at one of its calls."""

    def __init__(self, at: int) -> None:
        self.left = at

    def evaluate(self, systems):
        self.left -= 1
        if self.left == 0:
            raise StoppedError
        return super().evaluate(systems)


def test_a_run_that_was_killed_often_is_the_uninterrupted_one(whole, tmp_path) -> None:
    out, kills = tmp_path / "run", 0
    rng = np.random.default_rng(0)
    while True:
        try:
            go(ALL, out, Fragile(int(rng.integers(5, 50))), checkpoint_s=0.0)
            break
        except StoppedError:
            kills += 1
    assert kills > 2
    for name, frames in frames_of(whole).items():
        assert frames.digest() == frames_of(out)[name].digest(), name
    assert not list((out / "checkpoints").iterdir())


class Broken(LennardJones):
    """NaN for one crystal once it has moved for a while."""

    def __init__(self, at: int, system: int = 0) -> None:
        self.calls, self.at, self.system = 0, at, system

    def evaluate(self, systems):
        found = super().evaluate(systems)
        self.calls += 1
        if self.calls == self.at:
            start = sum(systems.counts[: self.system])
            found.forces[start] = np.nan
        return found


def test_a_failing_replica_leaves_and_the_others_go_on(tmp_path) -> None:
    what = protocol({**NVT, "sample_fs": 10})
    go(what, tmp_path / "good", n=3)
    outcomes = go(what, tmp_path / "run", Broken(14, system=1), n=3, batch_atoms=100)
    assert {o.replica: o.ended for o in outcomes} == {
        "argon0": "completed", "argon1": "not a number", "argon2": "completed",
    }  # fmt: skip
    broken = next(o for o in outcomes if o.replica == "argon1")
    assert (broken.time_fs, broken.last_good_fs) == (26.0, 20.0)
    expected, found = frames_of(tmp_path / "good"), frames_of(tmp_path / "run")
    assert len(found["argon1.nvt"]) == 2
    for k in (0, 2):
        assert found[f"argon{k}.nvt"].digest() == expected[f"argon{k}.nvt"].digest()


def test_a_model_that_refuses_one_replica_ends_that_one(tmp_path) -> None:
    start = argon(seed=1)

    class Picky(LennardJones):
        """Refuses the second crystal once it has moved."""

        def evaluate(self, systems):
            ends = np.cumsum(systems.counts)
            for cell, end, count in zip(systems.cell, ends, systems.counts, strict=True):
                moved = systems.positions[end - count : end].numpy() - start.positions
                if np.allclose(cell, start.cell) and np.abs(moved).max() > 0.02:
                    raise ModelError("no such crystal")
            return super().evaluate(systems)

    what = protocol({**NVT, "sample_fs": 10})
    outcomes = go(what, tmp_path / "run", Picky())
    assert {o.replica: (o.ended, o.reason) for o in outcomes} == {
        "argon0": ("completed", ""), "argon1": ("model", "no such crystal"),
    }  # fmt: skip


@pytest.mark.parametrize("error", [ModelError, RuntimeError])
def test_a_device_that_fails_is_no_result(tmp_path, error) -> None:
    class Dying(LennardJones):
        calls = 0

        def evaluate(self, systems):
            self.calls += 1
            if self.calls > 12:
                raise error("the device is gone")
            return super().evaluate(systems)

    what = protocol({**NVT, "sample_fs": 10})
    with pytest.raises(ModelError, match="the device is gone"):
        go(what, tmp_path / "run", Dying(), checkpoint_s=0.0)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["outcomes"] == []
    assert [o.ended for o in go(what, tmp_path / "run")] == ["completed"] * 2


class Small(LennardJones):
    """A device whose memory is enough for so many systems, from one of its calls on."""

    def __init__(self, room: int, error: Exception, since: int = 0) -> None:
        self.room, self.error, self.left = room, error, since
        self.largest = 0

    def evaluate(self, systems):
        self.left -= 1
        if self.left < 0:
            if len(systems.counts) > self.room:
                raise self.error
            self.largest = max(self.largest, len(systems.counts))
        return super().evaluate(systems)


class Bar:
    """Keeps what is shown."""

    def __init__(self) -> None:
        self.total = self.n_steps = 0
        self.said: list[str] = []

    @contextlib.contextmanager
    def __call__(self, title: str, total: int, done: int = 0):
        self.total = total
        yield self.advance

    def advance(self, n: int, status: str = "") -> None:
        self.n_steps += n
        self.said.append(status)


def check_same(out: Path, expected: Path) -> None:
    found = frames_of(out)
    for name, frames in frames_of(expected).items():
        assert np.array_equal(frames.step, found[name].step), name
        assert frames.digest() == found[name].digest(), name


@pytest.mark.parametrize(
    ("error", "since"),
    [
        (OutOfMemoryError("m.pth needs more memory"), 0),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), 60),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 100),
    ],
)
def test_a_batch_that_outgrows_the_memory_is_halved(tmp_path, four, error, since) -> None:
    """At the first call, in a ramp of the volume, and later."""
    bar, model = Bar(), Small(1, error, since)
    outcomes = go(ALL, tmp_path / "run", model, n=4, progress=bar)
    assert [o.ended for o in outcomes] == ["completed"] * 4
    assert model.left < 0
    assert model.largest == 1
    check_same(tmp_path / "run", four)
    assert bar.n_steps == bar.total == 4 * 100
    if since == 0:
        assert re.search(r"^minimising, step 1, .* eV/Å, memory for 32 atoms at once$", bar.said[0])
    remarks = json.loads((tmp_path / "run" / "run.json").read_text())["remarks"]
    assert remarks == {"argon0": "memory for 32 atoms at once"}


def test_a_limit_of_an_earlier_session_is_no_lack_of_memory(tmp_path) -> None:
    """A run that goes on where there is more room keeps its batches, and says nothing of memory."""
    stopped = Small(0, StoppedError(), 20)
    with pytest.raises(StoppedError):
        go(ALL, tmp_path / "run", stopped, batch_atoms=64, checkpoint_s=0)
    go(ALL, tmp_path / "run", batch_atoms=1000)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["remarks"] == {}


def test_memory_that_lacks_outside_the_model_halves_what_moves(tmp_path, four, monkeypatch) -> None:
    """Where numbers are taken over, those of the atoms first: downhill, and later on the way."""
    whole_copy, lacked, calls = torch.Tensor.index_copy, [], itertools.count()

    def copy(self, dim, index, source):
        room = 2 if next(calls) < 500 else 1
        if room < len(index) <= 4:
            lacked.append(len(index))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole_copy(self, dim, index, source)

    bar = Bar()
    monkeypatch.setattr(torch.Tensor, "index_copy", copy)
    go(ALL, tmp_path / "run", n=4, progress=bar)
    assert lacked == [4, 2]  # what was learned is kept
    check_same(tmp_path / "run", four)
    assert bar.n_steps == bar.total


def test_a_batch_is_halved_once_and_goes_on_so(tmp_path, four) -> None:
    """Killed after the halving: what goes on knows of it."""

    class Mortal(Small):
        def evaluate(self, systems):
            if self.left < -40:
                raise StoppedError
            return super().evaluate(systems)

    error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(StoppedError):
        go(ALL, tmp_path / "run", Mortal(2, error, since=60), n=4, checkpoint_s=0.0)
    model = Small(2, AssertionError("not halved"))
    go(ALL, tmp_path / "run", model, n=4)
    assert model.largest == 2
    check_same(tmp_path / "run", four)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("model", r"32 atoms need more memory than cpu has .CUDA out of memory.; use a larger"),
        ("outside", r"cpu fails: CUDA out of memory; the same command goes on from the last"),
    ],
)
def test_one_replica_that_does_not_fit_ends_the_run_which_goes_on_elsewhere(
    tmp_path, whole, monkeypatch, where, says
) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory")
    model = Small(0, error, since=60) if where == "model" else Small(9, error)
    if where == "outside":
        from zifbench.dynamics.engines.torch_batch import TorchBatch

        calls, put_back = iter(range(10_000)), TorchBatch._put_back

        def full(self, members, tensors):
            if next(calls) >= 60:
                raise error
            put_back(self, members, tensors)

        monkeypatch.setattr(TorchBatch, "_put_back", full)
    with pytest.raises(OutOfMemoryError, match=says) as raised:
        go(ALL, tmp_path / "run", model, checkpoint_s=0.0)
    assert raised.value.exit_code == 4
    assert list((tmp_path / "run" / "checkpoints").iterdir())
    monkeypatch.undo()
    go(ALL, tmp_path / "run")
    check_same(tmp_path / "run", whole)


def test_pairs_are_those_of_a_list_made_anew() -> None:
    """While atoms wander and the cell is strained, to the last pair and in the same order."""
    rng = np.random.default_rng(3)
    atoms = argon()
    lists = PairLists(6.0, "cpu")
    potential = LennardJones()
    for _ in range(30):
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        strain = np.eye(3) + rng.normal(scale=2e-3, size=(3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        fresh = potential.prepare(Frames.from_ase(atoms))
        pairs, shifts = lists.find(
            [0], fresh.positions, fresh.cell, fresh.counts, fresh.system_of_atom
        )
        assert np.array_equal(pairs, fresh.pairs)
        assert np.array_equal(shifts, fresh.shifts)


def test_crystals_all_at_once_are_each_as_alone() -> None:
    """Known crystals, strained and rattled each in its own way, against the calculator."""
    rng, n = np.random.default_rng(5), len(known_elasticity.crystal())
    cells = 15.9 * (np.eye(3) + rng.normal(scale=0.02, size=(3, 3, 3)))
    places = known_elasticity.crystal().get_scaled_positions() @ cells
    none = torch.empty(0, dtype=torch.int64)
    systems = TorchSystems(
        torch.full((3 * n,), 18),
        torch.tensor((places + rng.normal(scale=0.1, size=places.shape)).reshape(-1, 3)),
        torch.tensor(cells), (n, n, n), none.reshape(2, 0), none.reshape(0, 3),
        torch.arange(3).repeat_interleave(n), torch.tensor([n, n, n]),
    )  # fmt: skip
    found = HostCrystals(known_elasticity.model()).evaluate(systems)
    expected = HostPotential(known_elasticity.model()).evaluate(systems)
    for name in ("energy", "forces", "stress"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-10, abs=1e-12)
    assert len(set(found.energy.tolist())) == 3


def test_what_it_cannot_run_is_refused_before_a_step(tmp_path, whole) -> None:
    from tests.dynamics.test_run import Metal

    with pytest.raises(ModelError, match="wants a torch model of the nequip framework, got Metal"):
        make_engine("torchsim", Metal())
    with pytest.raises(ResultError, match=r"another engine \(torchsim, now ase\)"):
        go(ALL, whole, engine="ase")
    assert make_engine("auto", calculator()).name == "ase"  # on the CPU
