"""Fixtures that several rooms share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zifbench.ase_io import read_frames
from zifbench.bundled import BUNDLED_DATA
from zifbench.frames import Frames


@pytest.fixture(autouse=True)
def _own_configuration(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test reads or changes what the user has trusted."""
    monkeypatch.setenv("ZIFBENCH_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))


@pytest.fixture(scope="session")
def zif4() -> Frames:
    """Two bundled frames of crystalline ZIF-4, 272 atoms, with energy, forces and stress."""
    return read_frames(BUNDLED_DATA["zif4-own-test"].path)[0]


@pytest.fixture
def make_frames() -> Callable[..., Frames]:
    """Random frames of a few atoms in a skewed cell, with all labels."""

    def make(n_frames: int = 4, symbols: str = "ZnNCH", seed: int = 0) -> Frames:
        from ase.formula import Formula
        from ase.symbols import symbols2numbers

        rng = np.random.default_rng(seed)
        numbers = np.array(symbols2numbers(list(Formula(symbols))))
        n = len(numbers)
        stress = rng.normal(size=(n_frames, 3, 3))
        cell = np.array([[8.0, 0, 0], [0.5, 8.5, 0], [0.2, -0.3, 9.0]])
        return Frames(
            numbers=numbers,
            masses=np.ones(n),
            pbc=np.array([True, True, True]),
            positions=rng.uniform(0, 8, size=(n_frames, n, 3)),
            cell=np.tile(cell, (n_frames, 1, 1)),
            energy=-100.0 * n + rng.normal(size=n_frames),
            forces=rng.normal(size=(n_frames, n, 3)),
            stress=(stress + stress.transpose(0, 2, 1)) / 2 * 0.01,
            labels={
                "name": tuple(f"f{i}" for i in range(n_frames)),
                "phase": tuple("crystal" if i % 2 else "liquid" for i in range(n_frames)),
            },
            info={"level_of_theory": "PBE"},
            source="random.extxyz",
            source_index=np.arange(n_frames),
        )

    return make


@pytest.fixture
def write_extxyz(tmp_path: Path) -> Callable[[Frames, str], Path]:
    """Write frames as extxyz, all digits kept."""

    def write(frames: Frames, name: str = "frames.extxyz") -> Path:
        import ase.io

        ase.io.write(tmp_path / name, frames.to_ase(), format="extxyz")
        return tmp_path / name

    return write
