"""Any ASE calculator, from a module, a file or a pickle."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.lj import LennardJones

from tests.potentials.models import changed
from zifbench.errors import ModelError, OutOfMemoryError, SpeciesError, ZifbenchError
from zifbench.frames import Frames
from zifbench.potentials.ase_potential import find_factory
from zifbench.potentials.card import ModelCard
from zifbench.potentials.core import check_applicable, compute
from zifbench.potentials.formats import sha256_of
from zifbench.potentials.loading import load_potential

CALCULATORS = """
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.calculators.lj import LennardJones
import numpy as np

SEEN = []

def smooth():
    return LennardJones(sigma=1.8, epsilon=0.05, rc=4.0, ro=3.0, smooth=True)

def with_device(device):
    SEEN.append(device)
    return smooth()

def broken():
    raise OSError("weights are\\n  missing")

def number():
    return 7

class EnergyOnly(Calculator):
    implemented_properties = ["energy"]

class Float32(Calculator):
    implemented_properties = ["energy", "forces", "stress"]

    def calculate(self, atoms=None, properties=None, system_changes=()):
        atoms.positions += 1.0  # a rude calculator
        stress = np.array([[1, 6, 5], [6, 2, 4], [5, 4, 3]], dtype=np.float32)
        forces = np.full((len(atoms), 3), 0.5, dtype=np.float32)
        self.results = {"energy": np.float32(-2), "forces": forces, "stress": stress}

class Fails(Float32):
    def calculate(self, atoms=None, properties=None, system_changes=()):
        raise ValueError("too hot")

class Exits(Float32):
    def calculate(self, atoms=None, properties=None, system_changes=()):
        raise SystemExit(0)

class Full(Float32):
    def calculate(self, atoms=None, properties=None, system_changes=()):
        raise MemoryError("of the library")

def exits():
    raise SystemExit(0)

ODD = {}

class Odd(Float32):
    def calculate(self, atoms=None, properties=None, system_changes=()):
        super().calculate(atoms.copy())
        self.results |= ODD
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A Python file with factories, its name free of any other module's."""
    path = tmp_path / "calculators_of_the_test.py"
    path.write_text(CALCULATORS)
    yield path
    sys.modules.pop("calculators_of_the_test", None)


def test_module_factory_against_ase(frames: Frames) -> None:
    potential = load_potential("ase.calculators.lj:LennardJones", device="cpu", trust=True)
    prediction = compute(potential, frames)
    assert prediction.forces.shape == (3, 24, 3)
    for row, atoms in enumerate(frames.to_ase()):
        atoms.calc = LennardJones()
        np.testing.assert_allclose(prediction.energy[row], atoms.get_potential_energy(), rtol=1e-13)
        np.testing.assert_allclose(prediction.forces[row], atoms.get_forces(), rtol=1e-10)
        stress = atoms.get_stress(voigt=False)
        np.testing.assert_allclose(prediction.stress[row], stress, rtol=1e-10)
        energies = atoms.get_potential_energies()
        np.testing.assert_allclose(prediction.atomic_energy[row], energies, rtol=1e-10)
    assert prediction.dtype == "float64"


def test_card(module: Path) -> None:
    card = load_potential(f"{module}:smooth", device="cpu", trust=True).card
    assert (card.architecture, card.format, card.file) == (
        "LennardJones",
        "Python factory",
        module.name,
    )
    assert set(card.software) == {"ase"}
    assert card.species is None and card.cutoff_A is None and card.dtype is None


TALKATIVE = """
print("imported")

class Talkative(Float32):
    def calculate(self, *arguments, **options):
        print("called")
        super().calculate(*arguments, **options)

def talkative():
    print("made")
    return Talkative()
"""


def test_what_calculators_print_is_kept_from_stdout(
    module: Path, frames: Frames, capsys: pytest.CaptureFixture[str]
) -> None:
    module.write_text(CALCULATORS + TALKATIVE)
    compute(load_potential(f"{module}:talkative", device="cpu", trust=True), frames[0])
    assert capsys.readouterr() == ("", "imported\nmade\ncalled\n")


DECLARING = (
    CALCULATORS
    + """
def declaring():
    calculator = smooth()
    calculator.zifbench_card = DECLARATION
    return calculator
"""
)


def declared_card(module: Path, declaration: object) -> ModelCard:
    module.write_text(f"{DECLARING}\nDECLARATION = {declaration!r}\n")
    return load_potential(f"{module}:declaring", device="cpu", trust=True).card


