"""Exports: what is read back is what the store holds."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import ase.io
import numpy as np
import pytest

from tests.dataset.stores import ABOUT, series, two_liquids, write_store
from zifbench.ase_io import read_frames
from zifbench.dataset.export import run as export_run
from zifbench.dataset.export.run import EXPORT_FILE, FORMATS, export, is_export
from zifbench.dataset.export.selection import select
from zifbench.dataset.splits.generators import make_split
from zifbench.dataset.store import open_store
from zifbench.errors import DataError, ResultError, UnknownNameError
from zifbench.frames import Frames


@pytest.fixture
def store(tmp_path, make_frames):
    with open_store(two_liquids(tmp_path / "zif4.zarr", make_frames, 30)) as store:
        yield store


@pytest.fixture
def split(store):
    return make_split(store, "random", train=20, test=10, validation=5)


def frames_of(store, split, subset) -> list[tuple[str, int, Frames]]:
    """Every frame of a subset, one by one."""
    return [(name, k, store.trajectories[name].read(k)) for name, k in split.ids(subset)]


def test_every_format_is_tried_here():
    tried = {"extxyz", "npz", "lmdb", "traj", "ase-db", "parquet", "huggingface"}
    assert tried == set(FORMATS)


@pytest.mark.parametrize("file_format", ["extxyz", "traj"])
def test_files_that_ase_reads(store, split, tmp_path, file_format):
    export(select(store, split), tmp_path / "out", file_format)
    for subset in split.subsets:
        path = tmp_path / "out" / f"{subset}.{file_format}"
        read = ase.io.read(path, index=":")
        wanted = frames_of(store, split, subset)
        assert len(read) == len(wanted)
        for atoms, (name, k, frames) in zip(read, wanted, strict=True):
            assert (atoms.info["trajectory"], atoms.info["frame"]) == (name, k)
            compare(Frames.from_ase(atoms), frames)
            assert atoms.info["phase"] == frames.labels["phase"][0]


def compare(read: Frames, wanted: Frames) -> None:
    """All numbers equal, to the last bit; velocities went through momenta."""
    for key in ("numbers", "pbc", "positions", "cell", "energy", "forces", "stress", "step",
                "time_fs"):  # fmt: skip
        assert np.array_equal(getattr(read, key), getattr(wanted, key)), key
    assert np.array_equal(read.masses, wanted.masses)
    assert np.allclose(read.velocities, wanted.velocities, rtol=1e-14, atol=0.0)


def test_extxyz_is_read_as_frames(store, split, tmp_path):
    export(select(store, split), tmp_path / "out", "extxyz")
    (read,) = read_frames(tmp_path / "out" / "train.extxyz")
    assert set(read.labels["trajectory"]) == {"liquid_0", "liquid_m2"}
    assert set(read.labels["split"]) == {"random-0"}
    assert set(read.labels["store_version"]) == {store.version}


def test_labels_of_any_text_survive(tmp_path, make_frames):
    odd = ('quoted "name"', "back\\slash", "x = 1", "", "café")
    labels = {"name": odd, "frame": ("a",) * 5}
    frames = dataclasses.replace(series(make_frames, 5), labels=labels)
    with open_store(write_store(tmp_path / "s.zarr", {"t": (frames, ABOUT)})) as store:
        export(select(store), tmp_path / "out", "extxyz")
    read = ase.io.read(tmp_path / "out" / "frames.extxyz", index=":")
    assert [atoms.info.get("name", "") for atoms in read] == list(odd)
    assert {(atoms.info["frame"], atoms.info["label_frame"]) for atoms in read} == {
        (number, "a") for number in range(5)
    }


def test_a_label_of_several_lines_stays_on_one(tmp_path, make_frames):
    texts = ("a\rb", "a\nb", "a\r\nb", "a\x0cb", "a\u2028b")
    frames = dataclasses.replace(series(make_frames, 5), labels={"remark": texts})
    write_store(tmp_path / "store", {"run": (frames, {})})
    with open_store(tmp_path / "store") as store:
        export(select(store), tmp_path / "out", "extxyz")
    read = ase.io.read(tmp_path / "out" / "frames.extxyz", ":")
    assert [atoms.info["remark"] for atoms in read] == ["a b"] * 5


def test_npz_has_the_keys_of_the_published_training(store, split, tmp_path):
    export(select(store, split), tmp_path / "out", "npz")
    wanted = frames_of(store, split, "train")
    with np.load(tmp_path / "out" / "train.npz") as data:
        read = dict(data)
    about = json.loads(str(read.pop("zifbench")))
    assert about["store_version"] == store.version
    assert set(read) == {"Z", "energy", "force", "positions", "stress", "cell", "pbc"}
    for key, field in (("energy", "energy"), ("force", "forces"), ("positions", "positions"),
                       ("stress", "stress"), ("cell", "cell")):  # fmt: skip
        expected = np.concatenate([getattr(frames, field) for _, _, frames in wanted])
        assert np.array_equal(read[key], expected), key
    assert read["Z"].shape == (20, 4)
    assert (read["Z"] == wanted[0][2].numbers).all()
    assert read["pbc"].shape == (20, 3)
    assert read["pbc"].all()


def test_npz_refuses_two_compositions(tmp_path, make_frames):
    small = series(make_frames, 5, symbols="CH4")
    content = {"a": (series(make_frames, 5), ABOUT), "b": (small, ABOUT)}
    with open_store(write_store(tmp_path / "s.zarr", content)) as store:
        with pytest.raises(DataError, match="frames of a and of b, whose atoms"):
            export(select(store), tmp_path / "out", "npz")
        assert not (tmp_path / "out").exists()
        export(select(store), tmp_path / "out", "extxyz")
    assert len(ase.io.read(tmp_path / "out" / "frames.extxyz", index=":")) == 10


def test_ase_database(store, split, tmp_path):
    from ase.db import connect

    export(select(store, split), tmp_path / "out", "ase-db")
    with connect(tmp_path / "out" / "test.db") as database:
        rows = list(database.select())
        assert database.metadata["store_version"] == store.version
    for row, (name, k, frames) in zip(rows, frames_of(store, split, "test"), strict=True):
        assert (row.trajectory, row.frame) == (name, k)
        assert np.array_equal(row.positions, frames.positions[0])
        assert np.array_equal(row.forces, frames.forces[0])
        assert row.energy == frames.energy[0]
        assert row.data["phase"] == frames.labels["phase"][0]


def test_a_trajectory_may_be_called_a_number(tmp_path, make_frames):
    path = write_store(tmp_path / "s.zarr", {"007": (series(make_frames, 5), ABOUT)})
    with open_store(path) as store:
        export(select(store), tmp_path / "out", "ase-db")


# -- nequip ---------------------------------------------------------------------------------------


def test_lmdb_is_what_nequip_makes_of_the_same_frames(store, split, tmp_path):
    torch = pytest.importorskip("torch")
    nequip = pytest.importorskip("nequip.data")
    from nequip.data.ase import from_ase
    from nequip.data.dataset import NequIPLMDBDataset

    export(select(store, split), tmp_path / "out", "lmdb")
    data = NequIPLMDBDataset(str(tmp_path / "out" / "test.lmdb"))
    wanted = frames_of(store, split, "test")
    assert len(data) == len(wanted) == 10
    assert data.get_metadata("num_atoms_per_entry").tolist() == [4] * 10
    assert data.get_metadata("zifbench")["store_version"] == store.version
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # as nequip's training does
    try:
        for k, (_, _, frames) in enumerate(wanted):
            expected = from_ase(frames.to_ase()[0])
            read = data[k]
            assert nequip.AtomicDataDict.num_nodes(read) == 4
            for key in ("pos", "cell", "pbc", "atomic_numbers", "total_energy", "forces", "stress"):
                assert read[key].dtype == expected[key].dtype, key
                assert torch.equal(read[key], expected[key]), key
            assert nequip.from_dict(read).keys() == read.keys()
    finally:
        torch.set_default_dtype(default)


@pytest.mark.slow
def test_lmdb_feeds_the_data_module_of_nequip(store, split, tmp_path):
    """With transforms, as in a training: types of atoms, neighbour lists, batches."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("nequip.data")
    from nequip.data.datamodule import NequIPDataModule

    export(select(store, split), tmp_path / "out", "lmdb")
    transforms = [
        {"_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
         "model_type_names": ["H", "C", "N", "Zn"]},
        {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": 4.0},
    ]  # fmt: skip

    def dataset(subset):
        return {"_target_": "nequip.data.dataset.NequIPLMDBDataset",
                "file_path": str(tmp_path / "out" / f"{subset}.lmdb"),
                "transforms": transforms}  # fmt: skip

    module = NequIPDataModule(
        seed=1,
        train_dataset=dataset("train"),
        val_dataset=dataset("validation"),
        train_dataloader={"batch_size": 5, "shuffle": True},
        val_dataloader={"batch_size": 5},
    )
    module.setup("fit")
    energies = []
    for batch in module.train_dataloader():
        assert batch["pos"].shape == (20, 3)
        assert batch["edge_index"].shape[0] == 2
        assert set(batch["atom_types"].tolist()) == {0, 1, 2, 3}
        energies += batch["total_energy"].ravel().tolist()
    wanted = [frames.energy[0] for _, _, frames in frames_of(store, split, "train")]
    assert sorted(energies) == pytest.approx(sorted(wanted), rel=1e-15)
    (validation,) = module.val_dataloader()
    (batch,) = validation
    expected = np.concatenate([f.forces[0] for _, _, f in frames_of(store, split, "validation")])
    assert torch.equal(batch["forces"], torch.from_numpy(expected))


# -- Hugging Face ---------------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch, tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    yield datasets
    datasets.enable_progress_bars()


def check_rows(rows, wanted):
    assert len(rows) == len(wanted)
    for row, (name, k, frames) in zip(rows, wanted, strict=True):
        assert (row["trajectory"], row["frame"]) == (name, k)
        assert row["numbers"] == frames.numbers.tolist()
        assert row["pbc"] == frames.pbc.tolist()
        for key in ("positions", "forces", "velocities", "cell", "stress"):
            assert np.array_equal(np.array(row[key]), getattr(frames, key)[0]), key
        for key in ("energy", "step", "time_fs"):
            assert row[key] == getattr(frames, key)[0], key
        assert row["masses"] == frames.masses.tolist()
        assert row["phase"] == frames.labels["phase"][0]
        assert row["name"] == frames.labels["name"][0]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # datasets leaves files to the collector
def test_dataset_dict(store, split, tmp_path, offline):
    export(select(store, split), tmp_path / "out", "huggingface")
    read = offline.load_from_disk(str(tmp_path / "out"))
    assert list(read) == ["train", "validation", "test"]
    for subset in split.subsets:
        check_rows(read[subset], frames_of(store, split, subset))
    assert not list((tmp_path / "out").glob("scratch*"))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_parquet_is_loaded_by_its_card(store, split, tmp_path, offline):
    export(select(store, split), tmp_path / "out", "parquet")
    read = offline.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    for subset in split.subsets:
        check_rows(read[subset], frames_of(store, split, subset))
    assert read["train"].features["positions"].feature.feature.dtype == "float32"
    assert read["train"].features["energy"].dtype == "float64"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_parquet_in_several_files(store, split, tmp_path, offline, monkeypatch):
    from zifbench.dataset.export import huggingface, selection

    monkeypatch.setattr(huggingface, "_SHARD_BYTES", 1000)
    monkeypatch.setattr(selection, "_CHUNK_ATOMS", 12)
    export(select(store, split), tmp_path / "out", "parquet")
    assert len(list((tmp_path / "out" / "data").glob("train-*-of-00003.parquet"))) == 3
    read = offline.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    for subset in split.subsets:
        check_rows(read[subset], frames_of(store, split, subset))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_columns_that_some_trajectories_lack_are_null(tmp_path, make_frames, offline):
    full = series(make_frames, 3)
    bare = dataclasses.replace(full, forces=None, stress=None, velocities=None, labels={})
    with open_store(
        write_store(tmp_path / "s.zarr", {"a": (full, ABOUT), "b": (bare, {})})
    ) as store:
        export(select(store), tmp_path / "out", "parquet")
    read = offline.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["frames"]
    assert [row["forces"] is None for row in read] == [False] * 3 + [True] * 3
    assert [row["phase"] is None for row in read] == [False] * 3 + [True] * 3


def test_the_card_says_whose_data_it_is(store, split, tmp_path, offline):
    export(select(store, split), tmp_path / "out", "parquet")
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    for text in (
        "Somebody, Some Journal 2024",
        store.version,
        "random with seed 0: train 20, test 10, validation 5",
        "| `forces` | eV/Å |",
        "| components of the stress | all |",
        "20 for train, 5 for validation, 10 for test",
        "path: data/train-*.parquet",
        "size_categories:\n- n<1K",
    ):
        assert text in card


# -- the folder -----------------------------------------------------------------------------------


def test_the_record_beside_the_files(store, split, tmp_path):
    export(select(store, split, subsets=["test"]), tmp_path / "out", "npz")
    record = json.loads((tmp_path / "out" / EXPORT_FILE).read_text())
    assert record["store"] == {"name": "zif4.zarr", "version": store.version}
    assert record["split"]["name"] == "random-0"
    assert record["subsets"] == {"test": 10}
    assert record["licence"] == ["CC-BY-4.0"]
    assert record["stress_components"] == ["all"]
    assert record["units"]["stress"] == "eV/Å³"
    assert record["files"] == {"test.npz": (tmp_path / "out" / "test.npz").stat().st_size}


def test_an_existing_folder_stays_unless_said(store, split, tmp_path):
    chosen = select(store, split)
    out = export(chosen, tmp_path / "out", "npz")
    with pytest.raises(ResultError, match="holds an export; give --overwrite"):
        export(chosen, out, "extxyz")
    export(chosen, out, "extxyz", overwrite=True)
    assert not (out / "train.npz").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "zif4.zarr"]
    (out / EXPORT_FILE).unlink()
    with pytest.raises(ResultError, match="is not an export of zifbench"):
        export(chosen, out, "extxyz", overwrite=True)


