"""From a recipe to what `nequip-train` reads, in the words of nequip 0.19 and its Allegro 0.8."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zifbench.training.recipe import AllegroModel, HdnnpModel, NequipModel, Recipe

_NEIGHBOURS = "${training_data_stats:num_neighbors_mean}"
MONITORED = "val0_epoch/weighted_sum"  # nequip's name of the validation loss


def expand(
    recipe: Recipe,
    *,
    store: str,
    split: Path,
    out: Path,
    seed: int,
    device: str,
    stress: bool,
    workers: int = 0,
    devices: int = 1,
    nodes: int = 1,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """The whole configuration of one training, plain values only.

    Args:
        recipe: What to train.
        store: Where the frames are, as `open_store` takes it.
        split: Manifest of the split.
        out: Directory of this training: checkpoints, curve.
        seed: Of the weights and of the order of frames.
        device: "cpu" or "cuda", Lightning's accelerator.
        stress: Whether the frames have stresses.
        workers: Processes that read frames; 0 reads in the training process.
        devices: GPUs (or processes, on a CPU) on each node.
        nodes: Of a SLURM job.
        tensorboard: Whether to write event files too.
    """
    return {
        "run": ["train"],
        "data": {
            "_target_": "zifbench.training.store_data.StoreDataModule",
            "store": store,
            "split": str(split),
            "seed": seed,
            "elements": list(recipe.elements),
            "cutoff_A": recipe.cutoff_A,
            "shuffle": recipe.shuffle,
            "train_dataloader": {"batch_size": recipe.batch_frames, "num_workers": workers},
            "val_dataloader": {"batch_size": recipe.batch_frames, "num_workers": workers},
            **_statistics(recipe),
        },
        "trainer": _trainer(recipe, out, device, devices, nodes, tensorboard),
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "ema_decay": recipe.ema_decay,
            "loss": _metrics(recipe, stress=stress and recipe.stress_weight > 0, errors=()),
            "val_metrics": _metrics(recipe, stress=stress, errors=("mae", "rmse")),
            "optimizer": {
                "_target_": "torch.optim.Adam",
                "lr": recipe.learning_rate,
                "amsgrad": recipe.amsgrad,
            },
            **_schedule(recipe),
            "model": model_config(recipe, seed=seed),
        },
        "global_options": {"allow_tf32": False},
    }


def check_model(recipe: Recipe) -> None:
    """Refuse what nequip would find out in the middle of things: symmetry functions.

    Raises:
        ModelError, UnknownNameError: values that make no sense; see `choice.function_set`.
    """
    if isinstance(recipe.model, HdnnpModel):
        from zifbench.potentials.hdnnp.choice import function_set

        function_set(recipe.elements, recipe.cutoff_A, **_symmetry_functions(recipe.model))


def model_config(recipe: Recipe, *, seed: int) -> dict[str, Any]:
    """The model alone; its statistics are those of the training frames."""
    common: dict[str, Any] = {
        "seed": seed,
        "model_dtype": recipe.dtype,
        "type_names": list(recipe.elements),
        "r_max": recipe.cutoff_A,
        # One composition: only the sum of the atomic shifts is determined, so one value serves all.
        "per_type_energy_shifts": "${training_data_stats:per_atom_energy_mean}",
        "per_type_energy_scales": "${training_data_stats:forces_rms}",
    }
    model = recipe.model
    if model.pair_potential == "zbl":
        common["pair_potential"] = {
            "_target_": "nequip.nn.pair_potential.ZBL",
            "units": "metal",
            "chemical_species": list(recipe.elements),
        }
    return _BUILDERS[model.kind](model) | common


def _nequip(model: NequipModel) -> dict[str, Any]:
    hidden, edges = nequip_irreps(model)
    scalars = f"{model.features}x0e"
    config: dict[str, Any] = {
        "_target_": "nequip.model.FullNequIPGNNModel",
        "avg_num_neighbors": _NEIGHBOURS,
        "irreps_edge_sh": edges,
        "type_embed_num_features": model.features,
        "feature_irreps_hidden": [*[hidden] * (model.layers - 1), scalars],
        "radial_mlp_depth": [model.radial_depth] * model.layers,
        "radial_mlp_width": [model.radial_width] * model.layers,
        "num_bessels": model.bessels,
        "bessel_trainable": model.bessel_trainable,
        "polynomial_cutoff_p": model.polynomial_cutoff_p,
    }
    if model.readout_depth:
        config |= {
            "readout_mlp_hidden_layers_depth": model.readout_depth,
            "readout_mlp_hidden_layers_width": model.readout_width,
            "readout_mlp_nonlinearity": None,
        }
    return config


def nequip_irreps(model: NequipModel) -> tuple[str, str]:
    """Irreducible representations of the hidden features and of the edges, in e3nn's words."""
    if model.parity == "ignored":
        parities, edge = dict.fromkeys(range(model.l_max + 1), "e"), "e"
        edges = [f"1x{order}{edge}" for order in range(model.l_max + 1)]
    else:
        natural = {order: "eo"[order % 2] for order in range(model.l_max + 1)}
        edges = [f"1x{order}{p}" for order, p in natural.items()]
        parities = dict.fromkeys(natural, "eo") if model.parity == "all" else natural
    hidden = [f"{model.features}x{order}{p}" for order, both in parities.items() for p in both]
    return "+".join(hidden), "+".join(edges)


