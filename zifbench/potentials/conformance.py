"""Is a potential consistent with itself? Checked before anything is scored.

Forces must be the gradient of the energy, the stress its strain derivative, and nothing may depend
on where the origin is, how the cell is turned, how the atoms are numbered, how often the cell is
repeated or what shares the batch.

Tolerances follow the precision in which the model computes. A float32 total energy near -60 083 eV
moves in steps of 3.9 meV; summed in float64 from float32 atomic energies its noise is about
eps·√(Σ e_i²), 0.2 meV here, so displacements are chosen large enough to stand far above it, with a
difference formula of fourth order to keep the truncation error below it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from zifbench.errors import ZifbenchError
from zifbench.frames import FloatArray, Frames, IntArray, concatenate
from zifbench.potentials.card import Check
from zifbench.potentials.core import (
    Potential,
    Prediction,
    check_applicable,
    check_finite,
    compute,
    compute_within_memory,
    join,
)
from zifbench.units import EV_PER_A3_IN_MPA, MEV_PER_EV


@dataclass(frozen=True)
class Steps:
    """Step sizes and relative tolerances for one precision.

    Attributes:
        epsilon: Machine precision.
        displacement_A: Largest displacement of an atom in the force check.
        strain: Strain in the stress check.
        relative: Tolerated relative deviation of forces and stress from the finite difference.
        force_noise: Tolerated deviation of a force under symmetry, relative to the RMS force.
    """

    epsilon: float
    displacement_A: float
    strain: float
    relative: float
    force_noise: float


STEPS = {
    "float32": Steps(1.2e-7, 0.02, 2e-3, 3e-3, 1e-3),
    "float64": Steps(2.3e-16, 0.005, 5e-4, 1e-3, 1e-6),
}
_STRESS_FLOOR_MPA = 2.0  # truncation error of the strain difference for a soft framework
_FORCE_DIRECTIONS = 3
_SEED = 20240117
_SHIFT_A = np.array([3.1, -2.3, 1.7])  # no symmetry, and far enough to leave the cell
_FORCES_VANISH = 1e-6  # eV/Å, a crystal at rest: nothing to see rounding on
_FLOAT64_NOISE = 1e-9  # relative; float64 rounds at 1e-15, float32 at 1e-6


@dataclass(frozen=True)
class _Subject:
    """One frame, what the potential says of it, and the scales that follow."""

    potential: Potential
    frame: Frames
    base: Prediction
    steps: Steps
    batch_atoms: int
    least_force: float = 0.0  # eV/Å, where forces vanish that elsewhere do not

    @property
    def force_scale(self) -> float:
        return max(rms_force(self.base), self.least_force) or 1.0

    @property
    def energy_noise(self) -> float:
        """Expected rounding noise of the total energy in eV.

        From the atomic energies (or their total), and from the positions: rounding moves each
        coordinate by up to ε times the cell's length, against the force on it.
        """
        atomic = self.base.atomic_energy
        parts = self.base.energy if atomic is None else atomic
        length = float(np.linalg.norm(self.frame.cell[0], axis=1).max(initial=1.0))
        moved = length * float(np.linalg.norm(self.base.forces))
        return float(self.steps.epsilon * np.hypot(np.linalg.norm(parts), moved)) + 1e-9

    @property
    def force_tolerance(self) -> float:
        return self.steps.force_noise * self.force_scale + 1e-7

    def predict(self, frames: Sequence[Frames]) -> Prediction:
        joined = concatenate(list(frames))
        size = max(1, self.batch_atoms // joined.n_atoms)
        prediction = join(
            [compute_within_memory(self.potential, part) for part in joined.chunks(size)]
        )
        # A comparison with NaN is false either way, so it must not get that far.
        check_finite(prediction, joined, self.potential.card)
        return prediction


def run_conformance(
    potential: Potential,
    frame: Frames,
    *,
    batch_atoms: int = 512,
    progress: Callable[[str], None] | None = None,
    only: Collection[str] | None = None,
) -> list[Check]:
    """Check a potential on the first of `frame`.

    Args:
        potential: Any potential.
        frame: Frames that the potential is meant for; the first one is used, best a thermal one,
            because forces vanish in a perfect crystal.
        batch_atoms: Atoms that go into one call.
        progress: Called with the name of each check before it runs.
        only: Names of `CHECKS` to run; all if not given.

    Returns:
        One `Check` for each property; failing ones are returned, not raised.

    Raises:
        ZifbenchError: the potential cannot be evaluated on the unchanged frame at all.
    """
    frame = _unlabelled(frame[0])
    check_applicable(potential.card, frame)
    base = compute(potential, frame)
    check_finite(base, frame, potential.card)
    precision = real_precision(potential, frame, base)
    subject = _Subject(potential, frame, base, STEPS[precision], batch_atoms)
    checks = []
    for name, check in CHECKS.items():
        if only is not None and name not in only:
            continue
        if progress is not None:
            progress(name)
        try:
            checks.append(check(subject))
        except ZifbenchError as error:
            checks.append(Check(name=name, passed=False, detail=f"fails: {error}"))
    return checks


def real_precision(potential: Potential, frame: Frames, base: Prediction) -> str:
    """Precision in which a potential really computes.

    A calculator may hand out float64 of what it computed in float32; moving all atoms alike, which
    must change nothing, shows its rounding.
    """
    scale = np.abs(base.forces).max()
    if base.dtype == "float32" or scale < _FORCES_VANISH:
        return base.dtype
    moved = compute(potential, _moved(frame, _SHIFT_A))
    noise = np.abs(moved.forces - base.forces).max()
    return "float32" if noise > _FLOAT64_NOISE * scale else "float64"


def _unlabelled(frames: Frames) -> Frames:
    """The same atoms without reference values, which no longer hold once atoms are moved."""
    return dataclasses.replace(frames, energy=None, forces=None, stress=None, velocities=None)


# -- derivatives --------------------------------------------------------------------------------


def _forces(subject: _Subject) -> Check:
    """Forces against the energy along the force itself and along random directions.

    dE/ds by the five-point formula [8 (E₊ - E₋) - (E₊₊ - E₋₋)] / 12h for unit vectors in all 3N
    coordinates; the force along it must be its negative.
    """
    rng = np.random.default_rng(_SEED)
    forces = subject.base.forces[0]
    directions = [forces, *rng.normal(size=(_FORCE_DIRECTIONS - 1, *forces.shape))]
    if not forces.any():
        directions = directions[1:]
    worst = 0.0
    worst_tolerance = np.inf
    for direction in directions:
        unit = direction / np.linalg.norm(direction)
        h = subject.steps.displacement_A / float(np.linalg.norm(unit, axis=1).max()) / 2
        energies = subject.predict([_moved(subject.frame, k * h * unit) for k in (-2, -1, 1, 2)])
        mm, m, p, pp = energies.energy
        slope = (8 * (p - m) - (pp - mm)) / (12 * h)
        noise = subject.energy_noise / h  # √(2·8² + 2)/12 = 0.95 of it
        tolerance = subject.steps.relative * subject.force_scale + noise
        deviation = abs(slope + float(np.sum(forces * unit)))
        if deviation / tolerance >= worst / worst_tolerance:
            worst, worst_tolerance = deviation, tolerance
    return _check(
        "forces = -dE/dx",
        worst * MEV_PER_EV,
        worst_tolerance * MEV_PER_EV,
        "meV/Å",
        f"along {len(directions)} directions of all {3 * subject.frame.n_atoms} coordinates, atoms "
        f"moved by up to {subject.steps.displacement_A:g} Å; RMS force "
        f"{subject.force_scale * MEV_PER_EV:.0f} meV/Å; tolerance for rounding at "
        f"{subject.steps.epsilon:g}",
    )


def _moved(frame: Frames, displacement: FloatArray) -> Frames:
    return dataclasses.replace(frame, positions=frame.positions + displacement)


_STRAINS = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]


def _stress(subject: _Subject) -> Check:
    """Stress against dE/dε / V for the six symmetric strains, by central differences."""
    name = "stress = dE/dstrain / V"
    if not subject.frame.pbc.all():
        return Check(name=name, passed=True, detail="not periodic: stress is not defined")
    if subject.base.stress is None:
        return Check(
            name=name, passed=True, detail="the model gives no stress; it is not scored on it"
        )
    stress = subject.base.stress[0]
    h = subject.steps.strain
    volume = float(subject.frame.volume[0])
    frames = [_strained(subject.frame, pair, s * h) for pair in _STRAINS for s in (-1, 1)]
    energies = subject.predict(frames).energy.reshape(6, 2)
    slopes = (energies[:, 1] - energies[:, 0]) / (2 * h * volume)
    deviation = max(abs(slopes[k] - stress[i, j]) for k, (i, j) in enumerate(_STRAINS))
    asymmetry = float(np.abs(stress - stress.T).max())
    noise = subject.energy_noise / (h * volume)
    tolerance = (
        _STRESS_FLOOR_MPA
        + (subject.steps.relative * float(np.abs(stress).max()) + noise) * EV_PER_A3_IN_MPA
    )
    return _check(
        name,
        max(float(deviation), asymmetry) * EV_PER_A3_IN_MPA,
        tolerance,
        "MPa",
        f"six strains of ±{h:g}; largest component {np.abs(stress).max() * EV_PER_A3_IN_MPA:.0f} "
        "MPa",
    )


def _strained(frame: Frames, pair: tuple[int, int], strain: float) -> Frames:
    """Cell and atoms under 1 + ε with ε symmetric: ½ in each of two off-diagonal places."""
    i, j = pair
    tensor = np.zeros((3, 3))
    tensor[i, j] += strain / 2
    tensor[j, i] += strain / 2
    return _mapped(frame, np.eye(3) + tensor)


def _mapped(frame: Frames, matrix: FloatArray) -> Frames:
    """All row vectors r -> r·matrixᵀ."""
    return dataclasses.replace(
        frame, positions=frame.positions @ matrix.T, cell=frame.cell @ matrix.T
    )


# -- symmetries -----------------------------------------------------------------------------------


def _translation(subject: _Subject) -> Check:
    changed = subject.predict([_moved(subject.frame, _SHIFT_A)])
    return _same(
        subject, "translation", changed, detail="all atoms moved alike, some out of the cell"
    )


def _rotation(subject: _Subject) -> Check:
    rotation = _random_rotation()
    return _turned(subject, "rotation", rotation, "cell and atoms turned at random")


def _inversion(subject: _Subject) -> Check:
    """Atoms mirrored in the origin; the lattice is its own mirror image, so the cell stays.

    Not required: nequip 0.5 with `parity: false`, as the published model, knows rotations only and
    tells left from right (13 meV/Å on the published crystal frame).
    """
    mirrored = dataclasses.replace(subject.frame, positions=-subject.frame.positions)
    changed = subject.predict([mirrored])
    back = dataclasses.replace(changed, forces=-changed.forces)
    check = _same(subject, "inversion", back, detail="mirror image through the origin")
    return check.model_copy(update={"required": False})


def _left_handed(subject: _Subject) -> Check:
    """The same lattice by vectors of the other sense; nequip 0.5 then turned the stress round."""
    changed = subject.predict([dataclasses.replace(subject.frame, cell=-subject.frame.cell)])
    return _same(subject, "cell vectors", changed, detail="lattice vectors reversed")


def _turned(subject: _Subject, name: str, matrix: FloatArray, detail: str) -> Check:
    changed = subject.predict([_mapped(subject.frame, matrix)])
    stress = changed.stress
    if stress is not None:
        stress = matrix.T @ stress @ matrix
    back = dataclasses.replace(changed, forces=changed.forces @ matrix, stress=stress)
    return _same(subject, name, back, detail=detail)


def _random_rotation() -> FloatArray:
    """A proper rotation about a general axis: the orthogonal part of a random matrix."""
    matrix: FloatArray = np.linalg.qr(np.random.default_rng(_SEED).normal(size=(3, 3)))[0]
    return matrix * float(
        np.linalg.det(matrix)
    )  # odd dimension: the sign of the determinant turns it


def _permutation(subject: _Subject) -> Check:
    order = np.random.default_rng(_SEED).permutation(subject.frame.n_atoms)
    changed = subject.predict([_atoms(subject.frame, order)])
    forces = np.empty_like(changed.forces)
    forces[:, order] = changed.forces
    back = dataclasses.replace(changed, forces=forces)
    return _same(subject, "permutation", back, detail="atoms numbered anew")


def _atoms(frame: Frames, order: IntArray) -> Frames:
    return dataclasses.replace(
        frame,
        numbers=frame.numbers[order],
        masses=frame.masses[order],
        positions=frame.positions[:, order],
    )


def _supercell(subject: _Subject) -> Check:
    name = "supercell"
    if not subject.frame.pbc.any():
        return Check(name=name, passed=True, detail="not periodic: no supercell")
    axis = int(np.argmax(subject.frame.pbc))
    changed = subject.predict([_doubled(subject.frame, axis)])
    n = subject.frame.n_atoms
    halves = changed.forces[:, :n], changed.forces[:, n:]
    worst = max(halves, key=lambda half: float(np.abs(half - subject.base.forces).max()))
    back = dataclasses.replace(changed, energy=changed.energy / 2, forces=worst)
    return _same(subject, name, back, detail=f"cell doubled along vector {axis}")


def _doubled(frame: Frames, axis: int) -> Frames:
    vector = frame.cell[:, axis]
    cell = frame.cell.copy()
    cell[:, axis] *= 2
    return dataclasses.replace(
        frame,
        numbers=np.tile(frame.numbers, 2),
        masses=np.tile(frame.masses, 2),
        positions=np.concatenate([frame.positions, frame.positions + vector[:, None]], axis=1),
        cell=cell,
    )


def _batch(subject: _Subject) -> Check:
    name = "batch = single"
    if not subject.potential.batched:
        return Check(name=name, passed=True, detail="the model takes one frame at a time")
    other = _moved(subject.frame, 0.02 * np.random.default_rng(_SEED).normal(size=(1, 1, 3)))
    both = compute(subject.potential, concatenate([other, subject.frame]))
    check_finite(both, concatenate([other, subject.frame]), subject.potential.card)
    stress = None if both.stress is None else both.stress[1:]
    second = dataclasses.replace(
        both, energy=both.energy[1:], forces=both.forces[1:], stress=stress
    )
    return _same(subject, name, second, detail="as second of a batch of two")


def _species(subject: _Subject) -> Check:
    """An element the model cannot know (its own list tells; else element 118) must be refused."""
    from ase.data import atomic_numbers

    species = subject.potential.card.species
    if species is None and subject.potential.device.startswith("cuda"):
        # An index out of range there ends the whole process, not the call.
        return Check(name="unknown species", passed=True, detail="not tried on a GPU")
    known = {atomic_numbers.get(s) for s in species or ()}
    alien = next(z for z in range(118, 0, -1) if z not in known)
    numbers = subject.frame.numbers.copy()
    numbers[0] = alien
    frame = dataclasses.replace(subject.frame, numbers=numbers)
    try:
        check_applicable(subject.potential.card, frame)
        compute(subject.potential, frame)
    except ZifbenchError:
        return Check(name="unknown species", passed=True, detail="refused")
    return Check(
        name="unknown species",
        passed=False,
        detail=f"the model gives numbers for element {alien}, which it cannot know",
    )


def rms_force(prediction: Prediction) -> float:
    """Root mean square of the force components in eV/Å."""
    return float(np.sqrt(np.mean(prediction.forces**2)))


def compare(
    potential: Potential,
    frame: Frames,
    base: Prediction,
    changed: Prediction,
    *,
    precision: str,
    name: str,
    detail: str,
    least_force: float = 0.0,
) -> Check:
    """Whether one frame has the same energy, forces and stress twice; the worst of them is shown.

    Args:
        potential: Whose predictions they are.
        frame: The frame.
        base: What is right.
        changed: What is checked.
        precision: Of the less precise of the two, a key of `STEPS`.
        name: Of the check.
        detail: For its record.
        least_force: RMS force in eV/Å of frames where forces do not vanish.
    """
    check_finite(changed, frame, potential.card)
    subject = _Subject(potential, frame, base, STEPS[precision], 0, least_force)
    return _same(subject, name, changed, detail=detail)


# In the order in which they run; a new check is one function and one line here.
DERIVATIVES = ("forces = -dE/dx", "stress = dE/dstrain / V")
CHECKS: dict[str, Callable[[_Subject], Check]] = {
    "forces = -dE/dx": _forces,
    "stress = dE/dstrain / V": _stress,
    "translation": _translation,
    "rotation": _rotation,
    "inversion": _inversion,
    "permutation": _permutation,
    "cell vectors": _left_handed,
    "supercell": _supercell,
    "batch = single": _batch,
    "unknown species": _species,
}


def _check(name: str, deviation: float, tolerance: float, unit: str, detail: str) -> Check:
    return Check(
        name=name,
        passed=bool(deviation <= tolerance),
        deviation=float(deviation),
        tolerance=float(tolerance),
        unit=unit,
        detail=detail,
    )


def _same(subject: _Subject, name: str, changed: Prediction, *, detail: str) -> Check:
    """Whether energy, forces and stress came back unchanged; the worst of the three is shown."""
    return max(_compared(subject, name, changed, detail), key=_excess)


def _compared(subject: _Subject, name: str, changed: Prediction, detail: str) -> Iterator[Check]:
    base = subject.base
    n = subject.frame.n_atoms
    energy = abs(float(changed.energy[0] - base.energy[0])) / n
    yield _check(
        name,
        energy * MEV_PER_EV,
        4 * subject.energy_noise / n * MEV_PER_EV,
        "meV/atom",
        f"energy; {detail}",
    )
    forces = float(np.abs(changed.forces - base.forces).max())
    yield _check(
        name,
        forces * MEV_PER_EV,
        subject.force_tolerance * MEV_PER_EV,
        "meV/Å",
        f"largest force component; {detail}",
    )
    if changed.stress is not None and base.stress is not None:
        stress = float(np.abs(changed.stress - base.stress).max())
        scale = float(np.abs(base.stress).max())
        # The virial is a sum over N atoms of force × distance; its rounding follows the forces'.
        tolerance = subject.steps.force_noise * (scale + subject.force_scale / 10)
        yield _check(
            name,
            stress * EV_PER_A3_IN_MPA,
            tolerance * EV_PER_A3_IN_MPA,
            "MPa",
            f"stress; {detail}",
        )


def _excess(check: Check) -> float:
    return (check.deviation or 0.0) / (check.tolerance or 1.0)
