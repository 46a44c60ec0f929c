"""Speed: how long one call takes, as in the paper (Castel et al. 2024): 300 calls after 6 more.

A call is what an MD step needs: neighbour list and input tensors, then energy, forces and stress.
Both parts are timed for themselves. On a GPU the model is timed with device events, because the
host's clock would only see work being queued.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from zifbench.benchmark.result import Measurement, TaskResult
from zifbench.benchmark.run import SPEED_CALLS, Run
from zifbench.frames import FloatArray, Frames
from zifbench.potentials.core import Potential
from zifbench.units import GIB, US_PER_S


def run_speed(run: Run) -> TaskResult:
    """Time the potential on the first frame of the run."""
    start = time.perf_counter()
    n_calls, n_warm_up = SPEED_CALLS[run.profile]
    frame = run.data[0][0]
    with run.progress("speed", n_calls + n_warm_up) as advance:
        times = time_calls(
            run.potential,
            frame,
            n_calls=n_calls,
            n_warm_up=n_warm_up,
            progress=lambda: advance(1),
        )
    return TaskResult(
        task="speed",
        measurements=speed_measurements(times, n_atoms=frame.n_atoms, device=run.potential.device),
        gaps=busy_machine(),
        settings={"calls": n_calls, "warm_up": n_warm_up, "frame": frame.where(0)},
        wall_s=time.perf_counter() - start,
    )


def busy_machine() -> list[str]:
    """Say so if other programs ran on our cores: waiting threads slow a call many times over."""
    if not hasattr(os, "getloadavg"):
        return []
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < cores + 1:
        return []
    return [
        f"the machine was busy (load {load:.1f} on {cores} cores), so these times are too long; "
        "measure again when it is idle"
    ]


@dataclass(frozen=True)
class CallTimes:
    """Times of n calls in seconds, each shape (n,)."""

    neighbours: FloatArray
    forward: FloatArray

    @property
    def call(self) -> FloatArray:
        """Whole calls."""
        return self.neighbours + self.forward


def time_calls(
    potential: Potential,
    frame: Frames,
    *,
    n_calls: int,
    n_warm_up: int,
    progress: Callable[[], None] = lambda: None,
) -> CallTimes:
    """Call a potential on one frame again and again.

    Args:
        potential: Any potential.
        frame: One frame.
        n_calls: Calls that are timed.
        n_warm_up: Calls before that are not: they compile, allocate and fill caches.
        progress: Called after every call.
    """
    on_gpu = potential.device.startswith("cuda")
    clock = _DeviceClock(potential.device) if on_gpu else _HostClock()
    neighbours, forward = [], []
    for number in range(n_warm_up + n_calls):
        start = time.perf_counter()
        batch = potential.prepare(frame)
        clock.wait()
        prepared = time.perf_counter()
        seconds = clock.time(lambda batch=batch: potential.forward(batch))  # type: ignore[misc]
        if number >= n_warm_up:
            neighbours.append(prepared - start)
            forward.append(seconds)
        progress()
    return CallTimes(np.array(neighbours), np.array(forward))


class _HostClock:
    """Wall time; nothing runs asynchronously."""

    def wait(self) -> None:
        return None

    def time(self, call: Callable[[], Any]) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start


class _DeviceClock:
    """CUDA events around the call, on the device that the potential is on."""

    def __init__(self, device: str) -> None:
        import torch

        self._device = torch.device(device)
        torch.cuda.reset_peak_memory_stats(self._device)

    def wait(self) -> None:
        import torch

        torch.cuda.synchronize(self._device)

    def time(self, call: Callable[[], Any]) -> float:
        import torch

        stream = torch.cuda.current_stream(self._device)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record(stream)
        call()
        end.record(stream)
        torch.cuda.synchronize(self._device)
        return float(start.elapsed_time(end)) / 1000.0


def speed_measurements(times: CallTimes, *, n_atoms: int, device: str) -> list[Measurement]:
    """Medians in µs per atom and call, with their intervals and the spread of the single calls."""
    per_atom = US_PER_S / n_atoms
    rows = {
        "time_per_call": times.call,
        "time_forward": times.forward,
        "time_neighbours": times.neighbours,
    }
    found = [
        Measurement(
            quantity=name,
            value=float(np.median(seconds)) * per_atom,
            unit="µs/atom",
            subset={"atoms": str(n_atoms)},
            interval_95=median_interval(seconds * per_atom),
            spread_95=_spread(seconds * per_atom),
            n=len(seconds),
            n_of="calls",
        )
        for name, seconds in rows.items()
    ]
    return found + list(memory_measurements(n_atoms, device))


def median_interval(values: FloatArray) -> tuple[float, float] | None:
    """Interval of at least 95 % for the median, free of any distribution: two order statistics.

    The number of values below the median is binomial(n, ½); None below six values, where even the
    smallest and largest do not reach 95 %.
    """
    from scipy.stats import binom

    n = len(values)
    below = int(binom.ppf(0.025, n, 0.5))
    if below < 1:
        return None
    ordered = np.sort(values)
    return float(ordered[below - 1]), float(ordered[n - below])


def _spread(values: FloatArray) -> tuple[float, float] | None:
    if len(values) < 2:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def memory_measurements(n_atoms: int, device: str) -> Iterator[Measurement]:
    """Peak memory so far, of the process and of the device where there is one."""
    subset = {"atoms": str(n_atoms)}
    if device.startswith("cuda"):
        import torch

        peak = torch.cuda.max_memory_allocated(device) / GIB
        yield Measurement(
            quantity="peak_device_memory", value=peak, unit="GiB", subset=subset, n=1, n_of="runs"
        )
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    # Linux counts in KiB, macOS in bytes.
    factor = 1.0 if sys.platform == "darwin" else 1024.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor / GIB
    yield Measurement(
        quantity="peak_memory",
        value=peak,
        unit="GiB",
        subset=subset,
        n=1,
        n_of="runs",
        note="largest resident size of the whole process so far, libraries included",
    )
