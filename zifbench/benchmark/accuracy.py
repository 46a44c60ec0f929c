"""Accuracy: errors of energy, forces and stress against the labels of held-out frames.

The paper's figures (Castel et al. 2024, Table 1): mean absolute errors per atom, per force
component and per stress component. Every frame is reduced to sums of errors and counts, so memory
grows by a few numbers a frame only, and intervals come from resampling whole frames.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zifbench.analysis.bootstrap import FEW_SAMPLES, bootstrap_ratio
from zifbench.benchmark.result import Measurement, Outlier
from zifbench.errors import DataError
from zifbench.frames import MEAN_STRESS_ONLY, FloatArray, Frames, IntArray
from zifbench.potentials.core import Prediction
from zifbench.units import EV_PER_A3_IN_MPA, MEV_PER_EV

Mask = npt.NDArray[np.bool_]  # one entry a frame

REFERENCE = "labels of the frames"
N_OUTLIERS = 10
OFFSET_FRAMES = 3
_FORCE_SUMS = ("force_abs", "force_sq", "force_ref_sq", "force_count")
_STRESS_SUMS = ("stress_abs", "stress_sq", "stress_count")
_UPPER = np.triu_indices(3)  # the six independent components of a symmetric tensor


@dataclass(frozen=True, eq=False)
class FrameErrors:
    """Sums over each of T frames; units eV, Å. Rows that a frame has no label for are NaN or 0.

    Attributes:
        n_atoms: Atoms of each frame, shape (T,).
        energy: Predicted minus reference energy per atom, shape (T,), NaN without label.
        elements: Atomic numbers of the K elements, in the order of the columns below.
        force_abs: Σ |ΔF| over the components of each element, shape (T, K).
        force_sq: Σ ΔF² likewise.
        force_ref_sq: Σ F² of the reference likewise.
        force_count: Number of components likewise, 0 without label.
        stress_abs: Σ |Δσ| over the given components of the upper triangle, shape (T,).
        stress_sq: Σ Δσ² likewise.
        stress_count: Number of given components, shape (T,).
        pressure: Predicted minus reference pressure, shape (T,), NaN where a diagonal component
            is missing.
        formula: Composition of each frame.
        group: Phase or trajectory of each frame.
        worst: The frames and the atoms with the largest force errors.
    """

    n_atoms: IntArray
    elements: IntArray
    energy: FloatArray
    force_abs: FloatArray
    force_sq: FloatArray
    force_ref_sq: FloatArray
    force_count: FloatArray
    stress_abs: FloatArray
    stress_sq: FloatArray
    stress_count: FloatArray
    pressure: FloatArray
    formula: tuple[str, ...]
    group: tuple[str, ...]
    worst: tuple[Outlier, ...]

    def __len__(self) -> int:
        return len(self.n_atoms)


def check_labelled(data: Sequence[Frames]) -> None:
    """Refuse data with nothing to compare with.

    Raises:
        DataError: not a single frame has an energy, forces or stress.
    """
    if not any(f.energy is not None or f.forces is not None or f.stress is not None for f in data):
        sources = ", ".join(dict.fromkeys(f.source for f in data))
        raise DataError(
            f"no frame of {sources} has a reference energy, forces or stress; the accuracy task "
            "needs labels under ASE's names (energy, forces, stress)"
        )


# -- reduction to sums --------------------------------------------------------------------------


def frame_errors(
    frames: Frames, prediction: Prediction, *, elements: IntArray, group_key: str
) -> FrameErrors:
    """Errors of some frames, reduced to sums.

    Args:
        frames: T frames with at least one kind of label.
        prediction: What the potential gives for them.
        elements: Sorted atomic numbers of the whole data set.
        group_key: Label that names the phase or trajectory; the source where it is absent.
    """
    t = len(frames)
    nan = np.full(t, np.nan)
    energy = nan if frames.energy is None else (prediction.energy - frames.energy) / frames.n_atoms
    return FrameErrors(
        n_atoms=np.full(t, frames.n_atoms),
        elements=elements,
        energy=energy,
        **_force_sums(frames, prediction, elements),
        **_stress_sums(frames, prediction),
        formula=(frames.formula,) * t,
        group=tuple(frames.labels.get(group_key, (frames.source,) * t)),
        worst=(*_worst_frames(frames, prediction), *_worst_atoms(frames, prediction)),
    )


def _force_sums(
    frames: Frames, prediction: Prediction, elements: IntArray
) -> dict[str, FloatArray]:
    """Σ|ΔF|, ΣΔF², ΣF² and counts by element, each (T, K)."""
    if frames.forces is None:
        return {name: np.zeros((len(frames), len(elements))) for name in _FORCE_SUMS}
    difference = prediction.forces - frames.forces
    one_hot = (frames.numbers[:, None] == elements).astype(float)
    per_atom = (np.abs(difference), difference**2, frames.forces**2, np.ones_like(difference))
    sums = (values.sum(axis=2) @ one_hot for values in per_atom)
    return dict(zip(_FORCE_SUMS, sums, strict=True))


def _stress_sums(frames: Frames, prediction: Prediction) -> dict[str, FloatArray]:
    """Σ|Δσ|, ΣΔσ² and counts over the given components, and the pressure error, each (T,)."""
    t = len(frames)
    if frames.stress is None or prediction.stress is None:
        return dict.fromkeys(_STRESS_SUMS, np.zeros(t)) | {"pressure": np.full(t, np.nan)}
    difference = prediction.stress - frames.stress
    upper = difference[:, _UPPER[0], _UPPER[1]]
    only_mean = MEAN_STRESS_ONLY in frames.info.get("stress_components", "")
    given = np.isfinite(upper) & (not only_mean)
    upper = np.where(given, upper, 0.0)
    pressure = -np.trace(difference, axis1=1, axis2=2) / 3
    sums = (np.abs(upper).sum(1), (upper**2).sum(1), given.sum(1).astype(float))
    return dict(zip(_STRESS_SUMS, sums, strict=True)) | {"pressure": pressure}


def _worst_frames(frames: Frames, prediction: Prediction) -> list[Outlier]:
    if frames.forces is None:
        return []
    rmse = np.sqrt(((prediction.forces - frames.forces) ** 2).mean(axis=(1, 2)))
    scale = np.sqrt((frames.forces**2).mean(axis=(1, 2)))
    return [
        Outlier(
            kind="frame",
            frame=frames.where(int(row)),
            error=float(rmse[row]) * MEV_PER_EV,
            unit="meV/Å",
            reference=float(scale[row]) * MEV_PER_EV,
        )
        for row in np.argsort(rmse)[::-1][:N_OUTLIERS]
    ]


def _worst_atoms(frames: Frames, prediction: Prediction) -> list[Outlier]:
    if frames.forces is None:
        return []
    error = np.linalg.norm(prediction.forces - frames.forces, axis=2)
    flat = np.argsort(error, axis=None)[::-1][:N_OUTLIERS]
    worst = []
    for row, atom in zip(*np.unravel_index(flat, error.shape), strict=True):
        worst.append(
            Outlier(
                kind="atom",
                frame=frames.where(int(row)),
                atom=int(atom),
                element=frames.symbols[atom],
                error=float(error[row, atom]) * MEV_PER_EV,
                unit="meV/Å",
                reference=float(np.linalg.norm(frames.forces[row, atom])) * MEV_PER_EV,
            )
        )
    return worst


def join_errors(parts: Sequence[FrameErrors]) -> FrameErrors:
    """Errors of several sets of frames as one."""
    texts = ("formula", "group")
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in FrameErrors.__dataclass_fields__
        if name not in (*texts, "elements", "worst")
    }
    joined = {name: tuple(x for part in parts for x in getattr(part, name)) for name in texts}
    worst = tuple(
        outlier
        for kind in ("frame", "atom")
        for outlier in heapq.nlargest(
            N_OUTLIERS,
            (o for part in parts for o in part.worst if o.kind == kind),
            key=lambda o: o.error,
        )
    )
    return FrameErrors(**arrays, **joined, elements=parts[0].elements, worst=worst)  # type: ignore[arg-type]


# -- sums to measurements -----------------------------------------------------------------------


def accuracy_measurements(errors: FrameErrors, *, seed: int) -> list[Measurement]:
    """All measurements of the accuracy task: overall, per element, per phase or trajectory."""
    everything = np.ones(len(errors), dtype=bool)
    found = _energies(errors, everything, {}, seed)
    found += _energies_without_offset(errors, seed)
    found += _forces(errors, everything, {}, seed)
    found += _stresses(errors, everything, {}, seed)
    found += _by_element(errors, seed)
    groups = list(dict.fromkeys(errors.group))
    if len(groups) > 1:
        for name in groups:
            rows = np.array([group == name for group in errors.group])
            subset = {"phase": name}
            found += _energies(errors, rows, subset, seed)
            found += _forces(errors, rows, subset, seed)
            found += _stresses(errors, rows, subset, seed)
    return found


def accuracy_gaps(errors: FrameErrors, *, has_stress: bool) -> list[str]:
    """What was left out of the scores, in words."""
    t = len(errors)
    gaps = []
    without_energy = int(np.isnan(errors.energy).sum())
    without_forces = int((errors.force_count.sum(axis=1) == 0).sum())
    if without_energy:
        gaps.append(f"{without_energy} of {t} frames have no reference energy")
    if without_forces:
        gaps.append(f"{without_forces} of {t} frames have no reference forces")
    if not has_stress:
        gaps.append("stress is not scored: the model gives none")
    else:
        missing = int(6 * t - errors.stress_count.sum())
        if missing:
            gaps.append(
                f"{missing} of {6 * t} stress components have no reference value, not scored"
            )
    few = [f for f in dict.fromkeys(errors.formula) if errors.formula.count(f) < OFFSET_FRAMES]
    if few:
        gaps.append(
            f"no energy offset is removed for {', '.join(few)}: fewer than {OFFSET_FRAMES} frames, "
            "whose offset would be their error"
        )
    if t < FEW_SAMPLES:
        gaps.append(f"few frames ({t}): the 95 % intervals are wide, or missing for a single one")
    return gaps


def _energies(
    errors: FrameErrors, rows: Mask, subset: dict[str, str], seed: int
) -> list[Measurement]:
    values = errors.energy[rows & np.isfinite(errors.energy)]
    ones = np.ones_like(values)
    return _mae_rmse(
        "energy", np.abs(values), values**2, ones, "meV/atom", MEV_PER_EV, subset, seed
    )


def _forces(
    errors: FrameErrors,
    rows: Mask,
    subset: dict[str, str],
    seed: int,
    columns: slice | int = slice(None),
) -> list[Measurement]:
    def total(sums: FloatArray) -> FloatArray:
        return np.asarray(sums[:, columns].reshape(len(sums), -1).sum(axis=1))

    count = total(errors.force_count)
    rows = rows & (count > 0)
    found = _mae_rmse(
        "force",
        total(errors.force_abs)[rows],
        total(errors.force_sq)[rows],
        count[rows],
        "meV/Å",
        MEV_PER_EV,
        subset,
        seed,
    )
    if found:
        scale = float(np.sqrt(total(errors.force_ref_sq)[rows].sum() / count[rows].sum()))
        found.append(
            Measurement(
                quantity="force_rms_reference",
                value=scale * MEV_PER_EV,
                unit="meV/Å",
                subset=subset,
                n=int(rows.sum()),
                n_of="frames",
            )
        )
    return found


def _by_element(errors: FrameErrors, seed: int) -> list[Measurement]:
    from ase.data import chemical_symbols

    everything = np.ones(len(errors), dtype=bool)
    found: list[Measurement] = []
    for column, z in enumerate(errors.elements):
        found += _forces(errors, everything, {"element": chemical_symbols[z]}, seed, column)
    return found


def _stresses(
    errors: FrameErrors, rows: Mask, subset: dict[str, str], seed: int
) -> list[Measurement]:
    scored = rows & (errors.stress_count > 0)
    found = _mae_rmse(
        "stress",
        errors.stress_abs[scored],
        errors.stress_sq[scored],
        errors.stress_count[scored],
        "MPa",
        EV_PER_A3_IN_MPA,
        subset,
        seed,
    )
    pressure = errors.pressure[rows & np.isfinite(errors.pressure)]
    if len(pressure):
        ends = bootstrap_ratio(pressure[:, None], np.ones((len(pressure), 1)), seed=seed)
        found.append(
            _measurement(
                "pressure_bias",
                float(pressure.mean()),
                None if ends is None else ends[0],
                "MPa",
                EV_PER_A3_IN_MPA,
                subset,
                len(pressure),
            )
        )
    return found


def _mae_rmse(
    name: str,
    absolute: FloatArray,
    square: FloatArray,
    count: FloatArray,
    unit: str,
    factor: float,
    subset: dict[str, str],
    seed: int,
    suffix: str = "",
) -> list[Measurement]:
    """Mean absolute and root mean square error from the sums of each frame."""
    n = len(count)
    if n == 0:
        return []
    mae = float(absolute.sum() / count.sum())
    mse = float(square.sum() / count.sum())
    sums = np.stack([absolute, square], axis=1)
    ends = bootstrap_ratio(sums, np.stack([count, count], axis=1), seed=seed, lowest=0.0)
    mae_ends, rmse_ends = (None, None) if ends is None else (ends[0], np.sqrt(ends[1]))
    return [
        _measurement(f"{name}_mae{suffix}", mae, mae_ends, unit, factor, subset, n),
        _measurement(
            f"{name}_rmse{suffix}", float(np.sqrt(mse)), rmse_ends, unit, factor, subset, n
        ),
    ]


def _energies_without_offset(errors: FrameErrors, seed: int) -> list[Measurement]:
    """Energy errors after the mean error of each composition is taken away.

    Two codes or versions differ by a constant per composition (2.71 meV/atom between CP2K 2.5.1
    and 4.1 for ZIF-4), which no physical result depends on. Compositions with fewer than three
    frames are left out: their offset would be their error. The offset is fitted once, not in every
    resample: resamples of few frames would fit their errors away. Its own uncertainty stands in
    the interval of `energy_offset`.
    """
    labelled = np.isfinite(errors.energy)
    formulas = np.array(errors.formula)
    members = [
        rows
        for formula in dict.fromkeys(errors.formula)
        if (rows := labelled & (formulas == formula)).sum() >= OFFSET_FRAMES
    ]
    if not members:
        return []
    residuals = np.concatenate([errors.energy[r] - errors.energy[r].mean() for r in members])
    found = _mae_rmse(
        "energy",
        np.abs(residuals),
        residuals**2,
        np.ones_like(residuals),
        "meV/atom",
        MEV_PER_EV,
        {},
        seed,
        suffix="_offset_removed",
    )
    for rows in members:
        subset = {"composition": str(formulas[rows][0])} if len(members) > 1 else {}
        part = errors.energy[rows]
        ends = bootstrap_ratio(part[:, None], np.ones((len(part), 1)), seed=seed)
        found.append(
            _measurement(
                "energy_offset",
                float(part.mean()),
                None if ends is None else ends[0],
                "meV/atom",
                MEV_PER_EV,
                subset,
                len(part),
            )
        )
    return found


def _measurement(
    quantity: str,
    value: float,
    ends: FloatArray | None,
    unit: str,
    factor: float,
    subset: dict[str, str],
    n: int,
) -> Measurement:
    interval = None
    if ends is not None and np.isfinite(ends).all():
        interval = (float(ends[0]) * factor, float(ends[1]) * factor)
    return Measurement(
        quantity=quantity,
        value=float(value) * factor,
        unit=unit,
        subset=subset,
        interval_95=interval,
        n=n,
        n_of="frames",
        reference=REFERENCE,
    )
