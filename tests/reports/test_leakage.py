"""`zifbench data leakage`: distances to the nearest training frame."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest

from tests.dataset.stores import ABOUT, series, two_liquids, write_store
from zifbench.analysis.timeseries import autocorrelation_time
from zifbench.dataset.splits.generators import make_split
from zifbench.dataset.store import open_store
from zifbench.errors import DataError, ResultError, UnknownNameError
from zifbench.reports.leakage import report_leakage
from zifbench.reports.leakage_record import LEAKAGE_FILE, TABLE_FILE, Leakage

TAU = 20.0  # of the synthetic energies, frames: 1/2 + Σ exp(-k / 20) = 20.0 to 0.02


@pytest.fixture
def store(tmp_path, make_frames):
    long = {
        name: (series(make_frames, 4000, seed=seed, tau=TAU), ABOUT | {"state": name})
        for seed, name in enumerate(("one", "two"))
    }
    with open_store(write_store(tmp_path / "liquids.zarr", long)) as store:
        yield store


def rows_of(out):
    with (out / TABLE_FILE).open() as file:
        return list(csv.DictReader(file))


def distances(leakage):
    return {row.unit: row for row in leakage.distances}


def test_distances_in_time(store, tmp_path):
    split = make_split(store, "random", train=400, test=50)
    leakage = report_leakage(store, split, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert len(rows) == leakage.n_frames == leakage.n_in_time == 50
    for row, (name, frame) in zip(rows, split.ids("test"), strict=True):
        train = split.rows("train")[name]
        assert (row["trajectory"], int(row["frame"])) == (name, frame)
        assert float(row["distance_fs"]) == 0.5 * np.abs(train - frame).min()
        assert abs(int(row["nearest_frame"]) - frame) == np.abs(train - frame).min()
        energy = store.trajectories[name].array("energy")[frame]
        assert float(row["energy_eV"]) == energy
        assert row["rmsd_A"] == ""


def test_autocorrelation_time_of_the_energy(store, tmp_path):
    split = make_split(store, "random", train=400, test=50)
    leakage = report_leakage(store, split, tmp_path / "out")
    for record in leakage.trajectories:
        assert record.interval_fs == 0.5
        assert record.tau_fs == pytest.approx(0.5 * TAU, rel=0.25)
        assert record.tau_reliable
    ratio = distances(leakage)["fs"].median / distances(leakage)["τ"].median
    assert ratio == pytest.approx(0.5 * TAU, rel=0.3)


def test_random_leaks_and_blocks_with_an_embargo_do_not(store, tmp_path):
    """The reason for blocked splits, in one number."""
    at_random = make_split(store, "random", train=400, test=50)
    in_blocks = make_split(store, "blocked", block=250.0, embargo=50.0, train=400, test=50)
    share = {
        split.generator: distances(report_leakage(store, split, tmp_path / split.generator))["τ"]
        for split in (at_random, in_blocks)
    }
    assert share["random"].share_within == 1.0
    assert share["blocked"].share_within == 0.0
    assert share["blocked"].least >= 50.0 / 15.0


def test_independent_samples_are_compared_by_structure(tmp_path, make_frames):
    """Two copies with small noise: each test frame finds its twin, and how far it is."""
    frames = dataclasses.replace(series(make_frames, 12), time_fs=None, velocities=None)
    rng = np.random.default_rng(5)
    noise = rng.normal(scale=0.02, size=frames.positions.shape)
    apart = 3.0 * rng.normal(size=frames.positions.shape)  # frames of the walk are near-copies
    first = dataclasses.replace(frames, positions=frames.positions + apart)
    twin = dataclasses.replace(first, positions=first.positions + noise)
    path = write_store(tmp_path / "s.zarr", {"first": (first, ABOUT), "twin": (twin, ABOUT)})
    with open_store(path) as store:
        split = make_split(store, "leave-state-out", by="name", test_states=("twin",))
        leakage = report_leakage(store, split, tmp_path / "out")
    assert (leakage.n_in_time, leakage.n_by_structure, leakage.n_not_compared) == (0, 12, 0)
    for row, d in zip(rows_of(tmp_path / "out"), noise, strict=True):
        expected = np.sqrt((d**2).sum(axis=1).mean() - (d.mean(axis=0) ** 2).sum())
        assert (row["nearest_trajectory"], row["nearest_frame"]) == ("first", row["frame"])
        assert float(row["rmsd_A"]) == pytest.approx(expected, rel=1e-4)  # positions are float32
        assert row["distance_fs"] == ""
    assert "no series in time" in leakage.trajectories[0].note


def test_other_cells_and_atoms_are_not_compared(tmp_path, make_frames):
    frames = dataclasses.replace(series(make_frames, 6), time_fs=None)
    larger = dataclasses.replace(frames, cell=frames.cell * 1.02)
    path = write_store(tmp_path / "s.zarr", {"a": (frames, ABOUT), "b": (larger, ABOUT)})
    with open_store(path) as store:
        split = make_split(store, "leave-state-out", by="name", test_states=("b",))
        leakage = report_leakage(store, split, tmp_path / "out")
    assert leakage.n_not_compared == 6
    assert leakage.distances == []
    assert "6 not compared" in (tmp_path / "out" / "report.html").read_text()


def test_cells_a_hair_apart_are_compared(tmp_path, make_frames):
    """10.0005 Å lies on the edge at which cells are rounded to 0.001 Å."""
    frames = dataclasses.replace(series(make_frames, 6), time_fs=None)
    sides = [
        dataclasses.replace(frames, cell=np.tile(np.diag([10.0005 + d, 11.0, 12.0]), (6, 1, 1)))
        for d in (-1e-7, 1e-7)
    ]
    path = write_store(tmp_path / "s.zarr", {"a": (sides[0], ABOUT), "b": (sides[1], ABOUT)})
    with open_store(path) as store:
        split = make_split(store, "leave-state-out", by="name", test_states=("b",))
        leakage = report_leakage(store, split, tmp_path / "out")
    assert (leakage.n_by_structure, leakage.n_not_compared) == (6, 0)
    assert [row["nearest_frame"] for row in rows_of(tmp_path / "out")] == [*"012345"]


def test_of_many_structures_an_even_part(store, tmp_path):
    split = make_split(store, "leave-state-out", by="name", test_states=("two",))
    leakage = report_leakage(store, split, tmp_path / "out", max_frames=20, max_train=30)
    assert leakage.n_by_structure == 20
    assert leakage.notes == [
        "20 of 4000 frames without a time are compared, evenly spread",
        "compared with 30 training frames, evenly spread over 4000",
    ]


def test_gaps_in_time_do_not_spoil_the_autocorrelation_time(tmp_path, make_frames):
    frames = series(make_frames, 3000, tau=TAU)
    kept = np.r_[0:500, 700:3000]
    with open_store(write_store(tmp_path / "s.zarr", {"a": (frames[kept], ABOUT)})) as store:
        split = make_split(store, "random", train=50, test=10)
        (record,) = report_leakage(store, split, tmp_path / "out").trajectories
    assert record.note == "tau from frames 500 to 2799"
    expected = autocorrelation_time(frames.energy[700:]).tau
    assert record.tau_fs == pytest.approx(0.5 * expected, rel=1e-9)


def test_files(store, tmp_path):
    split = make_split(store, "flat-histogram", train=100, test=20)
    leakage = report_leakage(store, split, tmp_path / "out", subset="validation")
    out = tmp_path / "out"
    assert Leakage.model_validate_json((out / LEAKAGE_FILE).read_text()) == leakage
    page = (out / "report.html").read_text()
    assert page.count("data:image/png") == 2
    assert "frames from 100 bins" in page
    with pytest.raises(ResultError, match="holds a report; give --overwrite"):
        report_leakage(store, split, out)
    report_leakage(store, split, out, overwrite=True)
    (out / "mine.txt").write_text("")
    with pytest.raises(ResultError, match="holds other files"):
        report_leakage(store, split, out, overwrite=True)


def test_refusals(store, tmp_path, make_frames):
    split = make_split(store, "random", train=100, test=20, validation=0)
    with pytest.raises(UnknownNameError, match="unknown subset 'train'; known: test"):
        report_leakage(store, split, tmp_path / "out", subset="train")
    other = two_liquids(tmp_path / "other.zarr", make_frames)
    with open_store(other) as store_2, pytest.raises(DataError, match="belongs to version"):
        report_leakage(store_2, split, tmp_path / "out")
    assert not (tmp_path / "out").exists()
