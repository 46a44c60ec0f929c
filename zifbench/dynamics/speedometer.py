"""What a person who waits for a simulation sees: ns/day, temperature and energy as they stand."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from zifbench.dynamics.engines.interface import Moving
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
        self._begun = time.monotonic()
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
        if not replicas or now - self._looked < _LOOK_S:
            return
        self._looked = now
        self._advance(self._waiting, self._text(now, replicas))
        self._waiting = 0

    def finish(self) -> None:
        """Show the steps since the last text."""
        if self._waiting:
            self._advance(self._waiting)
        self._waiting = 0

    def _text(self, now: float, replicas: Sequence[Moving]) -> str:
        speed = self._time_fs / max(now - self._begun, 1.0e-9) * _FS_PER_S_IN_NS_PER_DAY
        kelvin = np.mean([replica.temperature_K for replica in replicas])
        energy = np.mean([replica.energy_eV for replica in replicas])
        mean = f", mean of {len(replicas)} replicas" if len(replicas) > 1 else ""
        return f"{speed:.3g} ns/day, {kelvin:.0f} K, {energy:.3f} eV{mean}"
