"""Cutoff functions f_c(x) of the reduced distance x = r / r_c: 1 at x = 0, 0 for x ≥ 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch


def cosine(x: Any) -> Any:
    """½ [cos(πx) + 1], as in Behler 2011 (eq. 4) and "in value and slope" of Herbold and Behler.

    Its second derivative jumps at the cutoff, from π²/2 to 0 in units of 1/r_c²: energies, forces
    and stress are continuous when an atom crosses, force constants are not.
    """
    return 0.5 * (torch.cos(math.pi * x.clamp(max=1.0)) + 1.0)


def polynomial(x: Any) -> Any:
    """1 − 10x³ + 15x⁴ − 6x⁵: first and second derivative vanish at both ends, as in n2p2."""
    x = x.clamp(max=1.0)
    return 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)


CUTOFFS: dict[str, Callable[[Any], Any]] = {"cosine": cosine, "polynomial": polynomial}
