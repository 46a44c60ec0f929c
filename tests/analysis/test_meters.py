"""One pass over a file: pieces, blocks, bad frames, memory, what is not defined and why."""

from __future__ import annotations

import dataclasses
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


def test_blocks_are_means_of_stretches_and_y_is_their_mean():
    """150 frames in blocks of three, the value of a frame its number."""

    def number(frames: Frames, settings: Settings) -> Observation:
        values = frames.source_index.astype(float)
        curve = Curve("n", "x", "y", np.zeros(1), np.array([values.mean()]))
        return Observation({"n": per_frame("n", "", values)}, {"n": curve})

    frames = Frames(
        numbers=np.array([30]),
        masses=np.ones(1),
        pbc=np.ones(3, bool),
        positions=np.zeros((151, 1, 3)),
        cell=np.tile(np.eye(3), (151, 1, 1)),
        source_index=np.arange(151),
    )
    found = measure(parts_of(frames, 10, 77), {"n": Observable("n", number)}, WARM).found["n"]
    assert np.array_equal(found.series["n"].values, np.arange(151))
    curve = found.curves["n"]
    assert curve.y == pytest.approx([75.0])
    expected = [*(3.0 * np.arange(50) + 1.0), 150.0]  # the last block holds what is left
    assert curve.blocks[:, 0] == pytest.approx(expected)


def test_events_that_last_are_told_once():
    def broken(frames: Frames, settings: Settings) -> Observation:
        events = [Event("broken: atoms 1, 2", w, w) for w in map(frames.where, range(len(frames)))]
        return Observation({"x": Series("x", "", np.zeros(len(frames)))}, events=tuple(events))

    frames = Frames(
        numbers=np.array([30]),
        masses=np.ones(1),
        pbc=np.ones(3, bool),
        positions=np.zeros((200, 1, 3)),
        cell=np.tile(np.eye(3), (200, 1, 1)),
        source="run",
    )
    found = measure(parts_of(frames[:2]), {"x": Observable("x", broken)}, WARM).found["x"]
    assert [str(event) for event in found.events] == [
        "broken: atoms 1, 2 in 2 frames, from frame 0 of run to frame 1 of run"
    ]
    found = measure(parts_of(frames), {"x": Observable("x", broken)}, WARM).found["x"]
    assert [event.n_frames for event in found.events] == [200]


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
    """Eight times the frames: 0.4 kB a frame more at most; the frames themselves have 6.5 kB."""
    lines = {name: line for name, line in CHOSEN.items() if name != "hessian"}
    measure(Endless(shaken[0], 32), lines, WARM)  # compiled before anything is measured
    peaks = []
    for n in (1024, 8192):
        tracemalloc.start()
        measure(Endless(shaken[0], n), lines, WARM, n_threads=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 400 * (8192 - 1024) + 1_000_000
