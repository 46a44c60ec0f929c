"""Pools of frames for the tests of splits."""

from __future__ import annotations

import numpy as np

from zifbench.dataset.splits.pool import Pool, PoolTrajectory


def pool_with(*energies, times=None, labels=None, attributes=None, formulas=None):
    """A pool of one trajectory for each array of energies, called t0, t1, …"""
    n = len(energies)
    return Pool(
        tuple(
            PoolTrajectory(
                name=f"t{k}",
                energy=np.asarray(energies[k], dtype=float),
                time_fs=None if times is None else np.asarray(times[k], dtype=float),
                formula="ZnN4" if formulas is None else formulas[k],
                attributes=({"level_of_theory": "PBE"} if attributes is None else attributes[k]),
                labels={} if labels is None else labels[k],
            )
            for k in range(n)
        )
    )


def correlated_energies(n, *, tau=100.0, mean=-60083.0, scatter=1.5, seed=0):
    """A series with an exponential autocorrelation, as energies of a hot liquid have it, in eV."""
    from scipy.signal import lfilter

    decay = np.exp(-1.0 / tau)
    noise = np.random.default_rng(seed).normal(size=n)
    series = lfilter([np.sqrt(1.0 - decay**2)], [1.0, -decay], noise)
    return mean + scatter * series
