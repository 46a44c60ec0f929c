"""Does an engine get from a model what the model says? Looked at before anything is scored.

What an engine computes with (its batches, its precision, its compiled kernels, its neighbour list)
is held against one eager evaluation in float64, on the starting structures and on the first of them
with its atoms displaced as by heat. A compiled model and a foreign calculator have no such form;
then forces and stress are held against differences of the energy on the very path that runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from zifbench.ase_io import full_stress
from zifbench.dynamics.calculator import PotentialCalculator
from zifbench.errors import ModelError, ZifbenchError
from zifbench.frames import FloatArray, Frames
from zifbench.potentials.card import Check
from zifbench.potentials.conformance import (
    DERIVATIVES,
    compare,
    real_precision,
    rms_force,
    run_conformance,
)
from zifbench.potentials.core import Potential, Prediction, compute

# What an engine gives for single frames, of any cells and numbers of atoms, computed together.
ModelPath = Callable[[Sequence[Frames]], Sequence[Prediction]]

_SEED = 20240117
_N_DISPLACED = 2
_DISPLACEMENT_A = 0.05  # of each coordinate, about what 300 K does in a framework


def ase_path(potential: Potential) -> ModelPath:
    """What ASE's integrators see: the potential as a calculator of one `Atoms` after the other."""
    calculator: PotentialCalculator | None = None

    def path(frames: Sequence[Frames]) -> list[Prediction]:
        nonlocal calculator
        if calculator is None:
            first = compute(potential, frames[0])
            calculator = PotentialCalculator(potential, stress=first.stress is not None)
        return [_asked(calculator, frame) for frame in frames]

    return path


def torchsim_path(potential: Any) -> ModelPath:
    """What TorchSim's integrators see: all systems in one state, the engine's own neighbours."""

    def path(frames: Sequence[Frames]) -> list[Prediction]:
        import torch
        import torch_sim

        from zifbench.dynamics.engines.torch_model import PotentialModel
        from zifbench.dynamics.engines.torchsim import default_batch_atoms

        systems = [_as_it_lies(frame) for frame in frames]
        device = torch.device(potential.device)
        state = torch_sim.io.atoms_to_state(systems, device=device, dtype=torch.float64)
        model = PotentialModel(potential, most_atoms=default_batch_atoms(potential.device))
        model.systems = range(len(systems))
        found = {key: value.detach().cpu().numpy() for key, value in model(state).items()}
        stress = found.get("stress")
        ends = np.cumsum([len(atoms) for atoms in systems])[:-1]
        forces = np.split(found["forces"], ends)
        return [
            Prediction(
                energy=found["energy"][row : row + 1],
                forces=forces[row][None],
                stress=None if stress is None else stress[row : row + 1],
                atomic_energy=None,
                dtype="float64",
            )
            for row in range(len(systems))
        ]

    return path


def engine_path(engine: str, potential: Potential) -> ModelPath:
    """The path of an engine, by its name."""
    return torchsim_path(potential) if engine == "torchsim" else ase_path(potential)


def _as_it_lies(frame: Frames) -> Atoms:
    """As ASE's atoms, with the positions as they lie in memory."""
    (atoms,) = frame.to_ase()
    atoms.arrays["positions"] = frame.positions[0]
    return atoms


def _asked(calculator: PotentialCalculator, frame: Frames) -> Prediction:
    calculator.calculate(_as_it_lies(frame))
    found = calculator.results
    energies = found.get("energies")
    stress = found.get("stress")
    return Prediction(
        energy=np.array([found["energy"]]),
        forces=np.array(found["forces"])[None],
        stress=None if stress is None else full_stress(np.asarray(stress)[None]),
        atomic_energy=None if energies is None else np.array(energies)[None],
        dtype="float64",
    )


