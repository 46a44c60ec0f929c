"""Several files become one number: what is lost, what is doubtful, what has no mean."""

from __future__ import annotations

import numpy as np
import pytest

from tests.analysis.synthetic import ar1
from tests.analysis.test_elasticity import KNOWN, ORTHORHOMBIC, T, ensemble
from zifbench.analysis.combine import Combined, combine
from zifbench.analysis.elasticity import stiffness_convergence
from zifbench.analysis.eos import birch_murnaghan_pressure_GPa
from zifbench.analysis.eos_observable import equation_of_state
from zifbench.analysis.observation import (
    Curve,
    Observation,
    Reading,
    Scalar,
    Series,
    Settings,
)
from zifbench.errors import NotDefinedError

NAMES = ("a", "b", "c")


VOLUMES = 4380.0 * np.array([0.97, 0.985, 1.0, 1.015, 1.03])
TRUTH = birch_murnaghan_pressure_GPa(VOLUMES, bulk_modulus_GPa=2.0, equilibrium_volume_A3=4380.0)


def together(*rows: Observation) -> Combined:
    return combine(rows, NAMES[: len(rows)], 10, Settings())


def scalars(**values: Scalar) -> Observation:
    return Observation(scalars=values)


def test_one_doubtful_file_makes_the_mean_doubtful() -> None:
    sure = [Scalar("C11", "GPa", value, reliable=True) for value in (1.0, 1.1, 1.2)]
    assert together(*(scalars(c11=one) for one in sure)).values["c11"].reliable is True
    doubtful = Scalar("C11", "GPa", 1.1, reliable=False, note="not converged")
    value = together(*(scalars(c11=one) for one in (sure[0], doubtful, sure[2]))).values["c11"]
    assert value.reliable is False
    assert value.note == "b: not converged"
    assert value.value == pytest.approx(1.1)
    assert value.n_of == "files"


def test_a_note_that_all_share_is_told_once() -> None:
    rows = [Scalar("K", "GPa", value, note="potential pressure") for value in (1.0, 2.0)]
    assert together(*(scalars(k=one) for one in rows)).values["k"].note == "potential pressure"


def test_two_files_are_too_few_to_rely_on() -> None:
    rows = [Scalar("K", "GPa", value, reliable=True) for value in (1.0, 2.0)]
    assert together(*(scalars(k=one) for one in rows)).values["k"].reliable is False


def test_what_some_files_do_not_give_has_no_mean() -> None:
    """A mean lifetime over those files in which a bond broke is too short."""
    some = scalars(lifetime=Scalar("Lifetime", "ps", 3.0))
    found = together(some, Observation(gaps=("lifetime: none broke in b",)), some)
    assert found.values == {}
    assert list(found.gaps) == [
        "lifetime: none broke in b",
        "Lifetime: only 2 of 3 files give it",
    ]


def test_a_frame_without_a_number_is_named_and_the_rest_goes_on() -> None:
    whole = {
        "x": Series("x", "Å", np.arange(3.0)),
        "y": Series("y", "Å", np.arange(3.0)),
    }
    torn = {**whole, "y": Series("y", "Å", np.array([1.0, np.nan, np.inf]))}
    found = together(Observation(whole), Observation(torn))
    assert list(found.gaps) == ["y: no number in 2 frames of b, first 1"]
    assert found.values["x"].value == pytest.approx(1.0)
    assert set(found.series) == {"x"}
    alone = together(Observation(torn))
    assert list(alone.gaps) == ["y: no number in 2 frames of a, first 1"]
    assert np.isfinite(alone.values["x"].value)
    lost = together(*(scalars(k=Scalar("K", "GPa", value)) for value in (1.0, np.nan)))
    assert list(lost.gaps) == ["K: no number in b"]


