"""HDNNP: a second-generation high-dimensional neural network potential for the nequip framework.

Atom-centred symmetry functions (`choice`, `symmetry`), one small network per element (`network`)
and nequip's own derivative make the `HDNNPModel`; training, packaging, compilation, calculators and
batched MD are nequip's, as they are for Allegro. A recipe needs these parts:

    type_names: [H, C, N, Zn]
    cutoff_radius: 6.0
    symmetry_functions: {cutoff: cosine, radial: 5, angular: null, smallest_distances_A: null}

    data:
      transforms:                       # as for NequIP
        - _target_: nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper
          model_type_names: ${type_names}
        - _target_: nequip.data.transforms.NeighborListTransform
          r_max: ${cutoff_radius}
      stats_manager:                    # nequip's common statistics and those of the functions
        _target_: zifbench.potentials.hdnnp.HDNNPStatisticsManager
        type_names: ${type_names}
        r_max: ${cutoff_radius}
        cutoff: ${symmetry_functions.cutoff}
        radial: ${symmetry_functions.radial}
        angular: ${symmetry_functions.angular}
        smallest_distances_A: ${symmetry_functions.smallest_distances_A}
        dataloader_kwargs: {batch_size: 1}

    training_module:
      model:
        _target_: zifbench.potentials.hdnnp.HDNNPModel
        seed: 666
        model_dtype: float32
        type_names: ${type_names}
        r_max: ${cutoff_radius}
        cutoff: ${symmetry_functions.cutoff}
        radial: ${symmetry_functions.radial}
        angular: ${symmetry_functions.angular}
        smallest_distances_A: ${symmetry_functions.smallest_distances_A}
        hidden: [15, 15]
        statistics: ${training_data_stats:symmetry_functions}
        per_type_energy_shifts: ${training_data_stats:per_atom_energy_mean}
        per_type_energy_scales: ${training_data_stats:forces_rms}
        pair_potential: null            # or nequip's ZBL, as for NequIP

`radial: 5` is the systematic choice for ZIF-4; `radial: [[0.0, 0.0], [0.5, 2.0]]` lists [η (1/Å²),
R_s (Å)] for every pair of elements, `radial: {Zn-N: 5, N-Zn: [[0.1, 0.0]], …}` names pairs
CENTRE-NEIGHBOUR. `angular: [[0.0, 1, 4], …]` lists [η, λ, ζ] for every triple,
`angular: {N-Zn-N: …}` names triples, the centre in the middle. What is not named has no functions.

No library gave this: TorchANI has forces and stress, but one set of parameters for all pairs and an
angular function of its own; SchNetPack 2 and DScribe have no trainable HDNNP with forces in torch;
n2p2, RuNNer and aenet are programs in C++ and Fortran with trainers and formats of their own.
"""

from __future__ import annotations

from zifbench.potentials.hdnnp.model import HDNNPModel
from zifbench.potentials.hdnnp.statistics import HDNNPStatisticsManager

__all__ = ["HDNNPModel", "HDNNPStatisticsManager"]
