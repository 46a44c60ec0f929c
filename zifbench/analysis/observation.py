"""What an observable is made of: settings in, series, curves and numbers out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from zifbench.errors import DataError, NotDefinedError
from zifbench.frames import FloatArray, Frames


@dataclass(frozen=True)
class Measured:
    """A measured curve to lay beside a computed one.

    Attributes:
        name: Where it comes from.
        kind: "F(Q)" or "D(r)".
        x: Q in 1/Å or r in Å, rising, shape (B,).
        y: Values, shape (B,).
    """

    name: str
    kind: str
    x: FloatArray
    y: FloatArray


@dataclass(frozen=True)
class Settings:
    """What the frames themselves do not say.

    Attributes:
        temperature_K: Temperature of the runs; free energies and elastic constants need it.
        frame_interval_fs: Time between frames where the frames carry no times.
        seed: Of the bootstrap.
        xray: Measured X-ray curves, at most one of each kind.
    """

    temperature_K: float | None = None
    frame_interval_fs: float | None = None
    seed: int = 0
    xray: tuple[Measured, ...] = ()

    def __post_init__(self) -> None:
        for name, unit in (("temperature_K", "K"), ("frame_interval_fs", "fs")):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < math.inf:
                words = name.rsplit("_", 1)[0].replace("_", " ")
                raise DataError(f"{words} {value:g} {unit}: wanted a positive number")

    def temperature(self) -> float:
        """The temperature in K.

        Raises:
            NotDefinedError: it was not given.
        """
        if self.temperature_K is None:
            raise NotDefinedError("it needs the temperature of the run; give it (--temperature)")
        return self.temperature_K


@dataclass(frozen=True)
class Series:
    """One number a frame, shape (T,); its mean is the number reported."""

    title: str
    unit: str
    values: FloatArray


@dataclass(frozen=True)
class Reading:
    """A number read off a curve.

    Attributes:
        title: What it is.
        unit: Its unit.
        read: From the ordinate to the number; raises `NotDefinedError` where there is none.
        check: Raises `NotDefinedError` where the curve does not have what is read off it. Apart
            from `read`, so that the scatter of a number does not hang on it.
    """

    title: str
    unit: str
    read: Callable[[FloatArray], float]
    check: Callable[[FloatArray], None] | None = None


@dataclass(frozen=True)
class Curve:
    """A curve whose ordinate is a mean over frames, or a function of such a mean.

    Attributes:
        title: What it is.
        x_label: Abscissa with unit.
        y_label: Ordinate with unit.
        x: Abscissa, shape (B,).
        y: Mean contribution of a frame, shape (B,).
        of_mean: From the mean contribution to the ordinate; None where they are the same.
        bars: Drawn as bars and not as a line.
        points: Drawn as points.
        blocks: Mean contributions of consecutive stretches, shape (K, B): their scatter is the
            error of `y`.
        band: Ends of a 95 % interval that is known in another way, shapes (B,).
        readings: Key -> a number read off the ordinate.
        measured: A measured curve to draw beside it.
        panel: Curves of the same panel are drawn in one set of axes; by default each in its own.
        drawn_bins: So many bins are drawn as one, where single ones are too noisy to look at.
    """

    title: str
    x_label: str
    y_label: str
    x: FloatArray
    y: FloatArray
    of_mean: Callable[[FloatArray], FloatArray] | None = None
    bars: bool = False
    points: bool = False
    blocks: FloatArray | None = None
    band: tuple[FloatArray, FloatArray] | None = None
    readings: Mapping[str, Reading] = field(default_factory=dict)
    measured: Measured | None = None
    panel: str | None = None
    drawn_bins: int = 1


@dataclass(frozen=True)
class Scalar:
    """One number of a whole trajectory, with the interval that its own estimator gives.

    Attributes:
        title: What it is.
        unit: Its unit.
        value: The number.
        interval_95: Its interval.
        reliable: Whether the interval holds.
        note: Anything a reader must know.
        verdict: Makes the note from the final number and interval, where it is about these.
    """

    title: str
    unit: str
    value: float
    interval_95: tuple[float, float] | None = None
    reliable: bool | None = None
    note: str | None = None
    verdict: Callable[[float, tuple[float, float] | None], str | None] | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened in some frames.

    Attributes:
        what: What, in words, with the atoms.
        first: The first frame, in words.
        last: The last frame, in words.
        n_frames: In how many frames.
    """

    what: str
    first: str
    last: str
    n_frames: int = 1

    def __str__(self) -> str:
        if self.n_frames == 1:
            return f"{self.what} in {self.first}"
        return f"{self.what} in {self.n_frames} frames, from {self.first} to {self.last}"


