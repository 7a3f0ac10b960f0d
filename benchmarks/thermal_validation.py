"""Gap and band edges of displaced MoS2 supercells: the embedded model against CP2K on the same structures.

    python benchmarks/thermal_validation.py [--labels FILE.h5 ...] [--out benchmarks/results/thermal_validation.json]

Every structure of the split 'test' that is a displaced supercell; edges are those of the undisplaced crystal in the same (strained)
cell, followed by unfolding as gap_vs_temperature does, with the model's undisplaced states for both. Labels:
training/data/mos2/mos2.h5 (displacements drawn uniformly) and, once training/prepare_mos2_thermal.py has run, thermal ones.
"""

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import mx2
from measure import describe_machine, write_result

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.electronic.unfold import map_supercell
from ase_tracegrad.electronic_structure import ElectronicStructure
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.structure import Structure
from ase_tracegrad.thermal.edges import find_edges, measure_edges

ROOT = Path(__file__).parents[1]
LABELS = [ROOT / "training" / "data" / folder / f"{folder}.h5" for folder in ("mos2", "mos2_300K")]
THICKNESS = 3.13  # Angstrom, S to S
EDGES = ("vbm", "cbm", "direct vbm", "direct cbm")


def find_primitive(structure: Structure) -> tuple[Atoms, int]:
    """The undisplaced primitive layer in the cell of a n x n supercell, with its atoms in the supercell's origin; and n."""
    n = round(np.sqrt(len(structure) / 3))
    layer = mx2("MoS2", a=3.18, thickness=THICKNESS, vacuum=None)
    layer.cell[2] = [0, 0, structure.cell[2, 2]]
    layer.pbc = True
    layer.set_cell(structure.cell / np.array([[n], [n], [1]]), scale_atoms=True)
    return layer, n


def compare(sample, calc) -> dict:
    """One row: edges and gap, eV, of the label and of the model."""
    structure = sample.structure
    primitive, n = find_primitive(structure)
    at_rest = calc.electronic_structure(primitive)
    gap = calc.band_gap(atoms=primitive, progress=False)
    edges = find_edges(at_rest.sums(), at_rest.sample.structure, gap)
    mapping = map_supercell(structure, at_rest.sample.structure)
    atoms = Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=True)
    still = at_rest.sample.structure.positions[mapping.atoms] + mapping.cells @ at_rest.sample.structure.cell
    offset = structure.positions - still
    offset -= offset.mean(axis=0)
    row = {"cells": n * n, "rms_displacement": float(np.sqrt((offset**2).sum(axis=1).mean())), "static_gap": gap.gap}
    for name, found in (("dft", ElectronicStructure(sample)), ("model", calc.electronic_structure(atoms))):
        measured = measure_edges(found.sums(), mapping, edges, gap.n_filled * n * n)
        row[name] = dict(zip(EDGES, measured.energies.tolist(), strict=True))
        row[name] |= {"gap": row[name]["cbm"] - row[name]["vbm"], "direct gap": row[name]["direct cbm"] - row[name]["direct vbm"]}
        row[name]["spread"] = float(measured.spreads.max())
    return row


def summarise(rows: dict[str, dict]) -> dict:
    """Errors in meV over the structures, and both codes' mean change of the gap by displacement."""
    found: dict = {"structures": len(rows)}
    for name in (*EDGES, "gap", "direct gap"):
        errors = 1000 * np.array([row["model"][name] - row["dft"][name] for row in rows.values()])
        found[name] = {"mean_absolute_error_mev": float(np.abs(errors).mean()), "mean_error_mev": float(errors.mean()),
                       "largest_mev": float(np.abs(errors).max())}  # fmt: skip
    for code in ("dft", "model"):
        shifts = 1000 * np.array([row[code]["gap"] - row["static_gap"] for row in rows.values()])
        found[f"mean_gap_shift_{code}_mev"] = float(shifts.mean())
    found["rms_displacement"] = float(np.mean([row["rms_displacement"] for row in rows.values()]))
    return found


def validate(path: Path, calc) -> dict[str, dict]:
    """Rows of all displaced supercells of the split 'test' in a packed file."""
    rows = {}
    with StoreReader(path) as store:
        for name in store.names:
            if store.split(name) == "test" and name[:2] in ("x2", "x3", "T3"):
                rows[name] = compare(store[name], calc)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, nargs="*", default=[path for path in LABELS if path.exists()])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "thermal_validation.json")
    options = parser.parse_args()
    calc = TraceGradCalculator("mos2-pbe", device="cpu", kpts=(6, 6, 1))
    result = {"model": "mos2-pbe", **describe_machine("numpy", "torch", "phonopy"), "sets": {}}
    for path in options.labels:
        rows = validate(path, calc)
        result["sets"][path.stem] = {"summary": summarise(rows), "rows": rows}
        print(path.stem, result["sets"][path.stem]["summary"])
    write_result(options.out, result)


if __name__ == "__main__":
    main()
