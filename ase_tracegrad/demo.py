"""The demonstration: bands, DOS and gap of graphene from the embedded model, next to stored CP2K bands.

The reference file holds structures of the test split, which the model never saw, with the bands CP2K
itself printed. It is written by training/prepare_demo.py.
"""

import json
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.dft.kpoints import BandPath
from ase.spectrum.band_structure import BandStructure

from .calculator import TraceGradCalculator
from .models import FOLDER

REFERENCE = "-reference.json"  # ends the name of the file with the stored bands of a model
ABOVE_FERMI = 3.0  # eV; states up to here count in the band error
WINDOWS = ((-20, 8), (-3, 3))  # eV, of the pictures; a supercell has too many bands to show them all
FINER = 4


def run_demo(out="demo-output", model: str = "graphene-pbe") -> dict:
    """Print the summary, write bands.png and dos.png into ``out`` and return the figures (energies in meV and eV).

    Raises ValueError for a model without stored bands.
    """
    known = sorted(path.name.removesuffix(REFERENCE) for path in FOLDER.glob("*" + REFERENCE))
    if model not in known:
        raise ValueError(
            f"the demo compares with stored CP2K bands, which exist for {', '.join(known) or 'no model'}; found {model!r}"
        )
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    calc = TraceGradCalculator(model)
    print(calc.predictor.card.line)
    print(f"{'':<26}{'atoms':>6}{'E_F (eV)':>11}{'bands against CP2K, RMSE / max':>33}{'H(R), S(R)':>13}{'k-space':>10}")
    figures = {}
    references = json.loads((FOLDER / f"{model}{REFERENCE}").read_text())["structures"]
    for entry in references:
        figures[entry["name"]] = row = _compare(calc, entry)
        errors = f"{row['band_rmse']:.2f} / {row['band_max']:.2f} meV"
        times = f"{row['seconds_predict']:>11.2f} s{row['seconds_bands']:>8.2f} s"
        print(f"{entry['title']:<26}{row['atoms']:>6}{row['fermi_level']:>11.4f}{errors:>33}{times}")
    # The smallest gap of the primitive cell, on a mesh that misses K; special points are always added.
    primitive = _atoms(references[0])
    gap = calc.band_gap(atoms=primitive, kpts=(24, 24, 1))
    print(f"smallest gap of the primitive cell: {gap}")
    figures["gap"] = {"direct_gap": gap.direct_gap, "k": gap.k_direct.tolist(), "kind": gap.kind}
    _draw(calc, references, out)
    print(f"wrote {out / 'bands.png'} and {out / 'dos.png'}")
    return figures


def _compare(calc: TraceGradCalculator, entry: dict) -> dict:
    atoms, reference = _atoms(entry), _reference(entry)
    start = time.perf_counter()
    calc.hamiltonian(atoms)
    calc.overlap(atoms)
    predicted_at = time.perf_counter()
    bands = calc.band_structure(reference.path, atoms=atoms)
    seconds_bands = time.perf_counter() - predicted_at
    n = reference.energies.shape[2]
    error = 1000 * (bands.energies[0, :, :n] - reference.energies[0])
    counted = error[reference.energies[0] < reference.reference + ABOVE_FERMI]
    return {
        "atoms": len(atoms),
        "fermi_level": float(bands.reference),
        "band_rmse": float(np.sqrt(np.mean(counted**2))),
        "band_max": float(np.abs(counted).max()),
        "seconds_predict": predicted_at - start,
        "seconds_bands": seconds_bands,
    }


def _draw(calc: TraceGradCalculator, references: list[dict], out: Path):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from .plot import STYLE, plot_comparison, plot_dos

    with plt.style.context(STYLE):
        width = 3.9 * len(references)
        figure, axes = plt.subplots(
            2, len(references), squeeze=False, sharex="col", height_ratios=(4, 1), figsize=(width, 5.6), layout="constrained"
        )
    for entry, window, pair in zip(references, WINDOWS, axes.T, strict=True):
        reference = _reference(entry)
        bands = calc.band_structure(_refine_path(reference.path), atoms=_atoms(entry))
        error_window, labels = (-np.inf, ABOVE_FERMI), ("TraceGrad", "CP2K")
        plot_comparison(bands, reference, axes=pair, error_window=error_window, window=window, labels=labels)
        pair[0].set_title(entry["title"], loc="right", fontsize=8)
    figure.savefig(out / "bands.png", dpi=150)
    dos = plot_dos(calc.dos(width=0.0, kpts={"size": (48, 48, 1), "gamma": True}, atoms=_atoms(references[0])), window=(-20, 8))
    dos.set_title("graphene, primitive cell")
    plt.savefig(out / "dos.png", dpi=150)
    plt.close("all")


def _refine_path(path: BandPath) -> BandPath:
    """FINER times as many k-points, with those of ``path`` among them: lines between few points would show false crossings."""
    k = path.kpts
    finer = [k[:-1] + (k[1:] - k[:-1]) * step / FINER for step in range(FINER)]
    kpts = np.concatenate([np.stack(finer, axis=1).reshape(-1, 3), k[-1:]])
    return BandPath(path.cell, kpts=kpts, special_points=path.special_points, path=path.path)


def _atoms(entry: dict) -> Atoms:
    return Atoms(entry["numbers"], entry["positions"], cell=entry["cell"], pbc=entry["pbc"])


def _reference(entry: dict) -> BandStructure:
    """The stored bands, energies absolute, reference = CP2K's Fermi level."""
    special = {name: np.array(k) for name, k in entry["special_points"].items()}
    path = BandPath(_atoms(entry).cell, kpts=np.array(entry["kpts"]), special_points=special, path=entry["path"])
    return BandStructure(path, np.array(entry["energies"])[None], reference=entry["fermi_level"])
