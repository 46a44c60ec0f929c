"""Print, below pytest-benchmark's table, each group as ratios to its reference.

A benchmark names its group, and the reference of a group is the one whose name ends in `reference`.
What we state is the ratio of the fastest rounds of one run, because other work on a machine only
adds time; the ratio of the medians stands beside it.
"""

from __future__ import annotations

from collections import defaultdict


def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    if session is None or not session.benchmarks:
        return
    groups = defaultdict(dict)
    for bench in session.benchmarks:
        groups[bench.group][bench.name] = bench.stats
    terminalreporter.section("ratios of the fastest rounds; below 1 is faster than the reference")
    for group, members in groups.items():
        reference = next((s for n, s in members.items() if n.endswith("reference")), None)
        for name, stats in members.items():
            if reference is None or stats is reference:
                continue
            fastest, median = (getattr(stats, q) / getattr(reference, q) for q in ("min", "median"))
            terminalreporter.write_line(
                f"{group}: {name} = {fastest:.3f} × reference (medians: {median:.3f})"
            )
