"""Any mix of duplicated, missing, reordered and cut steps: the right frames or a refusal."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.dataset.ingest.md_text import HEADERS, naive_read, record, write_run
from zifbench.dataset.ingest.cp2k_md import open_run
from zifbench.dataset.ingest.source import Options
from zifbench.errors import DataError
from zifbench.frames import Frames, concatenate
from zifbench.units import HARTREE_EV, HARTREE_PER_BOHR_IN_EV_PER_A

KINDS = ("positions", "forces", "cell", "stress", "energies")


@dataclass
class Damage:
    """What happened to one file: records in order, each perhaps cut after some bytes."""

    entries: list[tuple[int, int, int, int | None]] = field(default_factory=list)
    repeat_header: bool = False

    def text(self, kind: str) -> str:
        head = HEADERS.get(kind, "")
        parts = [head]
        for k, (step, branch, passing, cut) in enumerate(self.entries):
            if self.repeat_header and k == len(self.entries) // 2:
                parts.append(head)
            whole = record(kind, step, branch, passing)
            if k == 0 and cut is not None and not head:
                cut = max(cut % len(whole), 75)  # a file is known by its first two lines
            parts.append(whole if cut is None else whole[: cut % len(whole)])
        return "".join(parts)


@st.composite
def damaged_runs(draw: st.DrawFn) -> dict[str, str]:
    """A run with restarts, of which each file lost, repeats, shuffles or cuts something."""
    n = draw(st.integers(3, 9))
    passes = [(step, 0) for step in range(n)]
    for number in range(draw(st.integers(0, 2))):
        back = draw(st.integers(0, n - 1))
        passes += [(step, number + 1) for step in range(back, n)]
    branch = draw(st.sampled_from([0, 0, 0, 0, 1]))
    texts = {}
    for kind in KINDS:
        damage = Damage(repeat_header=draw(st.booleans()))
        entries = list(passes)
        for _ in range(draw(st.integers(0, 2))):
            if len(entries) > 1:
                del entries[draw(st.integers(0, len(entries) - 1))]
        if draw(st.integers(0, 5)) == 0:
            entries = draw(st.permutations(entries))
        for k, (step, passing) in enumerate(entries):
            last = k == len(entries) - 1
            rare = draw(st.integers(0, 4 if last else 15)) == 0
            cut = draw(st.integers(0, 500)) if rare else None
            damage.entries.append((step, branch if passing else 0, passing, cut))
        texts[kind] = damage.text(kind)
    return texts


def expected(texts: dict[str, str], keep: str) -> dict[int, dict[str, list[float]]] | None:
    """Step -> numbers of each file, by the plainest rules; None where it must be refused."""
    chosen: dict[str, dict[int, tuple[str, list[float]]]] = {}
    for kind, text in texts.items():
        found: dict[int, tuple[str, list[float]]] = {}
        for step, energy, numbers in naive_read(kind, text):
            if step in found:
                before = found[step][1][2] if kind == "energies" else float(found[step][0] or 0)
                now = numbers[2] if kind == "energies" else float(energy or 0)
                if abs(before - now) > 1e-4:
                    return None
            if step not in found or keep == "last":
                found[step] = (energy, numbers)
        chosen[kind] = found
    steps = sorted(set.intersection(*(set(found) for found in chosen.values())))
    for step in steps:
        titles = {chosen[kind][step][0] for kind in ("positions", "forces")}
        if len(titles) > 1 or abs(float(titles.pop()) - chosen["energies"][step][1][2]) > 1e-9:
            return None
    return {s: {kind: chosen[kind][s][1] for kind in KINDS} for s in steps} if steps else None


def read_all(directory: Path, **options: object) -> Frames:
    return concatenate(list(open_run(directory, Options(**options)).chunks()))  # type: ignore[arg-type]


@pytest.mark.parametrize("keep", ["first", "last"])
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(texts=damaged_runs())
def test_right_frames_or_a_refusal(keep: str, texts: dict[str, str]) -> None:
    wanted = expected(texts, keep)
    with tempfile.TemporaryDirectory() as folder:
        write_run(Path(folder), texts)
        if wanted is None:
            with pytest.raises(DataError):
                read_all(Path(folder), keep=keep)
            return
        trajectory = open_run(Path(folder), Options(keep=keep))  # type: ignore[arg-type]
        frames = concatenate(list(trajectory.chunks()))
        stress_bar = trajectory.run.stress_bar
    assert stress_bar is not None
    assert frames.step is not None and frames.forces is not None and frames.energy is not None
    assert frames.step.tolist() == list(wanted)
    for row, numbers in enumerate(wanted.values()):
        assert frames.positions[row].ravel().tolist() == numbers["positions"]
        text = np.round(frames.forces[row].ravel() / HARTREE_PER_BOHR_IN_EV_PER_A, 10)
        assert text.tolist() == numbers["forces"]
        assert frames.cell[row].ravel().tolist() == numbers["cell"][:9]
        # The stress tells the passes of a restart apart.
        assert stress_bar[row].ravel().tolist() == numbers["stress"]
        energy = frames.energy[row] / HARTREE_EV
        assert energy == pytest.approx(numbers["energies"][2], abs=1e-9)
