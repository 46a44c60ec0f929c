"""Protocols of molecular dynamics as data: stages with ensemble, temperature, volume and lengths.

`protocols/NAME.toml` beside this file is one definition for every engine and every profile; the
profile changes lengths only. A user's own file of the same form can be given by its path.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zifbench.errors import DataError, unknown_name
from zifbench.profiles import Profile
from zifbench.validation import refused

PROTOCOL_FOLDER = Path(__file__).with_name("protocols")
PROTOCOL_SCHEMA = 1

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
EACH_CASE = "each"  # the temperature is that of the case


class Ensemble(StrEnum):
    """What a stage keeps constant."""

    MINIMISE = "minimise"  # no motion: downhill to the nearest minimum, in the cell as it is
    NVE = "nve"
    NVT = "nvt"
    NPT = "npt"  # constant stress, all nine components of the cell flexible


_DRIVEN = {Ensemble.NVT, Ensemble.MINIMISE}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stage(_Strict):
    """One part of a protocol.

    Attributes:
        name: Names the trajectory that it writes.
        ensemble: See `Ensemble`.
        length_ps: Profile -> length.
        length_ps_per_replica: Profile -> what each further replica runs longer.
        temperature_K: Of the thermostat: a number, (from, to) for a ramp, or "each" for that of
            the case. None in NVE and where atoms stand still.
        volume_change_percent: Where the volume stands at the end, in per cent of the starting one;
            the cell edges change linearly with time (where nothing moves, at once). None: as it is.
        pressure_GPa: External pressure in NPT.
        sample_fs: Time between the frames that are kept; None keeps none.
        force_eV_per_A: Largest force on an atom that a minimisation leaves.
        keep: Keep the minimum as a frame.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]*$", max_length=60)]
    ensemble: Ensemble
    length_ps: Mapping[Profile, Positive] = Field(default_factory=dict)
    length_ps_per_replica: Mapping[Profile, NotNegative] = Field(default_factory=dict)
    temperature_K: Positive | tuple[Positive, Positive] | Literal["each"] | None = None
    volume_change_percent: Annotated[float, Field(gt=-90.0, lt=900.0)] | None = None
    pressure_GPa: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    sample_fs: Positive | None = None
    force_eV_per_A: Positive = 0.05
    keep: bool = False

    @model_validator(mode="after")
    def _check(self) -> Stage:
        where = f"stage {self.name!r}"
        moves = self.ensemble is not Ensemble.MINIMISE
        if moves and set(self.length_ps) != set(Profile):
            raise ValueError(f"{where}: length_ps wants {', '.join(Profile)}")
        if (self.ensemble in {Ensemble.NVT, Ensemble.NPT}) != (self.temperature_K is not None):
            raise ValueError(f"{where}: a temperature_K is for nvt and npt, and needed there")
        if self.volume_change_percent is not None and self.ensemble not in _DRIVEN:
            raise ValueError(f"{where}: volume_change_percent is for nvt and minimise")
        if not moves and (
            self.length_ps or self.length_ps_per_replica or self.sample_fs is not None
        ):
            raise ValueError(
                f"{where}: minimise has no length and no sample_fs (keep = true is for it)"
            )
        if moves and (self.keep or "force_eV_per_A" in self.model_fields_set):
            raise ValueError(f"{where}: keep and force_eV_per_A are for minimise")
        if self.ensemble is not Ensemble.NPT and self.pressure_GPa:
            raise ValueError(f"{where}: pressure_GPa is for npt")
        if self.ensemble is Ensemble.NPT and isinstance(self.temperature_K, tuple):
            raise ValueError(f"{where}: a temperature ramp is for nvt")
        return self


class Protocol(_Strict):
    """A simulation that every candidate goes through.

    Attributes:
        schema_version: `PROTOCOL_SCHEMA`; `schema` in the file.
        name: Its name.
        about: What it is, for people.
        source: Paper, table or page.
        start: Published structures to begin with: an asset or a group of them.
        supercell: Repetitions of the starting cell.
        temperatures_K: Cases: every structure is run at each of them; stages use "each".
        replicas: Profile -> runs of each case, with velocities of their own.
        time_step_fs: Time step.
        hot_time_step_fs: Time step of stages that go beyond `hot_K`.
        hot_K: See there.
        thermostat_fs: Damping time of the Nosé–Hoover chain.
        barostat_fs: Damping time of the barostat.
        stop_on: Rules of `rules.RULES` that end a replica.
        stages: In this order.
    """

    schema_version: Annotated[int, Field(alias="schema")]
    name: str
    about: str
    source: str
    start: str
    supercell: tuple[int, int, int] = (1, 1, 1)
    temperatures_K: tuple[Positive, ...] = ()
    replicas: Mapping[Profile, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    time_step_fs: Positive = 0.5
    hot_time_step_fs: Positive = 0.25
    hot_K: Positive = 1500.0
    thermostat_fs: Positive = 100.0
    barostat_fs: Positive = 1000.0
    stop_on: tuple[str, ...] = ("not a number", "lost atom", "contact", "runaway")
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Protocol:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("two stages have one name")
        if min(self.supercell) < 1:
            raise ValueError("supercell: wanted three numbers from 1 on")
        if len({f"{kelvin:g}" for kelvin in self.temperatures_K}) < len(self.temperatures_K):
            raise ValueError("temperatures_K: two cases of one name")
        each = any(stage.temperature_K == EACH_CASE for stage in self.stages)
        if each != bool(self.temperatures_K):
            raise ValueError('temperatures_K are for stages with temperature_K = "each"')
        return self

    def length_ps(self, profile: Profile) -> float:
        """Time that the first replica of a case runs."""
        return sum(stage.length_ps.get(profile, 0.0) for stage in self.stages)


def protocol_names() -> list[str]:
    """Names of the protocols that come with the package."""
    return sorted(path.stem for path in PROTOCOL_FOLDER.glob("*.toml"))


def load_protocol(name: str) -> Protocol:
    """A protocol by its name, or from a file of one's own.

    Raises:
        UnknownNameError: no such protocol, or no such key in one.
        DataError: the file is no protocol; the message names the first thing that is wrong.
    """
    path = Path(name)
    if path.suffix != ".toml":
        if name not in protocol_names():
            raise unknown_name("protocol", name, protocol_names())
        path = PROTOCOL_FOLDER / f"{name}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} is no protocol: {error}") from error
    return parse_protocol({"name": path.stem, **table}, where=path.name)


def parse_protocol(table: Mapping[str, Any], *, where: str) -> Protocol:
    """A protocol from the entries of its file.

    Raises:
        UnknownNameError, DataError: see `load_protocol`.
    """
    if table.get("schema") != PROTOCOL_SCHEMA:
        raise DataError(
            f"{where}: schema {table.get('schema')!r}, wanted {PROTOCOL_SCHEMA}; is it a protocol?"
        )
    try:
        return Protocol.model_validate(table)
    except ValidationError as error:
        sections = {"stages": Stage}
        raise refused(error, table, kind=Protocol, where=where, sections=sections) from error
