"""Physical constants and the units in which results are reported.

Inside: Å, eV, fs, K, amu; stress eV/Å³ with tension positive (ASE's sign). CODATA 2018, the set
that is pinned because an older hartree moves -60 083 eV by 5 meV.
"""

from __future__ import annotations

from typing import Final

HARTREE_EV: Final = 27.211386245988
BOHR_A: Final = 0.529177210903
BOLTZMANN_EV_PER_K: Final = 8.617333262e-5
AMU_PER_A3_IN_G_PER_CM3: Final = 1.66053906660
# sqrt(eV/Å²/amu) as a wavenumber, sqrt(e 1e20 / m_u) / (2 pi c 100), and 1/fs as one.
ROOT_EV_PER_A2_AMU_IN_PER_CM: Final = 521.4708983725064
PER_FS_IN_PER_CM: Final = 1.0e15 / 2.99792458e10
EV_IN_KJ_PER_MOL: Final = 96.48533212
EV_PER_A3_IN_GPA: Final = 160.21766208
EV_PER_A3_IN_MPA: Final = 1000.0 * EV_PER_A3_IN_GPA
MEV_PER_EV: Final = 1000.0
US_PER_S: Final = 1.0e6
GIB: Final = 2.0**30
# CP2K prints forces in hartree/bohr, velocities in bohr per atomic unit of time, stress in bar.
HARTREE_PER_BOHR_IN_EV_PER_A: Final = HARTREE_EV / BOHR_A
BOHR_PER_AU_TIME_IN_A_PER_FS: Final = 21.8769126364
BAR_IN_EV_PER_A3: Final = 6.241509074e-7
AMU_A2_PER_FS2_IN_EV: Final = 103.642696562
