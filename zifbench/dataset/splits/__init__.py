"""Training, validation and test frames: generators, and the manifests they write."""
