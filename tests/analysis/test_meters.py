"""One pass over a file: pieces, blocks, bad frames, memory, what is not defined and why."""

from __future__ import annotations

import dataclasses
import itertools
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from zifbench.analysis.meters import MemorySource, measure
from zifbench.analysis.observables import OBSERVABLES
from zifbench.analysis.observation import (
    Curve,
    Event,
    Observable,
    Observation,
    Series,
    Settings,
    per_frame,
)
from zifbench.errors import DataError
from zifbench.frames import Frames

WARM = Settings(temperature_K=300.0, frame_interval_fs=100.0)
CHOSEN = {name: line for name, line in OBSERVABLES.items() if not line.optional}
CHEAP = {name: CHOSEN[name] for name in ("density", "coordination", "angles", "angular_pmf", "msd")}
NEEDS_POSITIONS = {
    "coordination", "rdf", "pmf", "angles", "angular_pmf", "rings", "linkers", "orientation",
    "pores", "msd", "bonds",
}  # fmt: skip


@pytest.fixture
def shaken(zif4) -> Frames:
    """Thirty frames of the bundled crystal, shaken."""
    moves = np.random.default_rng(0).normal(scale=0.03, size=(30, zif4.n_atoms, 3))
    return Frames(
        numbers=zif4.numbers,
        masses=zif4.masses,
        pbc=zif4.pbc,
        positions=zif4.positions[:1] + moves,
        cell=np.repeat(zif4.cell[:1], 30, axis=0),
        source="shaken",
        source_index=np.arange(30),
    )


def parts_of(frames: Frames, *ends: int) -> MemorySource:
    starts = (0, *ends)
    return MemorySource(
        tuple(frames[a:b] for a, b in zip(starts, (*ends, len(frames)), strict=True))
    )


def test_the_cut_into_pieces_changes_nothing(shaken):
    whole = measure(parts_of(shaken), CHEAP, WARM)
    cut = measure(parts_of(shaken, 1, 2, 17), CHEAP, WARM)
    assert whole.digest == cut.digest
    assert not whole.failed
    for name, found in whole.found.items():
        for key, series in found.series.items():
            assert np.array_equal(series.values, cut.found[name].series[key].values)
        for key, curve in found.curves.items():
            np.testing.assert_allclose(cut.found[name].curves[key].y, curve.y, rtol=1e-12)
            np.testing.assert_allclose(cut.found[name].curves[key].blocks, curve.blocks, rtol=1e-9)


def test_the_digest_tells_what_was_analysed(shaken):
    digest = measure(parts_of(shaken), {}, WARM).digest
    moved = shaken.positions.copy()
    moved[20, 3, 1] += 1e-9
    other = dataclasses.replace(shaken, positions=moved)
    assert measure(parts_of(other), {}, WARM).digest != digest
    renamed = dataclasses.replace(shaken, source="other", labels={"name": ("x",) * 30})
    assert measure(parts_of(renamed), {}, WARM).digest == digest


def point(n_frames: int) -> Frames:
    """One atom, and frames that know their number."""
    return Frames(
        numbers=np.array([30]),
        masses=np.ones(1),
        pbc=np.ones(3, bool),
        positions=np.zeros((n_frames, 1, 3)),
        cell=np.tile(np.eye(3), (n_frames, 1, 1)),
        source="run",
        source_index=np.arange(n_frames),
    )


def test_blocks_are_means_of_stretches_and_y_is_their_mean():
    """151 frames, the value of a frame its number: 64 stretches of two frames or three."""

    def number(frames: Frames, settings: Settings) -> Observation:
        values = frames.source_index.astype(float)
        curve = Curve("n", "x", "y", np.zeros(1), np.array([values.mean()]))
        return Observation({"n": per_frame("n", "", values)}, {"n": curve})

    source = parts_of(point(151), 10, 77)
    found = measure(source, {"n": Observable("n", number)}, WARM).found["n"]
    assert np.array_equal(found.series["n"].values, np.arange(151))
    curve = found.curves["n"]
    assert curve.y == pytest.approx([75.0])
    edges = [151 * k // 64 for k in range(65)]
    assert set(np.diff(edges)) == {2, 3}
    expected = [0.5 * (a + b - 1) for a, b in itertools.pairwise(edges)]
    assert curve.blocks[:, 0] == pytest.approx(expected)


def test_what_only_some_frames_give_is_a_gap():
    def even(frames: Frames, settings: Settings) -> Observation:
        numbers = frames.source_index.astype(float)
        curve = {"even": Curve("even ones", "x", "y", np.zeros(1), numbers[:1])}
        return Observation({"n": per_frame("n", "", numbers)}, {} if numbers[0] % 2 else curve)

    result = measure(parts_of(point(9)), {"x": Observable("x", even)}, WARM)
    assert set(result.found["x"].series) == {"n"}
    assert result.found["x"].curves == {}
    assert result.found["x"].gaps == ("even ones: only 5 of 9 frames give it",)

    def only_even(frames: Frames, settings: Settings) -> Observation:
        return dataclasses.replace(even(frames, settings), series={})

    result = measure(parts_of(point(9)), {"x": Observable("x", only_even)}, WARM)
    assert result.failed == {"x": "even ones: only 5 of 9 frames give it"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"title": "other"}, "some frames give “n”, others “other”"),
        ({"y_label": "m"}, "some frames give y, others m"),
        ({"x": np.ones(1)}, "the frames give it at different x"),
    ],
)
def test_what_is_not_alike_is_not_averaged(change, reason):
    def turns(frames: Frames, settings: Settings) -> Observation:
        curve = Curve("n", "x", "y", np.zeros(1), np.zeros(1))
        late = frames.source_index[0] > 4
        return Observation(curves={"n": dataclasses.replace(curve, **change) if late else curve})

    assert reason in measure(parts_of(point(9)), {"x": Observable("x", turns)}, WARM).failed["x"]


