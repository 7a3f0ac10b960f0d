"""SCF cycles and seconds from predicted densities against PySCF's own initial guesses, on molecules that no model has seen.

    python benchmarks/scf_cycles.py MODEL [MODEL ...] [--limit 20] [--guesses minao 1e atom huckel] [--forces]
                                    [--data training/data/qh9-like/qh9-like.h5] [--splits test larger]

Each start runs PySCF anew with the settings of QH9 (conv_tol 1e-9), one thread, same process; seconds are CPU seconds and hold the
guess. 'label' starts from the density of the true Hamiltonian: no model can do better. --forces also evaluates energy and forces of
the predicted density without SCF, against those of the SCF from 'minao'. --limit takes so many molecules of each split, spread over
it. The file is written after each molecule.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts its threads

import numpy as np
from measure import describe_machine, fastest, write_result

from ase_tracegrad.density_energy import evaluate_density, predicted_forces
from ase_tracegrad.io.def2_svp import PYSCF_BOHR
from ase_tracegrad.io.sample import Sample
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.labels.pyscf import QH9_SETTINGS, build_molecule, prepare_scf
from ase_tracegrad.nn.predictor import load_model
from ase_tracegrad.scf import hamiltonian_density, initial_sample
from ase_tracegrad.units import HARTREE

ROOT = Path(__file__).resolve().parents[1]
GUESSES = ("minao", "1e", "atom", "huckel")
REFERENCE = "minao"
SAME_ENERGY = 1e-6  # Hartree


def run_scf(molecule, make_density: Callable):
    """(a converged or failed calculation, its row): the guess and the SCF, from nothing."""
    calculation = prepare_scf(molecule, QH9_SETTINGS)
    density_seconds, density = fastest(lambda: make_density(calculation), 1)
    scf_seconds, _ = fastest(lambda: calculation.kernel(dm0=density), 1)
    return calculation, {
        "cycles": int(calculation.cycles),
        "converged": bool(calculation.converged),
        "energy": float(calculation.e_tot),
        "guess_seconds": density_seconds,
        "seconds": density_seconds + scf_seconds,
    }


def measure_molecule(name: str, sample: Sample, models: dict, guesses, forces: bool) -> dict:
    """A row: every start, and what the density of each model gives without SCF."""
    molecule = build_molecule(sample.atoms, 0, QH9_SETTINGS.basis)
    reference, first = run_scf(molecule, lambda calculation: calculation.get_init_guess(key=REFERENCE))
    starts = {REFERENCE: first}
    for guess in guesses:
        if guess != REFERENCE:
            starts[guess] = run_scf(molecule, lambda calculation, key=guess: calculation.get_init_guess(key=key))[1]
    starts["label"] = run_scf(molecule, lambda calculation: hamiltonian_density(calculation, sample))[1]
    row = {
        "name": name,
        "split": sample.info.get("split", ""),
        "atoms": len(sample.structure),
        "heavy_atoms": int((sample.structure.numbers > 1).sum()),
        "starts": starts,
        "models": {},
    }
    gradient = reference.nuc_grad_method().kernel() if forces else None
    for key, predictor in models.items():
        found = run_scf(molecule, lambda calculation, model=predictor: initial_sample(calculation, model)[1])[1]
        found["same_energy"] = found["converged"] and abs(found["energy"] - first["energy"]) < SAME_ENERGY
        if forces:
            found["density"] = measure_density(molecule, predictor, reference.e_tot, gradient)
        row["models"][key] = found
    return row


def measure_density(molecule, predictor, energy: float, gradient: np.ndarray) -> dict:
    """Errors of energy (meV per atom) and forces (MAE, meV/Angstrom) without SCF, with the CPU seconds of the parts."""
    calculation = prepare_scf(molecule, QH9_SETTINGS)
    to_forces = 1000 * HARTREE / PYSCF_BOHR
    seconds, (sample, density) = fastest(lambda: initial_sample(calculation, predictor), 1)
    functional_seconds, evaluated = fastest(lambda: evaluate_density(calculation, density), 1)
    gradient_seconds, _ = fastest(lambda: evaluated.stationary_gradient, 1)
    response_seconds, forces = fastest(lambda: 1000 * predicted_forces(predictor, sample, evaluated), 1)
    expected = -gradient * to_forces
    to_atom = 1000 * HARTREE / molecule.natm
    return {
        "energy_error": (evaluated.energy - energy) * to_atom,
        "estimated_energy_error": evaluated.excess * to_atom,
        "force_mae": float(np.abs(forces - expected).mean()),
        "force_mae_without_response": float(np.abs(-evaluated.stationary_gradient * to_forces - expected).mean()),
        "force_size": float(np.abs(expected).mean()),
        "prediction_seconds": seconds,
        "functional_seconds": functional_seconds,
        "gradient_seconds": gradient_seconds,
        "response_seconds": response_seconds,
    }


def summarize(rows: list[dict], models) -> dict:
    """Means of each split, of all molecules together and of each number of heavy atoms."""
    groups = {"all": rows}
    for row in rows:
        groups.setdefault(f"split {row['split']}", []).append(row)
        groups.setdefault(f"{row['heavy_atoms']} heavy atoms", []).append(row)
    return {group: summarize_group(chosen, models) for group, chosen in groups.items()}


def summarize_group(rows: list[dict], models) -> dict:
    """Mean cycles and seconds of each start; for each model also ratios to the guesses and errors of its density."""
    starts = {
        name: {what: float(np.mean([row["starts"][name][what] for row in rows])) for what in ("cycles", "seconds", "converged")}
        for name in rows[0]["starts"]
    }
    summary: dict = {"molecules": len(rows), "starts": starts, "models": {}}
    for key in models:
        found = [row["models"][key] for row in rows]
        mean = {
            what: float(np.mean([row[what] for row in found])) for what in ("cycles", "seconds", "guess_seconds", "same_energy")
        }
        for what in ("cycles", "seconds"):
            mean[f"{what}_ratio"] = {name: mean[what] / start[what] for name, start in starts.items()}
        mean["scf_over_prediction"] = starts[REFERENCE]["seconds"] / mean["guess_seconds"]
        if "density" in found[0]:
            mean["density"] = {what: float(np.mean([row["density"][what] for row in found])) for what in found[0]["density"]}
        summary["models"][key] = mean
    return summary


def choose_names(store: StoreReader, splits, limit: int | None) -> list[str]:
    """Names of the molecules of the splits; with a limit, so many of each, evenly spread over it."""
    chosen: list[str] = []
    for split in splits:
        names = [name for name in store.names if store.split(name) == split]
        if limit is not None and len(names) > limit:
            names = [names[i] for i in np.linspace(0, len(names) - 1, limit).round().astype(int)]
        chosen += names
    if not chosen:
        raise SystemExit(f"{store.path} has no molecules of {', '.join(splits)}")
    return chosen


def name_of(model: str) -> str:
    """An embedded model's name as it is; of a file the last folder too, which names the run, and not where it lies."""
    return "/".join(Path(model).parts[-2:])


