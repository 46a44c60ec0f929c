"""X-ray total scattering F(Q) and D(r) of frames, to lay over a measured curve. Not a score.

The normalisation is the published experiment's: divided by Σ c f², not by (Σ c f)². Its scale is
known to about 20 %, its distances to 1–2 %, so `fit_scale_and_stretch` frees both.

Source: Keen, J. Appl. Cryst. 34 (2001) 172; Soper and Barney, J. Appl. Cryst. 44 (2011) 714.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.optimize

from zifbench.analysis.checks import inverse_cell
from zifbench.analysis.rdf import histogram_kernel
from zifbench.errors import DataError, NotDefinedError, unknown_name
from zifbench.frames import FloatArray, Frames

# f(s) = Σ a exp(-b s²) + c, s = Q/4π: a1 b1 a2 b2 a3 b3 a4 b4 c. International Tables for
# Crystallography C (2006), table 6.1.1.4, free atoms (Hartree–Fock), good to Q = 25 Å⁻¹.
_FORM_FACTORS = {
    "H": (0.489918, 20.6593, 0.262003, 7.74039, 0.196767, 49.5519, 0.049879, 2.20159, 0.001305),
    "C": (2.31, 20.8439, 1.02, 10.2075, 1.5886, 0.5687, 0.865, 51.6512, 0.2156),
    "N": (12.2126, 0.0057, 3.1322, 9.8933, 2.0125, 28.9975, 1.1663, 0.5826, -11.529),
    "Zn": (14.0743, 3.2655, 7.0318, 0.2333, 5.1652, 10.3163, 2.41, 58.7097, 1.3041),
}
_Q_LIMIT_PER_A = 25.2


@dataclass(frozen=True)
class PairDistributions:
    """All partial pair distributions of some frames; E elements, B bins.

    Attributes:
        symbols: The elements, in alphabetical order.
        fractions: Share of each element among the atoms, shape (E,).
        density_per_A3: Atoms per Å³.
        r_A: Centres of the bins, shape (B,).
        g: Partials g_ab(r), symmetric, shape (E, E, B); 1 far away in a disordered system.
        n_frames: Number of frames averaged.
    """

    symbols: tuple[str, ...]
    fractions: FloatArray
    density_per_A3: float
    r_A: FloatArray
    g: FloatArray
    n_frames: int


@dataclass(frozen=True)
class ScaleAndStretch:
    """A curve laid over a measured one: measured(r) ≈ scale · curve(r / stretch).

    Attributes:
        scale: Factor on the values.
        stretch: Factor on the distances.
        correlation: Correlation coefficient in the window after the fit.
        correlation_before: The same with stretch = 1.
    """

    scale: float
    stretch: float
    correlation: float
    correlation_before: float


def form_factors(symbols: Sequence[str], q_per_A: npt.ArrayLike) -> FloatArray:
    """X-ray form factors f(Q) of free atoms in electrons, shape (E, Q).

    Raises:
        UnknownNameError: an element that is not in the table (H, C, N, Zn).
        NotDefinedError: a Q beyond 25 Å⁻¹, where the table ends.
    """
    q = np.asarray(q_per_A, dtype=float)
    if len(q) and (q.min() < 0.0 or q.max() > _Q_LIMIT_PER_A):
        raise NotDefinedError(
            f"form factors: Q from {q.min():g} to {q.max():g} 1/Å, wanted 0 to 25, the range of "
            "the table"
        )
    for symbol in symbols:
        if symbol not in _FORM_FACTORS:
            raise unknown_name("form factor", symbol, _FORM_FACTORS)
    table = np.array([_FORM_FACTORS[symbol] for symbol in symbols])
    a, b, c = table[:, 0:8:2], table[:, 1:8:2], table[:, 8]
    s_squared = (q / (4.0 * np.pi)) ** 2
    terms = a[:, :, None] * np.exp(-b[:, :, None] * s_squared)
    return np.asarray(terms.sum(1) + c[:, None], dtype=float)


def pair_distributions(
    frames: Frames | Iterable[Frames], *, r_max_A: float = 20.0, bin_width_A: float = 0.01
) -> PairDistributions:
    """All partial pair distributions at once, over all periodic images.

    g_ab(r) = ⟨V n_ab⟩ / (N_a N_b 4π r² dr with its exact shell volume), n_ab counting ordered
    pairs. `r_max_A` may exceed the cell: beyond half of it the periodic images correlate, which
    a picture of a 15 Å box has to live with.

    Args:
        frames: T frames, or pieces of them one after another; every piece of the same composition.
        r_max_A: End of the last bin.
        bin_width_A: Width of a bin.

    Raises:
        NotDefinedError: no frames, or a frame without a periodic cell.
        DataError: pieces of different composition, or bins that do not fit.
    """
    n_bins = round(r_max_A / bin_width_A) if bin_width_A > 0.0 else 0
    if n_bins < 1 or abs(n_bins * bin_width_A - r_max_A) > 1.0e-9 * r_max_A:
        raise DataError(f"bins of {bin_width_A} Å do not divide {r_max_A} Å; change one of them")
    total: _Total | None = None
    for piece in [frames] if isinstance(frames, Frames) else frames:
        symbols, kinds, fractions = _composition(piece)
        if total is None:
            total = _Total(symbols, fractions, np.zeros((len(symbols), len(symbols), n_bins)))
        if symbols != total.symbols or not np.allclose(fractions, total.fractions):
            raise DataError(f"pair distributions: {piece.source} has another composition")
        _check(piece)
        weighted, table = np.zeros_like(total.pairs), np.full((len(symbols),) * 2, r_max_A)
        histogram_kernel(
            piece.positions, piece.cell, inverse_cell(piece.cell), kinds, table, piece.volume,
            np.zeros_like(weighted), weighted,
        )  # fmt: skip
        total.pairs += weighted / piece.n_atoms**2
        total.volume_per_atom += float(piece.volume.sum()) / piece.n_atoms
        total.n_frames += len(piece)
    if total is None or not total.n_frames:
        raise NotDefinedError("pair distributions: no frames")
    return _distributions(total, np.arange(n_bins + 1, dtype=float) * bin_width_A)


@dataclass
class _Total:
    """Running sums over frames."""

    symbols: tuple[str, ...]
    fractions: FloatArray
    pairs: FloatArray
    volume_per_atom: float = 0.0
    n_frames: int = 0


def _distributions(total: _Total, edges: FloatArray) -> PairDistributions:
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    fractions = np.outer(total.fractions, total.fractions)[:, :, None]
    return PairDistributions(
        symbols=total.symbols,
        fractions=total.fractions,
        density_per_A3=total.n_frames / total.volume_per_atom,
        r_A=0.5 * (edges[1:] + edges[:-1]),
        g=total.pairs / (fractions * shells * total.n_frames),
        n_frames=total.n_frames,
    )


def _composition(frames: Frames) -> tuple[tuple[str, ...], npt.NDArray[np.int64], FloatArray]:
    """Elements, the element's number of each atom, and shares."""
    symbols, kinds = np.unique(np.array(frames.symbols), return_inverse=True)
    shares = np.bincount(kinds) / frames.n_atoms
    return tuple(str(s) for s in symbols), kinds.astype(np.int64), shares


