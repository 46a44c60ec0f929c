"""Recipes: one small YAML file for each candidate, strict, with every number that shapes it.

`recipes/NAME.yaml` beside this file, or a file of one's own. `expand.py` translates a recipe into
the configuration that `nequip-train` reads; README.md in that folder says what differs from the
published ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from zifbench.errors import DataError
from zifbench.training.strict import (
    Count,
    CountOrNone,
    NotNegative,
    Positive,
    Strict,
    check_schema,
    find_file,
    names_in,
    read_yaml,
    validated,
    yaml_module,
)

RECIPE_FOLDER = Path(__file__).with_name("recipes")
RECIPE_SCHEMA = 1
DUMMY = "dummy-mean"  # goes by its name in place of a recipe; see `dummy.py`


class NequipModel(Strict):
    """A NequIP model.

    Attributes:
        kind: "nequip".
        layers: Interaction blocks.
        features: Multiplicity of each irreducible representation.
        l_max: Highest rotation order.
        parity: "all" carries both parities of each l (E(3) with pseudo-tensors); "natural" only
            (−1)^l, as nequip ≥ 0.7 does without parity; "ignored" tells no parity apart (SE(3)),
            as nequip 0.5 did without parity.
        radial_depth: Hidden layers of the radial network.
        radial_width: Neurons in each.
        bessels: Radial basis functions.
        bessel_trainable: Whether their roots are trained.
        polynomial_cutoff_p: Exponent of the envelope.
        readout_depth: Hidden layers between features and energy, linear.
        readout_width: Neurons in each.
        pair_potential: "zbl" adds the nuclear repulsion of Ziegler, Biersack and Littmark.
    """

    kind: Literal["nequip"]
    layers: Count
    features: Count
    l_max: CountOrNone
    parity: Literal["all", "natural", "ignored"]
    radial_depth: Count
    radial_width: Count
    bessels: Count = 8
    bessel_trainable: bool = False
    polynomial_cutoff_p: Annotated[int, Field(ge=2)] = 6
    readout_depth: CountOrNone = 0
    readout_width: Count = 16
    pair_potential: Literal["none", "zbl"] = "none"


class AllegroModel(Strict):
    """An Allegro model.

    Attributes:
        kind: "allegro".
        layers: Tensor product layers.
        l_max: Highest rotation order.
        parity: Whether both parities of each l are carried ("o3_full").
        scalar_features: Width of the scalar track.
        tensor_features: Multiplicity of the tensor track.
        embed_depth: Hidden layers of the two-body embedding network.
        embed_width: Neurons in each.
        latent_depth: Hidden layers of the networks between tensor products.
        latent_width: Neurons in each.
        readout_depth: Hidden layers of the network that gives the energy of a pair.
        readout_width: Neurons in each.
        readout_nonlinearity: Of its hidden layers.
        bessels: Radial basis functions.
        bessel_trainable: Whether their roots are trained.
        polynomial_cutoff_p: Exponent of the envelope.
        pair_potential: See `NequipModel`.
    """

    kind: Literal["allegro"]
    layers: Count
    l_max: CountOrNone
    parity: bool
    scalar_features: Count
    tensor_features: Count
    embed_depth: CountOrNone = 1
    embed_width: Count = 64
    latent_depth: CountOrNone = 1
    latent_width: Count = 64
    readout_depth: CountOrNone = 1
    readout_width: Count = 32
    readout_nonlinearity: Literal["silu", "none"] = "silu"
    bessels: Count = 8
    bessel_trainable: bool = False
    polynomial_cutoff_p: Annotated[int, Field(ge=2)] = 6
    pair_potential: Literal["none", "zbl"] = "none"


class HdnnpModel(Strict):
    """A high-dimensional neural network potential; see `zifbench.potentials.hdnnp`.

    Attributes:
        kind: "hdnnp".
        cutoff: Cutoff function, "cosine" or "polynomial".
        radial: Radial symmetry functions of each pair of elements: how many, for the systematic
            choice, or their [η (1/Å²), R_s (Å)].
        angular: Angular ones of each triple, [η (1/Å²), λ, ζ]; None for the systematic choice.
        smallest_distances_A: Of pairs CENTRE-NEIGHBOUR, for the systematic choice.
        hidden: Neurons of each hidden layer.
        pair_potential: See `NequipModel`.
    """

    kind: Literal["hdnnp"]
    cutoff: Literal["cosine", "polynomial"] = "cosine"
    radial: Count | tuple[tuple[float, float], ...] = 5
    angular: tuple[tuple[float, int, float], ...] | None = None
    smallest_distances_A: Mapping[str, Positive] | None = None
    hidden: Annotated[tuple[Count, ...], Field(min_length=1)] = (15, 15)
    pair_potential: Literal["none", "zbl"] = "none"


AnyModel = Annotated[NequipModel | AllegroModel | HdnnpModel, Field(discriminator="kind")]


class Schedule(Strict):
    """How the learning rate goes down.

    Attributes:
        kind: "constant"; "plateau" multiplies by `factor` after `patience_epochs` without a better
            validation loss; "cosine" falls to `final` at the last epoch.
        factor: See there.
        patience_epochs: See there.
        final: See there.
    """

    kind: Literal["constant", "plateau", "cosine"] = "constant"
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    patience_epochs: CountOrNone = 50
    final: NotNegative = 0.0


class Stop(Strict):
    """When to stop before the last epoch.

    Attributes:
        patience_epochs: After so many without a better validation loss; None never.
        learning_rate_below: Once the learning rate is lower; 0 never.
        hours: After so much training; None never.
    """

    patience_epochs: Count | None = None
    learning_rate_below: NotNegative = 0.0
    hours: Positive | None = None


class Recipe(Strict):
    """What is trained, and how.

    Attributes:
        schema_version: `RECIPE_SCHEMA`; `schema` in the file.
        name: Its name.
        about: What it is, for people.
        source: Where its numbers come from.
        split: For which split it is meant, for people.
        elements: Chemical symbols that the model knows, in the order of its types.
        cutoff_A: Cutoff radius.
        model: The architecture.
        energy_weight: Of the squared error of the energy per atom, eV².
        force_weight: Of the squared error of force components, (eV/Å)².
        stress_weight: Of the squared error of stress components, (eV/Å³)²; λσ of the paper.
        learning_rate: Of Adam, at the beginning.
        amsgrad: Whether Adam keeps the largest second moment.
        ema_decay: Of the moving average of the weights, which is what is validated and kept.
        batch_frames: Frames in one step.
        shuffle: Whether each epoch has an order of its own.
        epochs: At most.
        schedule: See `Schedule`.
        stop: See `Stop`.
        seed: Of the weights and of the order of frames.
        dtype: Precision of the model.
    """

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    name: str
    about: str
    source: str
    split: str
    elements: Annotated[tuple[str, ...], Field(min_length=1)]
    cutoff_A: Positive
    model: AnyModel
    energy_weight: NotNegative = 1.0
    force_weight: NotNegative = 1.0
    stress_weight: NotNegative = 0.0
    learning_rate: Positive
    amsgrad: bool = False
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    batch_frames: Count = 1
    shuffle: bool = True
    epochs: Count
    schedule: Schedule = Schedule()
    stop: Stop = Stop()
    seed: CountOrNone = 0
    dtype: Literal["float32", "float64"] = "float32"

    @field_validator("elements")
    @classmethod
    def _are_elements(cls, elements: tuple[str, ...]) -> tuple[str, ...]:
        from ase.data import chemical_symbols

        for symbol in elements:
            if symbol not in chemical_symbols[1:]:
                raise ValueError(f"{symbol!r} is no chemical symbol")
        if len(set(elements)) < len(elements):
            raise ValueError("an element is there twice")
        return elements

    @model_validator(mode="after")
    def _has_a_loss(self) -> Recipe:
        if not (self.energy_weight or self.force_weight or self.stress_weight):
            raise ValueError(
                "energy_weight, force_weight and stress_weight are all 0, wanted one above 0"
            )
        return self

    def dump(self) -> dict[str, Any]:
        """All entries, defaults included, as in the file."""
        return self.model_dump(mode="json", by_alias=True)


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return names_in(RECIPE_FOLDER)


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by its name, or from a file of one's own.

    Args:
        name: A name, or the path of a .yaml file.
        overrides: Entries to change, each `key=value` or `section.key=value`.

    Raises:
        UnknownNameError: no such recipe, or no such key in one.
        DataError: the file is no recipe; the message names the first thing that is wrong; or
            the name is that of the dummy.
    """
    if name == DUMMY:
        raise DataError(f"{DUMMY} is fitted without a recipe, and has no entries")
    path = find_file(name, RECIPE_FOLDER, "recipe", others=[DUMMY])
    table = read_yaml(path, "recipe")
    for override in overrides:
        _override(table, override)
    return parse_recipe({"name": path.stem, **table}, where=path.name)


def parse_recipe(table: Mapping[str, Any], *, where: str) -> Recipe:
    """A recipe from the entries of its file.

    Raises:
        UnknownNameError, DataError: see `load_recipe`.
    """
    check_schema(table, RECIPE_SCHEMA, where=where, kind="recipe")
    return validated(Recipe, table, where=where, sections=_SECTIONS)


_KINDS: Mapping[str, type[Strict]] = {
    "nequip": NequipModel,
    "allegro": AllegroModel,
    "hdnnp": HdnnpModel,
}
_SECTIONS: Mapping[str, type[Strict]] = {"schedule": Schedule, "stop": Stop, **_KINDS}


def _override(table: dict[str, Any], override: str) -> None:
    """Change one entry; whether the key exists is checked with the whole recipe."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise DataError(f"--set {override}: wanted key=value or section.key=value")
    yaml = yaml_module()
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"--set {override}: {text!r} is no value of YAML") from error
    *sections, last = key.split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise DataError(f"--set {override}: {section} is a value, not a section")
    table[last] = value
