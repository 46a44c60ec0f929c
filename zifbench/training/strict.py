"""Small YAML files that people write: read, and refused in one sentence where they are wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zifbench.errors import DataError, MissingDependencyError, unknown_name
from zifbench.validation import refused

SUFFIXES = (".yaml", ".yml")

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]


class Strict(BaseModel):
    """Unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


AnyStrict = TypeVar("AnyStrict", bound=Strict)


def names_in(folder: Path) -> list[str]:
    """Names of the files that come with the package."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def find_file(name: str, folder: Path, kind: str, *, others: Sequence[str] = ()) -> Path:
    """A file of the package by its name, or one of one's own by its path.

    Args:
        name: A name, or the path of a .yaml file.
        folder: Where those of the package lie.
        kind: What they are, for messages.
        others: Names that the command takes too, and that have no file.

    Raises:
        UnknownNameError: no such name.
    """
    path = Path(name)
    if path.suffix in SUFFIXES:
        return path
    if name not in names_in(folder):
        raise unknown_name(kind, name, [*names_in(folder), *others])
    return folder / f"{name}.yaml"


def check_schema(table: Mapping[str, Any], schema: int, *, where: str, kind: str) -> None:
    """Refuse a file of another schema.

    Raises:
        DataError: it is.
    """
    if "schema" not in table:
        raise DataError(
            f"{where} does not say which schema it has; if it is a {kind}, begin it with the line "
            f"schema: {schema}"
        )
    if table["schema"] != schema:
        raise DataError(f"{where}: schema {table['schema']!r}, wanted {schema}; is it a {kind}?")


def read_yaml(path: Path, kind: str) -> dict[str, Any]:
    """The keys and values of a file.

    Args:
        path: The file.
        kind: What it should be, for messages.

    Raises:
        DataError: not there, or not YAML with keys and values.
    """
    yaml = yaml_module()
    if not path.is_file():
        raise DataError(f"{path} is no file; give the name of a {kind}, or a .yaml file")
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path.name} is no {kind}: {reason}") from error
    if not isinstance(table, dict) or not all(isinstance(key, str) for key in table):
        raise DataError(
            f"{path.name} is no {kind}: it holds {type(table).__name__}, wanted keys and values"
        )
    return table


def validated(
    kind: type[AnyStrict],
    table: Mapping[str, Any],
    *,
    where: str,
    sections: Mapping[str, type[Strict]],
) -> AnyStrict:
    """The entries of a file, checked.

    Args:
        kind: What they make.
        table: The entries.
        where: What to call the file in messages.
        sections: Key of a section, or tag of one of several kinds -> what it holds.

    Raises:
        UnknownNameError: a key that there is not, with the nearest ones.
        DataError: the first thing that is wrong.
    """
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise refused(error, table, kind=kind, where=where, sections=sections) from error


def as_yaml(entries: Mapping[str, Any]) -> str:
    """Entries as a YAML file, in their order."""
    return str(yaml_module().safe_dump(dict(entries), sort_keys=False, allow_unicode=True))


def yaml_module() -> Any:
    """PyYAML.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingDependencyError(
            "PyYAML is not installed, which recipes need; pip install 'zifbench[nequip]'"
        ) from error
    return yaml
