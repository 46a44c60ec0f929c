"""Protocols: the ones that come along, what is refused, and the plans they make."""

from __future__ import annotations

import pytest

from zifbench.dynamics.plan import plan
from zifbench.dynamics.protocol import (
    Ensemble,
    load_protocol,
    parse_protocol,
    protocol_names,
)
from zifbench.dynamics.rules import RULES
from zifbench.errors import DataError, UnknownNameError
from zifbench.profiles import Profile

STAGE = {
    "name": "nvt",
    "ensemble": "nvt",
    "temperature_K": 300,
    "length_ps": {"quick": 1, "standard": 2, "paper": 3},
}
TABLE = {"schema": 1, "name": "t", "about": "", "source": "", "start": "x", "stages": [STAGE]}


@pytest.mark.parametrize("name", protocol_names())
@pytest.mark.parametrize("profile", Profile)
def test_every_protocol_makes_a_plan(name, profile) -> None:
    protocol = load_protocol(name)
    assert set(protocol.stop_on) <= set(RULES)
    for kelvin in protocol.temperatures_K or (None,):
        segments = plan(protocol, profile, case_K=kelvin, replica=1)
        assert any(segment.n_samples for segment in segments)
        for segment in segments:
            hot = segment.temperature_K is not None and max(segment.temperature_K) > 1500.0
            assert segment.time_step_fs == (0.25 if hot else 0.5)


def test_lengths_of_the_paper() -> None:
    melt = {s.name: s for s in plan(load_protocol("melt-quench"), Profile.PAPER)}
    assert melt["heat"].n_steps * 0.5 == 60_000  # 1200 K at 20 K/ps
    assert melt["heat"].temperature_K == (300.0, 1500.0)
    assert melt["plateau"].n_steps * 0.5 == 50_000
    cells = load_protocol("melt-quench-cells")
    assert cells.replicas[Profile.PAPER] == 10
    plateau = [plan(cells, Profile.PAPER, replica=i)[3].n_steps * 0.5e-3 for i in range(10)]
    assert plateau == [50 + 20 * i for i in range(1, 11)]
    strain = plan(load_protocol("finite-strain"), Profile.PAPER)
    held = [s for s in strain if s.name.startswith("at")]
    assert len(held) == 7
    ends = [s.edges[1] ** 3 for s in strain if s.edges is not None]
    assert ends == pytest.approx([0.985, 1.0, 1.015, 1.03, 1.045, 1.06, 1.075])
    cold = load_protocol("melt-quench-1400K")
    assert plan(cold, Profile.PAPER)[2].n_steps * 0.5 == 55_000  # 1100 K at 20 K/ps
    long = plan(load_protocol("strain-fluctuation"), Profile.PAPER)
    assert sum(s.n_steps for s in long if s.ensemble is Ensemble.NPT) * 0.5e-6 == 5.0  # ns
    hot = plan(load_protocol("stability"), Profile.PAPER, case_K=1900.0)
    assert hot[0].n_steps * 0.25 == 300_000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 2}, "schema 2, wanted 1; is it a protocol"),
        ({"stages": []}, "stages: wanted 1 or more entries, got"),
        ({"stages": [STAGE, STAGE]}, "two stages have one name"),
        ({"time_step_fs": 0.0}, "time_step_fs: wanted a number greater than 0, got"),
        ({"time_step_fs": -1.0}, "time_step_fs: wanted a number greater than 0, got"),
        ({"supercell": [0, 1, 1]}, "supercell: wanted three numbers from 1 on"),
        ({"temperatures_K": [300]}, "temperatures_K are for stages"),
        ({"stages": [{**STAGE, "temperature_K": None}]}, "stage 'nvt': a temperature_K is for"),
        ({"stages": [{**STAGE, "length_ps": {"quick": 1}}]}, "length_ps wants quick, standard"),
        (
            {"stages": [{**STAGE, "ensemble": "nph"}]},
            r"stages\.0\.ensemble: wanted 'minimise'",
        ),
        ({"stages": [{**STAGE, "pressure_GPa": 1.0}]}, "stage 'nvt': pressure_GPa is for npt"),
        (
            {"stages": [{**STAGE, "ensemble": "npt", "temperature_K": [300, 400]}]},
            "a temperature ramp is for nvt",
        ),
        (
            {"temperatures_K": [300, 300], "stages": [{**STAGE, "temperature_K": "each"}]},
            "two cases of one name",
        ),
        ({"stages": [{**STAGE, "name": "a/b"}]}, r"stages\.0\.name: wanted a text of the pattern"),
    ],
)
def test_what_is_no_protocol(change, reason) -> None:
    with pytest.raises(DataError, match=rf"^mine\.toml: .*{reason}"):
        parse_protocol({**TABLE, **change}, where="mine.toml")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"thermostat": 3}, "key in mine.toml 'thermostat'; did you mean thermostat_fs"),
        ({"schema_version": 1}, "key in mine.toml 'schema_version'; did you mean schema"),
        (
            {"stages": [{**STAGE, "temperature": 300}]},
            "key in stages.0 of mine.toml 'temperature'; did you mean temperature_K",
        ),
    ],
)
def test_unknown_keys_name_the_nearest(change, reason) -> None:
    with pytest.raises(UnknownNameError, match=f"^unknown {reason}"):
        parse_protocol({**TABLE, **change}, where="mine.toml")


@pytest.mark.parametrize(
    ("temperature", "reason"),
    [
        ("warm", ": wanted a number or a list or 'each', got 'warm'"),
        (-1.0, ": wanted a number greater than 0 or a list or 'each', got -1.0"),
        ([300.0, "hot"], r"\.1: wanted a number, got 'hot'"),
        ([300.0], r"\.1 is missing"),
    ],
)
def test_a_value_that_may_be_of_several_kinds(temperature, reason) -> None:
    change = {"stages": [{**STAGE, "temperature_K": temperature}]}
    with pytest.raises(DataError, match=rf"^mine\.toml: stages\.0\.temperature_K{reason}$"):
        parse_protocol({**TABLE, **change}, where="mine.toml")


def test_names_and_files(tmp_path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean nvt-crystal"):
        load_protocol("nvt-cristal")
    path = tmp_path / "own.toml"
    path.write_text("schema = 1\nabout = ")
    with pytest.raises(DataError, match=r"own\.toml is no protocol"):
        load_protocol(str(path))
    with pytest.raises(FileNotFoundError):
        load_protocol(str(tmp_path / "none.toml"))


def test_a_driven_volume_after_a_free_one_is_refused() -> None:
    free = {**STAGE, "name": "free", "ensemble": "npt"}
    between = {**STAGE, "name": "between"}
    driven = {**STAGE, "volume_change_percent": 1.0}
    protocol = parse_protocol({**TABLE, "stages": [free, between, driven]}, where="t")
    with pytest.raises(DataError, match="stage nvt drives the volume after free let it go"):
        plan(protocol, Profile.QUICK)
