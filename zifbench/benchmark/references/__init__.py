"""Published numbers to stand beside measured ones, as data: one TOML file a paper beside this one.

Values and errors are the characters of the paper, so that what was printed can be compared with it.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from zifbench.benchmark.result import Published, Record
from zifbench.errors import DataError, NotDefinedError
from zifbench.validation import problem

REFERENCES_FOLDER = Path(__file__).parent
_SCHEMA = 1
_Printed = Annotated[str, Field(pattern=r"^-?\d+(\.\d+)?$")]
# From a printed unit to the one that is reported.
_FACTORS: dict[tuple[str, str], float] = {("bar", "GPa"): 1.0e-4}


class PublishedNumber(Record):
    """One number of a paper.

    Attributes:
        quantity: As in `Measurement`.
        state: What it was measured on.
        model: With what: a potential, "AIMD" or "experiment".
        method: How, where there are several ways; empty else.
        value: As printed.
        error: As printed after ±; None where nothing is.
        unit: As printed; empty for a pure number.
        place: Table, or page.
        note: Anything a reader must know.
    """

    quantity: str
    state: str
    model: str
    method: str = ""
    value: _Printed
    error: _Printed | None = None
    unit: str
    place: str
    note: str | None = None


class ReferenceFile(Record):
    """The numbers of one paper."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    citation: str
    numbers: Annotated[list[PublishedNumber], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> ReferenceFile:
        seen = set()
        for one in self.numbers:
            key = (one.quantity, one.state, one.model, one.method, one.place)
            if key in seen:
                raise ValueError(f"{', '.join(filter(None, key))}: given twice")
            seen.add(key)
        return self


def read_references(path: Path) -> ReferenceFile:
    """One file of published numbers.

    Raises:
        DataError: it is none; the message names the first thing that is wrong.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} holds no published numbers: {error}") from error
    try:
        return ReferenceFile.model_validate(content)
    except ValidationError as error:
        raise DataError(f"{path.name}: {problem(error, content)}") from error


@cache
def _all() -> tuple[ReferenceFile, ...]:
    return tuple(read_references(path) for path in sorted(REFERENCES_FOLDER.glob("*.toml")))


def published(
    quantity: str,
    state: str,
    unit: str,
    *,
    models: tuple[str, ...] = (),
    methods: tuple[str, ...] = (),
) -> list[Published]:
    """What is published of a quantity in a state, AIMD first, one entry for equal numbers.

    Args:
        quantity: As in `Measurement`.
        state: "crystal", "ab initio glass", …
        unit: Unit of the measurement that it shall stand beside.
        models: Only these; all if empty.
        methods: Only these; all if empty.

    Raises:
        NotDefinedError: a unit that cannot be converted.
    """
    found: dict[tuple[str, ...], Published] = {}
    for file in _all():
        for one in file.numbers:
            wanted = one.quantity == quantity and one.state == state
            if not wanted or (models and one.model not in models):
                continue
            if methods and one.method not in methods:
                continue
            key = (one.model, one.method, one.value, one.error or "")
            if key in found:
                old = found[key]
                found[key] = old.model_copy(update={"source": f"{old.source}; {one.place}"})
                continue
            found[key] = _converted(one, unit, file.citation)
    return sorted(found.values(), key=lambda one: one.model != "AIMD")


def _converted(one: PublishedNumber, unit: str, citation: str) -> Published:
    factor = 1.0 if one.unit == unit else _FACTORS.get((one.unit, unit))
    if factor is None:
        raise NotDefinedError(f"{one.quantity} of {one.place} is in {one.unit}, wanted {unit}")
    return Published(
        value=float(one.value) * factor,
        error=None if one.error is None else float(one.error) * factor,
        model=one.model,
        method=one.method,
        source=one.place,
        citation=citation,
        note=one.note,
    )