def report(summary: dict):
    """A line for each group and model."""
    for group, figures in summary.items():
        cycles = "  ".join(f"{name} {start['cycles']:.2f}" for name, start in figures["starts"].items())
        print(f"{group} ({figures['molecules']}): cycles {cycles}")
        for key, mean in figures["models"].items():
            print(
                f"    {key}: cycles {mean['cycles']:.2f}, ratio to {REFERENCE} {mean['cycles_ratio'][REFERENCE]:.2f}, seconds "
                f"{mean['seconds_ratio'][REFERENCE]:.2f}, same energy {mean['same_energy']:.0%}, SCF / prediction "
                f"{mean['scf_over_prediction']:.0f}"
            )
            if "density" in mean:
                density = mean["density"]
                print(
                    f"        without SCF: energy {density['energy_error']:.2f} meV/atom, forces {density['force_mae']:.1f} "
                    f"({density['force_mae_without_response']:.1f} without response) of {density['force_size']:.0f} meV/Angstrom"
                )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="names of embedded models or model files")
    parser.add_argument("--data", type=Path, default=ROOT / "training" / "data" / "qh9-like" / "qh9-like.h5")
    parser.add_argument("--splits", nargs="+", default=["test", "larger"])
    parser.add_argument("--limit", type=int)
    parser.add_argument("--guesses", nargs="+", default=list(GUESSES), help="initial guesses of PySCF")
    parser.add_argument("--forces", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "scf_cycles.json")
    options = parser.parse_args()

    models = {name_of(model): load_model(model, device="cpu") for model in options.models}
    facts = describe_machine("numpy", "torch", "pyscf") | {"models": {key: str(model.card.line) for key, model in models.items()}}
    rows: list[dict] = []
    with StoreReader(options.data) as store:
        for name in choose_names(store, options.splits, options.limit):
            rows.append(measure_molecule(name, store[name], models, options.guesses, options.forces))
            print(name, {key: start["cycles"] for key, start in (rows[-1]["starts"] | rows[-1]["models"]).items()}, flush=True)
            write_result(options.out, facts | {"summary": summarize(rows, models), "rows": rows})
    report(summarize(rows, models))


if __name__ == "__main__":
    main()
