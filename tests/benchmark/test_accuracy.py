"""Accuracy: hand-computed numbers, a naive oracle, missing labels, published values."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.published import published_file
from zifbench.ase_io import read_frames
from zifbench.benchmark.accuracy import (
    accuracy_gaps,
    accuracy_measurements,
    check_labelled,
    frame_errors,
    join_errors,
)
from zifbench.errors import DataError
from zifbench.frames import MEAN_STRESS_ONLY
from zifbench.potentials.core import Prediction, compute
from zifbench.potentials.loading import load_potential


def predict(frames, *, energy=0.0, forces=0.0, stress=0.0, seed=None) -> Prediction:
    """The labels, off by constants or, with a seed, by noise of these sizes."""
    rng = np.random.default_rng(seed)

    def off(size, shape):
        return size if seed is None else size * rng.normal(size=shape)

    return Prediction(
        energy=frames.energy + off(energy, frames.energy.shape),
        forces=frames.forces + off(forces, frames.forces.shape),
        stress=frames.stress + off(stress, frames.stress.shape),
        atomic_energy=None,
        dtype="float64",
    )


def errors_of(frames, prediction):
    elements = np.unique(frames.numbers)
    return frame_errors(frames, prediction, elements=elements, group_key="phase")


def values(frames, prediction):
    found = accuracy_measurements(errors_of(frames, prediction), seed=0)
    return {(m.quantity, *m.subset.values()): m for m in found}


def test_constant_errors_come_out_in_the_units_of_the_paper(make_frames):
    frames = make_frames(6)
    found = values(frames, predict(frames, energy=0.004, forces=0.015, stress=0.001))
    assert found["energy_mae",].value == pytest.approx(1.0)  # 4 meV over 4 atoms
    assert found["energy_mae",].unit == "meV/atom"
    assert found["force_mae",].value == pytest.approx(15.0)
    assert found["force_rmse",].value == pytest.approx(15.0)
    assert found["stress_mae",].value == pytest.approx(160.21766208)  # 1 meV/Å³ in MPa
    assert found["pressure_bias",].value == pytest.approx(-160.21766208)
    assert found["energy_offset",].value == pytest.approx(1.0)
    assert found["energy_mae_offset_removed",].value == pytest.approx(0.0, abs=1e-9)
    low, high = found["force_mae",].interval_95
    assert low == pytest.approx(15.0)
    assert high == pytest.approx(15.0)


def test_everything_against_a_naive_loop(make_frames):
    frames = make_frames(7, seed=3)
    prediction = predict(frames, energy=0.05, forces=0.2, stress=0.003, seed=1)
    found = values(frames, prediction)
    force_errors, zinc_errors, liquid = [], [], []
    for t in range(len(frames)):
        for i in range(frames.n_atoms):
            for k in range(3):
                error = abs(prediction.forces[t, i, k] - frames.forces[t, i, k])
                force_errors.append(error)
                if frames.symbols[i] == "Zn":
                    zinc_errors.append(error)
                if frames.labels["phase"][t] == "liquid":
                    liquid.append(error)
    stress_errors = [
        abs(prediction.stress[t, i, j] - frames.stress[t, i, j])
        for t in range(len(frames))
        for i in range(3)
        for j in range(i, 3)
    ]
    mean = 1000 * np.mean(force_errors)
    assert found["force_mae",].value == pytest.approx(mean)
    assert found["force_rmse",].value == pytest.approx(
        1000 * np.sqrt(np.mean(np.square(force_errors)))
    )
    assert found["force_mae", "Zn"].value == pytest.approx(1000 * np.mean(zinc_errors))
    assert found["force_mae", "liquid"].value == pytest.approx(1000 * np.mean(liquid))
    assert found["stress_mae",].value == pytest.approx(160217.66208 * np.mean(stress_errors))
    low, high = found["force_mae",].interval_95
    assert low < mean < high


def test_interval_covers_the_truth_of_synthetic_labels(make_frames):
    """Force errors are normal with σ = 10 meV/Å, so the MAE is 10·√(2/π) = 7.98."""
    hits = 0
    for trial in range(200):
        frames = make_frames(12, seed=trial)
        low, high = values(frames, predict(frames, forces=0.01, seed=trial))[
            "force_mae",
        ].interval_95
        hits += low <= 10 * np.sqrt(2 / np.pi) <= high
    assert 180 <= hits <= 199


def test_offset_is_removed_for_each_composition(make_frames):
    """Two compositions that are off by different constants have no error left."""
    first, second = make_frames(3), make_frames(4, symbols="ZnN2")
    elements = np.array([1, 6, 7, 30])
    errors = join_errors(
        [
            frame_errors(part, predict(part, energy=shift), elements=elements, group_key="phase")
            for part, shift in ((first, 0.4), (second, -0.9))
        ]
    )
    found = {
        (m.quantity, *m.subset.values()): m.value for m in accuracy_measurements(errors, seed=0)
    }
    assert found["energy_mae_offset_removed",] == pytest.approx(0.0, abs=1e-9)
    assert found["energy_offset", "CHNZn"] == pytest.approx(100.0)
    assert found["energy_offset", "N2Zn"] == pytest.approx(-300.0)


def test_a_single_frame_of_a_composition_keeps_its_offset_and_says_so(make_frames):
    frames = make_frames(1)
    found = values(frames, predict(frames, energy=0.4))
    assert ("energy_mae_offset_removed",) not in found
    assert found["energy_mae",].interval_95 is None
    gaps = accuracy_gaps(errors_of(frames, predict(frames)), has_stress=True)
    assert any("no energy offset is removed for CHNZn" in gap for gap in gaps)


def test_missing_stress_components_are_left_out_and_said(make_frames):
    frames = make_frames(5)
    stress = frames.stress.copy()
    stress[:, 0, 1] = stress[:, 1, 0] = np.nan
    partial = dataclasses.replace(frames, stress=stress)
    errors = errors_of(partial, predict(frames, stress=0.001))
    found = {m.quantity: m for m in accuracy_measurements(errors, seed=0) if not m.subset}
    assert found["stress_mae"].value == pytest.approx(160.21766208)
    gaps = accuracy_gaps(errors, has_stress=True)
    assert "5 of 30 stress components have no reference value, not scored" in gaps


def test_a_stress_without_diagonal_gives_no_pressure(make_frames):
    frames = make_frames(5)
    stress = frames.stress.copy()
    stress[:, 2, 2] = np.nan
    partial = dataclasses.replace(frames, stress=stress)
    quantities = {
        m.quantity for m in accuracy_measurements(errors_of(partial, predict(frames)), seed=0)
    }
    assert "stress_mae" in quantities
    assert "pressure_bias" not in quantities


def test_a_stress_whose_trace_alone_is_right_gives_the_pressure_only(make_frames):
    frames = dataclasses.replace(make_frames(5), info={"stress_components": MEAN_STRESS_ONLY})
    errors = errors_of(frames, predict(frames, stress=0.001))
    found = {m.quantity: m for m in accuracy_measurements(errors, seed=0) if not m.subset}
    assert "stress_mae" not in found and "pressure_bias" in found
    assert any("30 of 30 stress comp" in gap for gap in accuracy_gaps(errors, has_stress=True))


def test_missing_labels_are_counted(make_frames):
    frames = make_frames(3)
    bare = dataclasses.replace(frames, energy=None, stress=None)
    errors = join_errors([errors_of(frames, predict(frames)), errors_of(bare, predict(frames))])
    gaps = accuracy_gaps(errors, has_stress=True)
    assert "3 of 6 frames have no reference energy" in gaps
    found = {m.quantity: m for m in accuracy_measurements(errors, seed=0) if not m.subset}
    assert found["energy_mae"].n == 3
    assert found["force_mae"].n == 6


def test_frames_without_any_label_are_refused(make_frames):
    bare = dataclasses.replace(make_frames(2), energy=None, forces=None, stress=None)
    with pytest.raises(DataError, match=r"no frame of random\.extxyz has a reference"):
        check_labelled([bare])


def test_the_worst_atom_is_found(make_frames):
    frames = make_frames(5)
    prediction = predict(frames)
    prediction.forces[3, 2] += [0.3, 0.0, 0.4]
    worst = next(o for o in errors_of(frames, prediction).worst if o.kind == "atom")
    assert (worst.atom, worst.element) == (2, frames.symbols[2])
    assert worst.frame == "frame 3 (f3) of random.extxyz"
    assert worst.error == pytest.approx(500.0)


def test_order_of_frames_and_chunks_do_not_matter(make_frames):
    frames = make_frames(9)
    prediction = predict(frames, energy=0.01, forces=0.1, stress=0.001, seed=2)
    order = np.random.default_rng(0).permutation(9)
    shuffled = Prediction(
        energy=prediction.energy[order],
        forces=prediction.forces[order],
        stress=prediction.stress[order],
        atomic_energy=None,
        dtype="float64",
    )
    whole, other = values(frames, prediction), values(frames[order], shuffled)
    assert whole.keys() == other.keys()
    for key, measurement in whole.items():
        assert other[key].value == pytest.approx(measurement.value, rel=1e-10)


@pytest.mark.published
@pytest.mark.slow
def test_published_model_on_published_frames():
    """The errors stated with the labels, to 0.05 meV/Å and 1 MPa."""
    (frames,) = read_frames(published_file("dft/published.extxyz"))
    model = published_file("castel2024/nequip_l2r6stress0.pth")
    potential = load_potential(str(model), device="cpu")
    stated = {"aimd300": (-1.018, 5.53, 8.86, 78), "glass01": (-0.920, 5.27, 8.60, 78)}
    for row, (energy, mae, rmse, stress) in enumerate(stated[n] for n in frames.labels["name"]):
        frame = frames[row]
        found = values(frame, compute(potential, frame))
        assert errors_of(frame, compute(potential, frame)).energy[0] * 1000 == pytest.approx(
            energy, abs=2e-3
        )
        assert found["force_mae",].value == pytest.approx(mae, abs=0.05)
        assert found["force_rmse",].value == pytest.approx(rmse, abs=0.05)
        assert found["stress_mae",].value == pytest.approx(stress, abs=1.0)