def test_frames_without_an_angle_do_not_take_it_from_the_others(shaken):
    """In the first ten frames every Zn lies in the pore, far from any N."""
    positions = shaken.positions.copy()
    grid = np.stack(np.meshgrid(*[np.arange(0.0, 1.0, 0.05)] * 3), axis=-1).reshape(-1, 3)
    scaled = positions[0, shaken.numbers == 7] @ np.linalg.inv(shaken.cell[0])
    away = grid[:, None] - scaled
    distance = np.linalg.norm((away - np.round(away)) @ shaken.cell[0], axis=-1).min(axis=1)
    assert distance.max() > 3.0
    positions[:10, shaken.numbers == 30] = grid[distance.argmax()] @ shaken.cell[0]
    torn = dataclasses.replace(shaken, positions=positions)
    found = measure(parts_of(torn), CHEAP, WARM).found["angles"].curves["n_zn_n"]
    whole = measure(parts_of(shaken[10:]), CHEAP, WARM).found["angles"].curves["n_zn_n"]
    assert not found.blocks[:10].any()
    np.testing.assert_allclose(found.blocks[10:].mean(axis=0), whole.y, rtol=1e-12)


def test_events_that_last_are_told_once():
    def broken(frames: Frames, settings: Settings) -> Observation:
        events = [Event("broken: atoms 1, 2", w, w) for w in map(frames.where, range(len(frames)))]
        return Observation({"x": Series("x", "", np.zeros(len(frames)))}, events=tuple(events))

    frames = point(200)
    found = measure(parts_of(frames[:2]), {"x": Observable("x", broken)}, WARM).found["x"]
    assert [str(event) for event in found.events] == [
        "broken: atoms 1, 2 in 2 frames, from frame 0 of run to frame 1 of run"
    ]
    found = measure(parts_of(frames), {"x": Observable("x", broken)}, WARM).found["x"]
    assert [event.n_frames for event in found.events] == [200]


def test_events_without_end_are_counted():
    def new(frames: Frames, settings: Settings) -> Observation:
        numbers = map(str, frames.source_index)
        events = tuple(Event(f"broken: atom {n}", n, n) for n in numbers)
        return Observation({"x": Series("x", "", np.zeros(len(frames)))}, events=events)

    found = measure(parts_of(point(1200)), {"x": Observable("x", new)}, WARM).found["x"]
    assert len(found.events) == 1000
    assert found.gaps == ("events: 200 more are not listed",)


@pytest.mark.parametrize("name", NEEDS_POSITIONS)
def test_nan_positions_take_away_only_what_needs_positions(shaken, name):
    positions = shaken.positions.copy()
    positions[22, 17, 2] = np.nan
    chosen = {k: CHOSEN[k] for k in dict.fromkeys((*CHOSEN[name].of, name, "density"))}
    result = measure(parts_of(dataclasses.replace(shaken, positions=positions)), chosen, WARM)
    assert "NaN or infinite at atom 17 in frame 22 of shaken" in result.failed[name]
    assert len(result.found["density"].series["density"].values) == 30


