"""Frames of a store and a split in the files of other programs."""
