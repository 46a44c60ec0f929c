"""Records about a potential: what its file says, and how it did in the consistency checks.

Light on purpose: results and leaderboards read these without loading anything numerical.
"""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict


class ModelCard(BaseModel):
    """What a model file says about itself; None where it does not say.

    `weights_sha256` is of the files that a factory has loaded, by its own account.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    file: str
    format: str
    sha256: str
    size_bytes: int
    architecture: str | None = None
    species: tuple[str, ...] | None = None
    cutoff_A: float | None = None
    dtype: str | None = None
    n_parameters: int | None = None
    software: dict[str, str] = {}
    compiled_for: str | None = None
    weights_sha256: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """sha256 that tells one model from another: of its file and of weights apart from it."""
        if not self.weights_sha256:
            return self.sha256
        return hashlib.sha256(" ".join((self.sha256, *self.weights_sha256)).encode()).hexdigest()


class Check(BaseModel):
    """Outcome of one check: the largest deviation found and what would have been tolerated.

    A check that is not `required` is for information: a model that fails it still conforms.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    passed: bool
    required: bool = True
    deviation: float | None = None
    tolerance: float | None = None
    unit: str | None = None
    detail: str
