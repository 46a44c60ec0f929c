"""Published files by name: a registry, and downloads that are resumed and verified."""
