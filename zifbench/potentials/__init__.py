"""Potentials: load any of them, say what they are, check that they are consistent.

`loading.load_potential` is the way in; `core` holds what all potentials share. torch and nequip are
imported inside the loaders only.
"""
