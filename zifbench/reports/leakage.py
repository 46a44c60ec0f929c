"""`data leakage`: how much of the test set a model has all but seen.

    leakage.json   distributions of the distance to the nearest training frame; written last
    leakage.csv    a row a frame: its nearest training frame, and how far that is
    report.html    the same to look at, with the energy histograms of the split

It lies here and not in `dataset` because it needs both that room and `analysis`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from zifbench.benchmark.provenance import collect_provenance
from zifbench.dataset.splits.manifest import Split
from zifbench.dataset.store import Store
from zifbench.errors import ResultError, unknown_name
from zifbench.files import write_text_atomically, written_whole
from zifbench.frames import FloatArray
from zifbench.pages import write_page
from zifbench.progress import Progress, no_progress
from zifbench.reports.leakage_figures import draw_distances, draw_energies, energies_of_split
from zifbench.reports.leakage_record import LEAKAGE_FILE, TABLE_FILE, Distances, Leakage
from zifbench.reports.leakage_search import Neighbours, search_by_structure, search_in_time
from zifbench.reports.record import REPORT_FILE

# Frames closer than 2 tau are not independent: N frames are worth N / (2 tau), see
# zifbench.analysis.timeseries.
INDEPENDENT_TAU = 2.0
_WRITTEN = {LEAKAGE_FILE, TABLE_FILE, REPORT_FILE}
_COLUMNS = (
    "trajectory", "frame", "energy_eV", "nearest_trajectory", "nearest_frame",
    "distance_fs", "distance_tau", "rmsd_A",
)  # fmt: skip


def report_leakage(
    store: Store,
    split: Split,
    out: Path,
    *,
    subset: str = "test",
    max_frames: int = 500,
    max_train: int = 5000,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Leakage:
    """Compare a subset with the training frames and write the folder.

    Args:
        store: The store that the split was made from.
        split: The split.
        out: Folder to write.
        subset: Which frames to look at: test, or validation.
        max_frames: How many frames without a time to compare by structure at most.
        max_train: With how many training structures of each cell at most.
        overwrite: Replace an earlier report.
        progress: Shows a person how far it is.

    Raises:
        DataError: the split belongs to another version of the store.
        UnknownNameError: a subset that the split does not have.
        ResultError: `out` holds something else.
    """
    split.check(store)
    others = [name for name in split.subsets if name != "train"]
    if subset not in others:
        raise unknown_name("subset", subset, others)
    _check_directory(out, overwrite=overwrite)
    found, trajectories = search_in_time(store, split, subset)
    n_lonely = int(np.isnan(found.distance_fs).sum())
    notes = list(split.notes)
    if n_lonely:
        with progress("structures", min(n_lonely, max_frames)) as advance:
            notes += search_by_structure(
                store, split, found, max_frames=max_frames, max_train=max_train, advance=advance
            )
    leakage = Leakage(
        split=split.name,
        generator=split.generator,
        seed=split.seed,
        store=split.store.name,
        store_version=store.version,
        subset=subset,
        n_frames=len(found),
        n_in_time=len(found) - n_lonely,
        n_by_structure=int(np.isfinite(found.rmsd_A).sum()),
        n_not_compared=int((np.isnan(found.distance_fs) & np.isnan(found.rmsd_A)).sum()),
        distances=_distances(found),
        trajectories=trajectories,
        notes=notes,
        provenance=collect_provenance("cpu"),
    )
    _write(leakage, found, _pictures(store, split, found), out)
    return leakage


def _distances(found: Neighbours) -> list[Distances]:
    return [
        *_distribution("time", "fs", found.distance_fs),
        *_distribution(
            "time in autocorrelation times", "τ", found.distance_tau, within=INDEPENDENT_TAU
        ),
        *_distribution("root mean square displacement", "Å", found.rmsd_A),
    ]


def _distribution(
    quantity: str, unit: str, values: FloatArray, *, within: float | None = None
) -> list[Distances]:
    known = values[np.isfinite(values)]
    if not len(known):
        return []
    least, low, median, greatest = np.percentile(known, [0, 5, 50, 100])
    return [
        Distances(
            quantity=quantity,
            unit=unit,
            n=len(known),
            least=least,
            percentile_5=low,
            median=median,
            greatest=greatest,
            share_within=None if within is None else float((known < within).mean()),
            within=within,
        )
    ]


def _pictures(store: Store, split: Split, found: Neighbours) -> list[dict[str, str]]:
    pictures = [
        {"title": f"Energies of {group}", "url": draw_energies(energies)}
        for group, energies in energies_of_split(store, split).items()
    ]
    distances: Mapping[str, tuple[FloatArray, float | None]] = {
        "fs": (found.distance_fs, None),
        "autocorrelation times": (found.distance_tau, INDEPENDENT_TAU),
        "Å": (found.rmsd_A, None),
    }
    known = {
        unit: (values[np.isfinite(values)], limit)
        for unit, (values, limit) in distances.items()
        if np.isfinite(values).any()
    }
    if known:
        title = "Distance to the nearest training frame"
        pictures.append({"title": title, "url": draw_distances(known)})
    return pictures


def _check_directory(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ResultError(f"{out} is a file; give another --out directory")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if names - _WRITTEN:
        raise ResultError(f"{out} holds other files than such a report; give another --out")
    if names and not overwrite:
        raise ResultError(f"{out} holds a report; give --overwrite, or another --out")


def _write(leakage: Leakage, found: Neighbours, pictures: list[dict[str, str]], out: Path) -> None:
    template = Path(__file__).with_name("leakage.html.j2")
    with written_whole(out) as folder:
        write_text_atomically(folder / TABLE_FILE, _table(found))
        write_page(template, folder / REPORT_FILE, leakage=leakage, pictures=pictures)
        write_text_atomically(folder / LEAKAGE_FILE, leakage.model_dump_json(indent=1) + "\n")


def _table(found: Neighbours) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in range(len(found)):
        nearest = found.nearest_trajectory[row]
        writer.writerow(
            [
                found.trajectory[row],
                found.frame[row],
                _cell(found.energy[row]),
                nearest,
                found.nearest_frame[row] if nearest else "",
                _cell(found.distance_fs[row]),
                _cell(found.distance_tau[row]),
                _cell(found.rmsd_A[row]),
            ]
        )
    return text.getvalue()


def _cell(value: float) -> str:
    return repr(float(value)) if np.isfinite(value) else ""
