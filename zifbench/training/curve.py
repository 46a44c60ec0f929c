"""Learning curves: a CSV file with a row for each epoch, and a picture of several of them.

Errors are in eV (per atom), eV/Å and eV/Å³, losses in their weighted squares.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zifbench.errors import ResultError
from zifbench.files import write_text_atomically

CURVE_FILE = "curve.csv"
Row = dict[str, Any]
_WHOLE = ("epoch", "step")


def write_curve(path: Path, rows: Sequence[Row]) -> None:
    """Replace the file; floats with all their digits."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomically(path, text.getvalue())


def read_curve(path: Path) -> list[Row]:
    """Rows of a curve; none where there is no file yet.

    Raises:
        ResultError: not a curve of ours.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {k: int(v) if k in _WHOLE else float(v) for k, v in row.items()}
                for row in csv.DictReader(file)
            ]
    except (ValueError, TypeError) as error:
        raise ResultError(f"{path} is damaged ({error})") from error


def draw_learning_curves(curves: Mapping[str, Sequence[Row]], out: Path, title: str) -> None:
    """Losses and validation errors against epochs, every training a colour.

    Args:
        curves: Name of each training -> its rows, at least one.
        out: The picture, .png.
        title: Above it.
    """
    from zifbench.benchmark.plots import new_figure
    from zifbench.units import EV_PER_A3_IN_GPA, MEV_PER_EV

    panels = {
        "loss": ("loss", 1.0, ("train_loss", "validation_loss")),
        "energy, RMSE (meV/atom)": ("energy", MEV_PER_EV, ("validation_per_atom_energy_rmse",)),
        "forces, RMSE (meV/Å)": ("forces", MEV_PER_EV, ("validation_forces_rmse",)),
        "stress, RMSE (MPa)": (
            "stress",
            1000.0 * EV_PER_A3_IN_GPA,
            ("validation_stress_rmse",),
        ),
    }
    known = {name for rows in curves.values() for name in rows[0]}
    shown = {label: panel for label, panel in panels.items() if panel[2][-1] in known}
    figure = new_figure(4.2 * len(shown), 3.6)
    all_axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (label, (_, factor, names)) in zip(all_axes, shown.items(), strict=True):
        for k, (training, rows) in enumerate(curves.items()):
            for name in names:
                axes.plot(
                    [row["epoch"] + 1 for row in rows],
                    [factor * row[name] for row in rows],
                    color=_COLOURS[k % len(_COLOURS)],
                    linestyle=":" if name == "train_loss" else "-",
                    linewidth=1.2,
                    marker="o" if len(rows) == 1 else None,
                    label=f"{training}, {name.partition('_')[0]}" if label == "loss" else None,
                )
        axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
    all_axes[0].legend(fontsize=7, frameon=False)
    figure.suptitle(title, fontsize=10)
    temporary = out.with_name(f".{out.name}.tmp")
    figure.savefig(temporary, dpi=150, format="png")
    temporary.replace(out)


_COLOURS = ("#1f5fa8", "#c8553d", "#2f8f5b", "#8a5fb0", "#c99a1c", "#3aa6a6", "#7a4a2b")
