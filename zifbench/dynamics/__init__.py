"""Molecular dynamics: what to run (`protocols/*.toml`) and how.

A run goes: `protocol` (the file) -> `plan` (steps, targets, samples of one replica) -> `cases` (all
replicas) -> `engines` (what moves them: ASE one by one, TorchSim in batches; either can be saved
and restored after any step) -> `run` (all of it: `keeper` looks at each replica and keeps its
frames, `checkpoint` its state, `record` how it ended). `integrators` has a line an ensemble for
ASE, `engines/torch_steps` for TorchSim, `rules` a line for each way to fail. `simulate` begins
with names instead of objects.
"""
