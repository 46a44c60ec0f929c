"""The texts around a deck: `run.sh`, `submit.sbatch`, `compile.sh`, `README.txt`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from zifbench.dynamics.lammps.pair import Pair
from zifbench.dynamics.lammps.script import DATA_FILE
from zifbench.dynamics.protocol import Protocol

_RESTART_END = "LammpS RestartT"  # last bytes of a restart file that is whole


@dataclass(frozen=True)
class Machine:
    """What to run on.

    Attributes:
        gpus: GPUs of a node; 0 runs on CPUs.
        nodes: Nodes for one replica.
    """

    gpus: int
    nodes: int


def run_text(stems: Sequence[str], replicas: Sequence[str], pair: Pair, machine: Machine) -> str:
    """`run.sh`: all replicas, or those that it is given, stage after stage.

    Args:
        stems: Names of the stages' files, of any replica.
        replicas: All names.
        pair: What gives the forces.
        machine: What to run on.
    """
    ranks = max(1, machine.gpus) * machine.nodes if pair.several_ranks else 1
    flags = ""
    if pair.kokkos and machine.gpus:
        flags = f"-k on g {machine.gpus} -sf kk -pk kokkos newton on neigh half"
    at_once = 1 if pair.several_ranks else max(1, machine.gpus)
    needs = ""
    if pair.used_as:
        needs = (
            f'[ -e {pair.used_as} ] || {{ echo "{pair.used_as} is not there; run: bash compile.sh" '
            ">&2; exit 2; }\n"
        )
    return f"""#!/usr/bin/env bash
