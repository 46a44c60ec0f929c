"""Observables of frames and the statistics that give them error bars: arrays in, arrays out."""
