"""Molecular dynamics: what to run (`protocols/*.toml`) and how.

A run goes: `protocol` (the file) -> `plan` (steps, targets, samples of one replica) -> `replica`
(moves one system through its plan; can be saved and restored after any step) -> `run` (all replicas
of a protocol: frames into a store, checkpoints, failures). `integrators` has a line an ensemble,
`rules` a line for each way to fail. `simulate` begins with names instead of objects.
"""