# Runs the replicas of this deck; run again, it goes on where it was stopped.
#   bash run.sh [REPLICA ...]
# LMP is the program, LAUNCH what starts it on several processors, FLAGS its options.
set -uo pipefail
cd "$(dirname "${{BASH_SOURCE[0]}}")" || exit 2
export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-1}}
LMP=${{LMP:-lmp}}
LAUNCH=${{LAUNCH-{"" if ranks == 1 else f"mpirun -np {ranks}"}}}
FLAGS=${{FLAGS-{flags}}}
stages=({_words(stems)})
replicas=({_words(replicas)})
at_once={at_once}  # replicas, each on a GPU of its own
[ $# -eq 0 ] || replicas=("$@")
{needs}
whole() {{ [ -s "$1" ] && [ "$(tail -c 16 "$1" | tr -d '\\0')" = "{_RESTART_END}" ]; }}

run_stage() {{  # stage, restart file of the one before
  local stage=$1 from=$2 fresh=1 file
  whole "$stage.end.restart" && return 0
  for file in "$stage.a.restart" "$stage.b.restart"; do
    if whole "$file" && {{ [ $fresh = 1 ] || [ "$file" -nt "$from" ]; }}; then
      from=$file fresh=0
    fi
  done
  $LAUNCH $LMP $FLAGS -in "$stage.in" -log none -screen none \\
    -var from "$from" -var fresh $fresh < /dev/null >> "$stage.log" 2>&1 || return 1
  whole "$stage.end.restart" || return 1
  rm -f "$stage.a.restart" "$stage.b.restart"
}}

run_replica() {{
  cd "$1" || return 1
  local stage before={DATA_FILE}
  for stage in "${{stages[@]}}"; do
    if ! run_stage "$stage" "$before"; then
      echo "$1 stopped in stage $stage; see $1/$stage.log" >&2
      return 1
    fi
    before=$stage.end.restart
  done
  echo "$1 done"
}}

share() {{  # number of the GPU
  local k failed=0
  for ((k = $1; k < ${{#replicas[@]}}; k += at_once)); do
    (run_replica "${{replicas[$k]}}") || failed=1
  done
  return $failed
}}

if [ $at_once = 1 ]; then
  share 0
  exit
fi
IFS=, read -ra devices <<< "${{CUDA_VISIBLE_DEVICES:-$(seq -s, 0 $((at_once - 1)))}}"
at_once=${{#devices[@]}} pids=() failed=0
for ((gpu = 0; gpu < at_once; gpu++)); do
  CUDA_VISIBLE_DEVICES=${{devices[$gpu]}} share "$gpu" &
  pids+=($!)
done
for pid in "${{pids[@]}}"; do wait "$pid" || failed=1; done
exit $failed
"""


def submit_text(name: str, replicas: Sequence[str], pair: Pair, machine: Machine) -> str:
    """`submit.sbatch`: a SLURM job for each replica."""
    tasks = max(1, machine.gpus) if pair.several_ranks else 1
    nodes = machine.nodes if pair.several_ranks else 1
    gpus = f"#SBATCH --gpus-per-node={tasks}\n" if machine.gpus else ""
    several = tasks * nodes > 1
    hint = "# Where MPI does not start: LAUNCH='srun --mpi=pmix', or mpirun.\n" if several else ""
    launch = 'LAUNCH="${LAUNCH-srun}" ' if several else ""
    return f"""#!/usr/bin/env bash
#SBATCH --job-name=zifbench-{name}
#SBATCH --array=0-{len(replicas) - 1}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node={tasks}
{gpus}#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=slurm-%A_%a.out
# A job for each replica; one that ran out of time goes on when it is submitted again.
# Add what your machine wants: account, partition, modules.
{hint}cd "$SLURM_SUBMIT_DIR" || exit 2
[ -f run.sh ] || {{ echo "no run.sh in $PWD: sbatch from the directory of the deck" >&2; exit 2; }}
replicas=({_words(replicas)})
{launch}bash run.sh "${{replicas[$SLURM_ARRAY_TASK_ID]}}"
"""


def compile_text(pair: Pair, machine: Machine) -> str:
    """`compile.sh`: from a package or checkpoint to what the pair style reads."""
    device = "cuda" if machine.gpus else "cpu"
    return f"""#!/usr/bin/env bash
# Compiles the model for LAMMPS; on the machine that runs it, with the torch that LAMMPS has.
set -euo pipefail
cd "$(dirname "${{BASH_SOURCE[0]}}")"
nequip-compile {pair.stored_as} {pair.used_as} \\
  --device {device} --mode aotinductor --target pair_{pair.style}
"""


def readme_text(protocol: Protocol, pair: Pair, machine: Machine, supercell: Sequence[int]) -> str:
    """`README.txt`: how to run and read the deck, and where it differs from our own engines."""
    return f"""A LAMMPS deck of the protocol {protocol.name}: {protocol.about}
Source: {protocol.source}
Supercell of the starting structure: {" x ".join(map(str, supercell))}

{_how_to_run(pair, machine)}
Read it back, also while it runs:    zifbench md lammps-read .
which writes frames.zarr and run.json as `zifbench md run` does; then: zifbench analyse frames.zarr

What is the same as in `zifbench md run`: starting positions, cell and velocities (cell and vectors
turned together, as LAMMPS wants a along x and b in the xy plane; deck.json holds the rotation, and
reading turns back), time step, velocity Verlet, 3N - 3 degrees of freedom, Nose-Hoover chains of
three with mass N_f kT tau^2 and kT tau^2 (Tdamp = thermostat_fs), a barostat of mass
(N + 1) kT tau^2 with six moving components (Pdamp = barostat_fs), linear ramps of temperature and
cell edges, a thermostat that goes on from a stage into the next of the same kind.

What differs:
- Minimisation: conjugate gradients here, LBFGS there; the same limit for the largest force, so
  that the minimum is the same up to that limit.
- Thermostat chains are integrated without the fourth-order splitting of ASE, and in a ramp their
  velocities stay where ASE keeps their momenta. The ensemble is the same, trajectories are not.
- The barostat moves a triangular cell: shear has twice the mass of ASE's symmetric form, and the
  cell may turn against it. The barostat's own chain begins with mass kT tau^2 where ours has
  6 kT tau^2. Neither changes averages or fluctuations of the strain.
- In a volume ramp LAMMPS changes the cell after a step, ours within it: energy and pressure of a
  frame belong to the cell of one step earlier.
- Physical constants of LAMMPS: k_B is 1.1e-6 higher than ours, so that 300 K are 300.0003 K.
- Dumps hold ten digits. A run that goes on does so from a restart file; sums over neighbours then
  run in another order, so that it equals the uninterrupted run to rounding, not bit for bit.
- Rules that end a replica (deck.json: stop_on) are held against the frames when they are read, not
  while LAMMPS runs; stages without frames are not looked at.
{_about_model(pair)}"""


def _how_to_run(pair: Pair, machine: Machine) -> str:
    lines = []
    if pair.used_as != pair.stored_as:
        lines.append("Compile the model first:             bash compile.sh")
    lines += [
        "Run it, and go on after a stop:      bash run.sh [REPLICA ...]",
        "With SLURM, a job for each replica:  sbatch submit.sbatch",
    ]
    if not pair.several_ranks:
        lines.append(
            "pair_style nequip runs on one MPI rank and one GPU. Several GPUs take several\n"
            "replicas at a time; for a system beyond one GPU train and use an Allegro model."
        )
    elif machine.nodes > 1:
        lines.append(
            f"One replica takes {machine.nodes} nodes; outside SLURM tell mpirun which: "
            'LAUNCH="mpirun ..." bash run.sh'
        )
    return "\n".join(lines) + "\n"


def _about_model(pair: Pair) -> str:
    if pair.card is None:
        return f"\nForces: LAMMPS's own pair style, {pair.style}.\n"
    text = f"""
Forces: {pair.card.name} (sha256 {pair.card.sha256[:16]}), {pair.stored_as}, pair style {pair.style}
of https://github.com/mir-group/pair_nequip_allegro, compiled into LAMMPS (10 September 2025 or
newer; for .nequip.pt2 with -DNEQUIP_AOT_COMPILE=ON; for Allegro on GPUs with the KOKKOS package in
double precision). The plugin wants newton {"on" if pair.newton else "off"}, which the scripts say.
"""
    if pair.legacy:
        text += f"""{pair.stored_as} is a model of nequip before 0.7: it needs version 0.6.0 of that
repository (Allegro) or of https://github.com/mir-group/pair_nequip (NequIP), and the LAMMPS for
which that was made.
"""
    return text


def _words(texts: Sequence[str]) -> str:
    return " ".join(map(shlex.quote, texts))
