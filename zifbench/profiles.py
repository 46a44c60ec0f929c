"""Profiles: how long to run, never what to run."""

from __future__ import annotations

from enum import StrEnum

from zifbench.errors import unknown_name


class Profile(StrEnum):
    """How long to run; never what to run."""

    QUICK = "quick"
    STANDARD = "standard"
    PAPER = "paper"


def parse_profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in set(Profile):
        raise unknown_name("profile", name, Profile)
    return Profile(name)
