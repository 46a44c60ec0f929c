"""X-ray F(Q) and D(r) as `analyse` shows them: beside a measured curve, unscored."""

from __future__ import annotations

from functools import partial

import numpy as np

from zifbench.analysis.checks import checked_chunks
from zifbench.analysis.observation import Curve, Measured, Observation, Reading, Settings
from zifbench.analysis.scattering import (
    differential_correlation,
    fit_scale_and_stretch,
    pair_distributions,
    structure_factor,
)
from zifbench.frames import FloatArray, Frames

# The published experiment's grids, for frames without a measured curve beside them.
_Q_PER_A = np.arange(0.6125, 24.0, 0.025)
_R_SHOWN_A = 12.0  # beyond, the cell of 15 Å shows its own periodicity
_R_A = np.arange(0.0, _R_SHOWN_A, 0.02)
_BIN_A = 0.02
_R_MAX_A = 20.0


def xray(frames: Frames, settings: Settings) -> Observation:
    """X-ray F(Q) and D(r) of the frames, on the grids of the measured curves."""
    for _ in checked_chunks(frames):
        continue
    measured = {curve.kind: curve for curve in settings.xray}
    pairs = pair_distributions(frames, r_max_A=_R_MAX_A, bin_width_A=_BIN_A)
    f_measured, d_measured = measured.get("F(Q)"), measured.get("D(r)")
    q = _Q_PER_A if f_measured is None else f_measured.x
    r = _R_A if d_measured is None else d_measured.x[d_measured.x <= _R_SHOWN_A]
    f_q = structure_factor(pairs, q_per_A=q)
    d_r = differential_correlation(q, f_q, r_A=r)
    return Observation(
        curves={
            "xray_f": Curve("F(Q), unscored", "Q, 1/Å", "F(Q)", q, f_q, measured=f_measured),
            "xray_d": Curve(
                "D(r), unscored", "r, Å", "D(r), 1/Å²", r, d_r, measured=d_measured,
                readings={} if d_measured is None else _readings(d_measured, r),
            ),
        }
    )  # fmt: skip


def _readings(measured: Measured, r_A: FloatArray) -> dict[str, Reading]:
    """How the computed D(r) lies over the measured one; the experiment's scale is free."""
    names = {
        "correlation": ("D(r) against the experiment, correlation (unscored)", ""),
        "scale": ("D(r), scale to the experiment (unscored)", ""),
        "stretch": ("D(r), stretch to the experiment (unscored)", ""),
    }
    other = measured.y[: len(r_A)]
    return {
        f"xray_{key}": Reading(title, unit, partial(_fitted, key, r_A, other))
        for key, (title, unit) in names.items()
    }


def _fitted(key: str, r_A: FloatArray, measured: FloatArray, curve: FloatArray) -> float:
    return float(getattr(fit_scale_and_stretch(r_A, curve, measured), key))
