"""What is written is read, by us and by zarr-python, however it was cut."""

from __future__ import annotations

import itertools
import json
import pickle
import urllib.parse
from dataclasses import replace

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.dataset.conftest import all_bytes, full_frames
from zifbench.dataset.store import StoreWriter, open_store, write_store
from zifbench.dataset.store.layout import FIELDS, safe_name
from zifbench.errors import DataError, UnknownNameError
from zifbench.frames import concatenate


def same(frames, other, *, exact=False):
    """Equal to the precision on disk."""
    for name, field in FIELDS.items():
        wanted = getattr(frames, name)
        if wanted is None:
            assert getattr(other, name) is None
            continue
        if field.dtype == "float32" and not exact:
            wanted = wanted.astype("float32").astype(float)
        np.testing.assert_array_equal(wanted, getattr(other, name), err_msg=name)
    assert dict(frames.labels) == dict(other.labels)
    for name in ("numbers", "masses", "pbc"):
        np.testing.assert_array_equal(getattr(frames, name), getattr(other, name))


def test_round_trip_of_all_fields(store_path, make_frames):
    wanted = full_frames(make_frames, 37)
    with open_store(store_path) as store:
        assert store.n_frames == 42
        assert list(store.trajectories) == ["liquid/1", "nvt 300K"]
        trajectory = store.trajectories["nvt 300K"]
        got = trajectory.read(slice(None))
        same(wanted, got)
        assert got.positions.dtype == got.energy.dtype == np.float64
        assert got.info == {"level_of_theory": "PBE"}
        assert got.source.endswith("store/nvt 300K")
        assert trajectory.fields == tuple(FIELDS)
        assert trajectory.labels == ("name", "phase")
        np.testing.assert_array_equal(trajectory.array("energy"), wanted.energy)
        assert store.attributes["licence"] == "CC-BY 4.0"


def test_exact_keeps_every_bit(tmp_path, make_frames):
    frames = full_frames(make_frames, 9)
    write_store(tmp_path / "s", {"a": frames}, exact=True)
    same(frames, open_store(tmp_path / "s").trajectories["a"].read(slice(None)), exact=True)


def test_types_by_field(tmp_path, make_frames):
    frames = full_frames(make_frames, 3)
    with StoreWriter(tmp_path / "s") as store:
        store.trajectory("a", frames, dtypes={"forces": "float64"}).append(frames)
    got = open_store(tmp_path / "s").trajectories["a"].read(slice(None))
    np.testing.assert_array_equal(got.forces, frames.forces)
    assert abs(got.positions - frames.positions).max() > 0


@pytest.mark.parametrize(
    "index", [0, -1, 36, slice(3, 30, 4), [5, 1, 1, 36, 17], np.array([], dtype=int), []], ids=str
)
def test_reading_some_rows(store_path, make_frames, index):
    wanted = full_frames(make_frames, 37)[index]
    got = open_store(store_path).trajectories["nvt 300K"].read(index)
    same(wanted, got)
    np.testing.assert_array_equal(got.source_index, wanted.source_index)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.integers(-37, 36), max_size=60))
def test_any_rows_in_any_order(store_path, make_frames, rows):
    got = open_store(store_path).trajectories["nvt 300K"].read(rows)
    same(full_frames(make_frames, 37)[np.array(rows, dtype=int)], got)


def test_reading_some_fields(store_path):
    trajectory = open_store(store_path).trajectories["nvt 300K"]
    got = trajectory.read([1], fields=["energy"])
    assert got.energy is not None
    assert got.forces is None
    assert got.labels == {}
    assert trajectory.read([1], fields=["labels"]).labels == {
        "name": ("f1",),
        "phase": ("crystal",),
    }


def test_other_processes_read_the_same_state(store_path):
    """A store and a trajectory pass through pickle, as loaders of data need it."""
    with open_store(store_path) as store:
        write_store(store_path, {"liquid/1": store.trajectories["liquid/1"].read([0])})
        again = pickle.loads(pickle.dumps(store))
        assert (again.version, again.n_frames) == (store.version, 42)
        trajectory = pickle.loads(pickle.dumps(store.trajectories["liquid/1"]))
        assert trajectory.read([4]).digest() == store.trajectories["liquid/1"].read([4]).digest()


def test_chunks_join_to_the_whole(store_path, make_frames):
    trajectory = open_store(store_path).trajectories["nvt 300K"]
    parts = list(trajectory.chunks(7, start=2, stop=33))
    assert [len(part) for part in parts] == [7, 7, 7, 7, 3]
    same(full_frames(make_frames, 37)[2:33], concatenate(parts))


