"""What pydantic finds wrong, in our words: every kind of value that our files hold."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zifbench.benchmark.result import Record, parse_record
from zifbench.errors import DataError, ModelError, ResultError, UnknownNameError
from zifbench.training.recipe import load_recipe
from zifbench.validation import problem, refused


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Circle(Strict):
    kind: Literal["circle"]
    radius: Annotated[float, Field(gt=0)]


class Square(Strict):
    kind: Literal["square"]
    edge: float


class Thing(Strict):
    schema_version: Annotated[int, Field(alias="schema")] = 1
    whole: int = 0
    number: float = 0.0
    finite: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    share: Annotated[float, Field(ge=0.5, lt=1.5)] = 1.0
    small: Annotated[int, Field(le=9)] = 0
    truth: bool = False
    text: str = ""
    short: Annotated[str, Field(min_length=2, max_length=3)] = "ab"
    name: Annotated[str, Field(pattern="^[a-z]+$")] = "a"
    file: Path = Path()
    several: list[int] = []
    pair: tuple[int, int] = (0, 0)
    some: Annotated[tuple[int, ...], Field(min_length=1, max_length=2)] = (1,)
    table: Mapping[str, int] = {}
    plain: dict[str, int] = {}
    by_colour: Mapping[Colour, int] = {}
    part: Circle = Circle(kind="circle", radius=1.0)
    shape: Annotated[Circle | Square, Field(discriminator="kind")] = Square(kind="square", edge=1.0)
    choice: Literal["one", "two"] = "one"
    colour: Colour = Colour.RED
    either: int | list[int] | None = None

    @model_validator(mode="after")
    def _check(self) -> Thing:
        if self.whole == 13:
            raise ValueError("13 brings no luck")
        return self


def caught(**content):
    with pytest.raises(ValidationError) as error:
        Thing.model_validate(content)
    return error.value, content


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("whole", "ten", ": wanted a whole number, got 'ten'"),
        ("whole", 2.5, ": wanted a whole number, got 2.5"),
        ("whole", None, ": wanted a whole number, got nothing"),
        ("whole", [1], ": wanted a whole number, got [1]"),
        ("number", "1e-3x", ": wanted a number, got '1e-3x'"),
        ("number", {}, ": wanted a number, got {}"),
        ("finite", float("inf"), ": wanted a finite number, got inf"),
        ("share", 0.25, ": wanted a number greater than or equal to 0.5, got 0.25"),
        ("share", 2, ": wanted a number less than 1.5, got 2"),
        ("small", 10, ": wanted a number less than or equal to 9, got 10"),
        ("truth", "maybe", ": wanted true or false, got 'maybe'"),
        ("truth", [], ": wanted true or false, got []"),
        ("text", 7, ": wanted a text, got 7"),
        ("short", "a", ": wanted a text of at least 2 characters, got 'a'"),
        ("short", "abcd", ": wanted a text of at most 3 characters, got 'abcd'"),
        ("name", "A", ": wanted a text of the pattern ^[a-z]+$, got 'A'"),
        ("file", 7, ": wanted a path, got 7"),
        ("several", "all", ": wanted a list, got 'all'"),
        ("several", [1, "b"], ".1: wanted a whole number, got 'b'"),
        ("pair", 7, ": wanted a list, got 7"),
        ("pair", [1], ".1 is missing"),
        ("pair", [1, 2, 3], ": wanted no more than 2 entries, got [1, 2, 3]"),
        ("some", [], ": wanted 1 or more entries, got []"),
        ("table", [1], ": wanted keys and values, got [1]"),
        ("table", {"a": "b"}, ".a: wanted a whole number, got 'b'"),
        ("table", {7: 1}, ".7: wanted a text, got 7"),
        ("plain", "x", ": wanted keys and values, got 'x'"),
        ("by_colour", {"green": 1}, ".green: wanted 'red' or 'blue', got 'green'"),
        ("part", 7, ": wanted keys and values, got 7"),
        ("part", {"kind": "circle"}, ".radius is missing"),
        ("part", {"kind": "circle", "radius": 0}, ".radius: wanted a number greater than 0, got 0"),
        ("part", {"kind": "circle", "radius": 1, "edge": 2}, ".edge: unknown key"),
        ("shape", {"kind": "line"}, ": wanted 'kind' to be one of 'circle', 'square', got 'line'"),
        ("shape", {"edge": 1}, ".kind is missing"),
        ("shape", 7, ": wanted keys and values, got 7"),
        ("shape", {"kind": "square", "edge": "x"}, ".edge: wanted a number, got 'x'"),
        ("choice", "three", ": wanted 'one' or 'two', got 'three'"),
        ("colour", "green", ": wanted 'red' or 'blue', got 'green'"),
        ("either", "x", ": wanted a whole number or a list, got 'x'"),
        ("either", [1, "x"], ".1: wanted a whole number, got 'x'"),
        ("text", ["x" * 99], f": wanted a text, got ['{'x' * 58}…"),
    ],
)
def test_what_was_wanted_and_got(key, value, said):
    assert problem(*caught(**{key: value})) == f"{key}{said}"


def test_our_own_sentences_stay():
    assert problem(*caught(whole=13)) == "13 brings no luck"


def test_a_mistyped_key_explains_the_one_that_is_missing():
    error, content = caught(whole="x", part={"kind": "circle", "radios": 1})
    assert problem(error, content) == "part.radios: unknown key"
    said = refused(error, content, kind=Thing, where="f.yaml", sections={"part": Circle})
    assert isinstance(said, UnknownNameError)
    assert str(said) == "unknown key in part of f.yaml 'radios'; did you mean radius?"


def test_keys_of_a_kind_and_of_the_file():
    error, content = caught(shape={"kind": "square", "egde": 1.0})
    said = refused(error, content, kind=Thing, where="f.yaml", sections={"square": Square})
    assert str(said) == "unknown key in shape of f.yaml 'egde'; did you mean edge?"
    error, content = caught(schema_version=1)
    said = refused(error, content, kind=Thing, where="f.yaml")
    assert str(said) == "unknown key in f.yaml 'schema_version'; did you mean schema?"


def test_the_error_is_of_the_class_asked_for():
    error, content = caught(text=7)
    assert str(refused(error, content, kind=Thing, where="f")) == "f: text: wanted a text, got 7"
    assert isinstance(refused(error, content, kind=Thing, where="f"), DataError)
    asked = refused(error, content, kind=Thing, where="f", wrong=ModelError)
    assert isinstance(asked, ModelError)


class Counted(Record):
    n: int
    parts: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"n": "x"}', "n: wanted a whole number, got 'x'"),
        ('{"n": 1, "parts": ["a", 2]}', "parts.1: wanted a text, got 2"),
        ("{}", "n is missing"),
        ('{"n": 1, "m": 2}', "m: unknown key"),
        ("[]", "wanted keys and values, got []"),
    ],
)
def test_records(tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ResultError, match=r"a\.json is not a valid Counted of") as caught:
        parse_record(Counted, tmp_path / "a.json")
    assert str(caught.value).endswith(f"of this version of zifbench: {said}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("epochs=many", "epochs: wanted a whole number, got 'many'"),
        ("shuffle=perhaps", "shuffle: wanted true or false, got 'perhaps'"),
        ("elements=H", "elements: wanted a list, got 'H'"),
        ("about=[1]", "about: wanted a text, got [1]"),
        ("schedule=3", "schedule: wanted keys and values, got 3"),
        ("model.layers=two", "model.layers: wanted a whole number, got 'two'"),
        ("model={kind: nequip}", "model.layers is missing"),
        ("model={layers: 1}", "model.kind is missing"),
    ],
)
def test_recipes(change, said):
    with pytest.raises(DataError) as caught:
        load_recipe("nequip-small", [change])
    assert str(caught.value) == f"nequip-small.yaml: {said}"
