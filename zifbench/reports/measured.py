"""Measured X-ray curves: the files of the published experiment, or any table of two columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zifbench.analysis.observation import Measured
from zifbench.errors import DataError
from zifbench.files import printable

# Suffix -> kind of curve. F(Q) as GudrunX writes it, D(r) as its transform.
_KINDS = {".int01": "F(Q)", ".fq": "F(Q)", ".dofr": "D(r)", ".dr": "D(r)"}
_Q_RANGE_PER_A = (0.0, 25.0)  # of the form factors


def read_measured(path: str | Path) -> Measured:
    """A measured F(Q) or D(r): abscissa and value in the first two columns, `#` for comments.

    What kind it is says the suffix: .int01 or .fq for F(Q), divided by Σ c f²; .dofr or .dr for
    D(r). A last row of F(Q) that repeats the end of the data with value zero is left out, as are
    rows at Q = 0 and beyond 25 Å⁻¹, where there are no form factors.

    Raises:
        DataError: no such file, another suffix, or no table of numbers.
    """
    path = Path(path)
    if path.suffix not in _KINDS:
        raise DataError(
            f"{path}: the suffix does not tell F(Q) from D(r); wanted {', '.join(_KINDS)}"
        )
    try:
        table = np.loadtxt(path, comments="#", usecols=(0, 1), ndmin=2)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or 'cannot be read'}; give a table") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no table of numbers in two columns ({error})") from error
    x, y = table.T
    if _KINDS[path.suffix] == "F(Q)":
        good = (x > _Q_RANGE_PER_A[0]) & (x <= _Q_RANGE_PER_A[1])
        good[-1] &= y[-1] != 0.0
        x, y = x[good], y[good]
    if len(x) < 2 or not (np.diff(x) > 0.0).all() or not np.isfinite(table).all():
        raise DataError(f"{path}: wanted at least two rows of finite numbers, the first rising")
    return Measured(printable(path.name), _KINDS[path.suffix], x, y)
