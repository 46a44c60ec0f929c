"""Synthetic series with a known mean and a known autocorrelation time."""

from __future__ import annotations

import numpy as np
import scipy.signal


def ar1(*, tau: float, n_frames: int, n_series: int, seed: int) -> np.ndarray:
    """First-order autoregressive series, mean 0, decay exp(-k/tau), shape (n_series, n_frames)."""
    phi = np.exp(-1.0 / tau) if tau else 0.0
    burn_in = int(20 * tau)
    noise = np.random.default_rng(seed).normal(size=(n_series, n_frames + burn_in))
    series = scipy.signal.lfilter([np.sqrt(1.0 - phi**2)], [1.0, -phi], noise, axis=1)
    return np.asarray(series[:, burn_in:])


def ar1_tau(tau: float) -> float:
    """Integrated autocorrelation time 1/2 + Σ exp(-k/tau) of `ar1`."""
    phi = np.exp(-1.0 / tau) if tau else 0.0
    return float(0.5 * (1.0 + phi) / (1.0 - phi))


def vibration(
    *, period: float, decay: float, n_frames: int, n_series: int, seed: int
) -> np.ndarray:
    """Noise-driven damped oscillator, mean 0, variance about 1, shape (n_series, n_frames)."""
    r, omega = np.exp(-1.0 / decay), 2.0 * np.pi / period
    burn_in = int(20 * decay)
    noise = np.random.default_rng(seed).normal(size=(n_series, n_frames + burn_in))
    series = scipy.signal.lfilter([1.0], [1.0, -2.0 * r * np.cos(omega), r * r], noise, axis=1)
    return np.asarray(series[:, burn_in:] / series.std())
