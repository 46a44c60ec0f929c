"""Which files of a directory are CP2K's MD output: by suffix and by header, never by name.

CP2K writes `PROJECT-pos-1.xyz`, `-frc-1.xyz`, `-vel-1.xyz`, `PROJECT-1.cell`, `-1.stress` and
`-1.ener`; an input line `FILENAME =X.frc` gives exactly `X.frc`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from zifbench.errors import DataError
from zifbench.files import printable

TITLE = re.compile(
    rb"^\s*i\s*=\s*(\d+|\*+),\s*time\s*=\s*([-+.\d]+|\*+),\s*E\s*=\s*([-+.\dEe]+|\*+)\s*$", re.M
)
_HEAD_BYTES = 4096

# End of the file name -> what it must hold; the longer ending comes first.
_SUFFIXES: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "forces": re.compile(r"(-frc-\d+\.xyz|\.frc)$"),
        "velocities": re.compile(r"(-vel-\d+\.xyz|\.vel)$"),
        "cell": re.compile(r"\.cell$"),
        "stress": re.compile(r"\.stress$"),
        "energies": re.compile(r"\.ener$"),
        "positions": re.compile(r"\.xyz$"),
    }
)
XYZ_KINDS = ("positions", "forces", "velocities")
# Words of the header line; the units stand there, so another unit is another format.
_HEADERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cell": ("Step", "Time [fs]", "Ax [Angstrom]", "Cz [Angstrom]", "Volume [Angstrom^3]"),
        "stress": ("Step", "Time [fs]", "xx [bar]", "xy [bar]", "zz [bar]"),
        "energies": ("Step", "Time[fs]", "Kin.[a.u.]", "Temp[K]", "Pot.[a.u.]"),
    }
)
N_COLUMNS: Mapping[str, int] = MappingProxyType({"cell": 12, "stress": 11, "energies": 7})
# Without step and time; of energies: kinetic, temperature, potential.
N_KEPT: Mapping[str, int] = MappingProxyType({"cell": 10, "stress": 9, "energies": 3})


def kind_of(path: Path) -> str | None:
    """What a file is, or None where suffix and header do not say so together.

    Raises:
        DataError: a file of CP2K in a form that is not read, which must not be passed over.
    """
    kind = suffix_kind(path)
    return kind if kind is not None and path.is_file() and _has_header(path, kind) else None


def suffix_kind(path: Path) -> str | None:
    """What the end of a file's name promises."""
    return next((kind for kind, end in _SUFFIXES.items() if end.search(path.name)), None)


def _has_header(path: Path, kind: str) -> bool:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if kind in XYZ_KINDS:
        lines = head.split(b"\n", 2)
        if len(lines) < 3 or not lines[0].strip().isdigit():
            return False
        if b"Properties=" in lines[1] and b"Step=" in lines[1]:
            raise DataError(
                f"{printable(str(path))} is CP2K's FORMAT EXTXYZ, whose values are in CP2K's "
                "units; print the trajectory with FORMAT XYZ"
            )
        return TITLE.match(lines[1]) is not None
    line = head.split(b"\n", 1)[0].decode("ascii", "replace")
    if not line.lstrip().startswith("#"):
        return False
    missing = [word for word in _HEADERS[kind] if word not in line]
    if missing and "Step" in line:
        raise DataError(
            f"{printable(str(path))}: the header lacks {missing[0]!r}; another unit or another "
            f"version's format: {' '.join(line.split())[:120]}"
        )
    return not missing


def find_md_files(directory: Path) -> dict[str, Path]:
    """Kind -> file, of one run.

    Raises:
        DataError: several files of one kind, or no positions.
    """
    found: dict[str, list[Path]] = {}
    strange: list[Path] = []
    for path in sorted(directory.iterdir()):
        kind = kind_of(path)
        if kind is not None:
            found.setdefault(kind, []).append(path)
        elif suffix_kind(path) not in (None, "positions") and path.is_file():
            strange.append(path)
    for kind, paths in found.items():
        if len(paths) > 1:
            names = ", ".join(printable(path.name) for path in paths)
            raise DataError(
                f"{printable(str(directory))} holds {len(paths)} files of {kind} ({names}); give "
                "each run a directory of its own, and join the parts of one run into one file"
            )
    files = {kind: paths[0] for kind, paths in found.items()}
    if not found:
        raise DataError(f"{printable(str(directory))} holds no MD output of CP2K")
    if strange:
        raise DataError(
            f"{printable(str(strange[0]))} is named as {suffix_kind(strange[0])} of CP2K and does "
            "not begin so; it is empty, damaged or of another program: repair it or take it away"
        )
    for kind in ("positions", "cell"):
        if kind not in files:
            have = ", ".join(printable(path.name) for path in files.values())
            raise DataError(
                f"{printable(str(directory))} holds no {kind} of a CP2K run, only {have}; "
                f"frames need positions and cell"
            )
    return files
