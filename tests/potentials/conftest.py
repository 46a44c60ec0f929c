"""Fixtures of the potentials room: models made once, and a trust file of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.potentials.models import TinyModel, console_script, morse_frames, train_tiny_models
from zifbench.ase_io import read_frames
from zifbench.bundled import BUNDLED_DATA
from zifbench.frames import Frames


@pytest.fixture(autouse=True)
def config_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing that a test trusts reaches the user's own settings."""
    directory = tmp_path / "config"
    monkeypatch.setenv("ZIFBENCH_CONFIG_DIR", str(directory))
    return directory


@pytest.fixture(scope="session")
def frames() -> Frames:
    """Three frames of 24 atoms, for the analytic models."""
    return morse_frames()


@pytest.fixture(scope="session")
def zif4() -> Frames:
    """Two bundled frames of ZIF-4, 272 atoms, without reference values."""
    from tests.potentials.models import changed

    return changed(read_frames(BUNDLED_DATA["zif4-own-train"].path)[0])[:2]


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TinyModel]:
    """Minuscule NequIP and Allegro models, trained and packaged by nequip's own commands."""
    return train_tiny_models(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session", params=["NequIP", "Allegro"])
def tiny(request: pytest.FixtureRequest, tiny_models: dict[str, TinyModel]) -> TinyModel:
    """Each of the minuscule models in turn."""
    return tiny_models[request.param]


@pytest.fixture(scope="session", params=["ase", "batch"])
def compiled(
    request: pytest.FixtureRequest, tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TinyModel, Path]:
    """A minuscule model and its AOTInductor form for the CPU, for each target; minutes."""
    path = tmp_path_factory.mktemp("compiled") / f"{request.param}.nequip.pt2"
    options = ["--device", "cpu", "--mode", "aotinductor", "--target", request.param]
    console_script("nequip-compile", str(tiny.checkpoint), str(path), *options, cwd=path.parent)
    return tiny, path