def parity_checks(
    potential: Potential, path: ModelPath, starts: Sequence[Frames], *, exact: Potential | None
) -> list[Check]:
    """Hold what an engine computes against the model.

    Args:
        potential: The model, as the engine was given it.
        path: What the engine makes of it.
        starts: Starting structures, single frames.
        exact: The same model, eager and in float64; None where there is no such form.

    Returns:
        One `Check` for each property; failing ones are returned, not raised.

    Raises:
        ZifbenchError: the potential cannot be evaluated on a starting structure at all.
    """
    displaced = [_displaced(starts[0], number) for number in range(_N_DISPLACED)]
    frames = [*starts, *displaced]
    found = [path([frame])[0] for frame in frames]
    precision = real_precision(potential, displaced[0], compute(potential, displaced[0]))
    least = max(rms_force(prediction) for prediction in found)

    def same(name: str, row: int, base: Prediction, changed: Prediction, detail: str) -> Check:
        return compare(
            potential, frames[row], base, changed,
            precision=precision, name=name, detail=detail, least_force=least,
        )  # fmt: skip

    checks = _against_exact(potential, path, frames, found, exact, same)
    last = len(frames) - 1
    again = path([_scattered(frames[last])])[0]
    checks.append(
        same("memory layout", last, found[last], again, "positions that do not lie in one piece")
    )
    together = path(frames)
    parts = [
        same("together = alone", row, found[row], together[row], f"{len(frames)} systems in one go")
        for row in range(len(frames))
    ]
    checks.append(_worst(parts))
    return checks


def _against_exact(
    potential: Potential,
    path: ModelPath,
    frames: Sequence[Frames],
    found: Sequence[Prediction],
    exact: Potential | None,
    same: Callable[[str, int, Prediction, Prediction, str], Check],
) -> list[Check]:
    """Every frame against float64; where that cannot be had, the gap and the derivatives."""
    name = "engine = eager float64"
    gap = "the model has no eager form in float64"
    if exact is not None:
        try:
            right = [compute(exact, frame) for frame in frames]
        except ZifbenchError as error:
            gap = f"the model does not run in float64 ({error})"
        else:
            return [
                _worst(
                    [
                        same(name, row, right[row], found[row], f"of {len(frames)} frames")
                        for row in range(len(frames))
                    ]
                )
            ]
    named = Check(
        name=name,
        passed=True,
        required=False,
        detail=f"{gap}; forces and stress are held against differences of the energy instead",
    )
    usual = [
        same(
            "engine = model", row, compute(potential, frame), found[row], f"of {len(frames)} frames"
        )
        for row, frame in enumerate(frames)
    ]
    return [
        named,
        _worst(usual),
        *run_conformance(_PathPotential(potential, path), frames[-1], only=DERIVATIVES),
    ]


class _PathPotential:
    """An engine's path in the form of a potential, for the checks that potentials go through."""

    batched = False

    def __init__(self, potential: Potential, path: ModelPath) -> None:
        self.card, self.device = potential.card, potential.device
        self._potential, self._path = potential, path
        self._atomic: FloatArray | None = None

    def prepare(self, frames: Frames) -> Any:
        """See `Potential.prepare`."""
        return frames

    def forward(self, batch: Any) -> Any:
        """See `Potential.forward`."""
        return self._path([batch])[0]

    def collect(self, output: Any, frames: Frames) -> Prediction:
        """See `Potential.collect`; atomic energies tell how energies round, and nothing else."""
        found: Prediction = output
        if found.atomic_energy is None:
            if self._atomic is None:
                self._atomic = compute(self._potential, frames).atomic_energy
            found = dataclasses.replace(found, atomic_energy=self._atomic)
        return dataclasses.replace(found, dtype=self.card.dtype or found.dtype)


def _displaced(frame: Frames, number: int) -> Frames:
    rng = np.random.default_rng([_SEED, number])
    moved = frame.positions + _DISPLACEMENT_A * rng.normal(size=frame.positions.shape)
    return dataclasses.replace(frame, positions=moved)


def _scattered(frame: Frames) -> Frames:
    """The same numbers, spread out in memory: coordinates first, every second place."""
    wide = np.zeros((3, 2 * frame.n_atoms))
    wide[:, ::2] = frame.positions[0].T
    return dataclasses.replace(frame, positions=wide[:, ::2].T[None])


def _worst(checks: Sequence[Check]) -> Check:
    return max(checks, key=lambda check: (check.deviation or 0.0) / (check.tolerance or 1.0))


def refuse_failed(checks: Sequence[Check]) -> None:
    """Let only what passed go on.

    Raises:
        ModelError: a required check failed; the first of them is named.
    """
    for check in checks:
        if check.required and not check.passed:
            shown = ""
            if check.deviation is not None and check.tolerance is not None:
                shown = f" by {check.deviation:.3g} {check.unit}, {check.tolerance:.3g} tolerated"
            raise ModelError(
                f"the engine does not compute what the model says: {check.name} fails{shown} "
                f"({check.detail}); try another --engine or --device, or another form of the model"
            )
