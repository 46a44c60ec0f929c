import numpy as np
import pytest

from tests.analysis.synthetic import ar1
from zifbench.analysis.run_length import check_run_length
from zifbench.errors import DataError, NotDefinedError


def test_steady_runs_pass() -> None:
    verdicts = [check_run_length(x) for x in ar1(tau=5.0, n_frames=5000, n_series=200, seed=1)]
    assert np.mean([v.long_enough for v in verdicts]) > 0.97
    assert "independent frames of 5000, halves agree" in verdicts[0].reason


def test_a_drift_is_found_and_named() -> None:
    x = ar1(tau=5.0, n_frames=5000, n_series=1, seed=1)[0] + np.linspace(0.0, 2.0, 5000)
    verdict = check_run_length(x)
    assert verdict.long_enough is False
    assert verdict.drift > 3.0
    assert "the second half differs from the first by +" in verdict.reason


def test_few_independent_frames_are_not_enough() -> None:
    verdict = check_run_length(ar1(tau=50.0, n_frames=1000, n_series=1, seed=4)[0])
    assert verdict.long_enough is False
    assert "wanted 50" in verdict.reason


def test_a_standard_error_can_be_asked_for() -> None:
    x = ar1(tau=2.0, n_frames=5000, n_series=1, seed=4)[0]
    assert check_run_length(x, max_standard_error=0.1).long_enough
    assert "wanted 0.001" in check_run_length(x, max_standard_error=0.001).reason


def test_a_value_that_never_changes_gives_no_verdict() -> None:
    verdict = check_run_length(np.full(100, 4.0))
    assert verdict.long_enough is None
    assert "nothing to judge the length by" in verdict.reason


def test_a_step_between_two_constant_halves_is_a_drift() -> None:
    verdict = check_run_length(np.repeat([0.0, 1.0], 50))
    assert verdict.long_enough is False
    assert verdict.drift == np.inf


def test_bad_input() -> None:
    with pytest.raises(NotDefinedError, match="error of a mean: 5 frames"):
        check_run_length(np.arange(10.0))
    with pytest.raises(DataError, match="one number a frame"):
        check_run_length(np.ones((20, 2)))


def test_a_memory_that_does_not_end_says_so():
    """One slow wave: tau comes out as 1/2, which must not read as 4000 independent frames."""
    t = np.arange(4000)
    wave = np.sin(2 * np.pi * t / 700.0) + 0.3 * np.sin(2 * np.pi * t / 311.0)
    verdict = check_run_length(wave)
    assert verdict.long_enough is False
    assert "does not end within a fifth of its 4000 frames" in verdict.reason
    assert "are 4000.0 independent ones" not in verdict.reason