def _check(frames: Frames) -> None:
    """Refuse frames without a cell or with NaN."""
    for row in range(len(frames)):
        if not frames.pbc.all() or not frames.volume[row] >= 1.0e-6:
            raise NotDefinedError(
                f"pair distributions: no periodic cell in {frames.where(row)}, so no density"
            )
        if not np.isfinite(frames.positions[row]).all():
            raise DataError(f"positions: NaN or infinite in {frames.where(row)}")


def structure_factor(pairs: PairDistributions, *, q_per_A: npt.ArrayLike) -> FloatArray:
    """X-ray F(Q), shape (Q,), electron units removed.

    F(Q) = Σ_ab c_a c_b f_a f_b 4πρ ∫ r² [g_ab - 1] sin(Qr)/(Qr) w(r) dr / Σ_a c_a f_a², with the
    window w(r) = sin(πr/r_max)/(πr/r_max), which stands for the end of the data.

    Args:
        pairs: Partial distributions; their last bin sets r_max.
        q_per_A: Positive wave numbers, shape (Q,).

    Raises:
        UnknownNameError: an element without form factor.
        NotDefinedError: a Q that is not positive or beyond the form factors.
    """
    q = np.asarray(q_per_A, dtype=float)
    if not (q > 0.0).all():
        raise NotDefinedError("structure factor: Q = 0 is not defined, wanted positive values")
    f = form_factors(pairs.symbols, q)
    r, width = pairs.r_A, pairs.r_A[1] - pairs.r_A[0]
    kernel = np.sinc(q[:, None] * r / np.pi) * (r**2 * np.sinc(r / (r[-1] + 0.5 * width)) * width)
    partial = np.einsum("abr,qr->abq", pairs.g - 1.0, kernel, optimize=True)
    weighted = pairs.fractions[:, None] * f
    total = np.einsum("aq,bq,abq->q", weighted, weighted, partial)
    return np.asarray(
        4.0 * np.pi * pairs.density_per_A3 * total / (weighted * f).sum(0), dtype=float
    )


