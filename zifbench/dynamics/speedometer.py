"""What a person who waits for a simulation sees: ns/day, temperature and energy as they stand.

Or how far a minimisation is, whose length nobody knows: its time is no part of any speed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from zifbench.dynamics.engines.interface import Moving
from zifbench.dynamics.protocol import Ensemble
from zifbench.progress import Advance

_LOOK_S = 0.5  # seconds between two texts; looking costs a transfer from the device
_FS_PER_S_IN_NS_PER_DAY = 86400.0e-6


class Speedometer:
    """Counts what was simulated since it was made: what an earlier call did is no speed of ours.

    Args:
        advance: Moves the bar.
    """

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self.remark = ""  # shown beside the speed
        self._before = time.monotonic()
        self._moving_s = 0.0
        self._looked = float("-inf")
        self._time_fs = 0.0
        self._waiting = 0

    def count(self, n_steps: int, time_fs: float, replicas: Sequence[Moving]) -> None:
        """Add so many steps; a text is made now and then.

        Args:
            n_steps: Of all replicas together.
            time_fs: Simulated time, of all together.
            replicas: Those that go on.
        """
        self._time_fs += time_fs
        self._waiting += n_steps
        now = time.monotonic()
        if time_fs:
            self._moving_s += now - self._before
        self._before = now
        if not replicas or now - self._looked < _LOOK_S:
            return
        self._looked = now
        remark = f", {self.remark}" if self.remark else ""
        self._advance(self._waiting, self._text(replicas) + remark)
        self._waiting = 0

    def finish(self) -> None:
        """Show the steps since the last text."""
        if self._waiting:
            self._advance(self._waiting)
        self._waiting = 0

    def _text(self, replicas: Sequence[Moving]) -> str:
        moving = [r for r in replicas if r.segment.ensemble is not Ensemble.MINIMISE]
        if not moving:
            return _downhill(replicas)
        speed = self._time_fs / max(self._moving_s, 1.0e-9) * _FS_PER_S_IN_NS_PER_DAY
        kelvin = np.mean([replica.temperature_K for replica in moving])
        energy = np.mean([replica.energy_eV for replica in moving])
        mean = f", mean of {len(moving)} replicas" if len(moving) > 1 else ""
        return f"{speed:.3g} ns/day, {kelvin:.0f} K, {energy:.3f} eV{mean}"


def _downhill(replicas: Sequence[Moving]) -> str:
    """Of the replica that has the farthest to go."""
    last = max(replicas, key=lambda replica: replica.excess_force_eV_per_A)
    if not last.excess_force_eV_per_A:  # none has begun
        return "minimising"
    largest = last.excess_force_eV_per_A + last.segment.force_eV_per_A
    several = f" in {len(replicas)} replicas" if len(replicas) > 1 else ""
    return f"minimising, step {last.step}, largest force{several} {largest:.2g} eV/Å"
