"""Pure functions from arrays to numbers: observables and their statistics."""
