"""How long a candidate lasts at 1100 K to 1900 K: survival of its runs, and what ended them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from zifbench.analysis.survival import Survival, survival_curve
from zifbench.benchmark.md.figures import draw_survival
from zifbench.benchmark.md.simulation import MdTask, Replica, Score, Simulation, share_completed
from zifbench.benchmark.result import Measurement
from zifbench.benchmark.run import Run

_FS_PER_PS = 1000.0


def score_stability(simulation: Simulation, run: Run) -> Score:
    """Share that lasts and mean time to failure, at each temperature and over all."""
    replicas = simulation.replicas
    length_ps = simulation.protocol.length_ps(run.profile)
    whole = {"system": "crystal", "protocol": simulation.protocol.name}
    score = Score([simulation.completion("crystal"), _lasted(replicas, length_ps, whole)])
    groups: dict[float, list[Replica]] = {}
    for replica in replicas:
        groups.setdefault(_kelvin(replica), []).append(replica)
    for kelvin, group in groups.items():
        subset = {**whole, "at": f"{kelvin:g} K"}
        score.measurements += [share_completed(group, subset), _lasted(group, length_ps, subset)]
    score.pictures["Survival of the hot crystal"] = draw_survival(
        _curve(replicas),
        {k: [(r.outcome.time_fs / _FS_PER_PS, r.completed) for r in g] for k, g in groups.items()},
        name=run.potential.card.name,
    )
    return score


def _kelvin(replica: Replica) -> float:
    found = next(s.temperature_K for s in replica.case.segments if s.temperature_K is not None)
    return found[0]


def _curve(replicas: Sequence[Replica]) -> Survival:
    times = np.array([replica.outcome.time_fs for replica in replicas]) / _FS_PER_PS
    return survival_curve(times, [not replica.completed for replica in replicas])


def _lasted(
    replicas: Sequence[Replica], length_ps: float, subset: Mapping[str, str]
) -> Measurement:
    """Mean time within the length of the run; a lower bound of the mean lifetime."""
    curve = _curve(replicas)
    ended = [replica.outcome.ended for replica in replicas if not replica.completed]
    counts = ", ".join(f"{ended.count(rule)} × {rule}" for rule in dict.fromkeys(ended))
    note = f"ended by {counts}" if ended else f"none failed; watched for {length_ps:g} ps"
    return Measurement(
        quantity="time_survived",
        value=curve.mean_time(length_ps),
        unit="ps",
        subset=dict(subset),
        n=len(replicas),
        n_of="runs",
        note=note,
    )


STABILITY = MdTask("stability", "stability", score_stability)
