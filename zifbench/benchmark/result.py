"""What an evaluation yields: measurements with error bars, and where they come from.

The schema of `result.json`. Everything downstream (report, leaderboard) reads only this.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from zifbench.errors import ResultError
from zifbench.files import write_text_atomically
from zifbench.potentials.card import Check, ModelCard
from zifbench.validation import problem

RESULT_SCHEMA: Literal[1] = 1
RESULT_FILE = "result.json"


class Record(BaseModel):
    """Base of all records in files: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


AnyRecord = TypeVar("AnyRecord", bound=Record)


class Published(Record):
    """A number from elsewhere to stand beside a measured one, in its unit.

    Attributes:
        value: The number.
        error: As its source states it; None where it states none.
        model: What it was made with: a potential, "AIMD", "experiment".
        method: How, where there are several ways.
        source: Table, page, or the frames it was computed from here.
        citation: Of the paper.
        note: Anything a reader must know.
    """

    value: float
    error: float | None = None
    model: str
    method: str = ""
    source: str
    citation: str = ""
    note: str | None = None


class Picture(Record):
    """A figure of a task.

    Attributes:
        title: What it shows.
        file: Where it lies in the result directory.
    """

    title: str
    file: str


class Measurement(Record):
    """One number.

    Attributes:
        quantity: What was measured, for instance "force_mae"; `QUANTITIES` describes each.
        value: In `unit`.
        unit: Unit of the value and its interval.
        subset: What it is restricted to, for instance {"element": "Zn"}; empty for everything.
        interval_95: 95 % interval, or None where it cannot be had (one sample).
        spread_95: Range of the central 95 % of the single samples, where that is of interest.
        seed_sd: Standard deviation between models that differ in their seed only, where the value
            is the mean over them.
        n: Number of independent samples behind it.
        n_of: What these samples are, "frames" or "calls".
        reference: What the value is an error against, None where it is no error.
        noise_floor: Error that a perfect model would show, where known; for distances between
            distributions what 95 % of perfect models stay below.
        beside: Numbers from elsewhere to compare the value with.
        note: Anything a reader must know.
    """

    quantity: str
    value: float
    unit: str
    subset: dict[str, str] = {}
    interval_95: tuple[float, float] | None = None
    spread_95: tuple[float, float] | None = None
    seed_sd: float | None = None
    n: int
    n_of: str
    reference: str | None = None
    noise_floor: float | None = None
    beside: list[Published] = []
    note: str | None = None


class Outlier(Record):
    """A frame or atom with a large error."""

    kind: Literal["frame", "atom"]
    frame: str
    error: float
    unit: str
    reference: float
    atom: int | None = None
    element: str | None = None


class TaskResult(Record):
    """What one task measured, and what it left out and why."""

    task: str
    measurements: list[Measurement]
    outliers: list[Outlier] = []
    gaps: list[str] = []
    settings: dict[str, str | int | float] = {}
    pictures: list[Picture] = []
    wall_s: float


class DataCard(Record):
    """The frames a result was made on."""

    names: list[str]
    digest: str
    n_frames: int
    n_atoms: list[int]
    formulas: list[str]
    levels_of_theory: list[str]


class Provenance(Record):
    """Where and with what a result was made."""

    zifbench: str
    python: str
    platform: str
    packages: dict[str, str]
    cpu: str
    n_cores: int
    n_threads: int
    memory_GiB: float
    device: str
    date: str
    command: str


class Result(Record):
    """A whole evaluation of one model."""

    schema_version: Literal[1] = RESULT_SCHEMA
    model: ModelCard
    data: DataCard
    profile: str
    seed: int
    conformance: list[Check]
    tasks: dict[str, TaskResult]
    provenance: Provenance

    @property
    def conforms(self) -> bool | None:
        """Whether all required conformance checks passed; None if none was run."""
        return not self.failed_checks if self.conformance else None

    @property
    def failed_checks(self) -> list[str]:
        """Names of the required checks that failed."""
        return [check.name for check in self.conformance if check.required and not check.passed]

    def measurements(self) -> list[Measurement]:
        """All measurements of all tasks."""
        return [m for task in self.tasks.values() for m in task.measurements]


