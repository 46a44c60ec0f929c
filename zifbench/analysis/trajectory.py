"""Observables that must see a trajectory in order: displacements, bonds, cell, vibrations."""

from __future__ import annotations

from functools import partial

import numpy as np

from zifbench.analysis.checks import Clock, check_cells, checked_chunks
from zifbench.analysis.coordination import BondMeter
from zifbench.analysis.elasticity import (
    bulk_modulus_from_volumes_estimate,
    check_convergence,
    check_fluctuates,
    hill_estimate,
    stability_estimate,
    stiffness_convergence,
)
from zifbench.analysis.msd import DisplacementMeter, Walk, diffusion_cm2_per_s
from zifbench.analysis.observation import (
    About,
    Curve,
    Observation,
    Reading,
    Scalar,
    Settings,
)
from zifbench.analysis.vibrations import SpectrumMeter, density_of_states, normal_modes
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray, Frames
from zifbench.units import PER_FS_IN_PER_CM

_FS_PER_PS = 1000.0
_SURVIVAL_POINTS = 101
_LAGS = 40  # points of a mean square displacement
_MAX_LAG_FS = 20_000.0  # the authors' window
_MIN_LAGS = 3
_LEAST_POWER = 0.5  # of time in a displacement that is called diffusion
_GREATEST_POWER = 1.4  # free flight has 2
_LEAST_MSD_A2 = 1.0  # a bond length or so; less is vibration
_BLOCKS = 32  # stretches of origins
_POINTS = 20  # lengths of a run at which the elastic constants are shown
_SHOWN = ("11", "22", "33", "44", "55", "66", "23", "13", "12")
# Velocities further apart fold the C–H stretch, 3200 cm⁻¹, back onto slower motion.
_MAX_STEP_FS = 5.0
_RESOLUTION_PER_CM, _COARSEST_PER_CM = 10.0, 100.0
_SEGMENTS = 5  # of a run that is too short for more at the resolution wanted
_SEGMENT_BYTES = 64_000_000
_MODE_WIDTH_PER_CM = 5.0


