"""What the CP2K inputs and restart files beside the output say about a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from zifbench.errors import DataError
from zifbench.files import printable

# CP2K's own masses (src/common/periodic_table.F) where ASE's differ in a digit that is printed.
_CP2K_MASSES: Mapping[str, float] = MappingProxyType(
    {"H": 1.00794, "C": 12.0107, "N": 14.0067, "O": 15.9994, "Zn": 65.38}
)
_SUFFIXES = (".inp", ".in", ".restart")
_MAX_BYTES = 1 << 26


@dataclass(frozen=True)
class RunInput:
    """What the inputs of one run say; None where they do not.

    Attributes:
        files: Names of the inputs.
        masses: Kind or element -> mass in amu, where an input sets it.
        elements: Kind -> element, where they differ.
        temperature_K: Temperature of the thermostat.
        ensemble: For instance NVT.
        force_unit: A `UNIT` keyword of the printed forces.
        version: Version or revision of CP2K.
    """

    files: tuple[str, ...] = ()
    masses: Mapping[str, float] = field(default_factory=dict)
    elements: Mapping[str, str] = field(default_factory=dict)
    temperature_K: float | None = None
    ensemble: str | None = None
    force_unit: str | None = None
    version: str | None = None


def read_inputs(paths: Iterable[Path], given: Mapping[str, float]) -> RunInput:
    """Read all of these files that are inputs or restart files of CP2K.

    Args:
        paths: The files, and others.
        given: Symbol -> mass that the user states, over whatever the inputs say.

    Raises:
        DataError: two of them state different masses, and the user none, or a temperature is not
            in K.
    """
    found = [
        (path, parsed)
        for path in paths
        if path.suffix in _SUFFIXES and path.is_file() and (parsed := _read(path)) is not None
    ]
    masses: dict[str, float] = {}
    elements: dict[str, str] = {}
    values: dict[str, object] = {}
    for path, parsed in found:
        for symbol, mass in parsed.masses.items():
            said = symbol in given or parsed.elements.get(symbol, symbol) in given
            if not said and abs(masses.setdefault(symbol, mass) - mass) > 1e-6:
                raise DataError(
                    f"{printable(str(path))} gives {symbol} the mass {mass:g}, "
                    f"another input {masses[symbol]:g}; say which with --mass {symbol}=…"
                )
        elements.update(parsed.elements)
        for key in ("temperature_K", "ensemble", "force_unit", "version"):
            if getattr(parsed, key) is not None:
                values[key] = getattr(parsed, key)
    names = tuple(printable(path.name) for path, _ in found)
    return RunInput(names, masses, elements, **values)  # type: ignore[arg-type]


def _read(path: Path) -> RunInput | None:
    """One input; None if it is none of CP2K's."""
    if path.stat().st_size > _MAX_BYTES:
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    if not re.search(r"^\s*&GLOBAL\b", text, re.M | re.I):
        return None
    masses, elements = {}, {}
    for name, body in sections(text, "KIND"):
        mass = _value(body, "MASS") or _value(body, "ATOMIC_MASS") or _value(body, "WEIGHT")
        element = _value(body, "ELEMENT") or _value(body, "ELEMENT_SYMBOL")
        if mass is not None:
            masses[name] = _float(mass)
        if element is not None and element != name:
            elements[name] = element
    md = next((body for _, body in sections(text, "MD")), "")
    forces = next((body for _, body in sections(text, "FORCES") if "&EACH" in body), "")
    version = re.search(r"^\s*#\s*(?:Source code revision number|CP2K version)\s+(\S+)", text, re.M)
    return RunInput(
        masses=masses,
        elements=elements,
        temperature_K=_kelvin(md, path),
        ensemble=_value(md, "ENSEMBLE"),
        force_unit=_value(forces, "UNIT"),
        version=version[1] if version else None,
    )


def sections(text: str, name: str) -> Iterator[tuple[str, str]]:
    """(parameter, text) of each section of a name, inner sections included."""
    pattern = rf"^[ \t]*&{name}\b[ \t]*([^\n]*?)[ \t]*\n(.*?)^[ \t]*&END[ \t]+{name}\b"
    for match in re.finditer(pattern, text, re.M | re.S | re.I):
        yield match[1], match[2]


def _keyword(section: str, keyword: str) -> re.Match[str] | None:
    """Unit, or None, and first word of a value: `KEYWORD [unit] value`."""
    return re.search(
        rf"^[ \t]*{keyword}[ \t]+(?:\[([^\]]*)\][ \t]*)?([^\s!#]+)", section, re.M | re.I
    )


def _value(section: str, keyword: str) -> str | None:
    match = _keyword(section, keyword)
    return match[2] if match else None


def _kelvin(md: str, path: Path) -> float | None:
    """Temperature of the thermostat; the time step is taken from the output, always in fs there."""
    match = _keyword(md, "TEMPERATURE")
    if match is None:
        return None
    if (match[1] or "K").strip().upper() != "K":
        raise DataError(
            f"{printable(str(path))}: TEMPERATURE is given in [{match[1]}], which is not read; "
            "write it in K, CP2K's default"
        )
    return _float(match[2])


def _float(text: str) -> float:
    return float(text.upper().replace("D", "E"))


def element_of(label: str, inputs: RunInput) -> str:
    """Element of an atom's label: a symbol, or a kind that the input explains.

    Raises:
        DataError: neither.
    """
    from ase.data import atomic_numbers

    if label in inputs.elements:
        return inputs.elements[label].capitalize()
    letters = re.match(r"[A-Za-z]{1,2}", label)
    for symbol in (letters[0], letters[0][0]) if letters else ():
        if atomic_numbers.get(symbol.capitalize(), 0) > 0:
            return symbol.capitalize()
    raise DataError(f"{label!r} is no element; put the input that defines this kind beside the run")


def mass_of(label: str, element: str, inputs: RunInput, given: Mapping[str, float]) -> float:
    """Mass of an atom: what the user says, what the input says, CP2K's own.

    Raises:
        DataError: several kinds of this element have different masses, and labels do not tell them.
    """
    from ase.data import atomic_masses, atomic_numbers

    for name in (label, element):
        if name in given:
            return given[name]
    if label in inputs.masses:
        return inputs.masses[label]
    kinds = {k: m for k, m in inputs.masses.items() if inputs.elements.get(k, k) == element}
    if len(set(kinds.values())) > 1:
        raise DataError(
            f"kinds {', '.join(sorted(kinds))} of {element} have different masses, and the atoms "
            f"are called {label}; say which with --mass {element}=…"
        )
    if kinds:
        return next(iter(kinds.values()))
    default = float(atomic_masses[atomic_numbers[element]])
    return _CP2K_MASSES.get(element, default)
