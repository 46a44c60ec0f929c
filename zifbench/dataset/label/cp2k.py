"""Single points with a local CP2K at the settings of the published ab initio MD.

The settings are those of the input published with Castel et al., Chem. Mater. 2023, 35, 4038
(`castel2023/ZIF4_300.inp`): PBE-D3(0), 600/40 Ry, DZVP-GTH-PBE on C, H, N, DZVP-MOLOPT-SR-GTH on
Zn, EPS_SCF 1e-5, EPS_DEFAULT 1e-7. Two things differ, and neither changes what is converged to: the
SCF is OT/DIIS with FULL_ALL in short inner loops (15–20 steps instead of 44–65), and the stress is
the full analytical tensor.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from zifbench.errors import DataError, MissingDependencyError
from zifbench.files import write_text_atomically
from zifbench.frames import FloatArray, Frames
from zifbench.units import BOHR_A, EV_PER_A3_IN_GPA, HARTREE_EV

INPUT_FILE = "cp2k.inp"
OUTPUT_FILE = "cp2k.out"
FORCES_FILE = "cp2k.forces"
STRESS_FILE = "cp2k.stress"
WAVE_FUNCTION_FILE = "cp2k.wfn"
_POLL_S = 0.2

# Basis set and pseudopotential of each element in the published input.
_KINDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "C": ("DZVP-GTH-PBE", "GTH-PBE-q4"),
        "H": ("DZVP-GTH-PBE", "GTH-PBE-q1"),
        "N": ("DZVP-GTH-PBE", "GTH-PBE-q5"),
        "Zn": ("DZVP-MOLOPT-SR-GTH", "GTH-PBE-q12"),
    }
)


@dataclass(frozen=True)
class Settings:
    """What decides the labels; part of the key of every job.

    Attributes:
        cutoff_Ry: Plane-wave cutoff of the finest grid.
        rel_cutoff_Ry: Cutoff of the grid that a Gaussian is mapped on.
        eps_scf: Convergence of the wave function.
        eps_default: Precision of the overlap, Kohn–Sham and grid operations.
        d3_cutoff_A: Range of the D3 pair terms.
        kinds: Element -> (basis set, pseudopotential).
    """

    cutoff_Ry: float = 600.0
    rel_cutoff_Ry: float = 40.0
    eps_scf: float = 1.0e-5
    eps_default: float = 1.0e-7
    d3_cutoff_A: float = 16.0
    kinds: Mapping[str, tuple[str, str]] = field(default_factory=lambda: _KINDS)

    def level_of_theory(self, version: str) -> str:
        """Words that name these labels in a store."""
        return f"PBE-D3(0)/DZVP-GTH, {self.cutoff_Ry:g}/{self.rel_cutoff_Ry:g} Ry, CP2K {version}"


PAPER = Settings()

_TEMPLATE = """\
&GLOBAL
  PRINT_LEVEL LOW
  PROJECT_NAME cp2k
  RUN_TYPE ENERGY_FORCE
&END GLOBAL
&FORCE_EVAL
  METHOD QS
  STRESS_TENSOR ANALYTICAL
  &PRINT
    &FORCES ON
      FILENAME ={forces_file}
      NDIGITS 12
    &END FORCES
    &STRESS_TENSOR ON
      FILENAME ={stress_file}
    &END STRESS_TENSOR
  &END PRINT
  &DFT
    BASIS_SET_FILE_NAME BASIS_SET
    BASIS_SET_FILE_NAME BASIS_MOLOPT
    POTENTIAL_FILE_NAME POTENTIAL
{wave_function}    &SCF
      MAX_SCF 12
      EPS_SCF {eps_scf:.1E}
      SCF_GUESS {guess}
      &OT T
        MINIMIZER DIIS
        PRECONDITIONER FULL_ALL
        ENERGY_GAP 0.08
      &END OT
      &OUTER_SCF
        MAX_SCF 12
        EPS_SCF {eps_scf:.1E}
      &END OUTER_SCF
      &PRINT
        &RESTART ON
          FILENAME ={wave_function_file}
          BACKUP_COPIES 0
        &END RESTART
      &END PRINT
    &END SCF
    &QS
      EPS_DEFAULT {eps_default:.1E}
    &END QS
    &MGRID
      NGRIDS 4
      CUTOFF {cutoff_Ry:g}
      REL_CUTOFF {rel_cutoff_Ry:g}
    &END MGRID
    &XC
      DENSITY_CUTOFF 1.0E-10
      GRADIENT_CUTOFF 1.0E-10
      TAU_CUTOFF 1.0E-10
      &XC_FUNCTIONAL
        &PBE
        &END PBE
      &END XC_FUNCTIONAL
      &VDW_POTENTIAL
        POTENTIAL_TYPE PAIR_POTENTIAL
        &PAIR_POTENTIAL
          R_CUTOFF {d3_cutoff_A:g}
          TYPE DFTD3
          PARAMETER_FILE_NAME dftd3.dat
          REFERENCE_FUNCTIONAL PBE
        &END PAIR_POTENTIAL
      &END VDW_POTENTIAL
    &END XC
  &END DFT
  &SUBSYS
    &CELL
{cell}
      PERIODIC XYZ
    &END CELL
    &COORD
{atoms}
    &END COORD
{kinds}
  &END SUBSYS