class Msd:
    """Mean square displacement of each element, up to a quarter of the run or 20 ps."""

    def __init__(self, settings: Settings, about: About) -> None:
        _check_series(about)
        self._about = about
        self._meter = DisplacementMeter(
            self._lags,
            frame_interval_fs=settings.frame_interval_fs,
            n_frames=about.n_frames,
            n_blocks=min(_BLOCKS, about.n_frames - max(1, (about.n_frames - 1) // 4)),
        )

    def _lags(self, interval_fs: float) -> tuple[float, float]:
        longest = min(_MAX_LAG_FS, interval_fs * max(1, (self._about.n_frames - 1) // 4))
        longest = max(longest, interval_fs)
        return longest, interval_fs * max(1, round(longest / interval_fs / _LAGS))

    def add(self, frames: Frames) -> None:
        """Take the next frames."""
        for chunk in checked_chunks(frames):
            self._meter.add(chunk)

    def result(self) -> Observation:
        """A curve an element, and its slope over the longer half of the lags."""
        found = self._meter.result()
        lag_ps = found.lag_fs / _FS_PER_PS
        ends = (0.5 * found.lag_fs[-1], found.lag_fs[-1])
        curves = {}
        for name, values in found.msd_A2.items():
            slope = partial(diffusion_cm2_per_s, found.lag_fs, from_fs=ends[0], to_fs=ends[1])
            diffusion = Reading(
                f"Diffusion coefficient of {name}",
                "10⁻⁵ cm²/s",
                partial(_in_small_units, slope),
                partial(_check_diffusion, found.lag_fs, ends[0]),
            )
            curves[f"{name.lower()}_msd"] = Curve(
                name,
                "time, ps",
                "MSD, Å²",
                lag_ps,
                values,
                blocks=found.blocks_A2.get(name),
                readings={f"{name.lower()}_diffusion": diffusion},
            )
        return Observation(curves=curves)


def _check_diffusion(lag_fs: FloatArray, from_fs: float, msd_A2: FloatArray) -> None:
    """Refuse a slope where atoms only rattle, or have not yet met their neighbours."""
    if msd_A2[-1] < _LEAST_MSD_A2:
        raise NotDefinedError(
            f"the mean square displacement reaches {msd_A2[-1]:.2g} Å², wanted at least "
            f"{_LEAST_MSD_A2:g}: the atoms rattle, or the run is too short"
        )
    chosen = (lag_fs >= from_fs) & (msd_A2 > 0.0)
    if chosen.sum() < _MIN_LAGS:
        return  # the slope itself says what is missing
    power = float(np.polyfit(np.log(lag_fs[chosen]), np.log(msd_A2[chosen]), 1)[0])
    if power < _LEAST_POWER:
        raise NotDefinedError(
            f"the displacement grows as time to the {power:.2f} at {from_fs:g} fs and beyond, "
            f"wanted at least {_LEAST_POWER:g} (diffusion has 1): the atoms rattle, or the run is "
            "too short"
        )
    if power > _GREATEST_POWER:
        raise NotDefinedError(
            f"the displacement grows as time to the {power:.2f} at {from_fs:g} fs and beyond, "
            f"wanted at most {_GREATEST_POWER:g} (diffusion has 1): the run is too short"
        )


def _in_small_units(slope: partial[float], msd_A2: FloatArray) -> float:
    return 1.0e5 * slope(msd_A2)


class Bonds:
    """Zn–N bonds through time: how many changed their Zn, how long they live."""

    def __init__(self, settings: Settings, about: About) -> None:
        _check_series(about)
        self._about = about
        self._meter = BondMeter(frame_interval_fs=settings.frame_interval_fs)

    def add(self, frames: Frames) -> None:
        """Take the next frames."""
        for chunk in checked_chunks(frames):
            self._meter.add(chunk)

    def result(self) -> Observation:
        """Exchanges, and the survival of bonds that were formed or there from the start."""
        found = self._meter.result()
        n_broken = int((~found.censored).sum())
        scalars = {
            "exchanges": Scalar("N that changed their Zn", "events", float(found.n_exchanges)),
            "bonds_broken": Scalar("Zn–N bonds broken", "events", float(n_broken)),
        }
        times, survival = found.survival()
        age = np.linspace(0.0, found.n_frames * found.frame_interval_fs, _SURVIVAL_POINTS)
        lives = np.append(1.0, survival)[np.searchsorted(times, age, side="right")]
        curve = Curve("Zn–N bonds", "time, ps", "share that lives longer", age / _FS_PER_PS, lives)
        gaps: tuple[str, ...] = ()
        if n_broken:
            lifetime = found.mean_lifetime_fs / _FS_PER_PS
            scalars["bond_lifetime"] = Scalar("Mean lifetime of a Zn–N bond", "ps", lifetime)
        else:
            gaps = (f"lifetime of a Zn–N bond: none broke in {self._about.name}",)
        return Observation(curves={"bond_survival": curve}, scalars=scalars, gaps=gaps)


class _Cells:
    """The cells of a run, nine numbers a frame, and their times."""

    def __init__(self, settings: Settings, about: About) -> None:
        self._temperature = settings.temperature()
        _check_series(about)
        self._settings = settings
        self._cells: list[FloatArray] = []
        self._times: list[FloatArray] = []

    def add(self, frames: Frames) -> None:
        """Take the next frames; positions may be anything."""
        check_cells(frames)
        self._cells.append(frames.cell)
        if frames.time_fs is not None:
            self._times.append(frames.time_fs)

    def _cell(self) -> FloatArray:
        return np.concatenate(self._cells)

    def _axis(self) -> tuple[str, FloatArray]:
        """Label and abscissa of every frame."""
        n = sum(map(len, self._cells))
        if sum(map(len, self._times)) == n:
            times = np.concatenate(self._times)
            return "length of the run, ps", (times - times[0]) / _FS_PER_PS
        interval = self._settings.frame_interval_fs
        if interval is None:
            return "frames used", np.arange(n, dtype=np.float64)
        return "length of the run, ps", np.arange(n, dtype=np.float64) * (interval / _FS_PER_PS)


class Elasticity(_Cells):
    """Elastic constants and moduli from the fluctuations of a flexible cell, and their stability.

    Each constant is shown against the length of the run, too.
    """

    def result(self) -> Observation:
        """Hill's averages, the softest strain, C_ij against time."""
        cells, seed, kelvin = self._cell(), self._settings.seed, self._temperature
        hill = hill_estimate(cells, temperature_K=kelvin, seed=seed)
        names = (
            ("bulk_modulus_hill", "Bulk modulus K, Hill", "GPa"),
            ("young_modulus_hill", "Young's modulus E, Hill", "GPa"),
            ("shear_modulus_hill", "Shear modulus G, Hill", "GPa"),
            ("poisson_ratio_hill", "Poisson's ratio ν, Hill", ""),
        )
        scalars = {
            key: Scalar(title, unit, float(value), (float(low), float(high)), hill.reliable)
            for (key, title, unit), value, low, high in zip(
                names, hill.estimate, hill.low, hill.high, strict=True
            )
        }
        soft = stability_estimate(cells, temperature_K=kelvin, seed=seed)
        ends = (float(soft.low), float(soft.high))
        scalars["softest_strain"] = Scalar(
            "Smallest eigenvalue of C", "GPa", float(soft.estimate), ends, soft.reliable,
            verdict=_stability,
        )  # fmt: skip
        return self._with_convergence(cells, scalars)

    def _with_convergence(self, cells: FloatArray, scalars: dict[str, Scalar]) -> Observation:
        try:
            track = stiffness_convergence(
                cells,
                temperature_K=self._temperature,
                seed=self._settings.seed,
                n_points=min(_POINTS, max(2, len(cells) // 64)),
            )
        except NotDefinedError as error:
            return Observation(scalars=scalars, gaps=(f"C_ij against time: {error}",))
        verdict = check_convergence(track)
        label, axis = self._axis()
        x = axis[track.n_frames - 1]
        note = None if verdict.converged else f"not converged: {verdict.reason}"
        curves = {}
        for name in _SHOWN:
            i, j = int(name[0]) - 1, int(name[1]) - 1
            y, reach = track.stiffness_GPa[:, i, j], track.reach_GPa[:, i, j]
            curves[f"c{name}"] = Curve(f"C{name}", label, "GPa", x, y, band=(y - reach, y + reach))
            last, ends = float(y[-1]), (float(y[-1] - reach[-1]), float(y[-1] + reach[-1]))
            scalars[f"c{name}"] = Scalar(f"C{name}", "GPa", last, ends, verdict.converged, note)
        return Observation(curves=curves, scalars=scalars)


def _stability(value: float, ends: tuple[float, float] | None) -> str:
    """Born's criterion in words."""
    if ends is not None and ends[0] > 0.0:
        return "stable: every strain costs energy"
    return "stability not shown: zero is within the interval, or there is none"


class VolumeFluctuations(_Cells):
    """Bulk modulus from the fluctuations of the volume, the Reuss one."""

    def result(self) -> Observation:
        """K = kT⟨V⟩/var(V)."""
        volume = np.abs(np.linalg.det(self._cell()))
        check_fluctuates(volume)
        found = bulk_modulus_from_volumes_estimate(
            volume, temperature_K=self._temperature, seed=self._settings.seed
        )
        title = "Bulk modulus K, volume fluctuations"
        ends = (float(found.low), float(found.high))
        scalar = Scalar(title, "GPa", float(found.estimate), ends, found.reliable)
        return Observation(scalars={"bulk_modulus_volume": scalar})


class Spectrum:
    """Vibrational density of states from velocities, or from steps where a file has none."""

    def __init__(self, settings: Settings, about: About) -> None:
        _check_series(about)
        self._about = about
        self._clock = Clock(settings.frame_interval_fs)
        self._walk = Walk(remove_drift=False)
        self._meter: SpectrumMeter | None = None
        self._held: list[Frames] = []
        self._last: FloatArray | None = None
        self._moving = False  # velocities are there, and not differences of positions

    def add(self, frames: Frames) -> None:
        """Take the next frames."""
        for chunk in checked_chunks(frames):
            self._clock.add(chunk)
            self._held.append(chunk)
            if self._meter is None and self._clock.n_frames > 1:
                self._start(chunk)
            if self._meter is not None:
                for piece in self._held:
                    self._meter.add(self._velocities(piece))
                self._held = []

    def _start(self, frames: Frames) -> None:
        step = self._clock.interval_fs()
        if step > _MAX_STEP_FS:
            raise NotDefinedError(
                f"frames every {step:g} fs in {self._about.name}; vibrations want at most "
                f"{_MAX_STEP_FS:g} fs, or the fastest are taken for slow ones"
            )
        self._moving = frames.velocities is not None
        n_frames = self._about.n_frames - (not self._moving)
        self._meter = SpectrumMeter(
            frames.masses,
            time_step_fs=step,
            segment_frames=_segment_frames(n_frames, step, frames.n_atoms),
            n_frames=n_frames,
            differences=not self._moving,
        )

    def _velocities(self, frames: Frames) -> FloatArray:
        if self._moving != (frames.velocities is not None):
            raise NotDefinedError(f"velocities in some frames only, from {frames.where(0)} on")
        if frames.velocities is not None:
            return frames.velocities
        path = self._walk.unwrap(frames)
        if self._last is not None:
            path = np.concatenate([self._last[None], path])
        self._last = path[-1]
        return np.asarray(np.diff(path, axis=0) / self._clock.interval_fs(), dtype=float)

    def result(self) -> Observation:
        """The spectrum with the scatter of its segments."""
        self._clock.interval_fs()
        if self._meter is None:
            raise NotDefinedError(f"no motion was seen in {self._about.name}")
        found = self._meter.result()
        title = "From velocities" if self._moving else "From steps between frames"
        curve = Curve(
            title,
            "wavenumber, cm⁻¹",
            "share of the kinetic energy, cm",
            found.wavenumber_per_cm,
            found.density.mean(axis=0),
            blocks=found.density,
        )
        return Observation(curves={"velocity_spectrum": curve})


def _segment_frames(n_frames: int, step_fs: float, n_atoms: int) -> int:
    """Frames for 10 cm⁻¹, fewer where the run or the memory is short, enough for 100 cm⁻¹."""
    least = int(np.ceil(2.0 * PER_FS_IN_PER_CM / (_COARSEST_PER_CM * step_fs)))
    if n_frames < least:
        raise NotDefinedError(
            f"the run lasts {n_frames * step_fs:g} fs; vibrations want at least "
            f"{least * step_fs:.0f} fs to be told apart by {_COARSEST_PER_CM:g} cm⁻¹"
        )
    wanted = int(2.0 * PER_FS_IN_PER_CM / (_RESOLUTION_PER_CM * step_fs))
    return max(least, min(wanted, n_frames // _SEGMENTS, _SEGMENT_BYTES // (24 * n_atoms)))


class HessianModes:
    """Normal modes of a Hessian that comes with the frames."""

    def __init__(self, settings: Settings, about: About) -> None:
        if "hessian" not in about.arrays:
            raise NotDefinedError(f"no Hessian comes with {about.name}")
        self._hessian = about.arrays["hessian"]
        self._masses: FloatArray | None = None

    def add(self, frames: Frames) -> None:
        """Take the masses."""
        self._masses = frames.masses

    def result(self) -> Observation:
        """Density of states, imaginary modes, the highest mode."""
        if self._masses is None:
            raise NotDefinedError("no frames, so no masses for the Hessian")
        modes = normal_modes(self._hessian, self._masses)
        wavenumber = modes.wavenumber_per_cm
        grid = np.arange(np.floor(wavenumber[0] / 50.0) * 50.0 - 50.0, wavenumber[-1] + 100.0, 2.0)
        density = density_of_states(wavenumber, grid_per_cm=grid, width_per_cm=_MODE_WIDTH_PER_CM)
        curve = Curve("Γ point", "wavenumber, cm⁻¹", "modes per cm⁻¹", grid, density)
        note = None
        if modes.n_imaginary:
            note = f"imaginary modes down to {wavenumber[0]:.1f} cm⁻¹"
        return Observation(
            curves={"density_of_states": curve},
            scalars={
                "imaginary_modes": Scalar(
                    "Imaginary modes at Γ", "", float(modes.n_imaginary), note=note
                ),
                "highest_mode": Scalar("Highest mode at Γ", "cm⁻¹", float(wavenumber[-1])),
            },
        )


def _check_series(about: About) -> None:
    if about.n_frames < 2:
        raise NotDefinedError(
            f"a time series needs at least two frames, {about.name} has {about.n_frames}"
        )
