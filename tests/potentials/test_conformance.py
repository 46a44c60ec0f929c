"""Good models pass every check; each fault fails the checks it should and no other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.calculators.lj import LennardJones

from tests.potentials.models import Faults, TinyModel, changed, save_torchscript
from zifbench.errors import DataError, ModelError, SpeciesError
from zifbench.frames import Frames
from zifbench.potentials.card import Check
from zifbench.potentials.conformance import CHECKS, run_conformance
from zifbench.potentials.core import Potential
from zifbench.potentials.loading import load_potential

FORCES = "forces = -dE/dx"
STRESS = "stress = dE/dstrain / V"
PRECISIONS = ["float32", "float64"]


def morse(directory: Path, faults: Faults | None = None, **options: Any) -> Potential:
    path = save_torchscript(directory / "m.pth", faults=faults, **options)
    return load_potential(str(path), device="cpu")


def failed(checks: list[Check]) -> set[str]:
    assert [check.name for check in checks] == list(CHECKS)
    return {check.name for check in checks if not check.passed}


@pytest.mark.parametrize("shift_eV", [-220.0, -3.0, 0.0])
@pytest.mark.parametrize("legacy", [True, False], ids=["nequip 0.5", "today"])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_good_model_passes(
    tmp_path: Path, frames: Frames, dtype: str, legacy: bool, shift_eV: float
) -> None:
    """Whatever the energy of isolated atoms: rounding differs, physics does not."""
    potential = morse(tmp_path, dtype=dtype, legacy=legacy, shift_eV=shift_eV)
    assert failed(run_conformance(potential, frames)) == set()


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(
    ("faults", "wanted"),
    [
        (Faults(force_scale=1.01), {FORCES}),
        (Faults(force_scale=0.995), {FORCES}),
        (Faults(zinc_force_scale=1.02), {FORCES}),
        (Faults(stress_sign=-1.0), {STRESS}),
        (Faults(stress_sign=1.01), {STRESS}),
        # A doubled cell has one well as well, so that both halves cannot be alike.
        (Faults(well=0.5), {"translation", "supercell"}),
        (Faults(squeeze=0.01), {"rotation"}),
        (Faults(chiral=0.01), {"inversion"}),
        (Faults(odd_atoms=0.01), {"permutation"}),
        (Faults(size=0.001), {"supercell"}),
        # What shares the batch also shares the displaced and strained frames' energies.
        (Faults(leak=0.001), {FORCES, STRESS, "supercell", "batch = single"}),
    ],
    ids=lambda value: str(value) if isinstance(value, Faults) else "",
)
def test_each_fault_fails_its_check(
    tmp_path: Path, frames: Frames, faults: Faults, wanted: set[str], dtype: str
) -> None:
    assert failed(run_conformance(morse(tmp_path, faults, dtype=dtype), frames)) == wanted


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_deviation_of_scaled_forces_is_the_one_known(
    tmp_path: Path, frames: Frames, dtype: str
) -> None:
    """Along the force itself, forces 1 % too large deviate by 1 % of |F| = F_rms·√(3N)."""
    checks = run_conformance(morse(tmp_path, Faults(force_scale=1.01), dtype=dtype), frames)
    check = next(check for check in checks if check.name == FORCES)
    good = morse(tmp_path, dtype="float64")
    output = good.collect(good.forward(good.prepare(frames[0])), frames[0])
    norm_meV = 1000 * float(np.linalg.norm(output.forces))
    assert check.unit == "meV/Å"
    # Rounding of -220 eV an atom in float32 is worth a few meV/Å.
    assert check.deviation == pytest.approx(0.01 * norm_meV, rel=0.01)


def test_virial_instead_of_stress(tmp_path: Path, frames: Frames) -> None:
    assert failed(run_conformance(morse(tmp_path, virial=True), frames)) == set()
    wrong = morse(tmp_path, Faults(stress_sign=-1.0), virial=True)
    assert failed(run_conformance(wrong, frames)) == {STRESS}


def test_calculator_that_knows_every_element_fails_that_check(
    tmp_path: Path, frames: Frames
) -> None:
    module = tmp_path / "lj_of_all_elements.py"
    module.write_text(
        "from ase.calculators.lj import LennardJones\n"
        "def make():\n"
        "    return LennardJones(sigma=1.8, epsilon=0.05, rc=4.0, ro=3.0, smooth=True)\n"
    )
    potential = load_potential(f"{module}:make", device="cpu", trust=True)
    assert failed(run_conformance(potential, frames)) == {"unknown species"}


def test_trained_models_pass(tiny: TinyModel, zif4: Frames) -> None:
    potential = load_potential(str(tiny.package), device="cpu", trust=True)
    assert failed(run_conformance(potential, zif4)) == set()


def test_nan_is_raised_and_not_scored(tmp_path: Path, frames: Frames) -> None:
    with pytest.raises(ModelError, match=r"m\.pth gives NaN or infinite energy for frame 0"):
        run_conformance(morse(tmp_path, Faults(nan=True)), frames)


def test_frame_that_does_not_fit_is_raised(tmp_path: Path, frames: Frames) -> None:
    numbers = frames.numbers.copy()
    numbers[0] = 8
    with pytest.raises(SpeciesError, match="but not O"):
        run_conformance(morse(tmp_path), changed(frames, numbers=numbers))
    with pytest.raises(DataError, match="thin"):
        run_conformance(morse(tmp_path), changed(frames, cell=frames.cell * 0.5))


def test_cluster_has_no_stress_and_no_supercell(tmp_path: Path, frames: Frames) -> None:
    cluster = changed(frames, pbc=np.zeros(3, dtype=bool))
    checks = {c.name: c for c in run_conformance(morse(tmp_path, dtype="float64"), cluster)}
    assert failed(list(checks.values())) == set()
    assert "not periodic" in checks[STRESS].detail
    assert "not periodic" in checks["supercell"].detail


def test_frame_is_not_changed_and_labels_are_ignored(tmp_path: Path, frames: Frames) -> None:
    labelled = dataclasses.replace(frames, energy=np.zeros(3), forces=np.ones((3, 24, 3)))
    digest = labelled.digest()
    potential = morse(tmp_path)
    assert run_conformance(potential, labelled) == run_conformance(potential, frames)
    assert labelled.digest() == digest


def test_progress_names_each_check(tmp_path: Path, frames: Frames) -> None:
    names: list[str] = []
    run_conformance(morse(tmp_path), frames, progress=names.append)
    assert names == list(CHECKS)


def test_failure_inside_a_check_is_a_failed_check(tmp_path: Path, frames: Frames) -> None:
    """A model that cannot do a doubled cell fails "supercell", with the reason."""
    potential = morse(tmp_path)
    prepare = potential.prepare

    def small_only(some: Frames) -> Any:
        if some.n_atoms > 24:
            raise ModelError("too many atoms for me")
        return prepare(some)

    potential.prepare = small_only  # type: ignore[method-assign]
    checks = run_conformance(potential, frames)
    assert failed(checks) == {"supercell"}
    assert "too many atoms for me" in next(c.detail for c in checks if c.name == "supercell")


def test_nan_in_moved_frames_only_fails(tmp_path: Path, make_frames: Any) -> None:
    """A comparison with NaN is false either way; it must not count as passed."""
    from zifbench.potentials.ase_potential import AsePotential
    from zifbench.potentials.card import ModelCard

    class OnlyAtHome(LennardJones):
        calls = 0

        def calculate(self, *args: Any, **kwargs: Any) -> None:
            super().calculate(*args, **kwargs)
            self.calls += 1
            if self.calls > 2:  # the unchanged frame, and the one that tells the precision
                self.results["energy"] = float("nan")
                self.results["forces"] = self.results["forces"] * float("nan")
                self.results["energies"] = self.results["energies"] * float("nan")

    card = ModelCard(name="nan", file="nan", format="Python factory", sha256="0", size_bytes=0)
    calculator = OnlyAtHome(sigma=1.5, epsilon=0.05, rc=4.0)
    checks = run_conformance(AsePotential(card, calculator, device="cpu"), make_frames(1))
    passed = {check.name for check in checks if check.passed}
    assert passed <= {"batch = single"}  # not run: one frame at a time
