"""Frames of the store as nequip takes them, beside nequip's own reading of an export."""

from __future__ import annotations

import pytest

from tests.training.stores import tiny_store
from zifbench.dataset.splits.manifest import load_split
from zifbench.dataset.store import open_store
from zifbench.errors import DataError

torch = pytest.importorskip("torch")
pytest.importorskip("nequip")

ELEMENTS = ["H", "C", "N", "Zn"]


@pytest.fixture(autouse=True)
def _state():
    from nequip.utils.global_state import set_global_state

    set_global_state(allow_tf32=False)


@pytest.fixture
def made(tmp_path, make_frames):
    return tiny_store(tmp_path, make_frames)


def frames_of(made, subset="train", **options):
    from zifbench.training.store_data import StoreFrames

    return StoreFrames(str(made[0]), str(made[1]), subset, ELEMENTS, 4.0, **options)


def module_of(made, **options):
    from zifbench.training.store_data import StoreDataModule

    data = StoreDataModule(
        store=str(made[0]), split=str(made[1]), elements=ELEMENTS, cutoff_A=4.0, **options
    )
    data.setup("fit")
    return data


def epochs_of(data, numbers):
    loader = data.train_dataloader()
    found = []
    for number in numbers:
        loader.sampler.set_epoch(number)
        found.append([float(e) for batch in loader for e in batch["total_energy"]])
    return found


def test_samples_are_those_of_nequips_own_dataset(made, tmp_path):
    import ase.io
    from nequip.data.dataset import ASEDataset
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform

    with open_store(made[0]) as store:
        [frames] = store.read(load_split(made[1]).ids("train"))
    ase.io.write(tmp_path / "train.extxyz", frames.to_ase(), format="extxyz")
    transforms = [ChemicalSpeciesToAtomTypeMapper(ELEMENTS), NeighborListTransform(r_max=4.0)]
    theirs = ASEDataset(str(tmp_path / "train.extxyz"), transforms=transforms)
    ours = frames_of(made)
    assert len(ours) == len(theirs) == 6
    assert ours.num_atoms([0, 1]) == [4, 4]
    for k in range(6):
        mine, other = ours[k], theirs[k]
        assert mine.keys() >= {
            "pos",
            "edge_index",
            "total_energy",
            "forces",
            "stress",
            "atom_types",
        }
        for name in mine.keys() & other.keys():
            assert mine[name].shape == other[name].shape, name
            assert mine[name].dtype == other[name].dtype, name
            if name in ("edge_index", "edge_cell_shift"):
                continue  # in another order where positions differ in the last digit
            torch.testing.assert_close(mine[name], other[name], rtol=0, atol=1e-6, msg=name)
        assert mine["total_energy"].item() == other["total_energy"].item()


@pytest.mark.parametrize(
    ("held_bytes", "kept"),
    [(2**30, {"made", "read"}), (6 * 400, {"read"}), (0, set())],
)
def test_held_frames_are_not_changed_by_who_uses_them(made, held_bytes, kept):
    held, fresh = frames_of(made, held_bytes=held_bytes), frames_of(made, held_bytes=0)
    for _ in range(2):
        for mine, other in zip(held[[4, 1, 1]], fresh[[4, 1, 1]], strict=True):
            for name in other:
                assert torch.equal(mine[name], other[name]), name
            mine["pos"] = mine.pop("pos") + 1.0
            del mine["forces"]
    found = {"made": held._made._frames, "read": held._read._frames}
    assert {name for name, frames in found.items() if frames is not None} == kept


def test_test_frames_cannot_be_asked_for(made):
    with pytest.raises(DataError, match="training reads train and validation, not test"):
        frames_of(made, "test")


def test_each_epoch_has_its_order_whoever_begins_where(made):
    data = module_of(made, seed=5, train_dataloader={"batch_size": 2})
    orders = epochs_of(data, range(4))
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert (
        epochs_of(module_of(made, seed=5, train_dataloader={"batch_size": 2}), [2, 3]) == orders[2:]
    )
    assert epochs_of(module_of(made, seed=6, train_dataloader={"batch_size": 2}), [0]) != orders[:1]


def test_without_shuffling_the_order_is_that_of_the_split(made):
    [order] = epochs_of(module_of(made, seed=5, shuffle=False), [3])
    with open_store(made[0]) as store:
        [frames] = store.read(load_split(made[1]).ids("train"))
    assert order == frames.energy.tolist()


def test_workers_give_the_same(made):
    alone = epochs_of(module_of(made, seed=1), [0, 1])
    assert epochs_of(module_of(made, seed=1, train_dataloader={"num_workers": 1}), [0, 1]) == alone


def test_statistics_are_those_of_the_training_frames(made):
    data = module_of(made, seed=1)
    found = data.get_statistics()
    with open_store(made[0]) as store:
        [frames] = store.read(load_split(made[1]).ids("train"))
    assert found["per_atom_energy_mean"] == pytest.approx(frames.energy.mean() / 4, rel=1e-12)
    assert found["forces_rms"] == pytest.approx((frames.forces**2).mean() ** 0.5, rel=1e-6)


def test_a_resumed_epoch_has_the_order_of_its_number(made):
    from types import SimpleNamespace

    orders = epochs_of(module_of(made, seed=5), range(3))
    resumed = module_of(made, seed=5)
    resumed.trainer = SimpleNamespace(current_epoch=2)
    assert [float(batch["total_energy"]) for batch in resumed.train_dataloader()] == orders[2]


def test_workers_live_as_long_as_the_training(made):
    data = module_of(made, seed=5, train_dataloader={"num_workers": 1})
    assert data.train_dataloader().persistent_workers
    assert data.train_dataloader() is data.train_dataloader()
    assert not module_of(made, seed=5).train_dataloader().persistent_workers


def test_validation_frames_are_those_of_the_split(made):
    [loader] = module_of(made, seed=5).val_dataloader()
    with open_store(made[0]) as store:
        [frames] = store.read(load_split(made[1]).ids("validation"))
    assert [float(batch["total_energy"]) for batch in loader] == frames.energy.tolist()


def test_a_model_may_bring_statistics_of_its_own(made):
    manager = {
        "_target_": "zifbench.potentials.hdnnp.HDNNPStatisticsManager",
        "r_max": 4.0,
        "angular": [],
    }
    found = module_of(made, seed=1, stats_manager=manager).get_statistics()
    assert (
        found["per_atom_energy_mean"]
        == module_of(made, seed=1).get_statistics()["per_atom_energy_mean"]
    )
    assert len(found["symmetry_functions"]["Zn"]["mean"]) == 4 * 5  # radial, of each element
