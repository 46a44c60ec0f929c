"""Pictures of a split: its energies, as in Fig. 3a of Castel et al. 2024, and its distances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from zifbench.benchmark.plots import data_url, new_figure
from zifbench.dataset.splits.manifest import Split
from zifbench.dataset.splits.pool import pool_of
from zifbench.dataset.store import Store
from zifbench.frames import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ALL = "all frames"
_COLOURS = {"train": "#1f5fa8", "validation": "#c99a1c", "test": "#c8553d"}
_GREY = "#c3ccd6"
_BINS = 40
_DECADES = 4  # shown below the greatest distance at most


def energies_of_split(store: Store, split: Split) -> dict[str, dict[str, FloatArray]]:
    """Energies in eV of all frames and of each subset, for each comparable group of trajectories.

    All frames means those of the trajectories that the split draws from.
    """
    used = sorted({name for rows in split.subsets.values() for name in rows})
    groups: dict[str, dict[str, list[FloatArray]]] = {}
    for trajectory in pool_of(store, names=used).trajectories:
        parts = groups.setdefault(trajectory.group, {})
        parts.setdefault(_ALL, []).append(trajectory.energy[np.isfinite(trajectory.energy)])
        for subset, rows in split.subsets.items():
            if trajectory.name in rows:
                parts.setdefault(subset, []).append(trajectory.energy[rows[trajectory.name]])
    return {
        group: {subset: np.concatenate(parts[subset]) for subset in parts}
        for group, parts in groups.items()
    }


def draw_energies(energies: Mapping[str, FloatArray]) -> str:
    """Densities of the energies, relative to the mean of all frames, as a data URL."""
    zero = float(energies[_ALL].mean())
    edges = np.histogram_bin_edges(energies[_ALL] - zero, bins=_BINS)
    figure = new_figure(6.6, 3.6)
    axes: Axes = figure.add_subplot()
    for subset, values in energies.items():
        density = np.histogram(values - zero, bins=edges)[0] / len(values) / np.diff(edges)
        label = f"{subset} ({len(values)})"
        if subset == _ALL:
            axes.stairs(density, edges, fill=True, color=_GREY, label=label)
        else:
            # What nearly equals all frames is seen as dashes on their outline.
            style = "--" if subset == "validation" else "-"
            axes.stairs(density, edges, color=_COLOURS.get(subset), ls=style, lw=1.5, label=label)
    axes.set(
        xlabel=f"energy relative to the mean of all frames, {zero:.3f} eV, in eV",
        ylabel="density, 1/eV",
    )
    axes.legend(fontsize=8)
    return data_url(figure)


def draw_distances(distances: Mapping[str, tuple[FloatArray, float | None]]) -> str:
    """Shares of frames whose nearest training frame is nearer than x, as a data URL.

    Args:
        distances: Unit -> distances and the limit to mark, or None.
    """
    figure = new_figure(4.0 * len(distances), 3.2)
    for column, (unit, (values, limit)) in enumerate(distances.items(), start=1):
        axes: Axes = figure.add_subplot(1, len(distances), column)
        ordered = np.sort(values)
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        axes.step(ordered, 100.0 * share, where="post", color=_COLOURS["train"], lw=1.4)
        positive = ordered[ordered > 0.0]
        if len(positive) and positive[-1] > 10.0 * positive[0]:
            axes.set_xscale("log")
            axes.set_xlim(left=max(positive[0] / 2.0, positive[-1] / 10.0**_DECADES))
        else:
            axes.set_xlim(left=0.0)
        if limit is not None:
            axes.axvline(limit, color=_COLOURS["test"], lw=1.0, ls="--")
            axes.annotate(
                "independent beyond", (limit, 50.0), xytext=(4, 0), textcoords="offset points",
                rotation=90, va="center", fontsize=7, color=_COLOURS["test"],
            )  # fmt: skip
        axes.set(xlabel=f"nearest training frame, {unit}", ylim=(0.0, 103.0))
        axes.set_ylabel("share of frames that are nearer, %" if column == 1 else "")
    return data_url(figure)