&END FORCE_EVAL
"""


def single_point_input(
    frames: Frames, row: int, *, settings: Settings = PAPER, wave_function: Path | None = None
) -> str:
    """The CP2K input of one frame.

    Args:
        frames: Where the frame is; periodic in all directions.
        row: Its number.
        settings: Level of theory.
        wave_function: A `.wfn` of the same atoms to start from, from atoms if not given.

    Raises:
        DataError: an element without basis set, or a frame that is not periodic.
    """
    symbols = frames.symbols
    unknown = sorted(set(symbols) - set(settings.kinds))
    if unknown:
        raise DataError(
            f"{frames.where(row)} holds {', '.join(unknown)}, for which there is no basis set; "
            f"known: {', '.join(sorted(settings.kinds))}"
        )
    if not frames.pbc.all():
        raise DataError(f"{frames.where(row)} is not periodic in all directions; give it a cell")
    cell = [f"      {k} {_row(v)}" for k, v in zip("ABC", frames.cell[row], strict=True)]
    atoms = [f"      {s:<2} {_row(r)}" for s, r in zip(symbols, frames.positions[row], strict=True)]
    kinds = [
        f"    &KIND {s}\n      BASIS_SET {settings.kinds[s][0]}\n"
        f"      POTENTIAL {settings.kinds[s][1]}\n    &END KIND"
        for s in sorted(set(symbols))
    ]
    restart = "" if wave_function is None else f"    WFN_RESTART_FILE_NAME {wave_function}\n"
    return _TEMPLATE.format(
        **{k: v for k, v in vars(settings).items() if k != "kinds"},
        forces_file=FORCES_FILE,
        stress_file=STRESS_FILE,
        wave_function_file=WAVE_FUNCTION_FILE,
        wave_function=restart,
        guess="ATOMIC" if wave_function is None else "RESTART",
        cell="\n".join(cell),
        atoms="\n".join(atoms),
        kinds="\n".join(kinds),
    )


def _row(vector: FloatArray) -> str:
    return " ".join(f"{x:20.12f}" for x in vector)


@dataclass(frozen=True)
class SinglePoint:
    """What one job computed, in our units and signs.

    Attributes:
        energy: Total energy in eV.
        forces: Forces in eV/Å, shape (N, 3).
        stress: Stress in eV/Å³, tension positive, shape (3, 3). CP2K prints pressure.
        version: CP2K's version.
        scf_steps: Steps to self-consistency.
    """

    energy: float
    forces: FloatArray
    stress: FloatArray
    version: str
    scf_steps: int


def read_single_point(directory: Path, symbols: Sequence[str]) -> SinglePoint:
    """Read a finished job.

    Args:
        directory: Where the job ran.
        symbols: The elements that its frame has, in order.

    Raises:
        DataError: the job did not finish or not converge, or its files do not fit the frame.
    """
    output = _text(directory / OUTPUT_FILE)
    if "PROGRAM ENDED" not in output:
        raise DataError(
            f"{directory / OUTPUT_FILE}: CP2K did not end; its last words: {_last_words(output)}"
        )
    if "SCF run NOT converged" in output.rsplit("outer SCF loop", 1)[-1] or (
        "outer SCF loop FAILED to converge" in output
    ):
        raise DataError(f"{directory / OUTPUT_FILE}: the SCF did not converge; leave the frame out")
    energy = _only(r"ENERGY\| Total FORCE_EVAL \( QS \) energy \[[^\]]*\]:?\s+(\S+)", output)
    version = _only(r"CP2K\| version string:\s+CP2K version (\S+)", output)
    steps = re.findall(r"outer SCF loop converged in\s+\d+ iterations or\s+(\d+) steps", output)
    return SinglePoint(
        energy=float(energy) * HARTREE_EV,
        forces=_read_forces(directory / FORCES_FILE, symbols),
        stress=_read_stress(directory / STRESS_FILE),
        version=version,
        scf_steps=int(steps[-1]) if steps else 0,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path}: not there ({error.strerror}); the job did not finish") from error


def _last_words(output: str) -> str:
    lines = [line.strip(" *\n") for line in output.splitlines()]
    return " / ".join([line for line in lines if line][-4:])[-300:] or "none"


def _only(pattern: str, text: str) -> str:
    found = re.findall(pattern, text)
    if not found:
        raise DataError(f"CP2K output without {pattern.split('[')[0]!r}: another version's format?")
    return str(found[-1])


def _read_forces(path: Path, symbols: Sequence[str]) -> FloatArray:
    """`Atom Kind Element X Y Z` rows in hartree/bohr."""
    rows = [
        line.split()
        for line in _text(path).splitlines()
        if re.match(r"\s+\d+\s+\d+\s+[A-Z][a-z]?\s", line)
    ]
    if [row[2] for row in rows] != list(symbols):
        raise DataError(
            f"{path}: {len(rows)} atoms, wanted the {len(symbols)} of the frame in their order"
        )
    return np.array([row[3:6] for row in rows], dtype=float) * (HARTREE_EV / BOHR_A)


def _read_stress(path: Path) -> FloatArray:
    """The analytical tensor, printed as pressure in GPa (to 2024) or bar (from 2025)."""
    text = _text(path)
    unit = re.search(r"stress tensor \[(GPa|bar)\]", text, re.IGNORECASE)
    rows = re.findall(r"^.*\b[xyz]\s+(-?[\d.E+-]+)\s+(-?[\d.E+-]+)\s+(-?[\d.E+-]+)\s*$", text, re.M)
    if unit is None or len(rows) < 3:
        raise DataError(f"{path}: no 3 × 3 stress tensor in GPa or bar")
    pressure_GPa = np.array(rows[:3], dtype=float) * (1.0e-4 if unit[1] == "bar" else 1.0)
    return -pressure_GPa / EV_PER_A3_IN_GPA


def find_cp2k(executable: str | None = None) -> str:
    """Path of CP2K: the one asked for, or the first of the usual names on PATH.

    Raises:
        MissingDependencyError: none is installed.
    """
    names = [executable] if executable else ["cp2k.psmp", "cp2k.ssmp", "cp2k", "cp2k.popt"]
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise MissingDependencyError(
        f"{' or '.join(names)} is not on PATH; install CP2K (Debian: apt-get install cp2k "
        "cp2k-data libopenblas0-openmp) or name it with --cp2k"
    )


def job_key(frames: Frames, row: int, settings: Settings = PAPER) -> str:
    """Name of the job of one frame: the same geometry at the same settings is computed once."""
    words = dict(vars(settings))
    words["kinds"] = {symbol: list(kind) for symbol, kind in sorted(settings.kinds.items())}
    digest = hashlib.sha256(json.dumps(words, sort_keys=True).encode())
    digest.update(frames.numbers.astype("<i8").tobytes())
    for array in (frames.cell[row], frames.positions[row]):
        digest.update(np.round(array, 9).astype("<f8").tobytes())
    return digest.hexdigest()[:16]


def is_finished(directory: Path) -> bool:
    """Whether a job came to its end, well or badly; one that was killed did not."""
    try:
        return "PROGRAM ENDED" in (directory / OUTPUT_FILE).read_text(errors="replace")
    except OSError:
        return False


def run_single_point(
    frames: Frames,
    row: int,
    directory: Path,
    *,
    settings: Settings = PAPER,
    executable: str,
    threads: int = 1,
    previous: Path | None = None,
    stop: threading.Event | None = None,
    lock: int | None = None,
) -> SinglePoint:
    """Compute one frame in a directory of its own.

    Args:
        frames: Where the frame is.
        row: Its number.
        directory: Directory of this job, made if missing.
        settings: Level of theory.
        executable: Path of CP2K.
        threads: OpenMP threads.
        previous: A wave function file to start from.
        stop: Ends CP2K when it is set.
        lock: An open lock file that CP2K holds too. Where we are killed and CP2K is not, the job
            stays locked until CP2K has ended, and no second one writes to its files.

    Raises:
        DataError: CP2K failed or did not converge.
    """
    directory.mkdir(parents=True, exist_ok=True)
    start = None
    if previous is not None:
        # Another process may delete it at any time: it keeps a few.
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(previous, directory / "previous.wfn")
            start = Path("previous.wfn")
    text = single_point_input(frames, row, settings=settings, wave_function=start)
    write_text_atomically(directory / INPUT_FILE, text)
    for name in (OUTPUT_FILE, FORCES_FILE, STRESS_FILE):  # CP2K would append
        (directory / name).unlink(missing_ok=True)
    _run(executable, directory, threads, stop or threading.Event(), lock)
    (directory / "previous.wfn").unlink(missing_ok=True)
    return read_single_point(directory, frames.symbols)


def _run(
    executable: str, directory: Path, threads: int, stop: threading.Event, lock: int | None
) -> None:
    """CP2K in a process group of its own, ended with us."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with (directory / OUTPUT_FILE).open("w") as output:
        process = subprocess.Popen(
            [executable, "-i", INPUT_FILE],
            cwd=directory,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
        )
        try:
            while process.poll() is None:
                if stop.wait(_POLL_S):
                    raise KeyboardInterrupt
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
