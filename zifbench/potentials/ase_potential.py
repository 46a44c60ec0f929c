"""Any ASE calculator as a potential, from `module:factory`, `file.py:factory` or a pickle."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zifbench.ase_io import full_stress
from zifbench.errors import ModelError, OutOfMemoryError, ZifbenchError, lacks_memory
from zifbench.frames import Frames
from zifbench.potentials.card import ModelCard
from zifbench.potentials.core import Prediction
from zifbench.potentials.formats import sha256_of
from zifbench.validation import refused

OWN_DEVICE = "the calculator's own"  # where it was not asked, nobody knows
DECLARED = "zifbench_card"  # attribute of a calculator
_STRESS_SHAPES = ((6,), (3, 3))  # xx yy zz yz xz xy, or the tensor


class Declaration(BaseModel):
    """What a calculator says of itself in its attribute `zifbench_card`; any part may be missing.

    Attributes:
        architecture: "MACE", say; else the name of the calculator's class.
        species: Symbols that the model knows; frames with others are refused.
        cutoff_A: Of one interaction, in Å; cells thinner than it are refused.
        dtype: Precision in which the model computes.
        n_parameters: Number of its trainable parameters.
        weights: Files that the factory has loaded. Their sha256 is part of what names the model: a
            result that was begun with other weights is not resumed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: str | None = None
    species: tuple[str, ...] | None = None
    cutoff_A: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    dtype: Literal["float32", "float64"] | None = None
    n_parameters: Annotated[int, Field(ge=0)] | None = None
    weights: tuple[Path, ...] = ()


class AsePotential:
    """An ASE calculator, one frame at a time.

    Its neighbour list is its own and part of `forward`; `prepare` only converts to ASE.
    """

    batched = False

    def __init__(self, card: ModelCard, calculator: Any, *, device: str) -> None:
        self.card = card
        self.device = device
        self._calculator = calculator
        implemented = tuple(calculator.implemented_properties)
        missing = {"energy", "forces"} - set(implemented)
        if missing:
            raise ModelError(
                f"{card.name} gives {', '.join(implemented) or 'nothing'} but not "
                f"{' and '.join(sorted(missing))}; the benchmark needs energy and forces"
            )
        self._wanted = [p for p in ("energy", "forces", "stress") if p in implemented]

    def prepare(self, frames: Frames) -> Any:
        """See `Potential.prepare`."""
        return frames.to_ase()[0]

    def forward(self, batch: Any) -> Any:
        """See `Potential.forward`."""
        atoms = batch.copy()
        calculator = self._calculator
        calculator.reset() if hasattr(calculator, "reset") else None
        try:
            with _aside():
                calculator.calculate(atoms, properties=self._wanted)
        except (Exception, SystemExit) as error:
            raise _failure(self.card.name, error) from error
        wanted = (*self._wanted, "energies")  # what it does not declare, it may not mean
        return {name: calculator.results[name] for name in wanted if name in calculator.results}

    def collect(self, output: Any, frames: Frames) -> Prediction:
        """See `Potential.collect`."""
        energy, forces = self._array(output, "energy"), self._array(output, "forces")
        stress, atomic = (
            None if output.get(name) is None else self._array(output, name)
            for name in ("stress", "energies")
        )
        if energy.size != 1:
            self._refuse("energy", f"{energy.size} numbers", "one")
        if stress is not None and stress.shape not in _STRESS_SHAPES:
            self._refuse("stress", f"an array of shape {stress.shape}", "(6,) or (3, 3)")
        dtype = "float32" if forces.dtype == np.float32 else "float64"
        return Prediction(
            energy=np.array([_energy(float(energy.sum()), atomic)]),
            forces=forces.astype(float)[None],
            stress=None if stress is None else full_stress(stress[None]),
            atomic_energy=None if atomic is None else atomic.astype(float)[None],
            dtype=dtype,
        )

    def _array(self, output: Mapping[str, Any], name: str) -> Any:
        """One result as real numbers, in the precision it came in."""
        value = output.get(name)
        try:
            array = np.asarray(value)
        except (ValueError, TypeError, RuntimeError):  # rows of different length; a tensor
            array = np.asarray(None)
        if array.dtype.kind not in "fiu":
            shown = "None" if value is None else f"a {type(value).__name__}, {value}"
            shown = " ".join(shown.split())
            self._refuse(name, shown[:60] + "…" * (len(shown) > 60), "real numbers")
        return array

    def _refuse(self, name: str, got: str, wanted: str) -> NoReturn:
        raise ModelError(f"{self.card.name} gives as {name} {got}, wanted {wanted}")


def _failure(what: str, error: BaseException) -> ZifbenchError:
    """What went wrong in code of others; `sys.exit` there is not the end of ours."""
    reason = " ".join(str(error).split())[:300]
    if lacks_memory(error):
        kind = type(error).__name__
        return OutOfMemoryError(
            f"{what} lacks memory ({kind}: {reason}); it wants fewer atoms or a larger machine"
        )
    return ModelError(f"{what} fails: {type(error).__name__}: {reason}")


def _aside() -> contextlib.redirect_stdout[Any]:
    """What calculators print goes to stderr: stdout is ours, and may be JSON."""
    return contextlib.redirect_stdout(sys.stderr)


def _energy(total: float, atomic: Any) -> float:
    """Sum of the atomic energies in float64, if they are parts of the total and not something else.

    A float32 total is only good to one part in ten million.
    """
    if atomic is None:
        return total
    summed = float(np.sum(np.asarray(atomic, dtype=float)))
    return summed if abs(summed - total) <= 1e-6 * abs(total) else total


