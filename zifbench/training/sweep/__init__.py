"""Sweeps: recipes × splits × seeds, each a training of its own, and the table of all of them."""
