"""Published numbers: all there, as printed, and refused where a file is wrong."""

from __future__ import annotations

from collections import Counter

import pytest

from zifbench.benchmark.references import REFERENCES_FOLDER, published, read_references
from zifbench.errors import DataError, NotDefinedError

HEAD = 'schema = 1\ncitation = "somebody"\n'
ONE = """
[[numbers]]
quantity = "density"
state = "crystal"
model = "AIMD"
value = "1.20"
unit = "g/cm³"
place = "Table 1"
"""


def test_every_number_of_the_tables_is_there() -> None:
    places = Counter(
        n.place for n in read_references(REFERENCES_FOLDER / "castel2024.toml").numbers
    )
    assert {place: n for place, n in places.items() if "Table" in place} == {
        "SI, Table S2": 4, "SI, Table S4": 6, "SI, Table S5": 6, "SI, Table S6": 6,
        "SI, Table S7": 4, "SI, Table S8": 6, "Table 2": 6, "Table 3": 8,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("quantity", "state", "model", "method", "unit", "value", "error"),
    [
        ("coordination", "liquid", "AIMD", "", "", 3.52, None),
        ("coordination", "ab initio glass", "NequIP", "", "", 3.94, None),
        ("pore_volume", "crystal", "AIMD", "Zeo++", "cm³/kg", 53.6, None),
        ("pore_volume", "ab initio glass", "AIMD", "Zeo++", "cm³/kg", 68.1, None),
        ("bulk_modulus", "crystal", "AIMD", "finite strain", "GPa", 1.39, None),
        ("bulk_modulus", "ab initio glass", "NequIP", "finite strain", "GPa", 3.43, 1.23),
        ("bulk_modulus", "ab initio glass", "NequIP", "elastic constants", "GPa", 2.72, 0.97),
        ("density", "ab initio glass", "NequIP", "strain fluctuations", "g/cm³", 1.30, 0.09),
        ("poisson_ratio", "ab initio glass", "NequIP", "elastic constants", "", 0.31, 0.04),
        ("young_modulus", "crystal", "NequIP", "elastic constants", "GPa", 2.49, None),
    ],
)
def test_numbers_as_printed(quantity, state, model, method, unit, value, error) -> None:
    [found] = published(quantity, state, unit, models=(model,), methods=(method,))
    assert (found.value, found.error) == (value, error)
    assert "doi:10.1039/D3DD00236E" in found.citation


def test_the_pressure_of_the_ab_initio_crystal() -> None:
    """-804 bar, in the unit of ours."""
    [found] = published("pressure", "crystal", "GPa")
    assert found.value == pytest.approx(-0.0804, abs=5e-5)


def test_one_entry_for_a_number_of_two_tables() -> None:
    found = published("bulk_modulus", "crystal", "GPa", methods=("elastic constants",))
    assert [(one.value, one.source) for one in found] == [(1.58, "SI, Table S8; Table 3")]


def test_ab_initio_numbers_come_first() -> None:
    assert [one.model for one in published("coordination", "crystal", "")] == ["AIMD", "NequIP"]


def test_a_unit_that_does_not_fit_is_refused() -> None:
    with pytest.raises(NotDefinedError, match=r"Table S5 is in , wanted GPa"):
        published("coordination", "crystal", "GPa")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ONE, "schema"),
        (HEAD.replace("1", "2") + ONE, "schema"),
        (HEAD, "numbers"),
        (HEAD + ONE.replace('"1.20"', "1.20"), "numbers.0.value"),
        (HEAD + ONE.replace('"1.20"', '"1.20(3)"'), "numbers.0.value"),
        (HEAD + ONE.replace("unit", "units"), "numbers.0.unit"),
        (HEAD + ONE + ONE, "density, crystal, AIMD, Table 1: given twice"),
        (HEAD + "[[numbers", "holds no published numbers"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, message) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(DataError, match=rf"wrong.toml.*{message}"):
        read_references(file)
