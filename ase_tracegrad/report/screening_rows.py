"""From the rows that a screening stores to those that its report shows."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.dft.kpoints import BandPath, parse_path_string
from ase.spectrum.band_structure import BandStructure

# Columns of the report with their headings; what else a screening stores stays out of it.
COLUMNS = {
    "formula": "formula",
    "n_atoms": "atoms",
    "kind": "kind",
    "gap": "gap (eV)",
    "direct_gap": "direct gap (eV)",
    "fermi_level": "Fermi level (eV)",
    "space_group": "space group",
    "symmetry_error": "symmetry error (eV)",
    "h_uncertainty": "uncertainty of H (meV)",
    "gap_uncertainty": "uncertainty of the gap (eV)",
    "feature_distance": "distance in features",
}
MOST_BANDS = 1000  # rows with bands; each adds some 20 kB to the page


def convert_rows(rows: Iterable[Mapping[str, Any]], *, most_bands: int = MOST_BANDS) -> Iterator[dict[str, Any]]:
    """Rows for write_screening_report (with labels=COLUMNS), from those of a screening (screen.shards.iterate_rows).

    A failed structure has its error as a flag, others what makes them unlike the training data, and warnings. Bands are
    taken along for the first ``most_bands`` rows that have them. Columns a screening was not asked for are left out.
    """
    left = most_bands
    for row in rows:
        found = {"name": row["source"]} | {key: row[key] for key in COLUMNS if key in row}
        flags = [row.get("error"), *(row.get("reasons") or []), *(row.get("warnings") or [])]
        found["flags"] = [flag for flag in flags if flag]
        if left and row.get("bands") is not None:
            left -= 1
            found["bands"] = restore_bands(row)
        yield found


def restore_bands(row: Mapping[str, Any]) -> BandStructure:
    """The bands of a row: bands_kpts (K, 3), bands (K, n) eV, bands_path such as 'GMKG'; reference: its fermi_level, else 0."""
    kpts, energies = (np.array(row[name], dtype=float) for name in ("bands_kpts", "bands"))
    cell = np.array(row["cell"], dtype=float).reshape(3, 3)
    path = _restore_path(Atoms(cell=cell, pbc=row["pbc"]), kpts, row["bands_path"])
    fermi_level = row.get("fermi_level")
    return BandStructure(path, energies[None], reference=0.0 if fermi_level is None else fermi_level)


def _restore_path(atoms: Atoms, kpts: np.ndarray, names: str) -> BandPath:
    """The path with the places of its special points, as far as ASE knows their names; those of seekpath stay unnamed.

    Of a slab with vacuum in a periodic cell the lattice may have been taken as flat, so all choices of axes are tried.
    """
    wanted = {name for piece in parse_path_string(names) for name in piece}
    periodic = [axis for axis in range(3) if atoms.pbc[axis] and atoms.cell[axis].any()]
    for count in range(len(periodic), 0, -1):
        for axes in itertools.combinations(periodic, count):
            points = atoms.cell.bandpath(npoints=0, pbc=np.isin(np.arange(3), axes)).special_points
            if wanted <= set(points) and all(np.abs(kpts - points[name]).max(axis=1).min() < 1e-6 for name in wanted):
                return BandPath(atoms.cell, kpts=kpts, special_points=points, path=names)
    if len(kpts) == 1:
        return BandPath(atoms.cell, kpts=kpts, special_points={"G": np.zeros(3)}, path="G")
    return BandPath(atoms.cell, kpts=kpts, special_points={}, path="")