def test_card_that_the_calculator_gives_itself(module: Path) -> None:
    weights = module.with_name("weights.bin")
    weights.write_bytes(b"one")
    declaration = {
        "architecture": "Springs",
        "species": ["H", "Zn"],
        "cutoff_A": 4,
        "dtype": "float64",
        "n_parameters": 3,
        "weights": [str(weights)],
    }
    card = declared_card(module, declaration)
    assert (card.architecture, card.species, card.cutoff_A) == ("Springs", ("H", "Zn"), 4.0)
    assert (card.dtype, card.n_parameters, set(card.software)) == ("float64", 3, {"ase"})
    assert card.weights_sha256 == (sha256_of(weights),)
    assert card.sha256 == sha256_of(module) != card.digest
    weights.write_bytes(b"two")
    other = load_potential(f"{module}:declaring", device="cpu", trust=True).card
    assert other.sha256 == card.sha256
    assert other.digest != card.digest


def test_card_of_which_only_a_part_is_given(module: Path) -> None:
    card = declared_card(module, {"species": ["Zn"]})
    assert (card.architecture, card.species, card.cutoff_A) == ("LennardJones", ("Zn",), None)
    assert card.digest == card.sha256 == sha256_of(module)


def test_declared_species_hold(module: Path, frames: Frames) -> None:
    card = declared_card(module, {"species": ["Zn"]})
    with pytest.raises(SpeciesError, match="knows Zn but not"):
        check_applicable(card, frames)


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        (7, r"zifbench_card of .*:declaring is a int, wanted a dictionary"),
        ({"cutoff": 4}, r"unknown key in zifbench_card of .* 'cutoff'; did you mean cutoff_A"),
        ({"cutoff_A": -1}, r"cutoff_A: wanted a number greater than 0, got -1"),
        ({"dtype": "float16"}, r"dtype: wanted 'float32' or 'float64', got 'float16'"),
        ({"weights": ["gone.bin"]}, r"weights: gone\.bin: No such file or directory"),
    ],
)
def test_bad_cards(module: Path, declaration: object, message: str) -> None:
    with pytest.raises(ZifbenchError, match=message):
        declared_card(module, declaration)


def test_software_by_the_name_it_is_installed_under(module: Path) -> None:
    module.write_text(CALCULATORS + "\nFloat32.__module__ = 'PIL.calculators'\n")  # of pillow
    card = load_potential(f"{module}:Float32", device="cpu", trust=True).card
    assert {name.lower() for name in card.software} == {"pillow"}


def test_factory_is_given_the_device(module: Path) -> None:
    load_potential(f"{module}:with_device", device="cpu", trust=True)
    assert sys.modules["calculators_of_the_test"].SEEN == ["cpu"]


