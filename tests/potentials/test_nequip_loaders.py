"""Models of the nequip framework: cards, and numbers against loops and nequip's own calculator."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.potentials.models import (
    R_MAX,
    TINY_R_MAX,
    Faults,
    TinyModel,
    changed,
    morse_reference,
    save_torchscript,
)
from zifbench.errors import ModelError, OutOfMemoryError
from zifbench.frames import Frames
from zifbench.potentials.core import Potential, Prediction, compute
from zifbench.potentials.loading import load_potential
from zifbench.potentials.nequip_loaders import _architecture_from_members


def load(path: Path) -> Potential:
    return load_potential(str(path), device="cpu", trust=True)


def assert_same(one: Prediction, other: Prediction, *, atol: float) -> None:
    """Energy to 10·atol in eV, forces and stress to atol in eV/Å and eV/Å³."""
    np.testing.assert_allclose(one.energy, other.energy, rtol=0, atol=10 * atol)
    np.testing.assert_allclose(one.forces, other.forces, rtol=0, atol=atol)
    np.testing.assert_allclose(one.stress, other.stress, rtol=0, atol=atol)


# -- TorchScript ----------------------------------------------------------------------------------

# Rounding of -220 eV per atom in float32 is 8e-6 eV; float64 has 1e-13.
PRECISION = {"float32": (2e-5, 1e-5), "float64": (1e-12, 1e-12)}


@pytest.mark.parametrize("virial", [False, True], ids=["stress", "virial"])
@pytest.mark.parametrize("legacy", [True, False], ids=["nequip 0.5", "today"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torchscript_against_a_loop(
    tmp_path: Path, frames: Frames, dtype: str, legacy: bool, virial: bool
) -> None:
    path = save_torchscript(tmp_path / "m.pth", dtype=dtype, legacy=legacy, virial=virial)
    prediction = compute(load(path), frames)
    energy_atol, atol = PRECISION[dtype]
    assert prediction.dtype == dtype
    for row in range(len(frames)):
        energy, forces, stress = morse_reference(frames, row)
        assert np.abs(forces).max() > 0.5  # eV/Å
        np.testing.assert_allclose(prediction.atomic_energy[row], energy, rtol=0, atol=energy_atol)
        np.testing.assert_allclose(prediction.energy[row], energy.sum(), atol=24 * energy_atol)
        np.testing.assert_allclose(prediction.forces[row], forces, rtol=0, atol=atol)
        np.testing.assert_allclose(prediction.stress[row], stress, rtol=0, atol=atol)


def test_total_energy_is_summed_in_float64(tmp_path: Path, frames: Frames) -> None:
    """The model's own float32 total, near -5300 eV, moves in steps of 0.5 meV."""
    prediction = compute(load(save_torchscript(tmp_path / "m.pth")), frames)
    np.testing.assert_array_equal(prediction.energy, prediction.atomic_energy.sum(axis=1))
    assert (prediction.energy != prediction.energy.astype(np.float32)).any()


def test_card_of_torchscript(tmp_path: Path) -> None:
    card = load(save_torchscript(tmp_path / "m.pth", dtype="float64")).card
    assert card.species == ("H", "C", "N", "Zn")
    assert (card.cutoff_A, card.dtype, card.n_parameters) == (R_MAX, "float64", 8)
    assert card.software == {"nequip": "0.5.6", "e3nn": "0.4.4", "torch": "1.10.0"}
    assert card.architecture is None  # a Morse potential is neither NequIP nor Allegro


@pytest.mark.parametrize(
    ("member", "architecture"),
    [
        ("m/code/__torch__/nequip/nn/_convnetlayer.py", "NequIP"),
        ("m/code/__torch__/allegro/nn/_allegro.py", "Allegro"),
        ("m/code/__torch__/mace/modules/models.py", None),
    ],
)
def test_architecture_from_the_folders_of_the_code(member: str, architecture: str | None) -> None:
    assert _architecture_from_members(["m/data.pkl", member]) == architecture