@pytest.mark.parametrize(
    ("rows", "gap"),
    [
        (
            [Observation({"p": Series(t, "GPa", np.ones(2))}) for t in ("P", "P, potential part")],
            "P: some files give “P”, others “P, potential part”",
        ),
        (
            [scalars(k=Scalar("K", unit, 1.0)) for unit in ("GPa", "kbar")],
            "K: some files give GPa, others kbar",
        ),
        (
            [
                Observation(curves={"g": Curve("g", "r, Å", "g(r)", x, np.ones(2))})
                for x in (np.arange(2.0), np.arange(1.0, 3.0))
            ],
            "g: the files give it at different r, Å; analyse them as separate runs",
        ),
    ],
)
def test_what_is_not_one_thing_has_no_mean(rows, gap) -> None:
    found = together(*rows)
    assert list(found.gaps) == [gap]
    assert not found.values
    assert not found.curves


def no_counts(mean: np.ndarray) -> np.ndarray:
    if not mean.sum() > 0.0:
        raise NotDefinedError("no such angle in any frame")
    return np.asarray(mean / mean.sum())


def test_a_distribution_of_nothing_is_a_gap() -> None:
    x, readings = np.arange(2.0), {"m": Reading("mean", "°", lambda y: float(y @ np.arange(2.0)))}
    empty = Curve("angle", "θ", "p", x, np.zeros(2), no_counts, readings=readings)
    found = together(Observation(curves={"a": empty}))
    assert list(found.gaps) == ["angle: no such angle in any frame"]
    some = Curve("angle", "θ", "p", x, np.array([1.0, 3.0]), no_counts, readings=readings)
    both = together(*(Observation(curves={"a": c}) for c in (empty, some)))
    assert both.curves["a"].y == pytest.approx([0.25, 0.75])
    assert both.values["m"].value == pytest.approx(0.75)


def test_intervals_of_c_ij_are_those_of_few_blocks() -> None:
    """Student's t: with eleven blocks of a slow run 2.23 standard errors and not 1.96."""
    cells = ensemble(KNOWN, ORTHORHOMBIC, 640)
    slow = cells[np.repeat(np.arange(64), 10)]
    track = stiffness_convergence(slow, temperature_K=T, seed=0, n_points=2, n_resamples=50)
    ratio = track.reach_GPa[-1] / track.standard_error_GPa[-1]
    assert ratio == pytest.approx(2.228, abs=0.001)


def scan(pressures: np.ndarray) -> list[dict[str, Observation]]:
    """Observations of as many volumes as rows, shape (V, T)."""
    return [
        {
            "density": Observation(
                {
                    "density": Series("d", "", np.full(len(row), 1.2 * 4380.0 / volume)),
                    "volume": Series("V", "", np.full(len(row), volume)),
                }
            ),
            "pressure": Observation({"pressure": Series("P", "GPa", row)}),
        }
        for volume, row in zip(VOLUMES, pressures, strict=True)
    ]


def test_points_that_miss_the_curve_widen_the_interval() -> None:
    noise = 3e-4 * ar1(tau=0.0, n_frames=64, n_series=5, seed=1)
    kink = np.array([0.03, -0.03, 0.03, -0.03, 0.03])[:, None]
    found = equation_of_state(scan(TRUTH[:, None] + kink + noise), Settings())
    value = found.scalars["bulk_modulus_eos"]
    assert value.reliable is False
    assert "miss the curve by more than their errors" in str(value.note)
    assert value.interval_95[0] < 2.0 < value.interval_95[1]


@pytest.mark.parametrize(("n_frames", "tau"), [(8, 0.0), (64, 0.0), (1000, 5.0)])
def test_intervals_of_a_bulk_modulus_from_runs_cover_the_truth(n_frames, tau) -> None:
    """Five volumes, as many runs, the errors of their pressures estimated from the runs."""
    hits, n_trials = np.zeros(2), 1000
    noise = ar1(tau=tau, n_frames=n_frames, n_series=5 * n_trials, seed=2)
    noise = 0.03 * noise.reshape(n_trials, 5, n_frames)
    for trial in noise:
        found = equation_of_state(scan(TRUTH[:, None] + trial), Settings()).scalars
        for k, (key, true) in enumerate((("bulk_modulus_eos", 2.0), ("density_eos", 1.2))):
            low, high = found[key].interval_95
            hits[k] += low <= true <= high
    assert (hits / n_trials >= 0.93).all(), hits
    assert (hits / n_trials <= 0.98).all(), hits
