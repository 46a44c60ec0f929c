#!/usr/bin/env python3
# ruff: noqa: T201
"""Stands in for CP2K in tests: reads an input, writes the files of a single point.

The energy is a spring of 0.01 Ha/bohr² to the origin, so that forces are known. What goes wrong is
said by a file `misbehave` beside this program: `slow`, `crash`, `unconverged`, `truncated`.
"""

import re
import sys
import time
from pathlib import Path

BOHR_A = 0.529177210903
text = Path(sys.argv[2]).read_text()
mode = Path(__file__).with_name("misbehave")
mode = mode.read_text() if mode.is_file() else ""
with Path(__file__).with_name("calls").open("a") as calls:
    calls.write(("restart" if "WFN_RESTART_FILE_NAME" in text else "atoms") + "\n")
print(" CP2K| version string:                  CP2K version 2023.1", flush=True)
if mode == "slow":
    time.sleep(60)
if mode == "crash":
    print(" * [ABORT] basis set not found *")
    sys.exit(1)
block = re.search(r"&COORD\n(.*?)&END COORD", text, re.S).group(1)
atoms = [line.split() for line in block.splitlines() if line.strip()]
places = [[float(x) / BOHR_A for x in atom[1:]] for atom in atoms]
rows = [
    f"{k:7d}{1:7d}      {atom[0]:<2}" + "".join(f"{-0.01 * x:18.12f}" for x in place)
    for k, (atom, place) in enumerate(zip(atoms, places, strict=True), start=1)
]
if mode == "truncated":
    rows.pop()
total = "".join(f"{-0.01 * sum(x):18.12f}" for x in zip(*places, strict=True))
Path("cp2k.forces").write_text(
    "\n ATOMIC FORCES in [a.u.]\n\n # Atom   Kind   Element          X        Y        Z\n"
    + "\n".join(rows)
    + f"\n SUM OF ATOMIC FORCES    {total}\n"
)
Path("cp2k.stress").write_text(
    " STRESS| Analytical stress tensor [GPa]\n"
    " STRESS|                        x                   y                   z\n"
    " STRESS|      x        1.00000000000E+00   4.00000000000E-01   5.00000000000E-01\n"
    " STRESS|      y        4.00000000000E-01   2.00000000000E+00   6.00000000000E-01\n"
    " STRESS|      z        5.00000000000E-01   6.00000000000E-01   3.00000000000E+00\n"
    " STRESS| 1/3 Trace                                             2.00000000000E+00\n"
)
Path("cp2k.wfn").write_bytes(b"wave function")
if mode == "unconverged":
    print("  outer SCF loop FAILED to converge after  12 iterations or  144 steps")
else:
    print("  outer SCF loop converged in   2 iterations or   19 steps")
energy = 0.005 * sum(x * x for place in places for x in place)
print(f" ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:     {energy:24.15f}")
print("  **** **** ******  **  PROGRAM ENDED AT          2026-01-01 00:00:00.000")
