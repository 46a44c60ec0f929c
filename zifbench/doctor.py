"""What is installed, what is missing, and what to do about it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from zifbench import __version__
from zifbench.errors import ZifbenchError
from zifbench.potentials.trust import trust_file, trusted_models

# Package -> what it is for; the first group comes with zifbench, the second with zifbench[nequip].
_CORE = ("numpy", "scipy", "ase", "vesin", "zarr", "pydantic", "matplotlib")
_OPTIONAL = {
    "torch": "TorchScript and nequip models",
    "nequip": "models of the nequip framework",
    "nequip-allegro": "Allegro models",
}


def diagnose() -> dict[str, Any]:
    """Versions, devices and advice, as plain data."""
    report: dict[str, Any] = {
        "zifbench": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: _version(name) for name in (*_CORE, *_OPTIONAL)},
        "devices": [],
        "threads": None,
        "trusted_models": {},
        "trust_file": str(trust_file()),
        "advice": [],
    }
    try:
        trusted = sorted(trusted_models().items())
        report["trusted_models"] = {entry["name"]: digest for digest, entry in trusted}
    except ZifbenchError as error:
        report["advice"].append(str(error))
    missing = [name for name in _OPTIONAL if report["packages"][name] is None]
    for name in missing:
        report["advice"].append(
            f"{name} is missing ({_OPTIONAL[name]}): pip install 'zifbench[nequip]'"
        )
    if "torch" not in missing:
        _add_torch(report)
    return report


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _add_torch(report: dict[str, Any]) -> None:
    import torch

    report["threads"] = torch.get_num_threads()
    report["devices"] = ["cpu"]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory = properties.total_memory / 2**30
            report["devices"].append(f"cuda:{index} {properties.name}, {memory:.0f} GiB")
    elif torch.version.cuda is None:
        report["advice"].append("torch is a CPU build: no GPU can be used; speed is a CPU's")
    else:
        report["advice"].append(
            f"torch is built for CUDA {torch.version.cuda} but sees no GPU: check nvidia-smi"
        )
