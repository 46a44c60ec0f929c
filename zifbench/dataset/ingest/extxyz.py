"""extxyz files of any size: an index of the frames, then ASE for the numbers, a piece at a time.

Frames of the same atoms that carry the same kinds of values become one trajectory, wherever in the
file they stand; a file of several compositions gives several. With `Options.by`, a label that the
frames carry (`state`, say) names their trajectory, and what its frames have in common describes it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.io.extxyz
import numpy as np

from zifbench.ase_io import frames_from_ase, structures_from_extxyz
from zifbench.dataset.ingest.options import number_or_text
from zifbench.dataset.ingest.source import IngestReport, Options
from zifbench.errors import DataError
from zifbench.files import printable
from zifbench.frames import FloatArray, Frames

_CHUNK_BYTES = 1 << 22
# Texts that describe a set of frames: another value is another set.
_SET_KEYS = ("level_of_theory", "licence", "license", "citation")
# Values that are data, or that name single frames, and so never describe a trajectory.
_FRAME_KEYS = frozenset(
    {"Lattice", "Properties", "pbc", "energy", "free_energy", "stress", "virial", "step"}
    | {"time_fs", "name", "job", "scf_steps", "sampling", *_SET_KEYS}
)


def is_extxyz(path: Path) -> bool:
    """Whether a file has the two lines that begin an extxyz frame."""
    if path.suffix not in {".xyz", ".extxyz"} or not path.is_file():
        return False
    with path.open("rb") as file:
        first, second = file.readline(4096), file.readline(1 << 16)
    return first.strip().isdigit() and b"Properties=" in second


@dataclass
class _Group:
    """Frames of one trajectory: first byte, bytes and number of each."""

    symbols: tuple[str, ...]
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    common: dict[str, str] = field(default_factory=dict)

    def add(self, offset: int, size: int, number: int, texts: Mapping[str, str]) -> None:
        """One more frame; `common` keeps the texts that all of them share."""
        if not self.numbers:
            self.common = dict(texts)
        self.common = {k: v for k, v in self.common.items() if texts.get(k) == v}
        self.offsets.append(offset)
        self.sizes.append(size)
        self.numbers.append(number)


class ExtxyzSource:
    """One extxyz file."""

    def __init__(self, path: Path, options: Options) -> None:
        self._path = path
        self._options = options

    def trajectories(self) -> list[ExtxyzTrajectory]:
        """One for each composition and kind of values.

        Raises:
            DataError: no frames, or a broken one before the end.
        """
        by = self._options.by
        groups, damaged, digest = _index(self._path, by)
        # Another label sorts the frames otherwise, and may give trajectories of the same names.
        fingerprint = digest if by is None else f"{digest}-by-{by}"
        names = _names(self._options.name or self._path.stem, groups, by)
        return [
            ExtxyzTrajectory(self._path, self._options, name, group, damaged, fingerprint)
            for name, group in zip(names, groups, strict=True)
        ]


def _names(stem: str, groups: list[_Group], by: str | None) -> list[str]:
    """The label asked for, or the stem alone, or with the formula; with a number if need be."""
    if by is not None:
        labels = [group.common[by] for group in groups]
        return [
            label if labels.count(label) == 1 else f"{label}-{labels[:k].count(label) + 1}"
            for k, label in enumerate(labels)
        ]
    if len(groups) == 1:
        return [stem]
    from ase.formula import Formula

    formulas = [str(Formula.from_list(list(group.symbols)).convert("hill")) for group in groups]
    return [
        f"{stem}-{formula}" if formulas.count(formula) == 1 else f"{stem}-{formula}-{k + 1}"
        for k, formula in enumerate(formulas)
    ]


def _index(path: Path, by: str | None = None) -> tuple[list[_Group], list[str], str]:
    """Groups of frames, sentences about a truncated tail, sha256 of the file."""
    groups: dict[Any, _Group] = {}
    damaged: list[str] = []
    digest = hashlib.sha256()
    offset = count = 0
    with path.open("rb") as file:
        while first := file.readline():
            if not first.strip():  # blank lines at the end
                digest.update(first)
                offset += len(first)
                continue
            if not first.strip().isdigit():
                raise DataError(
                    f"{printable(str(path))}: {first[:60]!r} where frame {count} should begin with "
                    f"its number of atoms (byte {offset}); the frame before it is damaged"
                )
            # Up to the end of the file: the number may be damaged, and ask for a thousand million.
            lines = [first, *itertools.islice(file, min(int(first) + 1, sys.maxsize))]
            text = b"".join(lines)
            digest.update(text)
            if len(lines) < int(first) + 2 or not lines[-1].endswith(b"\n"):
                damaged.append(
                    f"{printable(path.name)}: frame {count}, the last one, is truncated; left out"
                )
                break
            where = f"frame {count} of {printable(str(path))}"
            key, symbols, texts = _kind(lines, where)
            if by is not None and by not in texts:
                raise DataError(f"{where} has no label {by!r} to name its trajectory (--by)")
            group = groups.setdefault((key, by and texts[by]), _Group(symbols))
            group.add(offset, len(text), count, texts)
            offset += len(text)
            count += 1
    if not groups:
        raise DataError(f"{printable(str(path))}: no complete frame")
    return list(groups.values()), damaged, digest.hexdigest()


def _kind(lines: list[bytes], where: str) -> tuple[Any, tuple[str, ...], dict[str, str]]:
    """What two frames of one trajectory have in common, their symbols, and the frame's labels."""
    comment = lines[1].decode("utf-8", "replace").rstrip("\n")
    values = ase.io.extxyz.key_val_str_to_dict(comment)
    properties = str(values.get("Properties", "species:S:1:pos:R:3"))
    column = _species_column(properties)
    words = [line.split(None, column + 1) for line in lines[2:]]
    if any(len(word) <= column for word in words):
        raise DataError(f"{where}: a line without a symbol in column {column + 1}")
    symbols = tuple(word[column].decode("ascii", "replace") for word in words)
    texts = tuple(str(values.get(key)) for key in _SET_KEYS)
    labels = {key: str(value) for key, value in values.items() if key not in _FRAME_KEYS}
    kind = (symbols, tuple(sorted(values)), properties, str(values.get("pbc")), texts)
    return kind, symbols, labels


