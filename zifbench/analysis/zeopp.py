"""Accessible and non-accessible pore volume by Zeo++, through the optional package pyzeo.

Slow (0.3 s a frame of 272 atoms) and sampled with a fixed seed, so that the sampling error of equal
frames does not average out; `pores.pore_volumes` needs neither. Only the total should be compared:
small changes of the cell can turn most of the volume "non-accessible".
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import ase.io
import numpy as np

from zifbench.analysis.checks import FrameStream, checked_chunks
from zifbench.analysis.pores import HELIUM_PROBE_A
from zifbench.errors import MissingDependencyError
from zifbench.frames import FloatArray

_FIELDS = {"AV_cm^3/g:": "accessible", "NAV_cm^3/g:": "non_accessible"}


def zeo_pore_volumes(
    frames: FrameStream, *, probe_A: float = HELIUM_PROBE_A, n_samples: int = 50_000
) -> Mapping[str, FloatArray]:
    """Zeo++'s pore volumes, as `network -ha -vol probe probe n_samples` gives them.

    Args:
        frames: T frames, or a stream of pieces; choose cell vectors that are not skewed.
        probe_A: Radius of the probe; 1.2 Å is helium.
        n_samples: Random points; 50 000 leave 0.9 cm³/kg of noise, 5 000 leave 2.8.

    Returns:
        `accessible`, `non_accessible` and `total`, each in cm³/kg, shape (T,).

    Raises:
        MissingDependencyError: pyzeo is not installed.
        NotDefinedError: frames without cell or with NaN.

    Source: Castel et al. 2024; Willems 2012. Zeo++'s own radii.
    """
    pyzeo = _pyzeo()
    rows = []
    for chunk in checked_chunks(frames):
        for atoms in chunk.to_ase():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "frame.cif"
                ase.io.write(path, atoms, format="cif")
                with _silent():
                    network = pyzeo.AtomNetwork.read_from_CIF(str(path), rad_flag=True)
                    text, _ = pyzeo.extension.volume(
                        network, probe_A, probe_A, n_samples, high_accuracy=True
                    )
            rows.append(_parse(text.decode()))
    accessible, other = np.array(rows).T * 1000.0
    return {"accessible": accessible, "non_accessible": other, "total": accessible + other}


def _pyzeo() -> ModuleType:
    try:
        import pyzeo
        import pyzeo.extension
    except ImportError as error:
        raise MissingDependencyError(
            "Zeo++'s pore volumes need the package pyzeo: pip install 'zifbench[zeo]'"
        ) from error
    module: ModuleType = pyzeo
    return module


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep Zeo++ from printing to the C standard output."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _parse(text: str) -> list[float]:
    words = text.split()
    return [float(words[words.index(field) + 1]) for field in _FIELDS]
