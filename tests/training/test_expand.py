"""Recipes become nequip's configuration; the production one agrees with what was published."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.published import published_file
from zifbench.training.expand import expand, model_config, nequip_irreps
from zifbench.training.recipe import load_recipe, recipe_names

torch = pytest.importorskip("torch")


def built(recipe, **changes):
    """The model of a recipe, with statistics given instead of computed."""
    from hydra.utils import instantiate
    from nequip.utils.global_state import set_global_state

    set_global_state(allow_tf32=False)
    config = model_config(recipe, seed=1) | {
        "per_type_energy_shifts": -1.0,
        "per_type_energy_scales": 1.0,
        "avg_num_neighbors": 50.0,
    }
    return instantiate(config | changes, _convert_="all", _recursive_=False)


def n_parameters(model):
    return sum(p.numel() for p in model.parameters())


def shapes(model, *ending):
    return {k: tuple(p.shape) for k, p in model.named_parameters() if k.endswith(ending)}


@pytest.mark.parametrize("name", recipe_names())
def test_expanded_configurations_are_plain_and_whole(name):
    import yaml

    recipe = load_recipe(name)
    config = expand(
        recipe, store="s", split=Path("p"), out=Path("o"), seed=7, device="cpu", stress=True
    )
    assert yaml.safe_load(yaml.safe_dump(config)) == config
    assert config["training_module"]["model"]["seed"] == config["data"]["seed"] == 7
    assert (
        config["training_module"]["model"]["r_max"] == recipe.cutoff_A == config["data"]["cutoff_A"]
    )
    assert "test" not in config["run"]


def test_only_weighted_terms_are_in_the_loss():
    def terms(**weights):
        changes = [f"{name}_weight={weight}" for name, weight in weights.items()]
        recipe = load_recipe("nequip-small", changes)
        config = expand(
            recipe, store="s", split=Path("p"), out=Path("o"), seed=0, device="cpu", stress=True
        )["training_module"]
        shown = {m["name"]: m["coeff"] for m in config["val_metrics"]["metrics"]}
        return {m["name"]: m["coeff"] for m in config["loss"]["metrics"]}, shown

    loss, shown = terms(stress=100)
    assert loss == {"per_atom_energy_mse": 1.0, "forces_mse": 1.0, "stress_mse": 100.0}
    loss, shown = terms(stress=0)
    assert loss == {"per_atom_energy_mse": 1.0, "forces_mse": 1.0}
    assert shown["stress_rmse"] is None  # seen all the same


@pytest.mark.parametrize(
    ("parity", "hidden", "edges"),
    [
        ("all", "4x0e+4x0o+4x1e+4x1o+4x2e+4x2o", "1x0e+1x1o+1x2e"),
        ("natural", "4x0e+4x1o+4x2e", "1x0e+1x1o+1x2e"),
        ("ignored", "4x0e+4x1e+4x2e", "1x0e+1x1e+1x2e"),
    ],
)
def test_irreps(parity, hidden, edges):
    changes = [f"model.parity={parity}", "model.l_max=2", "model.features=4"]
    assert nequip_irreps(load_recipe("nequip-small", changes).model) == (hidden, edges)


@pytest.mark.parametrize(("parity", "theirs"), [("natural", False), ("all", True)])
def test_irreps_are_those_of_nequips_own_builder(parity, theirs):
    from hydra.utils import instantiate

    recipe = load_recipe("nequip-small", [f"model.parity={parity}", "model.features=4"])
    ours = built(recipe)
    names = ("seed", "model_dtype", "type_names", "r_max", "num_bessels", "polynomial_cutoff_p")
    config = {name: value for name, value in model_config(recipe, seed=1).items() if name in names}
    config |= {"_target_": "nequip.model.NequIPGNNModel", "num_layers": 2, "l_max": 1}
    config |= {"parity": theirs, "num_features": 4, "radial_mlp_depth": 1, "radial_mlp_width": 64}
    config |= {"per_type_energy_shifts": -1.0, "per_type_energy_scales": 1.0}
    reference = instantiate(
        config | {"avg_num_neighbors": 50.0}, _convert_="all", _recursive_=False
    )
    assert shapes(ours, "weight", "weights") == shapes(reference, "weight", "weights")
    for mine, other in zip(ours.parameters(), reference.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.published
def test_the_production_recipe_agrees_with_the_published_configuration():
    """Entries of nequip 0.5.6's file beside ours, and what the deployed file says of itself."""
    import yaml

    text = published_file("castel2024/nequip_l2r6stress0.yaml").read_text()
    theirs = yaml.safe_load(text)
    recipe = load_recipe("nequip-castel2024")
    model = recipe.model
    assert recipe.cutoff_A == theirs["r_max"]
    assert model.layers == theirs["num_layers"]
    assert model.l_max == theirs["l_max"]
    assert (model.parity == "ignored") is (theirs["parity"] is False)
    assert model.features == theirs["num_features"]
    assert model.radial_depth == theirs["invariant_layers"]
    assert model.radial_width == theirs["invariant_neurons"]
    assert model.bessels == theirs["num_basis"]
    assert model.bessel_trainable == theirs["BesselBasis_trainable"]
    assert model.polynomial_cutoff_p == theirs["PolynomialCutoff_p"]
    assert set(recipe.elements) == set(theirs["chemical_symbols"])
    assert recipe.learning_rate == theirs["learning_rate"]
    assert recipe.batch_frames == theirs["batch_size"]
    assert recipe.epochs == theirs["max_epochs"]
    assert recipe.shuffle == theirs["shuffle"]
    assert recipe.ema_decay == theirs["ema_decay"]
    assert recipe.seed == theirs["seed"]
    assert recipe.dtype == theirs["default_dtype"]
    assert recipe.amsgrad == theirs["optimizer_amsgrad"]
    assert recipe.stop.patience_epochs == theirs["early_stopping_patiences"]["validation_loss"]
    assert recipe.stop.learning_rate_below == theirs["early_stopping_lower_bounds"]["LR"]
    weights = theirs["loss_coeffs"]
    assert recipe.force_weight == weights["forces"]
    assert recipe.stress_weight == weights["stress"]
    assert [recipe.energy_weight, "PerAtomMSELoss"] == weights["total_energy"]