def _species_column(properties: str) -> int:
    """Number of values on a line before the symbol."""
    before = 0
    for name, _, width in re.findall(r"(\w+):([SRIL]):(\d+)", properties):
        if name in {"species", "symbol", "symbols"}:
            return before
        before += int(width)
    return 0


class ExtxyzTrajectory:
    """Frames of one composition; see `zifbench.dataset.ingest.source.SourceTrajectory`."""

    exact = False
    arrays: Mapping[str, FloatArray] = {}

    def __init__(
        self,
        path: Path,
        options: Options,
        name: str,
        group: _Group,
        damaged: list[str],
        fingerprint: str,
    ) -> None:
        self._path = path
        self._group = group
        self._masses = options.masses
        self.name = name
        self.n_frames = len(group.offsets)
        self.fingerprint = fingerprint
        self.report = IngestReport(
            files={"frames": printable(path.name)}, n_frames=self.n_frames, damaged=damaged
        )
        self.attributes: dict[str, Any] = {
            "source_format": "extxyz",
            "source": printable(path.name),
            **({k: number_or_text(v) for k, v in group.common.items()} if options.by else {}),
            **options.attributes,
        }

    def chunks(self, start: int = 0) -> Iterator[Frames]:
        """All frames from `start` on, a few megabytes of text at a time."""
        group = self._group
        size = max(1, _CHUNK_BYTES // max(group.sizes))
        with self._path.open("rb") as file:
            for first in range(start, self.n_frames, size):
                rows = range(first, min(first + size, self.n_frames))
                text = b"".join(_piece(file, group.offsets[k], group.sizes[k]) for k in rows)
                numbers = np.array([group.numbers[k] for k in rows])
                source = printable(self._path.name)
                where = f"{printable(str(self._path))}, frames {numbers[0]} to {numbers[-1]}"
                structures = structures_from_extxyz(text.decode("utf-8", "replace"), where=where)
                frames = frames_from_ase(structures, source=source)
                yield dataclasses.replace(
                    frames, source_index=numbers, masses=_masses(frames, self._masses)
                )


def _piece(file: Any, offset: int, size: int) -> bytes:
    file.seek(offset)
    return bytes(file.read(size))


def _masses(frames: Frames, given: Mapping[str, float]) -> FloatArray:
    """Masses of the file, with what the user says over them."""
    masses = frames.masses.copy()
    for symbol, mass in given.items():
        masses[np.array(frames.symbols) == symbol] = mass
    return masses
