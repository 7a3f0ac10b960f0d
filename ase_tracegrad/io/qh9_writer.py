"""Write databases in exactly the schema of QH9, for QH9's own code and ours."""

import sqlite3
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import numpy as np

from ..replace_file import replace_file
from ..units import HARTREE
from .def2_svp import PYSCF_BOHR, def2_svp_basis
from .qh9 import pyscf_matrix
from .qh9_rows import COLUMNS
from .sample import Sample

CREATE = {
    "stable": "CREATE TABLE data (id INTEGER NOT NULL PRIMARY KEY, N INTEGER, Z BLOB, pos BLOB, Ham BLOB)",
    "dynamic": "CREATE TABLE data (id INTEGER NOT NULL, geo_id INTEGER NOT NULL, N INTEGER, Z BLOB, pos BLOB, ekin FLOAT, "
    "epot FLOAT, etot FLOAT, time FLOAT, Ham BLOB, converged INT)",
}


class QH9Writer:
    """``with QH9Writer(path) as database: database.add(number, sample)``; the file appears only on success.

    form: 'stable' (Angstrom), or 'dynamic' (Bohr; several geometries of a molecule in consecutive rows).
    """

    def __init__(self, path, form: str = "stable"):
        if form not in CREATE:
            raise ValueError(f"the form of a QH9 database is {' or '.join(CREATE)}, found {form!r}")
        self.path, self.form = Path(path), form

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            part = stack.enter_context(replace_file(self.path))
            part.unlink(missing_ok=True)
            self._connection = sqlite3.connect(part)
            stack.callback(self._connection.close)
            self._connection.execute(CREATE[self.form])
            self._open = stack.pop_all()
        return self

    def add(self, number: int, sample: Sample, geometry: int = 0, *, time: float = 0.0, ekin: float = 0.0):
        """Append a molecule; number: its id, unique in the stable form and counted from 0 without gaps for QH9's own code.

        Dynamic only: geometry of the molecule, time and kinetic energy in atomic units; the total energy of the label is the
        potential energy. ValueError for what the format cannot hold: other orbitals than def2-SVP, other elements, a crystal.
        """
        structure = sample.structure
        _check(number, sample)
        row = {
            "id": number,
            "N": len(structure),
            "Z": structure.numbers.astype("<i4").tobytes(),
            "pos": structure.positions.astype("<f8").tobytes(),
            "Ham": (pyscf_matrix(sample.hamiltonian) / HARTREE).astype("<f8").tobytes(),
        }
        if self.form == "dynamic":
            epot = float(sample.info["total_energy"]) / HARTREE
            row |= {"id": np.array([number], dtype="<i8").tobytes(), "geo_id": geometry, "converged": 1}
            row |= {"pos": (structure.positions / PYSCF_BOHR).astype("<f8").tobytes(), "time": time}
            row |= {"ekin": ekin, "epot": epot, "etot": epot + ekin}
        columns = COLUMNS[self.form]
        command = f"INSERT INTO data ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        try:
            self._connection.execute(command, [row[column] for column in columns])
        except sqlite3.IntegrityError as error:
            raise ValueError(f"{self.path}: the id {number} is taken already") from error

    def __exit__(self, kind, *error):
        if kind is None:
            self._connection.commit()
        self._open.__exit__(kind, *error)


def _check(number: int, sample: Sample):
    known = def2_svp_basis()
    unknown = sorted(set(sample.structure.numbers.tolist()) - known.atoms.keys())
    if unknown:
        raise ValueError(f"molecule {number} holds element(s) {unknown}; QH9's format knows {sorted(known.atoms)} (H, C, N, O, F)")
    if sample.hamiltonian.layout.shells != known.layout(sample.structure.numbers).shells:
        raise ValueError(f"molecule {number} has other orbitals than def2-SVP's, which QH9's format supposes")
    if sample.structure.pbc.any():
        raise ValueError(f"molecule {number} is periodic; QH9's format holds molecules")
    if sample.info.get("charge", 0):
        raise ValueError(f"molecule {number} has the charge {sample.info['charge']}, which QH9's format cannot hold")
