"""The dataset card: what the columns mean, whose data it is, and which version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zifbench import __version__
from zifbench.dataset.export.selection import Selection

CARD_FILE = "README.md"

# Column -> unit and meaning, in the order of the card.
COLUMNS: dict[str, tuple[str, str]] = {
    "trajectory": ("", "trajectory of the store that the frame is from"),
    "frame": ("", "number of the frame in that trajectory, from 0"),
    "numbers": ("", "atomic numbers"),
    "masses": ("amu", "masses that the dynamics used; not always the natural ones"),
    "pbc": ("", "periodicity along the three cell vectors"),
    "positions": ("Å", "Cartesian; may lie outside the cell"),
    "cell": ("Å", "cell vectors as rows"),
    "energy": ("eV", "total potential energy"),
    "forces": ("eV/Å", "forces on the atoms"),
    "stress": ("eV/Å³", "potential part of the stress, tension positive; NaN where not known"),
    "velocities": ("Å/fs", "velocities"),
    "step": ("", "number of the MD step"),
    "time_fs": ("fs", "time"),
}
# Identifiers of licences on the Hub.
_LICENCES = {"cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0", "mit", "apache-2.0"}
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))


def write_card(selection: Selection, directory: Path, data_files: str | None) -> None:
    """Write the card.

    Args:
        selection: What is exported.
        directory: Where the card goes.
        data_files: Pattern of the files of a subset with `{subset}` in it, for the Hub; None where
            the folder is no Hub repository.
    """
    parts = [
        _header(selection, data_files),
        f"# {selection.store_name}{_split_name(selection)}\n",
        _origin(selection),
        _sizes(selection),
        _columns(selection),
    ]
    (directory / CARD_FILE).write_text("\n".join(parts), encoding="utf-8")


def _header(selection: Selection, data_files: str | None) -> str:
    licences = [text.lower().replace(" ", "-") for text in selection.collected("licence")]
    known = licences[0] if len(licences) == 1 and licences[0] in _LICENCES else "other"
    size = next((name for limit, name in _SIZES if selection.n_frames < limit), "1M<n<10M")
    lines = ["---", f"license: {known if licences else 'unknown'}", "tags:", "- chemistry"]
    lines += ["- interatomic-potential", f"size_categories:\n- {size}"]
    if data_files is not None:
        lines += ["configs:", "- config_name: default", "  data_files:"]
        for subset in selection.subsets:
            path = data_files.format(subset=subset)
            lines += [f"  - split: {subset}", f"    path: {path}"]
    return "\n".join([*lines, "---", ""])


def _split_name(selection: Selection) -> str:
    return "" if selection.split is None else f", split {selection.split.name}"


def _origin(selection: Selection) -> str:
    rows = [
        ("store", selection.store_name),
        ("version", selection.store.version),
        ("licence", _joined(selection.collected("licence"))),
        ("cite", _joined(selection.collected("citation"))),
        ("source", _joined(selection.collected("source"))),
        ("level of theory", _joined(selection.collected("level_of_theory"))),
    ]
    components = selection.collected("stress_components")
    if components:  # of some sources not every component is the potential's alone
        rows.append(("components of the stress", _joined(components)))
    if selection.split is not None:
        split = selection.split
        parameters = ", ".join(f"{k} {v}" for k, v in split.parameters.items() if v is not None)
        rows.append(("split", f"{split.generator} with seed {split.seed}: {parameters}"))
        rows += [("", note) for note in split.notes]
    rows.append(("exported by", f"zifbench {__version__}"))
    return _table(("", ""), rows)


def _joined(texts: Sequence[str]) -> str:
    return "; ".join(texts) or "not stated in the store"


def _sizes(selection: Selection) -> str:
    rows = [
        (subset, trajectory.name, f"{len(selection.subsets[subset][trajectory.name])}",
         f"{trajectory.n_atoms}")
        for subset in selection.subsets
        for trajectory in selection.trajectories(subset)
    ]  # fmt: skip
    totals = ", ".join(f"{selection.count(s)} for {s}" for s in selection.subsets)
    title = f"## Frames\n\n{totals}.\n\n"
    return title + _table(("subset", "trajectory", "frames", "atoms"), rows)


def _columns(selection: Selection) -> str:
    fields = {"trajectory", "frame", "numbers", "masses", "pbc", *selection.fields()}
    rows = [(f"`{name}`", unit, text) for name, (unit, text) in COLUMNS.items() if name in fields]
    labels = dict.fromkeys(key for t in selection.trajectories() for key in t.labels)
    rows += [(f"`{key}`", "", "label of the frame") for key in labels]
    return "## Columns\n\n" + _table(("column", "unit", "meaning"), rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"