def test_module_in_the_current_folder(
    module: Path, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(module.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    potential = load_potential("calculators_of_the_test:smooth", device="cpu", trust=True)
    assert np.isfinite(compute(potential, frames).energy).all()


def test_both_layouts_of_stress(module: Path, frames: Frames) -> None:
    """Float32 gives a full tensor; Lennard-Jones above gives Voigt's six."""
    prediction = compute(load_potential(f"{module}:Float32", device="cpu", trust=True), frames[0])
    np.testing.assert_array_equal(prediction.stress[0], [[1, 6, 5], [6, 2, 4], [5, 4, 3]])
    assert prediction.dtype == "float32"
    assert prediction.forces.dtype == np.float64


def test_input_is_not_changed_by_a_rude_calculator(module: Path, frames: Frames) -> None:
    digest = frames.digest()
    potential = load_potential(f"{module}:Float32", device="cpu", trust=True)
    batch = potential.prepare(frames[0])
    before = batch.positions.copy()
    potential.forward(batch)
    np.testing.assert_array_equal(batch.positions, before)
    assert frames.digest() == digest


def test_same_frame_after_another_gives_the_same(module: Path, frames: Frames) -> None:
    potential = load_potential(f"{module}:smooth", device="cpu", trust=True)
    alone = compute(potential, frames[2])
    np.testing.assert_array_equal(compute(potential, frames).forces[2], alone.forces[0])


def test_not_periodic_frames(module: Path, frames: Frames) -> None:
    cluster = changed(frames, pbc=np.zeros(3, dtype=bool), cell=np.zeros((3, 3, 3)))[0]
    atoms = cluster.to_ase()[0]
    atoms.calc = LennardJones(sigma=1.8, epsilon=0.05, rc=4.0, ro=3.0, smooth=True)
    module.write_text(CALCULATORS + "\nsmooth.stress = False\n")
    prediction = compute(load_potential(f"{module}:smooth", device="cpu", trust=True), cluster)
    np.testing.assert_allclose(prediction.energy[0], atoms.get_potential_energy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("broken", r"broken fails: OSError: weights are missing"),
        ("absent", r"absent fails: AttributeError"),
        ("exits", r"exits fails: SystemExit: 0"),
        ("number", r"number gives a int, wanted an ASE calculator"),
        ("EnergyOnly", r"gives energy but not forces; the benchmark needs energy and forces"),
    ],
)
def test_factories_that_give_no_calculator(module: Path, factory: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_potential(f"{module}:{factory}", device="cpu", trust=True)


def test_module_with_an_error(module: Path) -> None:
    module.write_text("import no_such_module_anywhere\n")
    with pytest.raises(ModelError, match="fails: ModuleNotFoundError: No module named"):
        load_potential(f"{module}:make", device="cpu", trust=True)


def test_calculation_that_fails(module: Path, frames: Frames) -> None:
    potential = load_potential(f"{module}:Fails", device="cpu", trust=True)
    with pytest.raises(ModelError, match="Fails fails: ValueError: too hot"):
        compute(potential, frames)


def test_a_calculator_that_ends_the_program_does_not(module: Path, frames: Frames) -> None:
    with pytest.raises(ModelError, match="Exits fails: SystemExit: 0"):
        compute(load_potential(f"{module}:Exits", device="cpu", trust=True), frames)


def test_a_calculator_without_memory(module: Path, frames: Frames) -> None:
    with pytest.raises(OutOfMemoryError, match=r"Full lacks memory \(MemoryError: of the library"):
        compute(load_potential(f"{module}:Full", device="cpu", trust=True), frames)


class Tensor:
    """As torch's, which needs a gradient or lies on a GPU."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise self.error("detach it")


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"energy": None}, "Odd gives as energy None, wanted real numbers"),
        ({"energy": "abc"}, "Odd gives as energy a str, abc, wanted real numbers"),
        ({"energy": Tensor(RuntimeError)}, "Odd gives as energy a Tensor, .*, wanted real numbers"),
        ({"energy": Tensor(TypeError)}, "Odd gives as energy a Tensor, .*, wanted real numbers"),
        ({"energy": [1.0, 2.0]}, "Odd gives as energy 2 numbers, wanted one"),
        ({"forces": 1j * np.ones((8, 3))}, "Odd gives as forces .*j.*…, wanted real numbers"),
        ({"forces": [[1.0], [1.0, 2.0]]}, "Odd gives as forces .*, wanted real numbers"),
        ({"forces": np.ones((3, 3))}, r"Odd gives forces of shape \(1, 3, 3\), wanted"),
        ({"stress": np.ones(5)}, r"Odd gives as stress an array of shape \(5,\), wanted \(6,\) or"),
        ({"energies": ["a"]}, "Odd gives as energies .*, wanted real numbers"),
    ],
)
def test_odd_results_are_refused(
    module: Path, frames: Frames, result: dict[str, object], message: str
) -> None:
    potential = load_potential(f"{module}:Odd", device="cpu", trust=True)
    sys.modules["calculators_of_the_test"].ODD |= result
    with pytest.raises(ModelError, match=message):
        compute(potential, frames[0])


def test_no_stress_is_no_stress(module: Path, frames: Frames) -> None:
    """Many wrappers give None for what they cannot give."""
    potential = load_potential(f"{module}:Odd", device="cpu", trust=True)
    sys.modules["calculators_of_the_test"].ODD |= {"stress": None, "energies": None}
    prediction = compute(potential, frames[0])
    assert prediction.stress is None
    assert prediction.atomic_energy is None
    assert prediction.energy == [-2.0]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_module_anywhere:make", "no module no_such_module_anywhere .*install it"),
        ("ase.no_such_part:make", r"no module ase\.no_such_part"),
        ("ase.atoms.deeper:make", r"no module ase\.atoms\.deeper"),
        ("nowhere.py:make", r"no such file: nowhere\.py"),
        ("ase.atoms:", "not of the form module:factory"),
        (":make", "not of the form module:factory"),
        ("ase.atoms:two words", "not of the form module:factory"),
    ],
)
def test_specs_that_lead_nowhere(spec: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        find_factory(spec)


def test_folder_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onlyafolder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"module onlyafolder .* has no file to load"):
        find_factory("onlyafolder:make")


# -- pickles --------------------------------------------------------------------------------------


def test_pickled_calculator(tmp_path: Path, frames: Frames) -> None:
    path = tmp_path / "lj.pkl"
    calculator = LennardJones(sigma=1.8, epsilon=0.05, rc=4.0)
    path.write_bytes(pickle.dumps(calculator))
    potential = load_potential(str(path), device="cpu", trust=True)
    atoms = frames.to_ase()[0]
    atoms.calc = calculator
    np.testing.assert_allclose(
        compute(potential, frames[0]).forces[0], atoms.get_forces(), rtol=1e-12
    )
    assert potential.card.name == "lj"
    assert potential.card.architecture == "LennardJones"


def test_pickle_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "dict.pkl"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ModelError, match="gives a dict, wanted an ASE calculator"):
        load_potential(str(path), device="cpu", trust=True)


def test_pickle_of_a_module_that_is_not_here(tmp_path: Path) -> None:
    path = tmp_path / "gone.pkl"
    path.write_bytes(b"\x80\x02cno_such_module_anywhere\nModel\n.")
    with pytest.raises(
        ModelError, match=r"cannot be read here .ModuleNotFoundError.*module:factory"
    ):
        load_potential(str(path), device="cpu", trust=True)