@dataclass(frozen=True)
class Observation:
    """What an observable makes of some frames; the keys name arrays in files.

    Attributes:
        series: Numbers frame by frame.
        curves: Means over frames.
        scalars: Numbers of the whole.
        events: What happened.
        gaps: What could not be had, with the reason.
    """

    series: Mapping[str, Series] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    scalars: Mapping[str, Scalar] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class About:
    """What is known of the frames of one file before they are read.

    Attributes:
        name: The file, for messages.
        n_frames: Number of frames T.
        arrays: Arrays of the whole trajectory, such as a Hessian.
    """

    name: str
    n_frames: int
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


def check_alike(first: Series | Curve | Scalar, other: Series | Curve | Scalar, of: str) -> None:
    """Refuse to put together what is not one thing.

    Args:
        first: What some of them give.
        other: What others give under the same key.
        of: "frames" or "files", for the message.

    Raises:
        NotDefinedError: another title, another unit or another abscissa.
    """
    if first.title != other.title:
        raise NotDefinedError(f"some {of} give “{first.title}”, others “{other.title}”")
    units = [x.y_label if isinstance(x, Curve) else x.unit for x in (first, other)]
    if units[0] != units[1]:
        raise NotDefinedError(f"some {of} give {units[0]}, others {units[1]}")
    if not isinstance(first, Curve) or not isinstance(other, Curve):
        return
    if first.x.shape != other.x.shape or not np.allclose(first.x, other.x):
        raise NotDefinedError(
            f"the {of} give it at different {first.x_label}; analyse them as separate runs"
        )


class Meter(Protocol):
    """Takes the frames of one file piece by piece and then says what it saw."""

    def add(self, frames: Frames) -> None:
        """Take the next frames.

        Raises:
            NotDefinedError: the observable is not defined for them, with the reason.
        """

    def result(self) -> Observation:
        """What all frames together gave.

        Raises:
            NotDefinedError: the observable is not defined for them, with the reason.
        """


class Scope(StrEnum):
    """What an observable must see at once."""

    FRAMES = "frames"  # any frames: blocks of them give the error bars
    TRAJECTORY = "trajectory"  # all frames of one file, in order
    OTHER = "other"  # what another observable found in one file
    FILES = "files"  # what other observables found in all files of a run


@dataclass(frozen=True)
class Observable:
    """A line of the table.

    Attributes:
        about: What it is, for people.
        function: By scope: (frames, settings) -> Observation; (settings, about) -> Meter;
            (Observation of the other, settings) -> Observation; (for each file its observations by
            name, settings) -> Observation.
        scope: What the function must see.
        of: The other observables that it is made of.
        optional: Left out unless asked for.
        memory: Makes what one file's pieces share, given to a function of frames as `memory`.
        slow: Takes so long for a frame that pieces must be short, or nobody could stop it.
    """

    about: str
    function: Callable[..., Any]
    scope: Scope = Scope.FRAMES
    of: tuple[str, ...] = ()
    optional: bool = False
    memory: Callable[[], Any] | None = None
    slow: bool = False


def per_frame(title: str, unit: str, values: npt.ArrayLike) -> Series:
    """A series from any numbers, one a frame."""
    return Series(title, unit, np.asarray(values, dtype=np.float64))