def find_factory(spec: str) -> Path:
    """The Python file that `module:factory` or `file.py:factory` would run, without running it.

    Raises:
        ModelError: not of that form, or no such module.
    """
    module, _, factory = spec.rpartition(":")
    if not module or not factory.isidentifier():
        raise ModelError(f"{spec} is not of the form module:factory or file.py:factory")
    if module.endswith(".py"):
        if not Path(module).is_file():
            raise ModelError(f"no such file: {module}; give file.py:factory or module:factory")
        return Path(module).resolve()
    found = _find_spec(module)
    if found is None:
        raise ModelError(
            f"no module {module} (from {spec}) in this environment or this folder; install it, or "
            "give file.py:factory"
        )
    if not found.origin or not Path(found.origin).is_file():
        raise ModelError(f"module {module} (from {spec}) has no file to load")
    return Path(found.origin)


def _find_spec(module: str) -> importlib.machinery.ModuleSpec | None:
    """Where a module lies; `importlib.util.find_spec` of a dotted name would import its parents."""
    first, *rest = module.split(".")
    path_finder = importlib.machinery.PathFinder
    try:
        # This folder first, as when it is imported; then everything, editable installs included.
        found = path_finder.find_spec(first, [str(Path.cwd())]) or importlib.util.find_spec(first)
    except ValueError:  # a name such as __main__, which has no spec
        return None
    name = first
    for part in rest:
        if found is None:
            break
        name = f"{name}.{part}"
        found = path_finder.find_spec(name, found.submodule_search_locations or [])
    return found


def load_factory(spec: str, card: ModelCard, device: str) -> AsePotential:
    """Call the factory; it takes no argument, or `device`.

    Raises:
        ModelError: the module or the factory raises, or gives no ASE calculator.
    """
    module_name, _, factory_name = spec.rpartition(":")
    try:
        with _aside():
            module = _import(module_name)
            factory = getattr(module, factory_name)
            takes_device = "device" in inspect.signature(factory).parameters
            calculator = factory(device=device) if takes_device else factory()
    except ModelError:
        raise
    except (Exception, SystemExit) as error:
        raise _failure(spec, error) from error
    return _as_potential(calculator, spec, card, device if takes_device else OWN_DEVICE)


def load_pickled(path: Path, card: ModelCard) -> AsePotential:
    """A pickled ASE calculator.

    Raises:
        ModelError: it cannot be unpickled here, or is something else.
    """
    try:
        with path.open("rb") as file, _aside():
            calculator = pickle.load(file)  # only after the user has trusted this digest
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{card.file} is a pickle that cannot be read here ({type(error).__name__}: {reason}); "
            "give module:factory instead"
        ) from error
    return _as_potential(calculator, card.file, card, OWN_DEVICE)


def _import(module: str) -> Any:
    if not module.endswith(".py"):
        return _import_installed(module)
    spec = importlib.util.spec_from_file_location(Path(module).stem, module)
    if spec is None or spec.loader is None:
        raise ModelError(f"{module} is not a Python file")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded  # so that classes defined there can be pickled
    spec.loader.exec_module(loaded)
    return loaded


def _import_installed(module: str) -> Any:
    """Import the very file that `find_factory` found and the user trusted."""
    found = find_factory(f"{module}:factory")
    here = str(Path.cwd())
    local = found.is_relative_to(here)
    if local:
        sys.path.insert(0, here)
    try:
        loaded = importlib.import_module(module)
    finally:
        if local:
            sys.path.remove(here)
    if loaded.__file__ is None or Path(loaded.__file__).resolve() != found.resolve():
        raise ModelError(f"{module} is already loaded from {loaded.__file__}, not from {found}")
    return loaded


def _as_potential(calculator: Any, name: str, card: ModelCard, device: str) -> AsePotential:
    if not hasattr(calculator, "calculate") or not hasattr(calculator, "implemented_properties"):
        raise ModelError(
            f"{name} gives a {type(calculator).__name__}, wanted an ASE calculator "
            "(with calculate and implemented_properties)"
        )
    card = card.model_copy(
        update={
            "architecture": type(calculator).__name__,
            "software": _package_version(type(calculator).__module__),
        }
        | _declared(getattr(calculator, DECLARED, {}), name)
    )
    return AsePotential(card, calculator, device=device)


def _declared(table: object, name: str) -> dict[str, Any]:
    """Fields of the card that the calculator gives itself.

    Raises:
        ModelError: not of the form of `Declaration`, or weights that cannot be read.
        UnknownNameError: a key that is none of them.
    """
    where = f"{DECLARED} of {name}"
    if not isinstance(table, Mapping):
        raise ModelError(f"{where} is a {type(table).__name__}, wanted a dictionary")
    try:
        declared = Declaration.model_validate(dict(table))
    except ValidationError as error:
        raise refused(error, table, kind=Declaration, where=where, wrong=ModelError) from error
    try:
        digests = tuple(sha256_of(path) for path in declared.weights)
    except OSError as error:
        raise ModelError(f"{where}: weights: {error.filename}: {error.strerror}") from error
    said = declared.model_dump(exclude={"weights"}, exclude_none=True)
    return said | {"weights_sha256": digests}


def _package_version(module: str) -> dict[str, str]:
    """Version of what a module belongs to; its name may be another (`mace` is of mace-torch)."""
    from importlib.metadata import packages_distributions, version

    package = module.partition(".")[0]
    return {name: version(name) for name in packages_distributions().get(package, ())}
