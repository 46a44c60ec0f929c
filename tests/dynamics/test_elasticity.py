"""A crystal whose elastic constants are known: both mechanical routes recover them."""

from __future__ import annotations

import pytest

from benchmarks.known_elasticity import (
    COPIES,
    Value,
    at_rest_GPa,
    finite_strain,
    fluctuations,
    static_scan,
    strained,
)


@pytest.fixture(params=sorted(COPIES))
def engine(request) -> str:
    if request.param == "torchsim":
        pytest.importorskip("torch_sim", reason="TorchSim needs Python 3.12 or newer")
    return request.param


def test_at_rest_it_is_what_it_is_on_paper(tmp_path, engine) -> None:
    static = static_scan(tmp_path / "static", engine)
    assert static.bulk_modulus_GPa == pytest.approx(at_rest_GPa()["K"], rel=1e-3)
    assert static.equilibrium_volume_A3 == pytest.approx(15.9**3, rel=1e-5)


@pytest.mark.slow
def test_both_routes_recover_what_strained_cells_say(tmp_path, engine) -> None:
    curve = finite_strain(tmp_path / "finite", 0.5, engine)
    oracle = strained(tmp_path / "strained", 0.5, curve.equilibrium_volume_A3, engine)
    free = fluctuations(tmp_path / "free", 1.0, engine)
    route_1 = Value(curve.bulk_modulus_GPa, curve.bulk_modulus_error_GPa)
    assert route_1.agrees(oracle["K"], errors=4.0)
    assert route_1.agrees(free["K"], errors=4.0)
    for name, value in oracle.items():
        assert value.agrees(free[name], errors=4.0), (name, str(value), str(free[name]))
        assert free[name].error < 0.15 * free[name].value
