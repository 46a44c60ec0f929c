"""Vibrations: normal modes of a Hessian at Γ, and the spectrum of velocities from MD."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.linalg

from zifbench.analysis.hessian import checked_hessian
from zifbench.errors import DataError, NotDefinedError
from zifbench.frames import FloatArray
from zifbench.units import PER_FS_IN_PER_CM, ROOT_EV_PER_A2_AMU_IN_PER_CM

_ATOMS_AT_ONCE = 32  # the transforms of more would only fill memory
_MAX_SPEED_A_PER_FS = 0.5  # five standard deviations of hydrogen at 10 000 K


@dataclass(frozen=True)
class NormalModes:
    """Normal modes at the Γ point, translations removed.

    Attributes:
        wavenumber_per_cm: 3N - 3 values, rising; an imaginary mode is negative, -|ν|.
        displacements: Cartesian displacement of each mode, normalised in mass-weighted
            coordinates, 1/√amu, shape (3N - 3, N, 3).
    """

    wavenumber_per_cm: FloatArray
    displacements: FloatArray

    @property
    def n_imaginary(self) -> int:
        """Number of imaginary modes: directions in which the structure is no minimum."""
        return int((self.wavenumber_per_cm < 0.0).sum())


@dataclass(frozen=True)
class VelocitySpectra:
    """Mass-weighted power spectrum of the velocities, segment by segment.

    Attributes:
        wavenumber_per_cm: Wavenumbers, shape (F,), from 0 to half the sampling rate.
        density: Share of the kinetic energy per cm⁻¹, shape (S, F): each segment's integral over
            the wavenumbers is its kinetic energy over the mean of all segments. The mean over
            segments integrates to 1; for classical harmonic motion it is the density of states
            over 3N - 3. Frames first, so that `bootstrap_mean` gives its error.
    """

    wavenumber_per_cm: FloatArray
    density: FloatArray


def normal_modes(hessian: npt.ArrayLike, masses: npt.ArrayLike) -> NormalModes:
    """Diagonalise (H + Hᵀ)/2 over √(m_i m_j) in the space without rigid translations.

    Args:
        hessian: Second derivatives of the energy in eV/Å², shape (3N, 3N).
        masses: Atomic masses in amu, shape (N,). The natural ones for the DFT Hessians; the
            published AIMD moves deuterium.

    Raises:
        NotDefinedError: fewer than two atoms.
        DataError: shapes that do not fit, values that are not finite, a mass that is not positive.
    """
    h = checked_hessian(hessian)
    m = np.asarray(masses, dtype=float)
    if m.shape != (len(h) // 3,):
        raise DataError(f"masses: shape {m.shape}, wanted ({len(h) // 3},) as the Hessian")
    if not np.isfinite(m).all() or not (m > 0.0).all():
        raise DataError("masses: one is not a positive number")
    if len(m) < 2:
        raise NotDefinedError("normal modes: one atom has translations only")
    root = np.sqrt(np.repeat(m, 3))
    inner = scipy.linalg.null_space(_translations(m))
    dynamical = inner.T @ (0.5 * (h + h.T) / np.outer(root, root)) @ inner
    squares, vectors = np.linalg.eigh(dynamical)
    displacements = (inner @ vectors).T / root
    return NormalModes(
        wavenumber_per_cm=np.sign(squares)
        * np.sqrt(np.abs(squares))
        * ROOT_EV_PER_A2_AMU_IN_PER_CM,
        displacements=displacements.reshape(-1, len(m), 3),
    )


def _translations(masses: FloatArray) -> FloatArray:
    """Mass-weighted rigid translations, shape (3, 3N)."""
    return np.kron(np.sqrt(masses / masses.sum()), np.eye(3))


def density_of_states(
    wavenumber_per_cm: npt.ArrayLike, *, grid_per_cm: npt.ArrayLike, width_per_cm: float = 5.0
) -> FloatArray:
    """Gaussian-broadened density of states, modes per cm⁻¹.

    g(ν) = Σ_k exp(-(ν - ν_k)²/2w²) / (w √2π). Imaginary modes stand at their negative wavenumbers:
    let the grid begin below them to see them.

    Args:
        wavenumber_per_cm: Modes, shape (M,).
        grid_per_cm: Where to evaluate, shape (G,).
        width_per_cm: Standard deviation w of the Gaussian.

    Returns:
        g, shape (G,); its integral over all wavenumbers is M.

    Raises:
        DataError: a width that is not positive or values that are not finite.
    """
    modes, grid = (np.asarray(x, dtype=float) for x in (wavenumber_per_cm, grid_per_cm))
    if not width_per_cm > 0.0:
        raise DataError(f"width_per_cm: {width_per_cm}, wanted a positive width")
    if not np.isfinite(modes).all():
        raise DataError("density of states: a wavenumber is NaN or infinite")
    z = (grid[:, None] - modes) / width_per_cm
    return np.asarray(np.exp(-0.5 * z**2).sum(1) / (width_per_cm * np.sqrt(2.0 * np.pi)))


def velocities_by_differences(
    positions: npt.NDArray[np.floating], *, time_step_fs: float
) -> FloatArray:
    """Velocities halfway between frames, for runs that kept positions only.

    v(t + dt/2) = [r(t + dt) - r(t)] / dt. In a spectrum the power at ν is low by
    (sin x / x)², x = π c ν dt: by 1 % at 3200 cm⁻¹ and 0.5 fs, by 3 % at 1 fs.

    Args:
        positions: Unwrapped positions in Å, shape (T, N, 3).
        time_step_fs: Time between frames.

    Returns:
        Velocities in Å/fs, shape (T - 1, N, 3).

    Raises:
        NotDefinedError: one frame.
        DataError: a step that no atom can take, as across a cell boundary.
    """
    if not time_step_fs > 0.0:
        raise DataError(f"time_step_fs: {time_step_fs}, wanted a positive time")
    if len(positions) < 2:
        raise NotDefinedError(f"velocities: {len(positions)} frames, wanted at least 2")
    velocities = np.diff(np.asarray(positions, dtype=float), axis=0) / time_step_fs
    if velocities.size and not np.abs(velocities).max() < _MAX_SPEED_A_PER_FS:
        frame, atom, _ = np.argwhere(~(np.abs(velocities) < _MAX_SPEED_A_PER_FS))[0]
        raise DataError(
            f"velocities: atom {atom} jumps after frame {frame}; wanted unwrapped positions and "
            "the true time between frames"
        )
    return np.asarray(velocities, dtype=float)


def velocity_spectra(
    velocities: npt.NDArray[np.floating],
    masses: npt.ArrayLike,
    *,
    time_step_fs: float,
    segment_frames: int,
) -> VelocitySpectra:
    """Power spectrum of mass-weighted velocities: the transform of their autocorrelation.

    Welch's method: segments that overlap by about half and together use every frame, Hann window,
    centre-of-mass velocity removed. Resolution is about 2 / (segment_frames · time_step). One
    segment is in memory at a time, so `velocities` may be a memory map.

    Args:
        velocities: Velocities in any unit, shape (T, N, 3).
        masses: Atomic masses in amu, shape (N,).
        time_step_fs: Time between frames; motion faster than twice that is folded back.
        segment_frames: Frames a segment.

    Raises:
        NotDefinedError: fewer frames than a segment, or no motion.
        DataError: shapes that do not fit, or values that are not finite.
    """
    m = np.asarray(masses, dtype=float)
    if velocities.ndim != 3 or velocities.shape[1:] != (len(m), 3):
        raise DataError(f"velocities: shape {velocities.shape}, wanted (frames, {len(m)}, 3)")
    if not 4 <= segment_frames <= len(velocities):
        raise NotDefinedError(
            f"velocity spectrum: segments of {segment_frames} frames from a run of "
            f"{len(velocities)}, wanted 4 to {len(velocities)}"
        )
    if not time_step_fs > 0.0:
        raise DataError(f"time_step_fs: {time_step_fs}, wanted a positive time")
    spectra = np.array(
        [
            _power(velocities[start : start + segment_frames], m, int(start))
            for start in _segment_starts(len(velocities), segment_frames)
        ]
    )
    return _density(spectra, time_step_fs, segment_frames)


def _density(spectra: FloatArray, time_step_fs: float, segment_frames: int) -> VelocitySpectra:
    """Shares per cm⁻¹ from the power of each segment."""
    if not spectra.any():
        raise NotDefinedError("velocity spectrum: no atom moves against the centre of mass")
    wavenumber = np.arange(spectra.shape[1]) * PER_FS_IN_PER_CM / (segment_frames * time_step_fs)
    density = spectra / (spectra.mean(0).sum() * wavenumber[1])
    return VelocitySpectra(wavenumber.astype(float), density.astype(float))


class SpectrumMeter:
    """`velocity_spectra` of velocities that come piece by piece; it holds one segment.

    Args:
        masses: Atomic masses in amu, shape (N,).
        time_step_fs: Time between frames.
        segment_frames: Frames a segment, at least 4.
        n_frames: Number of frames to come.
        differences: The velocities are `velocities_by_differences`; the power that these lack is
            given back.
    """

    def __init__(
        self,
        masses: FloatArray,
        *,
        time_step_fs: float,
        segment_frames: int,
        n_frames: int,
        differences: bool = False,
    ) -> None:
        if not 4 <= segment_frames <= n_frames:
            raise NotDefinedError(
                f"velocity spectrum: segments of {segment_frames} frames from a run of {n_frames}, "
                f"wanted 4 to {n_frames}"
            )
        self._masses, self._step_fs, self._differences = masses, time_step_fs, differences
        self._ring = np.zeros((segment_frames, len(masses), 3))
        self._ends = (_segment_starts(n_frames, segment_frames) + segment_frames).tolist()
        self._spectra: list[FloatArray] = []
        self._n = 0

    def add(self, velocities: npt.NDArray[np.floating]) -> None:
        """Take the next velocities, shape (t, N, 3).

        Raises:
            DataError: values that are not finite.
        """
        length, start = len(self._ring), 0
        while start < len(velocities):
            place = self._n % length
            stop = min(len(velocities), start + length - place)
            if self._ends:
                stop = min(stop, start + self._ends[0] - self._n)
            self._ring[place : place + stop - start] = velocities[start:stop]
            self._n += stop - start
            start = stop
            if self._ends and self._n == self._ends[0]:
                self._ends.pop(0)
                segment = np.roll(self._ring, -(self._n % length), axis=0)
                self._spectra.append(_power(segment, self._masses, self._n - length))

    def result(self) -> VelocitySpectra:
        """The spectra of all segments.

        Raises:
            NotDefinedError: no motion, or fewer frames than were to come.
        """
        if self._ends:
            raise NotDefinedError(f"velocity spectrum: only {self._n} frames came")
        found = _density(np.array(self._spectra), self._step_fs, len(self._ring))
        if not self._differences:
            return found
        seen = np.sinc(found.wavenumber_per_cm * self._step_fs / PER_FS_IN_PER_CM) ** 2
        density = found.density / seen
        density /= density.mean(0).sum() * found.wavenumber_per_cm[1]
        return VelocitySpectra(found.wavenumber_per_cm, density)


def _segment_starts(n_frames: int, segment_frames: int) -> npt.NDArray[np.int64]:
    """First frames of half-overlapping segments; the last one ends with the run."""
    extra = n_frames - segment_frames
    count = 1 + int(np.ceil(2.0 * extra / segment_frames))
    return np.linspace(0, extra, count).round().astype(np.int64)


def _power(segment: npt.NDArray[np.floating], masses: FloatArray, start: int) -> FloatArray:
    """Mass-weighted power of one segment, both signs of frequency together, shape (F,)."""
    v = np.array(segment, dtype=float)
    if not np.isfinite(v).all():
        frame = start + int(np.argwhere(~np.isfinite(v))[0][0])
        raise DataError(f"velocities: NaN or infinite in frame {frame}")
    n = len(v)
    v -= np.einsum("a,tax->tx", masses / masses.sum(), v)[:, None]
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n) / n)
    power = np.zeros(n // 2 + 1)
    for first in range(0, len(masses), _ATOMS_AT_ONCE):
        some = slice(first, first + _ATOMS_AT_ONCE)
        transform = scipy.fft.rfft(v[:, some] * hann[:, None, None], axis=0)
        power += np.einsum("a,fax->f", masses[some], np.abs(transform) ** 2)
    power[1 : (n + 1) // 2] *= 2.0
    return power
