"""The frames of one stage, from the parts that LAMMPS wrote each time it was started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from zifbench.dynamics.lammps.data_file import atom_types
from zifbench.dynamics.lammps.dump import CutError, Snapshot, Table, read_dump, read_table
from zifbench.dynamics.lammps.record import StartRecord
from zifbench.dynamics.lammps.script import StageFiles
from zifbench.dynamics.plan import Segment
from zifbench.errors import DataError
from zifbench.frames import FloatArray, Frames
from zifbench.units import AMU_A2_PER_FS2_IN_EV

# LAMMPS's own (force->nktv2p of units metal), with which it made the pressures.
_BAR_PER_EV_PER_A3 = 1.6021765e6
_FULL = np.array([[0, 3, 4], [3, 1, 5], [4, 5, 2]])  # xx, yy, zz, xy, xz, yz as a tensor
_KINETIC_TOLERANCE = 1.0e-5  # of the kinetic energy; dumps hold ten digits


class StageOutput:
    """What a stage has given so far.

    A part begins at the restart file from which LAMMPS went on. Frames that an earlier part wrote
    beyond that are computed again by the later one, which counts.

    Args:
        folder: Of the replica.
        files: Of the stage.
        title: Of its tables.
        segment: The stage.
        start: The structure that the replica began with.
    """

    def __init__(
        self, folder: Path, files: StageFiles, title: str, segment: Segment, start: StartRecord
    ) -> None:
        self._folder, self._files, self._title = folder, files, title
        self._segment, self._start = segment, start
        self._types = atom_types(start.numbers_array, start.masses_array).of_atoms
        self._every = segment.sample_every or 0
        self.cut: str = ""  # what was left out at the end

    def frames(self, first_step: int, first_time_fs: float) -> Iterator[Frames]:
        """Frames one by one, in the frame of the starting cell.

        Args:
            first_step: Step of the run at which the stage begins.
            first_time_fs: Time at which it begins.

        Raises:
            DataError: a frame in between is missing or damaged, or files that do not belong
                together.
        """
        expected = self._every  # a minimum is kept as step 0
        for snapshot, values, path in self._snapshots():
            if snapshot.step != expected:
                raise DataError(
                    f"{path}: step {snapshot.step} follows, wanted {expected}; restore the dumps "
                    f"of {self._files.stem}, or delete all of its files and run it again"
                )
            expected += self._every
            frame = self._frame(snapshot, values, first_step, first_time_fs)
            self._check_kinetic(frame, values, path, snapshot.step)
            yield frame

    def _snapshots(self) -> Iterator[tuple[Snapshot, tuple[float, ...], Path]]:
        """Each frame once, with its line of the table."""
        begins = self._begins()
        for begin, limit in zip(begins, [*begins[1:], None], strict=True):
            path = self._folder / self._files.dump(begin)
            table = self._table(begin)
            try:
                for snapshot in read_dump(path, len(self._types)):
                    if limit is not None and snapshot.step > limit:
                        break
                    if snapshot.step <= begin and self._every:
                        continue  # the end of the part before, or the start
                    if not np.array_equal(snapshot.types, self._types):
                        raise DataError(
                            f"{path} holds other elements than {self._folder.name} at step "
                            f"{snapshot.step}; is it of another replica?"
                        )
                    yield snapshot, self._values(table, snapshot.step, path), path
            except CutError as error:
                if limit is None:
                    self.cut = str(error)

    def _begins(self) -> list[int]:
        """Steps at which parts begin."""
        before, after = self._files.dump("*").split("*")
        names = [path.name for path in self._folder.iterdir() if path.name.startswith(before)]
        middles = [name.removeprefix(before).removesuffix(after) for name in names]
        return sorted(int(text) for text in middles if text.isdecimal())

    def _table(self, begin: int) -> Table:
        path = self._folder / self._files.table(begin)
        if not path.is_file():
            raise DataError(f"{path} is missing, which holds the energies of the dump beside it")
        table = read_table(path)
        if table.title and table.title != self._title:
            raise DataError(f"{path} is of {table.title!r}, wanted {self._title!r}")
        return table

    def _values(self, table: Table, step: int, path: Path) -> tuple[float, ...]:
        if step not in table.rows:
            last = max(table.rows, default=0)
            if step > last:
                raise CutError(f"{path}: the table beside it ends before step {step}")
            raise DataError(f"{path}: the table beside it lacks step {step}; restore it")
        return table.rows[step]

    def _frame(
        self,
        snapshot: Snapshot,
        values: tuple[float, ...],
        first_step: int,
        first_time_fs: float,
    ) -> Frames:
        rotation = self._start.rotation_array
        stress = -np.array(values[2:])[_FULL] / _BAR_PER_EV_PER_A3
        time_fs = first_time_fs + snapshot.step * self._segment.time_step_fs
        return Frames(
            numbers=self._start.numbers_array,
            masses=self._start.masses_array,
            pbc=np.array([True, True, True]),
            positions=(snapshot.positions @ rotation)[None],
            cell=(snapshot.cell @ rotation)[None],
            energy=np.array(values[:1]),
            stress=(rotation.T @ stress @ rotation)[None],
            velocities=(snapshot.velocities @ rotation)[None],
            step=np.array([first_step + snapshot.step], dtype=np.int64),
            time_fs=np.array([time_fs]),
            source=str(self._folder / self._files.stem),
        )

    def _check_kinetic(
        self, frame: Frames, values: tuple[float, ...], path: Path, step: int
    ) -> None:
        """Dump and table of one run agree in the kinetic energy; those of two do not."""
        found, wanted = kinetic_eV(frame), values[1]
        if np.isfinite(found) and not np.isclose(found, wanted, rtol=_KINETIC_TOLERANCE, atol=0.0):
            raise DataError(
                f"{path}: velocities of step {step} make {found:.6g} eV, the table beside it says "
                f"{wanted:.6g} eV; the two are of different runs"
            )


def kinetic_eV(frame: Frames) -> float:
    """Kinetic energy of a frame that has velocities."""
    velocities: FloatArray = np.asarray(frame.velocities)
    squares = (velocities[0] ** 2).sum(axis=1)
    return float(0.5 * AMU_A2_PER_FS2_IN_EV * frame.masses @ squares)
