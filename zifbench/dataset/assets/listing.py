"""What can be fetched, as plain rows for people and programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zifbench.dataset.assets.registry import ArchiveRecord, Asset, Group, Registry
from zifbench.files import cache_directory


def list_assets(registry: Registry, directory: Path | None = None) -> list[dict[str, Any]]:
    """Records, groups, files, in this order; each with what is known and whether it is cached.

    Args:
        registry: What can be fetched.
        directory: Where fetched files lie, the user's cache if None.
    """
    directory = directory or cache_directory()
    return [
        *[_record_row(record, directory) for record in registry.records.values()],
        *[_group_row(group, directory) for group in registry.groups.values()],
        *[_file_row(asset, directory) for asset in registry.assets.values()],
    ]


def _record_row(record: ArchiveRecord, directory: Path) -> dict[str, Any]:
    return {
        "kind": "record",
        "name": record.name,
        "about": record.about,
        "n_files": None,
        "api": record.api,
        "citation": record.citation,
        "cached": "yes" if (directory / record.name).is_dir() else "no",
    }


def _group_row(group: Group, directory: Path) -> dict[str, Any]:
    n_here = sum((directory / member).is_file() for member in group.members)
    cached = {0: "no", len(group.members): "yes"}.get(n_here, f"{n_here} of {len(group.members)}")
    return {
        "kind": "group",
        "name": group.name,
        "about": group.about,
        "n_files": len(group.members),
        "members": list(group.members),
        "cached": cached,
    }


def _file_row(asset: Asset, directory: Path) -> dict[str, Any]:
    return {
        "kind": "file",
        "name": asset.name,
        "url": asset.url,
        "bytes": asset.n_bytes,
        "checksum": asset.checksum,
        "licence": asset.licence,
        "citation": asset.citation,
        "cached": "yes" if (directory / asset.name).is_file() else "no",
    }