def differential_correlation(
    q_per_A: npt.ArrayLike, f_q: npt.ArrayLike, *, r_A: npt.ArrayLike, width_A: float = 0.10
) -> FloatArray:
    """D(r) = (2/π) ∫ Q F(Q) M(QΔ) sin(Qr) dQ with the revised Lorch function, shape (R,).

    M(x) = 3 (sin x - x cos x)/x³. The published D(r) has Δ = 0.10 Å.

    Args:
        q_per_A: Wave numbers, rising and positive, shape (Q,).
        f_q: F(Q), shape (Q,).
        r_A: Distances, shape (R,).
        width_A: Δ.

    Raises:
        DataError: arrays that do not fit or a Q that does not rise.
    """
    q, f = (np.asarray(x, dtype=float) for x in (q_per_A, f_q))
    if q.shape != f.shape or q.ndim != 1 or len(q) < 2 or not (np.diff(q) > 0.0).all():
        raise DataError(
            f"D(r): Q of shape {q.shape} and F of shape {f.shape}, wanted the same, Q rising"
        )
    integrand = q * f * _lorch(q * width_A)
    waves = np.sin(np.asarray(r_A, dtype=float)[:, None] * q)
    return np.asarray(2.0 / np.pi * np.trapezoid(waves * integrand, q, axis=1), dtype=float)


def _lorch(x: FloatArray) -> FloatArray:
    """3 (sin x - x cos x)/x³, by its series where that would cancel."""
    small = np.abs(x) < 1.0e-2
    safe = np.where(small, 1.0, x)
    full = 3.0 * (np.sin(safe) - safe * np.cos(safe)) / safe**3
    return np.asarray(np.where(small, 1.0 - x**2 / 10.0, full), dtype=float)


def fit_scale_and_stretch(
    r_A: npt.ArrayLike,
    curve: npt.ArrayLike,
    measured: npt.ArrayLike,
    *,
    window_A: tuple[float, float] = (1.15, 7.5),
    max_stretch: float = 0.05,
) -> ScaleAndStretch:
    """Lay a curve over a measured one on the same grid with one scale and one stretch.

    Args:
        r_A: Distances of both curves, rising, shape (R,).
        curve: Computed values, shape (R,).
        measured: Measured values, shape (R,).
        window_A: Distances compared.
        max_stretch: Largest |stretch - 1| tried.

    Raises:
        NotDefinedError: fewer than ten points in the window, or a curve that is flat there.
        DataError: shapes that differ.
    """
    r, own, other = (np.asarray(x, dtype=float) for x in (r_A, curve, measured))
    if not r.shape == own.shape == other.shape:
        raise DataError(f"curves: shapes {r.shape}, {own.shape}, {other.shape}, wanted one grid")
    inside = (r >= window_A[0]) & (r <= window_A[1])
    if inside.sum() < 10 or np.ptp(own[inside]) == 0.0 or np.ptp(other[inside]) == 0.0:
        raise NotDefinedError(
            f"scale and stretch: {int(inside.sum())} points between {window_A[0]} and "
            f"{window_A[1]} Å, wanted ten that vary"
        )

    def stretched(stretch: float) -> FloatArray:
        return np.asarray(np.interp(r[inside] / stretch, r, own), dtype=float)

    def correlation(stretch: float) -> float:
        return float(np.corrcoef(stretched(stretch), other[inside])[0, 1])

    trial = np.linspace(1.0 - max_stretch, 1.0 + max_stretch, 101)
    best = trial[int(np.argmax([correlation(s) for s in trial]))]
    step = trial[1] - trial[0]
    fine = scipy.optimize.minimize_scalar(
        lambda s: -correlation(s), bounds=(best - step, best + step), method="bounded"
    )
    fitted = stretched(float(fine.x))
    return ScaleAndStretch(
        scale=float(fitted @ other[inside] / (fitted @ fitted)),
        stretch=float(fine.x),
        correlation=-float(fine.fun),
        correlation_before=correlation(1.0),
    )
