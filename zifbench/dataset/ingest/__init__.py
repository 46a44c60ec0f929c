"""Readers of raw files: each gives trajectories as a stream of `Frames` in our units and signs."""
