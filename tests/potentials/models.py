"""Models made in the test: analytic TorchScript with nequip's contract, and tiny trained ones."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
import yaml

from zifbench import bundled
from zifbench.frames import FloatArray, Frames

TYPE_NAMES = ("H", "C", "N", "Zn")
NUMBERS = {"H": 1, "C": 6, "N": 7, "Zn": 30}
R_MAX = 4.0  # Å
# Morse potential D·s_i·s_j·{[1 - exp(-a(r - r0))]² - 1}, cut off by (1 - r²/r_max²)⁴: its first
# three derivatives vanish at the cutoff, as the difference formulas of the checks want.
DEPTH = 4.0  # eV, so that forces are near 1 eV/Å as in a hot solid
STEEPNESS = 1.4  # 1/Å
R_EQUILIBRIUM = 2.0  # Å
SCALES = {"H": 0.6, "C": 0.9, "N": 1.1, "Zn": 1.4}


@dataclass(frozen=True)
class Faults:
    """What is wrong with a `MorseModel`; the default is a good one.

    Every fault but the first three changes the energy and derives forces and stress from it, so
    that only the property named is lost.

    Attributes:
        force_scale: Factor on all forces.
        zinc_force_scale: Factor on the forces on zinc.
        stress_sign: Factor on the stress.
        well: Depth in eV of a round well at the origin: no translation invariance.
        squeeze: Relative squeeze of distances along z: no rotation invariance.
        chiral: Strength of a term that changes sign in a mirror.
        odd_atoms: Relative weight of atoms with odd numbers: no permutation invariance.
        size: Relative weight per atom of the frame: not extensive.
        leak: Relative weight per atom of the whole batch: frames see each other.
        nan: Energies are NaN.
    """

    force_scale: float = 1.0
    zinc_force_scale: float = 1.0
    stress_sign: float = 1.0
    well: float = 0.0
    squeeze: float = 0.0
    chiral: float = 0.0
    odd_atoms: float = 0.0
    size: float = 0.0
    leak: float = 0.0
    nan: bool = False


class MorseModel(torch.nn.Module):
    """Input and output as of deployed models: nequip < 0.7 (`legacy`) or today's."""

    def __init__(
        self, faults: Faults, *, dtype: torch.dtype, legacy: bool, virial: bool, shift_eV: float
    ) -> None:
        super().__init__()
        scales = torch.tensor([SCALES[name] for name in TYPE_NAMES], dtype=dtype)
        self.scales = torch.nn.Parameter(scales)
        self.shifts = torch.nn.Parameter(torch.full((len(TYPE_NAMES),), shift_eV, dtype=dtype))
        self.legacy = legacy
        self.virial = virial
        self.nan = faults.nan
        self.depth = DEPTH
        self.steepness = STEEPNESS
        self.r_equilibrium = R_EQUILIBRIUM
        self.r_max = R_MAX
        self.zinc = TYPE_NAMES.index("Zn")
        self.force_scale = faults.force_scale
        self.zinc_force_scale = faults.zinc_force_scale
        self.stress_sign = faults.stress_sign
        self.well = faults.well
        self.squeeze = faults.squeeze
        self.chiral = faults.chiral
        self.odd_atoms = faults.odd_atoms
        self.size = faults.size
        self.leak = faults.leak

    def check_input(self, data: dict[str, torch.Tensor]) -> None:
        """Refuse what a model of that generation would trip over."""
        if self.legacy:
            if data["atom_types"].dim() != 2 or data["pos"].dtype != self.scales.dtype:
                raise RuntimeError("wanted types as a column and positions in the model's dtype")
            if "batch" in data and "ptr" not in data:
                raise RuntimeError("wanted ptr beside batch")
        else:
            if data["atom_types"].dim() != 1 or data["pos"].dtype != torch.float64:
                raise RuntimeError("wanted flat types and float64 positions")
            if "batch" in data and "num_atoms" not in data:
                raise RuntimeError("wanted num_atoms beside batch")

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.check_input(data)
        dtype = self.scales.dtype
        given = data["pos"].to(dtype)
        types = data["atom_types"].reshape(-1)
        first = data["edge_index"][0]
        second = data["edge_index"][1]
        cell = data["cell"].to(dtype).reshape(-1, 3, 3)
        n_frames = cell.size(0)
        n_atoms = given.size(0)
        if "batch" in data:
            frame = data["batch"]
        else:
            frame = torch.zeros(n_atoms, dtype=torch.long, device=given.device)

        # Symmetric strain: its gradient is V times the stress.
        pos = given.detach().requires_grad_(True)
        strain = torch.zeros(n_frames, 3, 3, dtype=dtype, device=given.device).requires_grad_(True)
        map_ = (
            torch.eye(3, dtype=dtype, device=given.device) + (strain + strain.transpose(-1, -2)) / 2
        )
        moved = torch.bmm(pos.unsqueeze(-2), map_[frame]).squeeze(-2)
        shift = torch.bmm(
            data["edge_cell_shift"].to(dtype).unsqueeze(-2), torch.bmm(cell, map_)[frame[first]]
        ).squeeze(-2)
        vector = moved[second] - moved[first] + shift

        stretch = torch.ones(3, dtype=dtype, device=given.device)
        stretch[2] = 1.0 - self.squeeze
        r = torch.linalg.vector_norm(vector * stretch, dim=-1)
        x = 1.0 - torch.exp(-self.steepness * (r - self.r_equilibrium))
        smooth = (1.0 - (r / self.r_max) ** 2) ** 4
        pair = self.depth * self.scales[types[first]] * self.scales[types[second]]
        pair = pair * (x * x - 1.0) * smooth / 2
        atomic = torch.zeros(n_atoms, dtype=dtype, device=given.device)
        atomic = atomic.index_add(0, first, pair)

        per_frame = torch.bincount(frame, minlength=n_frames)
        start = torch.cumsum(per_frame, 0) - per_frame
        index = torch.arange(n_atoms, device=given.device) - start[frame]
        atomic = atomic * (1.0 + self.odd_atoms * (index % 2).to(dtype))
        atomic = atomic * (1.0 + self.size * per_frame[frame].to(dtype) + self.leak * n_atoms)
        atomic = atomic + self.shifts[types]
        if self.well != 0.0:
            atomic = atomic - self.well * torch.exp(-(moved * moved).sum(dim=-1) / 8.0)
        if self.chiral != 0.0:
            arms = torch.zeros(3, n_atoms, 3, dtype=dtype, device=given.device)
            weight = smooth.unsqueeze(-1) * vector
            scale = self.scales[types[second]].unsqueeze(-1)
            a = arms[0].index_add(0, first, weight)
            b = arms[1].index_add(0, first, weight * scale)
            c = arms[2].index_add(0, first, weight * r.unsqueeze(-1))
            atomic = atomic + self.chiral * (torch.linalg.cross(a, b) * c).sum(dim=-1)
        if self.nan:
            atomic = atomic * float("nan")

        total = torch.zeros(n_frames, dtype=dtype, device=given.device).index_add(0, frame, atomic)
        gradients = torch.autograd.grad([total.sum()], [pos, strain])
        slope = gradients[0]
        dstrain = gradients[1]
        assert slope is not None and dstrain is not None
        zinc = (types == self.zinc).to(dtype).unsqueeze(-1)
        forces = -slope * self.force_scale * (1.0 + (self.zinc_force_scale - 1.0) * zinc)
        out = {
            "atomic_energy": atomic.detach().unsqueeze(-1),
            "total_energy": total.detach().unsqueeze(-1),
            "forces": forces,
        }
        if self.virial:
            out["virial"] = -self.stress_sign * dstrain
        else:
            volume = torch.linalg.det(cell).abs().reshape(-1, 1, 1)
            out["stress"] = self.stress_sign * dstrain / volume
        return out


