"""What pydantic finds wrong with the entries of a file, said in words for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from zifbench.errors import DataError, ZifbenchError, unknown_name

_LONGEST = 60  # characters of a wrong value in messages

_WHOLE, _NUMBER, _TRUTH = "a whole number", "a number", "true or false"
_LIST, _TABLE = "a list", "keys and values"
# pydantic's name of a problem -> what was wanted, with its context.
_WANTED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _WHOLE),
        **dict.fromkeys(("float_type", "float_parsing"), _NUMBER),
        **dict.fromkeys(("bool_type", "bool_parsing"), _TRUTH),
        **dict.fromkeys(("list_type", "tuple_type", "set_type", "iterable_type"), _LIST),
        **dict.fromkeys(("dict_type", "mapping_type", "model_type"), _TABLE),
        "model_attributes_type": _TABLE,
        "string_type": "a text",
        "string_too_short": "a text of at least {min_length} characters",
        "string_too_long": "a text of at most {max_length} characters",
        "string_pattern_mismatch": "a text of the pattern {pattern}",
        "path_type": "a path",
        "finite_number": "a finite number",
        "greater_than": "a number greater than {gt:g}",
        "greater_than_equal": "a number greater than or equal to {ge:g}",
        "less_than": "a number less than {lt:g}",
        "less_than_equal": "a number less than or equal to {le:g}",
        "too_short": "{min_length} or more entries",
        "too_long": "no more than {max_length} entries",
        "literal_error": "{expected}",
        "enum": "{expected}",
        "union_tag_invalid": "{discriminator} to be one of {expected_tags}",
        "none_required": "nothing",
    }
)


def refused(
    error: ValidationError,
    content: Mapping[str, Any],
    *,
    kind: type[BaseModel],
    where: str,
    sections: Mapping[str, type[BaseModel]] = MappingProxyType({}),
    wrong: type[ZifbenchError] = DataError,
) -> ZifbenchError:
    """The error for a file that people write.

    Args:
        error: What pydantic says.
        content: The entries of the file.
        kind: What they should make.
        where: What to call the file.
        sections: Key of a section, or tag of one of several kinds -> what it holds.
        wrong: The error for everything but an unknown key.

    Returns:
        `UnknownNameError` for a key that there is not, with the nearest ones; else `wrong`.
    """
    first = _first(error)
    if first["type"] != "extra_forbidden":
        return wrong(f"{where}: {problem(error, content)}")
    *around, key = first["loc"]
    of = next((sections[str(part)] for part in reversed(around) if str(part) in sections), kind)
    known = [field.alias or name for name, field in of.model_fields.items()]
    within = ".".join(_place(first, content)[:-1])
    section = f"{within} of " if within else ""
    return unknown_name(f"key in {section}{where}", str(key), known)


def problem(error: ValidationError, content: object) -> str:
    """The first thing that is wrong: where it is, what was wanted and what got.

    Args:
        error: What pydantic says.
        content: What was validated.
    """
    first = _first(error)
    place = _place(first, content)
    if first["type"] == "extra_forbidden":
        return f"{_dotted(place)}unknown key"
    if first["type"] == "value_error":  # a sentence of ours
        return f"{_dotted(place)}{first['msg'].removeprefix('Value error, ')}"
    # Where one of several kinds may stand, pydantic says of each why it is not that one; the one
    # that went deepest is the one that was meant.
    there = [(_place(found, content), found) for found in error.errors(include_url=False)]
    there = [(where, found) for where, found in there if where[: len(place)] == place]
    deepest = max((where for where, _ in there), key=len)
    meant = [found for where, found in there if where == deepest]
    if meant[0]["type"] in ("missing", "union_tag_not_found"):
        return f"{'.'.join(deepest)} is missing"
    choices = list(dict.fromkeys(wanted(found) for found in meant))
    return f"{_dotted(deepest)}wanted {' or '.join(choices)}, got {_shown(_got(meant[0]))}"


def wanted(found: ErrorDetails) -> str:
    """What pydantic would have taken in place of a value, in our words where there are some."""
    known = _WANTED.get(found["type"])
    return found["msg"] if known is None else known.format(**found.get("ctx", {}))


def _first(error: ValidationError) -> ErrorDetails:
    """The first problem; a mistyped key explains the one that is missing."""
    found = error.errors(include_url=False)
    return next((one for one in found if one["type"] == "extra_forbidden"), found[0])


def _place(found: ErrorDetails, content: object) -> tuple[str, ...]:
    """The keys and numbers that lead to a problem in the file.

    pydantic's own names of the kinds of a value stand between them, and are not in the file.
    """
    place = []
    for part in found["loc"]:
        inside = content if isinstance(content, Mapping) else _numbered(content)
        if part in inside:
            place.append(str(part))
            content = inside[part]
    if found["type"] == "missing":
        place.append(str(found["loc"][-1]))
    if found["type"] == "union_tag_not_found":
        place.append(str(found["ctx"]["discriminator"]).strip("'"))
    return tuple(place)


def _numbered(content: object) -> Mapping[Any, Any]:
    return dict(enumerate(content)) if isinstance(content, list | tuple) else {}


def _dotted(place: Sequence[str]) -> str:
    return f"{'.'.join(place)}: " if place else ""


def _got(found: ErrorDetails) -> object:
    is_tag = found["type"] == "union_tag_invalid"
    return found["ctx"]["tag"] if is_tag else found["input"]


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