def test_reading_by_id_groups_by_trajectory(store_path):
    store = open_store(store_path)
    ids = [("nvt 300K", 30), ("liquid/1", 2), ("nvt 300K", 4)]
    first, second = store.read(ids)
    assert first.labels["name"] == ("f30", "f4")
    assert second.labels["name"] == ("f2",)


def test_zarr_reads_the_same(store_path):
    group = zarr.open_group(str(store_path), mode="r")
    for name, trajectory in open_store(store_path).trajectories.items():
        there = group[safe_name(name)]
        frames = trajectory.read(slice(None))
        for field in trajectory.fields:
            np.testing.assert_array_equal(there[field][:], getattr(frames, field), err_msg=field)
        for key, texts in frames.labels.items():
            assert tuple(there[f"labels/{key}"][:]) == texts
        assert there.attrs["numbers"] == frames.numbers.tolist()
        assert there["positions"].metadata.dimension_names == ("frame", "atom", "xyz")
    assert sorted(dict(group.groups())) == ["liquid=2F1", "nvt=20300K"]


@pytest.mark.usefixtures("small_pieces")
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(cuts=st.lists(st.integers(0, 37), max_size=5), commits=st.lists(st.booleans(), max_size=5))
def test_cuts_of_appends_leave_no_trace(tmp_path_factory, make_frames, store_path, cuts, commits):
    """Any pieces, committed or not in between, reopened or not: the same files, every byte."""
    frames = full_frames(make_frames, 37)
    path = tmp_path_factory.mktemp("cut") / "s"
    ends = [0, *sorted(cuts), 37]
    store = StoreWriter(path, attributes={"licence": "CC-BY 4.0", "n": [1, 2]})
    writer = store.trajectory("nvt 300K", frames)
    for (start, stop), commit in zip(
        itertools.pairwise(ends), itertools.chain(commits, itertools.repeat(True)), strict=False
    ):
        writer.append(frames[start:stop])
        if commit:
            writer.commit()
            store.close()
            store = StoreWriter(path)
            writer = store.trajectory("nvt 300K", frames)
    store.commit()
    store.close()
    write_store(path, {"liquid/1": full_frames(make_frames, 5, seed=1)})
    assert all_bytes(path) == all_bytes(store_path)


def test_version_depends_on_content_alone(tmp_path, make_frames, monkeypatch):
    """Not on the sizes of the pieces, nor on provenance; but on every value and attribute."""
    frames = full_frames(make_frames, 20)
    one = write_store(tmp_path / "1", {"a": frames}, attributes={"provenance": {"when": "now"}})
    monkeypatch.setattr("zifbench.dataset.store.layout._CHUNK_ROWS", 4)
    monkeypatch.setattr("zifbench.dataset.store.layout._SHARD_ROWS", 8)
    assert write_store(tmp_path / "2", {"a": frames}) == one
    others = {
        "attribute": {"attributes": {"licence": "MIT"}, "trajectories": {"a": frames}},
        "name": {"trajectories": {"b": frames}},
        "type": {"trajectories": {"a": frames}, "exact": True},
        "fewer": {"trajectories": {"a": frames[:19]}},
        "mass": {"trajectories": {"a": replace(frames, masses=frames.masses + 1)}},
        "label": {"trajectories": {"a": replace(frames, labels={"name": ("x",) * 20})}},
        "energy": {"trajectories": {"a": replace(frames, energy=frames.energy + 1e-9)}},
        "pbc": {"trajectories": {"a": replace(frames, pbc=~frames.pbc)}},
    }
    versions = {key: write_store(tmp_path / key, **made) for key, made in others.items()}
    assert len({one, *versions.values()}) == len(others) + 1


def test_arrays_of_a_trajectory(tmp_path, make_frames):
    frames = make_frames(3)
    hessian = np.random.default_rng(0).normal(size=(120, 120))
    with StoreWriter(tmp_path / "s") as store:
        writer = store.trajectory("a", frames, arrays={"hessian": hessian})
        without = store.version
        writer.append(frames)
    store = open_store(tmp_path / "s")
    np.testing.assert_array_equal(store.trajectories["a"].arrays["hessian"], hessian)
    assert store.version != without
    with StoreWriter(tmp_path / "s") as again:
        writer = again.trajectory("a", frames)
        writer.set_array("hessian", hessian)
        writer.set_array("modes", np.arange(5))
        with pytest.raises(DataError, match=r"already has another array 'hessian'"):
            writer.set_array("hessian", hessian + 1)
        with pytest.raises(DataError, match=r"of shape \(\) cannot be stored"):
            writer.set_array("number", 3.0)
    assert list(open_store(tmp_path / "s").trajectories["a"].arrays) == ["hessian", "modes"]