def test_batch_equals_single(tmp_path: Path, frames: Frames) -> None:
    potential = load(save_torchscript(tmp_path / "m.pth", dtype="float64"))
    together = compute(potential, frames)
    for row in range(len(frames)):
        alone = compute(potential, frames[row])
        np.testing.assert_allclose(together.energy[row], alone.energy[0], rtol=0, atol=1e-10)
        np.testing.assert_allclose(together.forces[row], alone.forces[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(together.stress[row], alone.stress[0], rtol=0, atol=1e-12)


def test_cluster_against_a_loop(tmp_path: Path, frames: Frames) -> None:
    cluster = changed(frames, pbc=np.zeros(3, dtype=bool))
    prediction = compute(load(save_torchscript(tmp_path / "m.pth", dtype="float64")), cluster)
    energy, forces, _ = morse_reference(cluster, 1)
    np.testing.assert_allclose(prediction.atomic_energy[1], energy, rtol=0, atol=1e-12)
    np.testing.assert_allclose(prediction.forces[1], forces, rtol=0, atol=1e-12)


def test_species_go_by_symbol_whatever_their_order(tmp_path: Path, frames: Frames) -> None:
    """With names in another order the same weights stand for other elements, and no others."""
    renamed = {"H": 7, "C": 30, "N": 1, "Zn": 6}  # symbol in the good model -> number here
    path = save_torchscript(
        tmp_path / "m.pth", dtype="float64", metadata={"type_names": "N Zn H C"}
    )
    numbers = np.array([renamed[symbol] for symbol in frames.symbols])
    _, forces, _ = morse_reference(frames, 0)
    prediction = compute(load(path), changed(frames, numbers=numbers))
    np.testing.assert_allclose(prediction.forces[0], forces, rtol=0, atol=1e-12)


def test_cutoffs_by_pair_of_elements(tmp_path: Path, frames: Frames) -> None:
    """Pairs beyond their own cutoff are not given to the model; the rest stays at r_max."""
    text = "4.0 2.4 4.0 4.0 4.0 4.0 4.0 4.0 4.0 4.0 4.0 4.0 3.0 4.0 4.0 2.8"
    path = save_torchscript(
        tmp_path / "m.pth",
        dtype="float64",
        legacy=False,
        metadata={"per_edge_type_cutoff": text},
    )
    cutoffs = {("H", "C"): 2.4, ("Zn", "H"): 3.0, ("Zn", "Zn"): 2.8}
    prediction = compute(load(path), frames)
    for row in range(len(frames)):
        energy, forces, _ = morse_reference(frames, row, pair_cutoffs_A=cutoffs)
        assert abs(energy.sum() - morse_reference(frames, row)[0].sum()) > 1e-3
        np.testing.assert_allclose(prediction.atomic_energy[row], energy, rtol=0, atol=1e-12)
        np.testing.assert_allclose(prediction.forces[row], forces, rtol=0, atol=1e-12)


@pytest.mark.parametrize("legacy", [True, False], ids=["nequip 0.5", "today"])
def test_input_is_not_changed(tmp_path: Path, frames: Frames, legacy: bool) -> None:
    potential = load(save_torchscript(tmp_path / "m.pth", legacy=legacy))
    digest = frames.digest()
    batch = potential.prepare(frames)
    copies = {key: tensor.clone() for key, tensor in batch.items()}
    potential.forward(batch)
    assert frames.digest() == digest
    assert set(batch) == set(copies)
    for key, tensor in batch.items():
        assert torch.equal(tensor, copies[key]), key


def test_arrays_of_any_layout(tmp_path: Path, frames: Frames) -> None:
    """Fortran order and a strided view give bit for bit the same."""
    potential = load(save_torchscript(tmp_path / "m.pth"))
    spread = np.repeat(frames.positions, 2, axis=1)[:, ::2]
    other = changed(frames, positions=spread, cell=np.asfortranarray(frames.cell))
    assert not spread.flags.c_contiguous
    np.testing.assert_array_equal(
        compute(potential, other).forces, compute(potential, frames).forces
    )


def test_nothing_global_is_left_behind(tmp_path: Path, frames: Frames) -> None:
    dtype = torch.get_default_dtype()
    compute(load(save_torchscript(tmp_path / "m.pth")), frames)
    assert torch.get_default_dtype() is dtype
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("missing", ["r_max", "type_names"])
def test_torchscript_of_another_program(tmp_path: Path, missing: str) -> None:
    path = save_torchscript(tmp_path / "m.pth", metadata={missing: ""})
    with pytest.raises(ModelError, match=r"not a deployed nequip model .*module:factory"):
        load(path)


def test_code_that_torch_cannot_read(tmp_path: Path) -> None:
    import zipfile

    good, path = save_torchscript(tmp_path / "good.pth"), tmp_path / "bad.pth"
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, b"not python (" if name.endswith("models.py") else content)
    with pytest.raises(ModelError, match=r"bad\.pth \(TorchScript\) cannot be loaded here"):
        load(path)


def test_model_that_raises(tmp_path: Path, frames: Frames) -> None:
    """Today's contract asked of a model that wants that of nequip 0.5."""
    path = save_torchscript(tmp_path / "m.pth", metadata={"n_species": ""})
    with pytest.raises(ModelError, match=r"m\.pth fails on cpu: .*wanted types as a column"):
        compute(load(path), frames)


@pytest.mark.parametrize(
    "error", [RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
              torch.OutOfMemoryError("CUDA out of memory")]
)  # fmt: skip
def test_out_of_memory_is_told_apart(
    tmp_path: Path, frames: Frames, error: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    potential = load(save_torchscript(tmp_path / "m.pth"))

    def full(batch: Any) -> Any:
        raise error

    monkeypatch.setattr(potential, "_module", full)
    with pytest.raises(
        OutOfMemoryError, match=r"m\.pth needs more memory than cpu has for 72 atoms"
    ):
        compute(potential, frames)


def test_nan_passes_through_to_the_caller(tmp_path: Path, frames: Frames) -> None:
    path = save_torchscript(tmp_path / "m.pth", faults=Faults(nan=True))
    assert np.isnan(compute(load(path), frames).energy).all()


# -- checkpoints and packages ---------------------------------------------------------------------


def nequip_calculator(path: Path) -> Any:
    """nequip's own ASE calculator, with its own neighbour list."""
    from nequip.integrations.ase import NequIPCalculator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says which chemical symbols it takes
        if path.name.endswith(".pt2"):
            return NequIPCalculator.from_compiled_model(path, device="cpu")
        return NequIPCalculator._from_saved_model(path, device="cpu")


@pytest.mark.parametrize("form", ["checkpoint", "package"])
def test_card_of_saved_models(tiny: TinyModel, form: str) -> None:
    from importlib.metadata import version

    card = load(getattr(tiny, form)).card
    assert card.format == f"nequip {form}"
    assert card.architecture == tiny.architecture
    assert card.species == ("H", "C", "N", "Zn")
    assert (card.cutoff_A, card.dtype) == (TINY_R_MAX, "float32")
    weights = nequip_calculator(getattr(tiny, form)).model.parameters()
    assert card.n_parameters == sum(weight.numel() for weight in weights) > 100
    assert card.software["nequip"] == version("nequip")
    assert card.software["torch"].startswith(version("torch").partition("+")[0])


@pytest.mark.parametrize("form", ["checkpoint", "package"])
def test_saved_models_against_nequips_own_calculator(
    tiny: TinyModel, zif4: Frames, form: str
) -> None:
    """For Allegro this also shows that cutting pairs by element changes nothing."""
    path = getattr(tiny, form)
    prediction = compute(load(path), zif4)
    for row, atoms in enumerate(zif4.to_ase()):
        atoms.calc = nequip_calculator(path)
        assert np.abs(atoms.get_forces()).max() > 0.01  # eV/Å
        # nequip sums in another order; float32 weights, -60 000 eV.
        np.testing.assert_allclose(prediction.energy[row], atoms.get_potential_energy(), rtol=1e-9)
        np.testing.assert_allclose(prediction.forces[row], atoms.get_forces(), atol=5e-6, rtol=1e-5)
        stress = atoms.get_stress(voigt=False)
        np.testing.assert_allclose(prediction.stress[row], stress, atol=1e-7, rtol=1e-5)


def test_checkpoint_equals_package(tiny: TinyModel, zif4: Frames) -> None:
    one, other = compute(load(tiny.checkpoint), zif4), compute(load(tiny.package), zif4)
    assert_same(one, other, atol=1e-8)


def test_saved_models_batch_equals_single(tiny: TinyModel, zif4: Frames) -> None:
    potential = load(tiny.package)
    together, second = compute(potential, zif4), compute(potential, zif4[1])
    assert potential.batched
    assert_same(
        Prediction(together.energy[1:], together.forces[1:], together.stress[1:], None, "float32"),
        second,
        atol=1e-5,
    )


def test_pairs_beyond_their_own_cutoff_do_not_count(
    tiny_models: dict[str, TinyModel], zif4: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model itself ends at the cutoff of each pair: fewer pairs, the same numbers."""
    potential = load(tiny_models["Allegro"].package)
    pruned, n_pruned = (
        compute(potential, zif4[0]),
        potential.prepare(zif4[0])["edge_index"].shape[1],
    )
    monkeypatch.setattr(potential, "_pair_cutoffs_A", None)
    full, n_full = compute(potential, zif4[0]), potential.prepare(zif4[0])["edge_index"].shape[1]
    assert n_pruned < 0.9 * n_full
    assert_same(pruned, full, atol=1e-6)


def test_package_of_another_version(tiny: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever nequip raises while it rebuilds a model becomes one sentence."""
    import nequip.model.saved_models.load_utils as load_utils

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("state dict\n  does not fit")

    monkeypatch.setattr(load_utils, "load_saved_model", refuse)
    message = r"\(nequip package\) cannot be loaded here: state dict does not fit"
    with pytest.raises(ModelError, match=message):
        load(tiny.package)


# -- compiled -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_compiled_equals_eager(compiled: tuple[TinyModel, Path], zif4: Frames) -> None:
    tiny, path = compiled
    potential = load(path)
    assert potential.batched == ("batch" in path.name)
    assert potential.card.compiled_for == "cpu"
    assert potential.card.species == ("H", "C", "N", "Zn")
    assert (potential.card.cutoff_A, potential.card.dtype) == (TINY_R_MAX, "float32")
    prediction = compute(potential, zif4)
    assert_same(prediction, compute(load(tiny.checkpoint), zif4), atol=2e-5)
    for row in range(len(zif4)):
        alone = compute(potential, zif4[row])
        np.testing.assert_allclose(alone.forces[0], prediction.forces[row], rtol=0, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("compiled", ["ase"], indirect=True)  # the target that calculator takes
def test_compiled_against_nequips_own_calculator(
    compiled: tuple[TinyModel, Path], zif4: Frames
) -> None:
    path = compiled[1]
    atoms = zif4.to_ase()[0]
    atoms.calc = nequip_calculator(path)
    prediction = compute(load(path), zif4[0])
    np.testing.assert_allclose(prediction.forces[0], atoms.get_forces(), atol=5e-6, rtol=1e-5)
