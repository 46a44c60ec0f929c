"""Kills and a full disk: whatever ends a run, the same command goes on, and nothing is lost.

Each life of a run is a process of its own, `zifbench md run`, forked from one that has loaded what
is slow to load, as twenty starts would take minutes. Signals act as they do from a terminal. The
TorchSim engine moves no calculators: its model is the crystal of `argon`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from zifbench.dataset.store import open_store
from zifbench.dynamics.engine_checks import spring_crystal

ROOT = Path(__file__).parents[2]
N_KILLS = {"ase": 7, "torchsim": 3}  # of each protocol
FACTORY = """
from zifbench.dynamics.engine_checks import springs
"""
TABLE = """
schema = 1
about = ""
source = ""
start = "x"
time_step_fs = 5
barostat_fs = 500
stop_on = ["not a number", "lost atom", "runaway"]
{settings}
"""
LENGTH = "length_ps = { quick = 0.25, standard = 1, paper = 1 }"
PROTOCOLS = {
    "thermal": TABLE.format(settings="temperatures_K = [200, 400]") + f"""
[[stages]]
name = "nvt"
ensemble = "nvt"
temperature_K = "each"
sample_fs = 10
{LENGTH}

[[stages]]
name = "nve"
ensemble = "nve"
sample_fs = 5
{LENGTH}
""",
    "strained": TABLE.format(settings="") + f"""
[[stages]]
name = "minimise"
ensemble = "minimise"
keep = true
volume_change_percent = -2.0

[[stages]]
name = "warm"
ensemble = "nvt"
temperature_K = [200, 400]
volume_change_percent = 2.0
sample_fs = 10
{LENGTH}

[[stages]]
name = "held"
ensemble = "nvt"
temperature_K = 300
sample_fs = 20
{LENGTH}
""",
    "flexible": TABLE.format(settings="") + f"""
[[stages]]
name = "warm"
ensemble = "nvt"
temperature_K = 300
length_ps = {{ quick = 0.1, standard = 1, paper = 1 }}

[[stages]]
name = "npt"
ensemble = "npt"
temperature_K = 300
pressure_GPa = 0.05
sample_fs = 10
{LENGTH}
""",
}  # fmt: skip

BATCHES = (
    "--engine", "torchsim", "--replicas", "2",
    "--checkpoint-seconds", "0.1",
)  # fmt: skip
RUNS: Mapping[str, Mapping[str, tuple[str, ...]]] = {  # protocols, with more options
    "ase": dict.fromkeys(PROTOCOLS, ()),
    "torchsim": dict.fromkeys(("strained", "flexible"), BATCHES),
}

# Reads a JSON list a line: seconds to live, most bytes of a file, arguments of zifbench.
NURSERY = """
import json, os, resource, signal, sys, time
import zarr, vesin, rich.table, zifbench.cli, zifbench.console, zifbench.dynamics.simulate
import zifbench.dynamics.engine_checks, zifbench.potentials.ase_potential, zifbench.md_cli
try:
    import torch
except ImportError:
    pass
if sys.argv[1] == "torchsim":
    import zifbench.dynamics.engines.torchsim
    sys.path.append(sys.argv[2])
    from tests.dynamics.argon import LennardJones
    torch.set_num_threads(1)
    zifbench.dynamics.simulate.load_potential = lambda *args, **options: LennardJones()

for line in sys.stdin:
    lives_s, largest, arguments, log = json.loads(line)
    child = os.fork()
    if child == 0:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(out, 1), os.dup2(out, 2)
        if largest is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        sys.argv = ["zifbench", *arguments]
        try:
            zifbench.cli.main()
        except SystemExit as ended:
            os._exit(ended.code or 0)
        os._exit(0)
    until = time.monotonic() + (1e9 if lives_s is None else lives_s)
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() >= until:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            break
        time.sleep(0.002)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Nursery:
    """Where runs are born, and killed."""

    def __init__(self, folder: Path, engine: str) -> None:
        self._folder, self.engine = folder, engine
        (folder / "model.py").write_text(FACTORY)
        start = spring_crystal()
        if engine == "torchsim":
            from tests.dynamics.argon import argon

            start = argon()
        start.write(folder / "start.extxyz")
        for name, text in PROTOCOLS.items():
            (folder / f"{name}.toml").write_text(text)
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", NURSERY, engine, str(ROOT)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
        )  # fmt: skip

    def run(
        self, protocol: str, out: str, *, lives_s: float | None = None, largest: int | None = None,
        options: tuple[str, ...] = (),
    ) -> tuple[int, str]:  # fmt: skip
        """Exit code (−9 after a kill) and what it said."""
        arguments = [
            "md", "run", f"{protocol}.toml", "model.py:springs", "--trust", "--out", out,
            "--start", "start.extxyz", "--checkpoint-seconds", "0.5", *options,
        ]  # fmt: skip
        order = json.dumps([lives_s, largest, arguments, "log"])
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return code, (self._folder / "log").read_text()

    def frames(self, out: str) -> Mapping[str, str]:
        """Digest of every trajectory."""
        with open_store(self._folder / out / "frames.zarr") as store:
            return {n: t.read(range(len(t))).digest() for n, t in store.trajectories.items()}

    def outcomes(self, out: str) -> list[dict]:
        rows = json.loads((self._folder / out / "run.json").read_text())["outcomes"]
        return [{k: v for k, v in row.items() if k != "wall_s"} for row in rows]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def nursery(request, tmp_path_factory) -> Iterator[Nursery]:
    engine = getattr(request, "param", "ase")
    if engine == "torchsim":
        pytest.importorskip("torch_sim", reason="TorchSim needs Python 3.12 or newer")
    found = Nursery(tmp_path_factory.mktemp("kills"), engine)
    yield found
    found.close()


@pytest.mark.slow
@pytest.mark.parametrize("nursery", sorted(N_KILLS), indirect=True)
def test_random_kills_lose_nothing(nursery) -> None:
    rng = np.random.default_rng(20)
    for name, options in RUNS[nursery.engine].items():
        begun = time.monotonic()
        code, said = nursery.run(name, f"{name}-whole", options=options)
        assert code == 0, said
        whole_s = time.monotonic() - begun
        left, attempt = N_KILLS[nursery.engine], 0
        while left:
            out = f"{name}-{attempt}"
            while True:
                lives_s = float(rng.uniform(0.0, 0.6 * whole_s)) if left else None
                code, said = nursery.run(name, out, lives_s=lives_s, options=options)
                if code == 0:
                    break
                assert code == -9, said
                left -= 1
            assert nursery.frames(out) == nursery.frames(f"{name}-whole")
            assert nursery.outcomes(out) == nursery.outcomes(f"{name}-whole")
            attempt += 1


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_then_a_clean_resume(nursery) -> None:
    """No file may grow beyond so many bytes: what a quota or a full disk does."""
    code, said = nursery.run("strained", "full-whole")
    assert code == 0, said
    for largest in (100, 2_000, 6_000):
        code, said = nursery.run("strained", "full", largest=largest)
        assert code == 2, (largest, said)
        lines = [line for line in said.splitlines() if "File too large" in line]
        assert len(lines) == 1, said
        assert "Traceback" not in said
    code, said = nursery.run("strained", "full")
    assert code == 0, said
    assert nursery.frames("full") == nursery.frames("full-whole")