def save_torchscript(
    path: Path,
    *,
    faults: Faults | None = None,
    dtype: str = "float32",
    legacy: bool = True,
    virial: bool = False,
    shift_eV: float = -220.0,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Deploy a Morse model as nequip 0.5 did (`legacy`), or as nequip ≥ 0.7 did.

    Args:
        path: File to write.
        faults: What is wrong with the model.
        dtype: Of the weights.
        legacy: Contract and metadata of nequip 0.5 instead of today's.
        virial: Give the virial instead of the stress.
        shift_eV: Energy of an isolated atom; -220 eV is that of the published models.
        metadata: Texts to change or, where empty, to leave out.
    """
    texts = {"r_max": str(R_MAX), "type_names": " ".join(TYPE_NAMES), "allow_tf32": "0"}
    if legacy:
        texts |= {"n_species": str(len(TYPE_NAMES)), "nequip_version": "0.5.6"}
        texts |= {"e3nn_version": "0.4.4", "torch_version": "1.10.0", "config": "", "_jit": "2"}
    else:
        texts |= {"nequip_version": "0.7.1", "num_types": str(len(TYPE_NAMES))}
    texts |= metadata or {}
    model = MorseModel(
        faults or Faults(),
        dtype=getattr(torch, dtype),
        legacy=legacy,
        virial=virial,
        shift_eV=shift_eV,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch ≥ 2.9 calls TorchScript deprecated
        script = torch.jit.script(model.eval())
        extra = {key: text for key, text in texts.items() if text}
        torch.jit.save(script, str(path), _extra_files=extra)
    return path


def morse_frames(n_frames: int = 3, *, seed: int = 5) -> Frames:
    """Jittered grid of 24 atoms of all four types in a small triclinic cell, heights > 4 Å."""
    rng = np.random.default_rng(seed)
    cell = np.array([[5.2, 0.0, 0.0], [0.8, 6.6, 0.0], [-0.5, 0.7, 8.4]])
    grid = np.array(list(itertools.product(range(2), range(3), range(4)))) / [2, 3, 4]
    symbols = [TYPE_NAMES[k] for k in rng.permutation(np.arange(24) % 4)]
    jitter = rng.normal(scale=0.12, size=(n_frames, 24, 3))
    numbers = np.array([NUMBERS[s] for s in symbols])
    return Frames(
        numbers=numbers,
        masses=2.0 * numbers.astype(float),
        pbc=np.array([True, True, True]),
        positions=grid @ cell + jitter,
        cell=np.stack([cell * (1 + 0.01 * k) for k in range(n_frames)]),
        source="test",
    )


def morse_reference(
    frames: Frames,
    row: int,
    *,
    shift_eV: float = -220.0,
    pair_cutoffs_A: dict[tuple[str, str], float] | None = None,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Atomic energies, forces and stress of the good model: a loop over pairs and images.

    Pairs beyond `pair_cutoffs_A` of (centre, neighbour) are left out, without a smooth end.
    """
    n = frames.n_atoms
    positions, cell, symbols = frames.positions[row], frames.cell[row], frames.symbols
    energy, forces, virial = np.full(n, shift_eV), np.zeros((n, 3)), np.zeros((3, 3))
    reach = [range(-2, 3) if periodic else range(1) for periodic in frames.pbc]
    shifts = np.array(list(itertools.product(*reach))) @ cell
    for i, j in itertools.product(range(n), range(n)):
        limit = (pair_cutoffs_A or {}).get((symbols[i], symbols[j]), R_MAX)
        for vector in positions[j] - positions[i] + shifts:
            r = float(np.linalg.norm(vector))
            if r == 0.0 or r > limit:
                continue
            value, slope = _morse(r)
            weight = SCALES[symbols[i]] * SCALES[symbols[j]] / 2
            energy[i] += weight * value
            forces[i] += weight * slope * vector / r
            forces[j] -= weight * slope * vector / r
            virial += weight * slope * np.outer(vector, vector) / r
    return energy, forces, virial / float(frames.volume[row])


def _morse(r: float) -> tuple[float, float]:
    """Pair energy without the scales, and its derivative."""
    decay = np.exp(-STEEPNESS * (r - R_EQUILIBRIUM))
    value = DEPTH * ((1 - decay) ** 2 - 1)
    slope = DEPTH * 2 * (1 - decay) * decay * STEEPNESS
    inner = 1 - (r / R_MAX) ** 2
    smooth, smooth_slope = inner**4, 4 * inner**3 * (-2 * r / R_MAX**2)
    return value * smooth, slope * smooth + value * smooth_slope


# -- tiny models, trained by nequip itself --------------------------------------------------------

TINY_R_MAX = 3.5  # Å
# Cutoffs by (centre, neighbour) of the tiny Allegro model; nequip fills in the rest with r_max.
TINY_PAIR_CUTOFFS = {"H": 2.2, "Zn": {"H": 3.0}}


@dataclass(frozen=True)
class TinyModel:
    """What `nequip-train` and `nequip-package` left behind."""

    architecture: str
    checkpoint: Path
    package: Path


def train_tiny_models(directory: Path) -> dict[str, TinyModel]:
    """A NequIP and an Allegro model after one epoch on one frame, both at once."""
    architectures = ["NequIP", "Allegro"]
    folders = [directory / name for name in architectures]
    with ThreadPoolExecutor(len(folders)) as pool:
        models = pool.map(train_tiny, folders, architectures)
        return dict(zip(architectures, models, strict=True))


def train_tiny(directory: Path, architecture: str) -> TinyModel:
    """One architecture after one epoch on one frame, in a new directory; seconds."""
    directory.mkdir()
    frame = ase.io.read(bundled.BUNDLED_DATA["zif4-own-train"].path, index=0)
    ase.io.write(directory / "frame.extxyz", frame)
    recipe = _tiny_recipe(directory, architecture)
    (directory / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    arguments = ["-cp", str(directory), "-cn", "recipe.yaml", f"hydra.run.dir={directory}"]
    console_script("nequip-train", *arguments, cwd=directory)
    model = TinyModel(
        architecture=architecture,
        checkpoint=directory / "last.ckpt",
        package=directory / "tiny.nequip.zip",
    )
    arguments = ["build", str(model.checkpoint), str(model.package)]
    console_script("nequip-package", *arguments, cwd=directory)
    return model


def console_script(name: str, *arguments: str, cwd: Path) -> None:
    """Run a command of this environment; its output is the message if it fails."""
    run = subprocess.run(
        [str(Path(sys.executable).parent / name), *arguments],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise RuntimeError(f"{name} {' '.join(arguments)} failed:\n{run.stdout}\n{run.stderr}")


def _tiny_recipe(directory: Path, architecture: str) -> dict[str, Any]:
    """The bundled recipe with a minuscule model, one frame and one epoch."""
    recipe: dict[str, Any] = yaml.safe_load(
        (Path(bundled.__file__).parent / "nequip-small.yaml").read_text()
    )
    recipe |= {"run": ["train"], "cutoff_radius": TINY_R_MAX}
    data = recipe["data"]
    for key in ("test_file_path", "test_dataloader"):
        del data[key]
    data |= dict.fromkeys(("train_file_path", "val_file_path"), str(directory / "frame.extxyz"))
    checkpoint = {
        "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
        "dirpath": str(directory),
        "filename": "last",
    }
    recipe["trainer"] |= {"max_epochs": 1, "logger": False, "callbacks": [checkpoint]}
    training = recipe["training_module"]
    for key in ("test_metrics", "lr_scheduler"):
        del training[key]
    model = training["model"]
    if architecture == "NequIP":
        model |= {"num_layers": 1, "num_features": 4, "num_bessels": 4, "radial_mlp_width": 8}
    elif architecture == "HDNNP":
        # Smooth functions and float64: untrained networks of scaled functions are so steep that the
        # difference formula of the checks, at the 0.02 Å of float32, is off by its h⁴ error.
        functions = {
            "radial": [[0.0, 0.0], [0.1, 0.0]],
            "angular": [[0.0, 1, 1], [0.1, -1, 2]],
        }
        common = {"type_names": "${type_names}", "r_max": TINY_R_MAX} | functions
        data["stats_manager"] = common | {
            "_target_": "zifbench.potentials.hdnnp.HDNNPStatisticsManager",
            "dataloader_kwargs": {"batch_size": 1},
        }
        kept = ("seed", "per_type_energy_shifts", "per_type_energy_scales")
        training["model"] = {key: model[key] for key in kept} | common
        training["model"] |= {
            "_target_": "zifbench.potentials.hdnnp.HDNNPModel",
            "model_dtype": "float64",
            "hidden": [4],
            "statistics": "${training_data_stats:symmetry_functions}",
        }
    else:
        kept = ("seed", "model_dtype", "type_names", "r_max", "avg_num_neighbors")
        training["model"] = {key: model[key] for key in kept} | {
            "_target_": "allegro.model.AllegroModel",
            "l_max": 1,
            "num_layers": 1,
            "num_scalar_features": 4,
            "num_tensor_features": 2,
            "radial_chemical_embed": {
                "_target_": "allegro.nn.TwoBodyBesselScalarEmbed",
                "num_bessels": 4,
            },
            "radial_chemical_embed_dim": 4,
            "scalar_embed_mlp_hidden_layers_width": 8,
            "allegro_mlp_hidden_layers_width": 8,
            "readout_mlp_hidden_layers_width": 4,
            "per_edge_type_cutoff": TINY_PAIR_CUTOFFS,
            "per_type_energy_shifts": model["per_type_energy_shifts"],
            "per_type_energy_scales": model["per_type_energy_scales"],
        }
    return recipe


def changed(frames: Frames, **arrays: Any) -> Frames:
    """`frames` with some arrays replaced, and without reference values."""
    bare = {"energy": None, "forces": None, "stress": None, "velocities": None}
    return dataclasses.replace(frames, **(bare | arrays))
