"""Tables of stores in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zifbench import console
from zifbench.dataset.store.diff import Difference
from zifbench.dataset.store.verify import Verification
from zifbench.formatting import format_bytes

# Attributes that people look for first; all others follow.
_FIRST = ("state", "temperature_K", "ensemble", "level_of_theory", "licence", "citation", "source")
_STRANGERS_SHOWN = 5
_IN_FULL = 3  # stores of more trajectories than this show them as rows of one table


def show_info(content: Mapping[str, Any]) -> None:
    """What `describe` found."""
    console.out.print(f"{content['location']}: version {content['version']}", soft_wrap=True)
    share = content["stored_bytes"] / max(1, content["float64_bytes"])
    console.show_rows(
        "",
        ["", ""],
        [
            ["frames", content["n_frames"]],
            ["trajectories", len(content["trajectories"])],
            [
                "size",
                f"{format_bytes(content['stored_bytes'])}, {share:.0%} of "
                f"{format_bytes(content['float64_bytes'])} in float64",
            ],
            *_attribute_rows(content["attributes"]),
        ],
    )
    found = content["trajectories"]
    if len(found) <= _IN_FULL:
        for name, trajectory in found.items():
            console.show_rows(name, ["", ""], _trajectory_rows(trajectory))
        return
    headings = ["trajectory", "frames", "atoms", "T / K", "eV / atom"]
    console.show_rows("", headings, [_line(name, t) for name, t in found.items()])
    console.out.print("more of one of them: NAME/TRAJECTORY; of all: --json", soft_wrap=True)


def _line(name: str, trajectory: Mapping[str, Any]) -> list[Any]:
    """A trajectory in one row, where there are many."""
    n_atoms = trajectory["n_atoms"]
    energies = [f"{e / n_atoms:.3f}" for e in trajectory["ranges"].get("energy", ())]
    return [
        name,
        trajectory["n_frames"],
        n_atoms,
        trajectory["attributes"].get("temperature_K", ""),
        " to ".join(dict.fromkeys(energies)),
    ]


def _trajectory_rows(trajectory: Mapping[str, Any]) -> list[list[Any]]:
    units = {name: field["unit"] for name, field in trajectory["fields"].items()}
    rows: list[list[Any]] = [
        ["frames", trajectory["n_frames"]],
        ["atoms", f"{trajectory['n_atoms']}, {trajectory['formula']}"],
        ["fields", ", ".join(f"{n} ({f['dtype']})" for n, f in trajectory["fields"].items())],
        ["size", f"{format_bytes(trajectory['stored_bytes'])} in {trajectory['n_files']} files"],
    ]
    if trajectory["labels"]:
        rows.append(["labels", ", ".join(trajectory["labels"])])
    for name, array in trajectory["arrays"].items():
        shape = " × ".join(str(n) for n in array["shape"])
        rows.append([f"array {name}", f"{shape} ({array['dtype']})"])
    for name, (low, high) in trajectory["ranges"].items():
        unit = "" if units[name] == "1" else f" {units[name]}"
        rows.append([name, f"{low:.10g} to {high:.10g}{unit}"])
    return rows + _attribute_rows(trajectory["attributes"])


def _attribute_rows(attributes: Mapping[str, Any]) -> list[list[Any]]:
    flat = {**attributes.get("info", {}), **{k: v for k, v in attributes.items() if k != "info"}}
    keys = [key for key in _FIRST if key in flat] + sorted(flat.keys() - {*_FIRST})
    return [[key, _short(flat[key])] for key in keys]


def _short(value: Any) -> str:
    """An attribute in one line; reports of ingest are read with --json."""
    if isinstance(value, Mapping):
        if set(value) == {"max", "median", "rms"}:
            return ", ".join(f"{key} {number:.3g}" for key, number in value.items())
        if "checks" in value:
            passed = sum(check.get("passed") is True for check in value["checks"])
            return f"{passed} of {len(value['checks'])} checks passed, see --json"
        return f"{len(value)} entries, see --json"
    return str(value)


def show_verification(result: Verification, version: str) -> None:
    """What `verify` found."""
    for damage in result.damage:
        where = "" if damage.array is None else f", {damage.array}"
        if damage.frames is not None:
            where += f" of frames {damage.frames[0]} to {damage.frames[1] - 1}"
        owner = "" if damage.trajectory is None else f" (trajectory {damage.trajectory}{where})"
        console.say("red", "damaged", f"{damage.file}{owner}: {damage.what}")
    for name in result.strangers[:_STRANGERS_SHOWN]:
        console.say("yellow", "not part of the store", name)
    if len(result.strangers) > _STRANGERS_SHOWN:
        console.say("yellow", "not part of the store", f"{len(result.strangers)} files in all")
    if not result.damage:
        line = f"sound: {result.n_frames} frames, version {version}"
        console.out.print(line, style="green", soft_wrap=True)


def show_difference(result: Difference) -> None:
    """What `diff` found."""
    if result.versions[0] == result.versions[1]:
        console.say("green", "same version", result.versions[0])
        return
    console.say("yellow", "versions", f"{result.versions[0][:12]} and {result.versions[1][:12]}")
    for name in result.attributes:
        console.say("yellow", "changed", f"attribute {name} of the store")
    for change in result.changes:
        details = f": {', '.join(change.details)}" if change.details else ""
        frames = f"{change.frames[0]} frames, now {change.frames[1]}"
        console.say("yellow", change.kind, f"{change.trajectory} ({frames}){details}")