def test_attributes_are_kept_and_replaced(tmp_path, make_frames):
    frames = make_frames(2)
    with StoreWriter(tmp_path / "s", attributes={"licence": "CC0"}) as store:
        writer = store.trajectory("a", frames, attributes={"temperature_K": 300.0, "tuple": (1, 2)})
        writer.append(frames)
        writer.set_attributes(state="crystal")
    got = open_store(tmp_path / "s").trajectories["a"].attributes
    assert got["temperature_K"] == 300.0
    assert got["tuple"] == [1, 2]
    assert got["state"] == "crystal"


# -- bad input ------------------------------------------------------------------------------------


def test_only_one_writer(tmp_path):
    with (
        StoreWriter(tmp_path / "s"),
        pytest.raises(DataError, match="another process is writing to"),
    ):
        StoreWriter(tmp_path / "s")
    StoreWriter(tmp_path / "s").close()


def other_atoms(frames):
    return replace(frames, numbers=frames.numbers[::-1].copy())


REFUSED = {
    "atoms": (other_atoms, "has other numbers than trajectory 'a'"),
    "no forces": (lambda f: replace(f, forces=None), "has no forces, which trajectory 'a'"),
    "no label": (lambda f: replace(f, labels={}), "has no label 'name'"),
    "another field": (
        lambda f: replace(f, velocities=f.positions * 0.01, step=np.arange(4)),
        "has velocities, step, which trajectory 'a' .* does not store; write it as",
    ),
    "another label": (
        lambda f: replace(f, labels={**f.labels, "scf_steps": ("1",) * 4}),
        "has label 'scf_steps', which trajectory 'a'",
    ),
    "bytes": (
        lambda f: replace(f, labels={**f.labels, "phase": ("a", "\udcff", "b", "c")}),
        r"label 'phase' is no valid text in frame 1 \(f1\)",
    ),
    "NaN": (
        lambda f: replace(f, energy=np.where(np.arange(4) == 2, np.nan, f.energy)),
        r"energy: NaN or infinite in frame 2 \(f2\)",
    ),
    "far": (lambda f: replace(f, positions=f.positions + 1000), "from the origin, which float32"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_frames_leave_the_trajectory_as_it_was(tmp_path, make_frames, case):
    change, message = REFUSED[case]
    frames = make_frames(4)
    with StoreWriter(tmp_path / "s") as store:
        writer = store.trajectory("a", frames)
        writer.append(frames)
        with pytest.raises(DataError, match=message):
            writer.append(change(frames))
        writer.append(frames)
    same(
        concatenate([frames, frames]),
        open_store(tmp_path / "s").trajectories["a"].read(slice(None)),
    )


def test_fields_that_were_not_chosen_are_left_out(tmp_path, make_frames):
    frames = make_frames(4)
    for _ in range(2):  # made, then opened again
        with StoreWriter(tmp_path / "s") as store:
            store.trajectory("a", frames, fields=["energy"]).append(frames)
    trajectory = open_store(tmp_path / "s").trajectories["a"]
    assert len(trajectory) == 8
    assert list(trajectory.fields) == ["positions", "cell", "energy"]


def test_stress_may_be_missing_in_parts(tmp_path, make_frames):
    frames = make_frames(2)
    frames.stress[0, 0, 0] = np.nan
    write_store(tmp_path / "s", {"a": frames})
    same(frames, open_store(tmp_path / "s").trajectories["a"].read(slice(None)))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (other_atoms, {}, "has other numbers; use another name"),
        (lambda f: replace(f, forces=None), {}, "stores the fields positions"),
        (lambda f: replace(f, labels={}), {}, "stores the labels name"),
        (lambda f: f, {"dtypes": {"forces": "float64"}}, "stores the fields positions"),
        (lambda f: f, {"dtypes": {"forces": "int8"}}, "forces cannot be int8"),
        (lambda f: f, {"attributes": {"x": np.zeros(2)}}, "attribute 'x' .* is no JSON"),
        (lambda f: f, {"attributes": {"x": float("nan")}}, "attribute 'x' .* is no JSON"),
        (lambda f: f, {"attributes": {"masses": 1}}, "is a name of the store's own"),
    ],
)
def test_reopening_as_something_else(tmp_path, make_frames, change, options, message):
    frames = make_frames(3)
    version = write_store(tmp_path / "s", {"a": frames})
    with StoreWriter(tmp_path / "s") as store, pytest.raises(DataError, match=message):
        store.trajectory("a", change(frames), **options)
    assert open_store(tmp_path / "s").version == version


def test_reopening_an_exact_trajectory_needs_no_option(tmp_path, make_frames):
    frames = make_frames(3)
    write_store(tmp_path / "s", {"a": frames}, exact=True)
    write_store(tmp_path / "s", {"a": frames})
    assert len(open_store(tmp_path / "s").trajectories["a"]) == 6


