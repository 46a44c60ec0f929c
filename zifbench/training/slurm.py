"""Training on several nodes: `srun` starts the processes, within a SLURM job that has the nodes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from zifbench.errors import DataError

_VARIABLES = "SLURM_"


def check_nodes(nodes: int) -> None:
    """Refuse what `srun` would refuse later, or do several times.

    Args:
        nodes: Wanted for one training.

    Raises:
        DataError: this is no SLURM job, it has fewer nodes, or the command itself was begun several
            times.
    """
    n_begun = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    typed = "SLURM_PTY_PORT" in os.environ  # in a shell that srun has begun, by a person and once
    if n_begun > 1 and not typed:
        raise DataError(
            f"this command was begun {n_begun} times at once by srun; begin it once, without srun: "
            "--devices and --nodes start a process for each device"
        )
    if nodes == 1:
        return
    if "SLURM_JOB_ID" not in os.environ or shutil.which("srun") is None:
        raise DataError(
            f"--nodes {nodes}: several nodes are reached by srun within a SLURM job, and this is "
            "none; begin the command in a batch script (sbatch), or leave --nodes out"
        )
    n_there = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    if nodes > n_there:
        raise DataError(
            f"--nodes {nodes}: the SLURM job has {n_there}; ask for more (sbatch --nodes {nodes})"
        )


def launcher(nodes: int, devices: int) -> list[str]:
    """What begins a process for each device of each node; nothing on one node.

    One node is left to Lightning. All is said in full, since srun takes what is not from the job,
    whose tasks may be others. `--overlap`: the step of this command, which only waits, may have the
    same cores.
    """
    if nodes == 1:
        return []
    words = ["srun", "--overlap", "--kill-on-bad-exit=1", "--export=ALL"]
    words += [f"--nodes={nodes}", f"--ntasks={nodes * devices}", f"--ntasks-per-node={devices}"]
    cores = int(os.environ.get("SLURM_CPUS_PER_TASK", "0"))
    if cores:  # the cores of a node, shared by its processes
        tasks = int(os.environ.get("SLURM_NTASKS_PER_NODE", "1"))
        words.append(f"--cpus-per-task={max(1, cores * tasks // devices)}")
    return words


def without_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """For processes on this node: of a job that has more, Lightning would wait for the rest."""
    return {k: value for k, value in environment.items() if not k.startswith(_VARIABLES)}
