"""What a second stage that is not bound by symmetry does to levels that symmetry makes degenerate: graphene's touching bands.

    python benchmarks/split_levels.py MODEL DATA [--structure prim] [--point K] [--out FILE]

MODEL is a HarmoSE model, DATA the packed file that holds the undisplaced crystal. Left: the two bands at the Fermi level around
the point, from stage 1 alone, both stages, both averaged over 8 orientations, and both with H symmetrized afterwards. Right: the
largest splitting of degenerate levels up to E_F + 5 eV at the special points, while the crystal is turned in front of the model.
In float64, so that rounding splits nothing. Writes benchmarks/results/split_levels.json, which training/write_tables.py
puts into docs/method.md, and docs/split_levels.png.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from ase.cell import Cell
from measure import describe_machine, write_result
from scipy.spatial.transform import Rotation

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bloch import BlochSum
from ase_tracegrad.electronic.eigen import solve_bands
from ase_tracegrad.electronic.space_group import find_space_group
from ase_tracegrad.electronic.symmetry import find_symmetry, symmetrize
from ase_tracegrad.electronic_structure import ElectronicStructure
from ase_tracegrad.io.sample import Sample
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.nn.predictor import Predictor, load_model
from ase_tracegrad.plot.style import BLUE, GREEN, ORANGE, STYLE

ROOT = Path(__file__).resolve().parents[1]
AVERAGED = 8
COLORS = {"stage 1": BLUE, "both stages": ORANGE, f"mean of {AVERAGED} orientations": GREEN, "symmetrized": "black"}
DASHES, WIDTHS = {"symmetrized": (0, (2, 3))}, {"stage 1": 3.5}  # lines on top of each other stay visible
AXIS = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)  # along no symmetry of the crystal
ABOVE_FERMI = 5.0  # eV
REACH = 0.002  # 1/Angstrom to both sides of the point
STEPS = 61


def predict_ways(predictor: Predictor, sample: Sample, rotation=None) -> dict[str, BlockMatrix]:
    """H in eV of each way to use the model, of the structure turned by ``rotation`` and turned back."""
    options = ({"refine": False}, {}, {"n_rotations": AVERAGED})
    predictors = (predictor.with_options(**chosen) for chosen in options)
    found = [p.predict([sample.structure], [sample.overlap], rotation=rotation)[0] for p in predictors]
    return dict(zip(COLORS, [*found, symmetrize(found[1], find_space_group(sample.structure))], strict=True))


def find_special_points(sample: Sample) -> dict[str, np.ndarray]:
    """Fractional special points of the lattice in the plane of a slab, by name."""
    points = Cell(sample.structure.cell).bandpath().special_points
    dispersive = ElectronicStructure(sample).dispersive
    return {name: k for name, k in points.items() if not k[~dispersive].any()}


def measure(matrix: BlockMatrix, sample: Sample, points: dict[str, np.ndarray]) -> dict:
    """Largest residual of the symmetry and splitting at each point, meV."""
    kpts, below = list(points.values()), sample.info["fermi_level"] + ABOVE_FERMI
    report = find_symmetry(BlochSum(matrix, sample.overlap), sample.structure, kpts=kpts, below=below)
    splitting = dict(zip(points, (1000 * report.splitting).tolist(), strict=True))
    return {"residual": 1000 * float(report.hamiltonian.max()), "splitting": splitting}


def solve_around(matrix: BlockMatrix, sample: Sample, point: np.ndarray) -> np.ndarray:
    """(STEPS, 2) highest filled and lowest empty band, eV, on a line from Gamma through the point."""
    reciprocal = 2 * np.pi * np.linalg.inv(sample.structure.complete_cell).T
    direction = point / np.linalg.norm(point @ reciprocal)
    kpts = point + np.linspace(-REACH, REACH, STEPS)[:, None] * direction
    structure = ElectronicStructure(sample)
    filled = round(structure.n_electrons / structure.spin_degeneracy)
    return solve_bands(matrix, sample.overlap, kpts).energies[:, filled - 1 : filled + 1]


def turn(predictor: Predictor, sample: Sample, points: dict[str, np.ndarray], angles: np.ndarray) -> dict[str, list[float]]:
    """Largest splitting at any point, meV, at each angle (degrees) about AXIS, of each way."""
    found: dict[str, list[float]] = {name: [] for name in COLORS}
    for angle in angles:
        rotation = Rotation.from_rotvec(np.radians(angle) * AXIS).as_matrix()
        for name, matrix in predict_ways(predictor, sample, rotation).items():
            found[name].append(max(measure(matrix, sample, points)["splitting"].values()))
    return found


def draw(bands: dict[str, np.ndarray], result: dict, path: Path):
    """Both panels."""
    turned, point = result["turned"], result["point"]
    with plt.style.context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 3.9), layout="constrained")
        k = np.linspace(-REACH, REACH, STEPS)
        for name, energies in bands.items():
            style = {"color": COLORS[name], "linestyle": DASHES.get(name, "-"), "linewidth": WIDTHS.get(name, 1.4)}
            middle = energies[STEPS // 2].mean()
            lines = left.plot(1000 * k, 1000 * (energies - middle), **style)
            apart = result["ways"][name]["touching"]
            lines[0].set_label(f"{name}: " + (f"{apart:.2f} meV apart at {point}" if apart >= 0.005 else f"touch at {point}"))
            right.plot(turned["angles"], turned["splitting"][name], **style)
        left.set(xlabel=f"k - {point} along $\\Gamma$-{point} (0.001/Å)", xlim=(-1000 * REACH, 1000 * REACH), ylabel="energy (meV)")
        right.set(xlabel="crystal turned by (degrees)", xlim=(0, 180), xticks=range(0, 181, 30))
        right.set(ylabel="largest splitting of a level (meV)", ylim=(-0.04 * right.get_ylim()[1], None))
        figure.legend(fontsize=9, loc="outside upper center", ncols=2)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
        plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--structure", default="prim", help="name of the crystal in DATA")
    parser.add_argument("--point", default="K", help="where bands touch")
    parser.add_argument("--angles", type=int, default=25, help="between 0 and 180 degrees")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "split_levels.json")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "split_levels.png")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    predictor = load_model(options.model, device="cpu", dtype="float64")
    with StoreReader(options.data) as store:
        sample = store[options.structure]
    points = find_special_points(sample)
    ways = predict_ways(predictor, sample)
    bands = {name: solve_around(matrix, sample, points[options.point]) for name, matrix in ways.items()}
    touching = {name: 1000 * float(np.ptp(energies[STEPS // 2])) for name, energies in bands.items()}
    angles = np.linspace(0, 180, options.angles)
    label = solve_around(sample.hamiltonian, sample, points[options.point])
    result = {
        "model": predictor.card.name,
        "description": predictor.card.description,
        "structure": options.structure,
        "group": find_space_group(sample.structure).name,
        "point": options.point,
        **describe_machine("torch", "spglib"),
        "ways": {name: measure(matrix, sample, points) | {"touching": touching[name]} for name, matrix in ways.items()},
        "label": measure(sample.hamiltonian, sample, points) | {"touching": 1000 * float(np.ptp(label[STEPS // 2]))},
        "turned": {"axis": AXIS.tolist(), "angles": angles.tolist(), "splitting": turn(predictor, sample, points, angles)},
    }
    write_result(options.out, result)
    draw(bands, result, options.picture)
    for name, figures in (result["ways"] | {"label": result["label"]}).items():
        print(f"{name:<26} bands apart by {figures['touching']:.3g} meV at {options.point}, residual {figures['residual']:.3g} meV")


if __name__ == "__main__":
    main()