def test_names_that_are_not_there(store_path):
    store = open_store(store_path)
    trajectory = store.trajectories["nvt 300K"]
    with pytest.raises(UnknownNameError, match="did you mean nvt 300K"):
        store.read([("nvt 30K", 1)])
    with pytest.raises(UnknownNameError, match="did you mean forces"):
        trajectory.read(0, fields=["force"])
    with pytest.raises(UnknownNameError, match="unknown field"):
        trajectory.array("charges")
    with pytest.raises(DataError, match="has 37 frames; asked for others"):
        trajectory.read(37)
    with pytest.raises(DataError, match="chunks of 0 frames"):
        next(trajectory.chunks(0))


def test_a_directory_of_something_else_is_not_written_to(tmp_path, make_frames):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="holds other files and no store"):
        write_store(tmp_path, {"a": make_frames(1)})
    with pytest.raises(DataError, match="is a file; a store is written to a directory"):
        write_store(tmp_path / "thesis.txt", {"a": make_frames(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_store_without_its_record_is_left_alone(store_path):
    (store_path / "commit.json").unlink()
    before = all_bytes(store_path)
    for _ in range(2):  # a first writer would say that nothing is committed, a second remove it
        with pytest.raises(DataError, match=r"no commit\.json.*restore it from a copy"):
            StoreWriter(store_path)
    assert all_bytes(store_path) == before


def test_a_broken_append_is_never_committed(tmp_path, make_frames, monkeypatch):
    """A full disk in the middle of an append: the last commit stays, and is said so."""
    frames = make_frames(4)
    write_store(tmp_path / "s", {"a": frames})

    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), StoreWriter(tmp_path / "s") as store:
        writer = store.trajectory("a", frames)
        monkeypatch.setattr(writer._arrays["forces"], "append", full)
        try:
            writer.append(frames)
        finally:
            with pytest.raises(DataError, match="failed half-way"):
                writer.commit()
    same(frames, open_store(tmp_path / "s").trajectories["a"].read(slice(None)))


FOREIGN = (
    ".zshrc.tmp",
    "c.1",
    "notes/zarr.json",
    "notes/c.0.0",
    "nvt=20300K/.draft.tmp",
    "nvt=20300K/c.0",
    "nvt=20300K/positions/c.9.9",
    "nvt=20300K/positions/old/c.9.0.0",
    "other/positions/zarr.json",  # another program's array
    "other/positions/c.0.0.0",
)


def test_only_what_a_killed_writer_left_is_removed(store_path, make_frames, monkeypatch):
    """Shards, temporary files and metadata of a trajectory that never was; other files stay."""
    clean = all_bytes(store_path)

    def killed(path, target):
        if target.name == "commit.json":
            raise OSError(28, "No space left on device")
        path.rename(target)

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", killed)
        with pytest.raises(OSError, match="No space"):
            arrays = {"curve": np.arange(40.0)}
            with StoreWriter(store_path) as store:
                new = store.trajectory("new", full_frames(make_frames, 20), arrays=arrays)
                new.append(full_frames(make_frames, 20))
    for name in ("new/forces/.c.1.0.0.tmp", "new/.zarr.json.tmp", ".commit.next.json.tmp"):
        (store_path / name).write_text("half")
    assert len(all_bytes(store_path)) > len(clean) + 30
    for name in FOREIGN:
        (store_path / name).parent.mkdir(parents=True, exist_ok=True)
        (store_path / name).write_text("mine")
    StoreWriter(store_path).close()
    assert all_bytes(store_path).keys() == {*clean, *FOREIGN}
    assert {name: all_bytes(store_path)[name] for name in clean} == clean
    assert not (store_path / "new").exists()


def test_a_reader_keeps_its_state_while_a_writer_goes_on(store_path, make_frames):
    frames = full_frames(make_frames, 37)
    before = open_store(store_path)
    trajectory = before.trajectories["nvt 300K"]
    same(frames[33:], trajectory.read(slice(33, None)))
    write_store(store_path, {"nvt 300K": frames})
    same(frames, trajectory.read(slice(None)))
    assert len(open_store(store_path).trajectories["nvt 300K"]) == 74


@given(st.text(min_size=1))
def test_names_become_distinct_safe_folders(name):
    folder = safe_name(name)
    assert set(folder) <= set(map(chr, range(33, 127))) - {"/", "\\", ":", "*", "?", "%"}
    assert not folder.startswith(".")
    back = folder.replace("=", "%")
    assert urllib.parse.unquote(back) == name


def test_the_record_is_plain_json(store_path):
    record = json.loads((store_path / "commit.json").read_text())
    assert record["schema"] == 1
    assert record["version"] == open_store(store_path).version
