"""LAMMPS decks for systems beyond one GPU: written from the same protocols, read back as frames.

A deck is a directory: `deck.json` (what it is), `README.txt`, `run.sh`, `submit.sbatch`, the model,
and a folder for each replica with a data file and one input script for each stage. Stages hand on
restart files, so that a deck goes on where it was stopped.
"""

from __future__ import annotations