def test_nan_positions_leave_the_elastic_constants(shaken):
    rng = np.random.default_rng(1)
    cell = shaken.cell[0] @ (np.eye(3) + rng.normal(scale=0.003, size=(640, 3, 3)))
    frames = dataclasses.replace(
        shaken,
        positions=np.full((640, shaken.n_atoms, 3), np.nan),
        cell=cell,
        source_index=None,
    )
    lines = {name: CHOSEN[name] for name in ("elasticity", "volume_fluctuations", "pores")}
    result = measure(parts_of(frames), lines, WARM)
    assert set(result.failed) == {"pores"}
    found = result.found["elasticity"]
    assert {"c11", "c66", "c12"} < set(found.curves)
    assert found.curves["c11"].x[-1] == pytest.approx(63.9)  # ps
    soft = found.scalars["softest_strain"]
    assert soft.interval_95[0] < soft.value < soft.interval_95[1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cell": np.zeros((30, 3, 3))}, "missing or of zero volume in frame 0"),
        ({"pbc": np.zeros(3, bool)}, "not periodic"),
    ],
)
def test_without_a_cell_nothing_is_defined_and_each_says_why(shaken, change, reason):
    result = measure(parts_of(dataclasses.replace(shaken, **change)), CHOSEN, WARM)
    assert not result.found
    at_once = {"hessian", "equation_of_state"}  # these need other things first
    assert all(reason in result.failed[name] for name in set(CHOSEN) - at_once)


def test_a_trajectory_whose_atoms_change(shaken):
    fewer = dataclasses.replace(
        shaken[20:],
        numbers=shaken.numbers[:-1],
        masses=shaken.masses[:-1],
        positions=shaken.positions[20:, :-1],
    )
    result = measure(MemorySource((shaken[:20], fewer)), CHEAP | {"bonds": CHOSEN["bonds"]}, WARM)
    reason = "the atoms change (272 atoms, then 271 in frame 20 of shaken): no trajectory"
    assert result.failed == {"msd": reason, "bonds": reason}
    assert len(result.found["coordination"].series["zn_n"].values) == 30
    assert len(result.formulas) == 2


def test_a_source_that_changed_since_it_was_counted(shaken):
    class Shrunk(MemorySource):
        n_frames = 31

    with pytest.raises(DataError, match="30 frames read, 31 counted before"):
        measure(Shrunk((shaken,)), {}, WARM)


def test_a_cell_shorter_than_the_radius_of_the_rdf(shaken):
    scaled = dataclasses.replace(shaken, cell=shaken.cell * np.array([0.7, 1.0, 1.0])[:, None])
    lines = {name: CHOSEN[name] for name in ("rdf", "pmf", "density")}
    result = measure(parts_of(scaled), lines, WARM)
    assert set(result.found) == {"density"}
    assert "r_max 12 Å is beyond the shortest lattice vector" in result.failed["rdf"]
    assert result.failed["pmf"] == result.failed["rdf"]


def test_where_the_frames_stand(shaken):
    untimed = Settings()
    assert measure(parts_of(shaken), {}, untimed).axis.label == "frame"
    stepped = dataclasses.replace(shaken, step=np.arange(30) * 5)
    axis = measure(parts_of(stepped, 7), {}, untimed).axis
    assert (axis.label, axis.values[-1]) == ("step", 145.0)
    timed = dataclasses.replace(stepped, time_fs=np.arange(30) * 0.5 + 1000.0)
    axis = measure(parts_of(timed, 7), {}, untimed).axis
    assert (axis.label, axis.values[0]) == ("time, ps", 1.0)
    half = MemorySource((timed[:7], stepped[7:]))
    assert measure(half, {}, untimed).axis.label == "step"
    assert measure(parts_of(shaken), {}, WARM).axis.values[-1] == pytest.approx(2.9)


class Endless(MemorySource):
    """Frames made as they are read."""

    def __init__(self, first: Frames, n: int) -> None:
        super().__init__((first,))
        object.__setattr__(self, "n", n)

    @property
    def n_frames(self) -> int:
        return self.n

    def chunks(self, max_atoms: int) -> Iterator[Frames]:
        (first,) = self.parts
        rng = np.random.default_rng(0)
        for _ in range(self.n // 32):
            moves = rng.normal(scale=0.03, size=(32, first.n_atoms, 3))
            cell = np.repeat(first.cell, 32, axis=0)
            yield dataclasses.replace(
                first, positions=first.positions + moves, cell=cell, source_index=None
            )


@pytest.mark.slow
def test_memory_grows_by_a_few_numbers_a_frame(shaken):
    """Eight times the frames: 0.8 kB a frame more at most; the frames themselves have 6.5 kB."""
    lines = {name: line for name, line in CHOSEN.items() if name != "hessian"}
    measure(Endless(shaken[0], 32), lines, WARM)  # compiled before anything is measured
    peaks = []
    for n in (1024, 8192):
        tracemalloc.start()
        measure(Endless(shaken[0], n), lines, WARM, n_threads=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 800 * (8192 - 1024)