# Everything that may stand in a result, in words for people.
QUANTITIES: dict[str, str] = {
    "energy_mae": "Energy, mean absolute error",
    "energy_rmse": "Energy, root mean square error",
    "energy_offset": "Energy, constant offset per composition",
    "energy_mae_offset_removed": "Energy, mean absolute error without the offset",
    "energy_rmse_offset_removed": "Energy, root mean square error without the offset",
    "force_mae": "Forces, mean absolute error of components",
    "force_rmse": "Forces, root mean square error of components",
    "force_rms_reference": "Forces, root mean square of the reference",
    "stress_mae": "Stress, mean absolute error of components",
    "stress_rmse": "Stress, root mean square error of components",
    "pressure_bias": "Pressure, mean signed error",
    "time_per_call": "Speed, one call",
    "time_forward": "Speed, the model alone",
    "time_neighbours": "Speed, neighbour list and input",
    "time_per_step": "Speed, one step of MD",
    "time_exponent": "Speed, power of the number of atoms",
    "peak_memory": "Peak memory of the process",
    "peak_device_memory": "Peak memory on the device",
    "completed_share": "Runs that came to their end",
    "coordination": "Zn–N coordination",
    "n_zn_n_angle": "N–Zn–N angle, mean",
    "barrier": "Barrier of the Zn–N bond",
    "rings": "Primitive rings in a cell",
    "broken_linkers": "Broken imidazolates, share",
    "pore_volume": "Pore volume",
    "temperature": "Temperature",
    "pressure": "Pressure, mean",
    "coordination_error": "Zn–N coordination, mean difference",
    "rings_error": "Primitive rings in a cell, mean difference",
    "pore_volume_error": "Pore volume, mean difference",
    "rdf_w1": "Distance of the RDFs (Wasserstein-1)",
    "rdf_w1_relative": "Distance of the RDFs, by the width of the reference",
    "angle_w1": "Distance of the angle distributions (Wasserstein-1)",
    "angle_w1_relative": "Distance of the angle distributions, by the width of the reference",
    "bulk_modulus": "Bulk modulus K",
    "density": "Density at zero pressure",
    "young_modulus": "Young's modulus E",
    "shear_modulus": "Shear modulus G",
    "poisson_ratio": "Poisson's ratio ν",
    "softest_strain": "Smallest eigenvalue of the elastic constants",
    **{f"c{ij}": f"Elastic constant C{ij}" for ij in (11, 22, 33, 44, 55, 66, 23, 13, 12)},
    "coordination_scatter": "Zn–N coordination, standard deviation between runs",
    "pore_volume_scatter": "Pore volume, standard deviation between runs",
    "time_survived": "Mean time survived, within the length of the run",
    "energy_drift": "Energy, drift without a thermostat",
    "energy_fluctuation": "Energy, fluctuation without a thermostat",
}

# What a measurement over everything may still be restricted to: it says what was simulated.
_WHOLE = ("system", "start", "protocol", "method", "pair", "at", "composition")


def is_headline(measurement: Measurement) -> bool:
    """Whether it is over everything, and not over an element or a phase."""
    return not set(measurement.subset) - {"atoms", *_WHOLE}


def title_of(measurement: Measurement) -> str:
    """What was measured, in words for people."""
    name = QUANTITIES.get(measurement.quantity, measurement.quantity)
    subset = measurement.subset
    words = [name, *(subset[key] for key in _WHOLE if key in subset)]
    return ", ".join([*words, *([f"{subset['atoms']} atoms"] if "atoms" in subset else [])])


def save_result(result: Result, directory: Path) -> Path:
    """Write `result.json` into a directory, whole or not at all."""
    path = directory / RESULT_FILE
    write_text_atomically(path, result.model_dump_json(indent=1) + "\n")
    return path


def load_result(path: Path) -> Result:
    """Read a result from its directory or its `result.json`.

    Raises:
        ResultError: not there, of another schema, or damaged.
    """
    file = path / RESULT_FILE if path.is_dir() else path
    if not file.is_file():
        raise ResultError(
            f"no {RESULT_FILE} at {path}; give the directory of a finished evaluation"
        )
    return parse_record(Result, file)


def parse_record(kind: type[AnyRecord], file: Path) -> AnyRecord:
    """Read one record from a JSON file; the message names the first field that is wrong.

    Raises:
        ResultError: not JSON, or not of this schema.
    """
    content = file.read_bytes()
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise ResultError(
                f"{file} is damaged ({first['msg']}); restore it, or make it again"
            ) from error
        raise ResultError(
            f"{file} is not a valid {kind.__name__} of this version of zifbench: "
            f"{problem(error, from_json(content))}"
        ) from error
