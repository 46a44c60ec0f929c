"""What machine, what versions: written beside every number."""

from __future__ import annotations

import datetime
import platform
import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from zifbench import __version__
from zifbench.benchmark.result import Provenance
from zifbench.files import printable
from zifbench.units import GIB

# Of this machine, or outside the folder one is in: at the beginning of a word, of a value, or of an
# entry of a list.
_FOLDERS = re.compile(r"(?:(?<=[=,])|^)(?:/|\.\./)(?:[^,]*/)?")
PACKAGES = (
    "numpy",
    "ase",
    "vesin",
    "zarr",
    "torch",
    "nequip",
    "nequip-allegro",
    "e3nn",
)


def collect_provenance(device: str) -> Provenance:
    """Provenance of a run on `device` in this process."""
    return Provenance(
        zifbench=__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages=installed_versions(),
        cpu=cpu_name(),
        n_cores=len(psutil.Process().cpu_affinity())
        if hasattr(psutil.Process(), "cpu_affinity")
        else psutil.cpu_count() or 1,
        n_threads=thread_count(),
        memory_GiB=round(psutil.virtual_memory().total / GIB, 1),
        device=device_name(device),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=command_line(),
    )


def installed_versions() -> dict[str, str]:
    """Versions of the packages that can change a number; those not installed are left out."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def cpu_name() -> str:
    """Marketing name of the processor, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def thread_count() -> int:
    """Threads that torch uses, or one where it is not loaded."""
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch else 1


def device_name(device: str) -> str:
    """Name of the accelerator, or "cpu"."""
    torch = sys.modules.get("torch")
    if torch and device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return device


def command_line() -> str:
    """The command without the folders of this machine."""
    words = [Path(sys.argv[0]).name, *(_FOLDERS.sub("", word) for word in sys.argv[1:])]
    return printable(shlex.join(words))
