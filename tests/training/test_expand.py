"""Recipes become nequip's configuration; the production one agrees with what was published."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.published import published_file
from zifbench.errors import ModelError
from zifbench.training.expand import check_model, expand, model_config, nequip_irreps
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


# -- every entry of a recipe reaches the training --------------------------------------------------


def expanded(recipe="nequip-small", changes=(), **machine):
    given = {"store": "s", "split": Path("p"), "out": Path("o"), "seed": 7, "device": "cpu"}
    return expand(load_recipe(recipe, changes), **given | {"stress": True} | machine)


def flat(entries, place=""):
    """Entries of nested mappings and lists by their path."""
    if isinstance(entries, dict):
        pairs = entries.items()
    elif isinstance(entries, list):
        pairs = enumerate(entries)
    else:
        return {place: entries}
    return {k: v for key, value in pairs for k, v in flat(value, f"{place}/{key}").items()}


# Key of a recipe: another value, the end of the place where it is seen, and how it is seen there.
SEEN = [
    ("learning_rate", 0.5, "optimizer/lr", 0.5),
    ("amsgrad", False, "optimizer/amsgrad", False),
    ("ema_decay", 0.5, "training_module/ema_decay", 0.5),
    ("batch_frames", 3, "train_dataloader/batch_size", 3),
    ("batch_frames", 3, "val_dataloader/batch_size", 3),
    ("shuffle", False, "data/shuffle", False),
    ("epochs", 9, "trainer/max_epochs", 9),
    ("epochs", 9, "scheduler/T_max", 9),
    ("schedule.final", 0.001, "scheduler/eta_min", 0.001),
    ("cutoff_A", 5.5, "data/cutoff_A", 5.5),
    ("cutoff_A", 5.5, "model/r_max", 5.5),
    ("dtype", "float64", "model/model_dtype", "float64"),
    ("energy_weight", 3, "loss/metrics/0/coeff", 3.0),
    ("force_weight", 3, "loss/metrics/1/coeff", 3.0),
    ("stress_weight", 3, "loss/metrics/2/coeff", 3.0),
    ("force_weight", 3, "val_metrics/metrics/1/coeff", 3.0),
    ("stop.patience_epochs", 4, "callbacks/0/patience_epochs", 4),
    ("stop.learning_rate_below", 0.25, "callbacks/0/learning_rate_below", 0.25),
    ("stop.hours", 2, "callbacks/0/hours", 2.0),
    ("elements", "[H,C,N,Zn,O]", "data/elements/4", "O"),
    ("elements", "[H,C,N,Zn,O]", "model/type_names/4", "O"),
    ("elements", "[H,C,N,Zn,O]", "pair_potential/chemical_species/4", "O"),
    ("model.layers", 3, "model/feature_irreps_hidden/2", "32x0e"),
    ("model.radial_depth", 3, "model/radial_mlp_depth/1", 3),
    ("model.radial_width", 3, "model/radial_mlp_width/1", 3),
    ("model.bessels", 5, "model/num_bessels", 5),
    ("model.bessel_trainable", True, "model/bessel_trainable", True),
    ("model.polynomial_cutoff_p", 5, "model/polynomial_cutoff_p", 5),
    ("model.readout_depth", 2, "readout_mlp_hidden_layers_depth", 2),
]


@pytest.mark.parametrize(("key", "value", "place", "seen"), SEEN)
def test_entries_are_where_nequip_reads_them(key, value, place, seen):
    config = flat(expanded(changes=[f"{key}={value}"]))
    found = {path: entry for path, entry in config.items() if path.endswith(f"/{place}")}
    assert list(found.values()) == [seen], found
    assert flat(expanded()).get(next(iter(found))) != seen


@pytest.mark.parametrize(
    ("recipe", "key", "value"),
    [
        *(("allegro-small", f"model.{key}", 3) for key in ("layers", "l_max", "scalar_features")),
        *(("allegro-small", f"model.{key}", 3) for key in ("tensor_features", "bessels")),
        *(("allegro-small", f"model.{key}", 3) for key in ("embed_depth", "embed_width")),
        *(("allegro-small", f"model.{key}", 3) for key in ("latent_depth", "latent_width")),
        *(("allegro-small", f"model.{key}", 3) for key in ("readout_depth", "readout_width")),
        ("allegro-small", "model.polynomial_cutoff_p", 3),
        ("allegro-small", "model.parity", False),
        ("allegro-small", "model.readout_nonlinearity", "none"),
        ("allegro-small", "model.bessel_trainable", True),
        ("hdnnp-small", "model.hidden", "[3]"),
        ("hdnnp-small", "model.radial", 3),
        ("hdnnp-small", "model.cutoff", "polynomial"),
        ("hdnnp-small", "model.angular", "[[0.0, 1, 2]]"),
        ("hdnnp-small", "model.smallest_distances_A", "{H-H: 1.0}"),
    ],
)
def test_entries_of_other_models_are_not_dropped(recipe, key, value):
    before, after = (flat(expanded(recipe, c)["training_module"]) for c in ((), [f"{key}={value}"]))
    changed = {place for place in before | after if before.get(place) != after.get(place)}
    assert changed
    assert all("/model/" in place for place in changed)


@pytest.mark.parametrize("name", recipe_names())
def test_the_models_that_want_it_have_zbl(name):
    models = [
        expanded(name, [f"model.pair_potential={kind}"])["training_module"]["model"]
        for kind in ("zbl", "none")
    ]
    assert models[0]["pair_potential"]["_target_"].endswith(".ZBL")
    assert "pair_potential" not in models[1]


def test_statistics_of_an_hdnnp_are_those_of_its_functions():
    changes = ["cutoff_A=5", "model.cutoff=polynomial", "model.radial=3"]
    config = expanded("hdnnp-small", changes)
    statistics, model = config["data"]["stats_manager"], config["training_module"]["model"]
    for name in ("r_max", "cutoff", "radial", "angular", "smallest_distances_A"):
        assert statistics[name] == model[name]
    assert model["statistics"] == "${training_data_stats:symmetry_functions}"
    assert "stats_manager" not in expanded("nequip-small")["data"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.angular=[[0.0, 2, 1]]", r"angular H-H-H: wanted .* lambda 1 or -1"),
        ("model.radial=[[-1.0, 0.0]]", r"radial H-H: wanted eta and shift of at least 0"),
        ("elements=[H,C,N,Zn,O]", r"smallest_distances_A: nothing for H-O"),
    ],
)
def test_symmetry_functions_that_make_no_sense_are_refused_beforehand(change, message):
    check_model(load_recipe("hdnnp-small"))
    check_model(load_recipe("nequip-small"))
    with pytest.raises(ModelError, match=message):
        check_model(load_recipe("hdnnp-small", [change]))


def test_what_the_weights_are_made_of_comes_from_the_training_frames():
    model = expanded()["training_module"]["model"]
    statistics = {
        "avg_num_neighbors": "num_neighbors_mean",
        "per_type_energy_shifts": "per_atom_energy_mean",
        "per_type_energy_scales": "forces_rms",
    }
    for name, quantity in statistics.items():
        assert model[name] == f"${{training_data_stats:{quantity}}}"


def test_metrics_are_of_atoms_and_skip_components_that_nobody_gave():
    config = expanded(stress=True)["training_module"]
    for part in ("loss", "val_metrics"):
        of = {m["name"]: m for m in config[part]["metrics"]}
        assert of["per_atom_energy_mse"]["field"]["_target_"] == "nequip.data.PerAtomModifier"
        assert of["stress_mse"]["ignore_nan"] and not of["forces_mse"]["ignore_nan"]
    without = expanded(stress=False)["training_module"]  # frames that have no stress
    for part in ("loss", "val_metrics"):
        assert not any("stress" in m["name"] for m in without[part]["metrics"])


def test_schedules():
    def scheduler(*changes):
        return expanded(changes=changes)["training_module"].get("lr_scheduler")

    assert scheduler("schedule.kind=constant") is None
    plateau = scheduler(
        "schedule.kind=plateau", "schedule.factor=0.25", "schedule.patience_epochs=3"
    )
    assert plateau["monitor"] == "val0_epoch/weighted_sum"
    assert (plateau["scheduler"]["factor"], plateau["scheduler"]["patience"]) == (0.25, 3)
    assert "monitor" not in scheduler()
    assert all(s["interval"] == "epoch" for s in (plateau, scheduler()))


def test_the_machine():
    one, many = expanded(device="cuda:1")["trainer"], expanded(devices=2, device="cpu")["trainer"]
    assert (one["accelerator"], one["devices"]) == ("cuda", [1])
    assert (many["accelerator"], many["devices"]) == ("cpu", 2)
    assert many["strategy"]["_target_"] == "nequip.train.SimpleDDPStrategy"
    assert "strategy" not in one
    assert "num_nodes" not in many and "plugins" not in many
    nodes = expanded(nodes=3, device="cpu")["trainer"]
    assert (nodes["num_nodes"], nodes["devices"]) == (3, 1)
    assert nodes["strategy"] == many["strategy"]
    assert [plugin["auto_requeue"] for plugin in nodes["plugins"]] == [False]
    assert one["logger"] is False
    logger = expanded(tensorboard=True)["trainer"]["logger"]
    assert (logger["save_dir"], logger["name"]) == ("o", "tensorboard")
    loaders = expanded(workers=2)["data"]
    assert loaders["train_dataloader"]["num_workers"] == 2
    assert loaders["val_dataloader"]["num_workers"] == 2
