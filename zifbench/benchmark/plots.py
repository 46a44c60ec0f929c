"""Pictures of a result: parity plots and error bars, as data URLs for a self-contained page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zifbench.benchmark.result import Measurement
from zifbench.frames import FloatArray, Frames
from zifbench.potentials.core import Prediction
from zifbench.units import EV_PER_A3_IN_GPA, MEV_PER_EV

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 200_000
_FEW_POINTS = 2_000  # up to here each point is drawn, beyond it a density
_INK = "#1f3a5f"
_ACCENT = "#c8553d"
_PNG_URL = "data:image/png;base64,"


@dataclass(frozen=True)
class Parity:
    """Reference and prediction of one quantity, in the unit of the plot."""

    title: str
    unit: str
    reference: FloatArray
    predicted: FloatArray


def parity_data(
    chunks: Iterable[tuple[Frames, Prediction]], *, seed: int, n_values: int
) -> list[Parity]:
    """Values for the parity plots; of very many a random part, the same for the same seed.

    Args:
        chunks: Frames and their predictions.
        seed: Of the random part.
        n_values: Force components in all chunks together, to know which part to keep.
    """
    rng = np.random.default_rng(seed)
    keep = min(1.0, MAX_POINTS / max(1, n_values))
    columns: dict[str, list[tuple[FloatArray, FloatArray]]] = {
        "energy": [],
        "force": [],
        "stress": [],
    }
    for frames, prediction in chunks:
        if frames.energy is not None:
            n = frames.n_atoms
            columns["energy"].append((frames.energy / n, prediction.energy / n))
        if frames.forces is not None:
            chosen = rng.random(frames.forces.shape) < keep
            columns["force"].append((frames.forces[chosen], prediction.forces[chosen]))
        if frames.stress is not None and prediction.stress is not None:
            rows, cols = np.triu_indices(3)
            pair = frames.stress[:, rows, cols].ravel(), prediction.stress[:, rows, cols].ravel()
            given = np.isfinite(pair[0])
            columns["stress"].append((pair[0][given], pair[1][given]))
    return [
        _parity(kind, *(np.concatenate(side) for side in zip(*pairs, strict=True)))
        for kind, pairs in columns.items()
        if pairs
    ]


def _parity(kind: str, reference: FloatArray, predicted: FloatArray) -> Parity:
    if kind == "energy":
        # The total carries the arbitrary zero of the code; its mean is taken away from both.
        zero = reference.mean()
        return Parity(
            "Energy per atom, relative to the mean",
            "meV/atom",
            (reference - zero) * MEV_PER_EV,
            (predicted - zero) * MEV_PER_EV,
        )
    if kind == "force":
        return Parity("Force components", "eV/Å", reference, predicted)
    factor = EV_PER_A3_IN_GPA
    return Parity("Stress components (tension > 0)", "GPa", reference * factor, predicted * factor)


def draw_parity(parities: Sequence[Parity]) -> str:
    """The parity plots side by side, as a data URL."""
    figure = new_figure(4.1 * len(parities), 3.9)
    for column, parity in enumerate(parities, start=1):
        axes = figure.add_subplot(1, len(parities), column)
        _draw_one_parity(axes, parity)
    return data_url(figure)


def _draw_one_parity(axes: Axes, parity: Parity) -> None:
    both = np.concatenate([parity.reference, parity.predicted])
    low, high = float(both.min()), float(both.max())
    margin = 0.05 * (high - low or 1.0)
    ends = (low - margin, high + margin)
    if len(parity.reference) <= _FEW_POINTS:
        axes.plot(parity.reference, parity.predicted, "o", ms=5, mew=0, color=_INK, alpha=0.7)
    else:
        axes.hexbin(
            parity.reference,
            parity.predicted,
            gridsize=70,
            bins="log",
            mincnt=1,
            extent=(*ends, *ends),
            cmap="viridis",
        )
    axes.plot(ends, ends, lw=0.8, color=_ACCENT)
    axes.set(xlim=ends, ylim=ends, aspect="equal", title=parity.title)
    axes.set_xlabel(f"reference, {parity.unit}")
    axes.set_ylabel(f"model, {parity.unit}")


def draw_bars(measurements: Sequence[Measurement], *, key: str, title: str) -> str:
    """Horizontal bars with intervals, one for each value of the subset `key`, as a data URL."""
    names = [m.subset[key] for m in measurements]
    values = np.array([m.value for m in measurements])
    figure = new_figure(6.2, 0.9 + 0.38 * len(names))
    axes = figure.add_subplot()
    rows = np.arange(len(names))
    axes.barh(rows, values, color=_INK, height=0.62, alpha=0.85)
    for row, measurement in zip(rows, measurements, strict=True):
        if measurement.interval_95 is not None:
            axes.plot(
                measurement.interval_95, (row, row), color=_ACCENT, lw=2, solid_capstyle="butt"
            )
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set(title=title, xlabel=measurements[0].unit)
    return data_url(figure)


def new_figure(width: float, height: float) -> Figure:
    """A figure outside pyplot, which keeps no window and no state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def data_url(figure: Figure) -> str:
    """The figure as PNG within a URL, for a page that needs no other file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return png_url(buffer.getvalue())


def png_url(png: bytes) -> str:
    """A PNG within a URL."""
    return _PNG_URL + base64.b64encode(png).decode()


def png_of(url: str) -> bytes:
    """The PNG of such a URL."""
    return base64.b64decode(url.removeprefix(_PNG_URL))