@pytest.mark.published
def test_the_production_model_has_the_published_parameters():
    """Tensor by tensor beside the deployed file; recipes/README.md says why three kinds differ."""
    published = torch.jit.load(
        published_file("castel2024/nequip_l2r6stress0.pth"), map_location="cpu"
    )
    theirs = {
        name.removeprefix("model.func."): tuple(p.shape) for name, p in published.named_parameters()
    }
    ours = {
        name.removeprefix("model.func."): tuple(p.shape)
        for name, p in built(load_recipe("nequip-castel2024")).named_parameters()
    }
    size = {name: torch.Size(shape).numel() for name, shape in (theirs | ours).items()}
    n_types, embedded = 4, 32
    for layer in range(5):
        mine, other = f"layer{layer}_convnet.conv.", f"layer{layer}_convnet.conv."
        assert ours.pop(mine + "linear_1.weight") == theirs.pop(other + "linear_1.weight")
        for k in range(2):
            weight = theirs.pop(f"{other}fc.layer{k}.weight")
            assert ours.pop(f"{mine}edge_mlp.mlp.{2 * k}.weight") == weight
        connection = theirs.pop(other + "sc.weight")[0]
        if layer:  # a matrix for each of 32 numbers that a type has, or for each of 4 types
            self_connection = ours.pop(mine + "sc.weight")[0] * n_types / embedded
        radial = ours.pop(mine + "edge_mlp.mlp.4.weight"), theirs.pop(other + "fc.layer2.weight")
        linear = ours.pop(mine + "linear_2.weight"), theirs.pop(other + "linear_2.weight")
        if layer < 4:
            assert radial[0] == radial[1]
            assert linear[0] == linear[1]
            assert not layer or self_connection == connection
        else:  # ours ends in the 32 scalars that are read, theirs in all 352 numbers
            assert radial == ((64, 96), (64, 480))
            assert linear == ((96 * 32,), (96 * 96 + 192 * 32 + 192 * 32,))
            assert (self_connection, connection) == (32 * 32 * 4, 20480)
    same = {
        "type_embed.embed_module.weight": "chemical_embedding.linear.weight",
        "bessel_encode.bessel_weights": "radial_basis.basis.bessel_weights",
        "per_atom_energy_readout.mlp_module.mlp.weights.0": "conv_to_output_hidden.linear.weight",
        "per_atom_energy_readout.mlp_module.mlp.weights.1": "output_hidden_to_scalar.linear.weight",
    }
    for mine, other in same.items():
        assert size[mine] == size[other]
    assert (ours.keys(), theirs.keys()) == (same.keys(), set(same.values()))


@pytest.mark.published
def test_the_allegro_recipe_agrees_with_the_published_configuration():
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("tag:yaml.org,2002:python/tuple", Loader.construct_sequence)
    text = published_file("castel2024/allegro_l2r6stress0a2.yaml").read_text()
    theirs = yaml.load(text, Loader)
    recipe = load_recipe("allegro-castel2024")
    model = recipe.model
    assert recipe.cutoff_A == theirs["r_max"]
    assert (model.layers, model.l_max) == (theirs["num_layers"], theirs["l_max"])
    assert model.parity is (theirs["parity"] == "o3_full")
    assert model.tensor_features == theirs["env_embed_multiplicity"]
    assert model.scalar_features == theirs["latent_mlp_latent_dimensions"][-1]
    assert [model.latent_width] * model.latent_depth == theirs["latent_mlp_latent_dimensions"][:-1]
    assert model.embed_depth == len(theirs["two_body_latent_mlp_latent_dimensions"]) - 1
    assert [model.readout_width] * model.readout_depth == theirs["edge_eng_mlp_latent_dimensions"]
    assert model.readout_nonlinearity == "none" and theirs["edge_eng_mlp_nonlinearity"] is None
    assert model.polynomial_cutoff_p == theirs["PolynomialCutoff_p"]
    assert model.bessel_trainable == theirs["BesselBasis_trainable"]
    assert recipe.learning_rate == theirs["learning_rate"]
    assert recipe.amsgrad == theirs["optimizer_params"]["amsgrad"]
    assert recipe.schedule.kind == "plateau"
    assert recipe.schedule.factor == theirs["lr_scheduler_factor"]
    assert recipe.schedule.patience_epochs == theirs["lr_scheduler_patience"]
    assert recipe.stop.patience_epochs == theirs["early_stopping_patiences"]["validation_loss"]
    assert recipe.stop.learning_rate_below == theirs["early_stopping_lower_bounds"]["LR"]
    assert 3600 * recipe.stop.hours == theirs["early_stopping_upper_bounds"]["cumulative_wall"]