@pytest.mark.parametrize("before", [False, True])
def test_what_is_interrupted_leaves_nothing_that_looks_complete(
    store, split, tmp_path, monkeypatch, before
):
    chosen = select(store, split)
    if before:
        export(chosen, tmp_path / "out", "npz")

    def stop(selection, directory: Path):
        (directory / "train.extxyz").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setitem(FORMATS, "extxyz", export_run.Format("", stop))
    with pytest.raises(KeyboardInterrupt):
        export(chosen, tmp_path / "out", "extxyz", overwrite=True)
    assert is_export(tmp_path / "out") == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    if before:
        assert (tmp_path / "out" / "train.npz").exists()


def test_the_old_export_comes_back_when_the_new_one_cannot_take_its_place(
    store, split, tmp_path, monkeypatch
):
    chosen = select(store, split)
    export(chosen, tmp_path / "out", "npz")
    rename = Path.rename

    def refuse(self, target):
        if self.name.endswith(".new") and self.is_dir():
            raise PermissionError(13, "no", str(target))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        export(chosen, tmp_path / "out", "extxyz", overwrite=True)
    assert (tmp_path / "out" / "train.npz").exists()
    assert is_export(tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "zif4.zarr"]


def test_refusals(store, split, tmp_path, make_frames):
    with pytest.raises(UnknownNameError, match="unknown format 'xyz'"):
        export(select(store, split), tmp_path / "out", "xyz")
    with pytest.raises(UnknownNameError, match="unknown subset 'dev'"):
        select(store, split, subsets=["dev"])
    with pytest.raises(DataError, match="give --split"):
        select(store, subsets=["train"])
    other = two_liquids(tmp_path / "other.zarr", make_frames, 31)
    with open_store(other) as store_2, pytest.raises(DataError, match="belongs to version"):
        select(store_2, split)
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="not an export of zifbench"):
        export(select(store, split), tmp_path / "file", "npz", overwrite=True)


def test_chunks_change_nothing(store, split, tmp_path, monkeypatch):
    from zifbench.dataset.export import selection

    for n, atoms in enumerate((4, 28, 10**6)):
        monkeypatch.setattr(selection, "_CHUNK_ATOMS", atoms)
        export(select(store, split), tmp_path / str(n), "npz")
        export(select(store, split), tmp_path / f"{n}x", "extxyz")
    for name in ("train.npz", "test.npz"):
        arrays = [dict(np.load(tmp_path / str(n) / name)) for n in range(3)]
        for key in arrays[0]:
            assert all(np.array_equal(arrays[0][key], other[key]) for other in arrays[1:])
    texts = {(tmp_path / f"{n}x" / "train.extxyz").read_text() for n in range(3)}
    assert len(texts) == 1


def test_progress_counts_every_frame_once(store, split, tmp_path):
    for name in FORMATS:
        counted: list[int] = []

        @contextlib.contextmanager
        def progress(title, total, done=0, counted=counted):
            assert total == 35
            yield counted.append

        export(select(store, split), tmp_path / name, name, progress=progress)
        assert sum(counted) == 35, name