def _allegro(model: AllegroModel) -> dict[str, Any]:
    return {
        "_target_": "allegro.model.AllegroModel",
        "avg_num_neighbors": _NEIGHBOURS,
        "l_max": model.l_max,
        "parity": model.parity,
        "num_layers": model.layers,
        "num_scalar_features": model.scalar_features,
        "num_tensor_features": model.tensor_features,
        "radial_chemical_embed": {
            "_target_": "allegro.nn.TwoBodyBesselScalarEmbed",
            "num_bessels": model.bessels,
            "bessel_trainable": model.bessel_trainable,
            "polynomial_cutoff_p": model.polynomial_cutoff_p,
        },
        "scalar_embed_mlp_hidden_layers_depth": model.embed_depth,
        "scalar_embed_mlp_hidden_layers_width": model.embed_width,
        "allegro_mlp_hidden_layers_depth": model.latent_depth,
        "allegro_mlp_hidden_layers_width": model.latent_width,
        "readout_mlp_hidden_layers_depth": model.readout_depth,
        "readout_mlp_hidden_layers_width": model.readout_width,
        "readout_mlp_nonlinearity": (
            None if model.readout_nonlinearity == "none" else model.readout_nonlinearity
        ),
    }


def _hdnnp(model: HdnnpModel) -> dict[str, Any]:
    return {
        "_target_": "zifbench.potentials.hdnnp.HDNNPModel",
        **_symmetry_functions(model),
        "hidden": list(model.hidden),
        "statistics": "${training_data_stats:symmetry_functions}",
    }


def _symmetry_functions(model: HdnnpModel) -> dict[str, Any]:
    """What the model and its statistics must agree on."""
    entries = model.model_dump(mode="json")
    return {name: entries[name] for name in ("cutoff", "radial", "angular", "smallest_distances_A")}


# One line and one class in recipe.py for a new architecture of the nequip framework.
_BUILDERS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "nequip": _nequip,
    "allegro": _allegro,
    "hdnnp": _hdnnp,
}


def _statistics(recipe: Recipe) -> dict[str, Any]:
    """The statistics of the training frames that a model wants, if they are not the common ones."""
    if not isinstance(recipe.model, HdnnpModel):
        return {}
    manager = {
        "_target_": "zifbench.potentials.hdnnp.HDNNPStatisticsManager",
        "r_max": recipe.cutoff_A,
        **_symmetry_functions(recipe.model),
    }
    return {"stats_manager": manager}


def _metrics(recipe: Recipe, *, stress: bool, errors: tuple[str, ...]) -> dict[str, Any]:
    """Squared errors with their weights, and errors that are only shown."""
    per_atom = {"_target_": "nequip.data.PerAtomModifier", "field": "total_energy"}
    fields = {
        "per_atom_energy": (per_atom, recipe.energy_weight),
        "forces": ("forces", recipe.force_weight),
    }
    if stress:
        fields["stress"] = ("stress", recipe.stress_weight)
    terms = [
        _metric(name, field, "mse", weight) for name, (field, weight) in fields.items() if weight
    ]
    shown = [
        _metric(name, field, error, None) for name, (field, _) in fields.items() for error in errors
    ]
    return {"_target_": "nequip.train.MetricsManager", "metrics": terms + shown}


_METRICS = {
    "mse": "nequip.train.MeanSquaredError",
    "mae": "nequip.train.MeanAbsoluteError",
    "rmse": "nequip.train.RootMeanSquaredError",
}


def _metric(name: str, field: Any, error: str, weight: float | None) -> dict[str, Any]:
    return {
        "name": f"{name}_{error}",
        "field": field,
        "coeff": weight,
        "metric": {"_target_": _METRICS[error]},
        "ignore_nan": name == "stress",  # a component that the source did not give
    }


def _schedule(recipe: Recipe) -> dict[str, Any]:
    schedule = recipe.schedule
    if schedule.kind == "constant":
        return {}
    if schedule.kind == "plateau":
        scheduler = {
            "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau",
            "factor": schedule.factor,
            "patience": schedule.patience_epochs,
        }
        return {"lr_scheduler": _each_epoch(scheduler) | {"monitor": MONITORED}}
    scheduler = {
        "_target_": "torch.optim.lr_scheduler.CosineAnnealingLR",
        "T_max": recipe.epochs,
        "eta_min": schedule.final,
    }
    return {"lr_scheduler": _each_epoch(scheduler)}


def _each_epoch(scheduler: dict[str, Any]) -> dict[str, Any]:
    return {"scheduler": scheduler, "interval": "epoch", "frequency": 1}


def _trainer(
    recipe: Recipe, out: Path, device: str, devices: int, nodes: int, tensorboard: bool
) -> dict[str, Any]:
    stop = recipe.stop
    kind, _, number = device.partition(":")
    recorder = {
        "_target_": "zifbench.training.recorder.Recorder",
        "directory": str(out),
        "monitor": MONITORED,
        "patience_epochs": stop.patience_epochs,
        "learning_rate_below": stop.learning_rate_below,
        "hours": stop.hours,
    }
    logger = {
        "_target_": "lightning.pytorch.loggers.TensorBoardLogger",
        "save_dir": str(out),
        "name": "tensorboard",
        "version": "",
    }
    trainer: dict[str, Any] = {
        "_target_": "lightning.Trainer",
        "accelerator": kind,
        "devices": [int(number)] if number else devices,
        "max_epochs": recipe.epochs,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": True,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "logger": logger if tensorboard else False,
        "callbacks": [recorder],
    }
    if devices * nodes > 1:
        trainer["strategy"] = {"_target_": "nequip.train.SimpleDDPStrategy"}
    if nodes > 1:
        trainer["num_nodes"] = nodes
        # A job that is begun again goes on from our checkpoint, not from one of Lightning's own.
        slurm = "lightning.pytorch.plugins.environments.SLURMEnvironment"
        trainer["plugins"] = [{"_target_": slurm, "auto_requeue": False}]
    return trainer
