"""Print, below pytest-benchmark's table, each group as ratios to its reference.

A benchmark names its group, and the reference of a group is the one whose name ends in `reference`.
Ratios of medians of rounds taken in the same run are what we state; times are this machine's.
"""

from __future__ import annotations

from collections import defaultdict


def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    if session is None:
        return
    groups = defaultdict(dict)
    for bench in session.benchmarks:
        groups[bench.group][bench.name] = bench.stats
    terminalreporter.section("ratios (median of rounds; below 1 is faster than the reference)")
    for group, members in groups.items():
        reference = next((s for n, s in members.items() if n.endswith("reference")), None)
        for name, stats in members.items():
            if reference is None or stats is reference:
                continue
            low, high = (getattr(stats, q) / getattr(reference, q) for q in ("min", "median"))
            terminalreporter.write_line(
                f"{group}: {name} = {high:.3f} × reference (of the fastest rounds: {low:.3f})"
            )
