"""Write the tables of the documents from the json files in benchmarks/results; --check fails if they are out of date."""

import argparse
import json
import re
from pathlib import Path

from model_choice import choice_tables
from molecule_tables import is_of_molecules, molecule_error_table, molecule_tables
from scf_tables import cycle_table, density_table

from ase_tracegrad.nn.card import two_digits

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
COLUMNS = (
    ("structures", "structures", "{:.0f}"),
    ("H MAE", "mae_all", "{:.2f}"),
    ("aligned", "mae_gauge", "{:.2f}"),
    ("on-site", "mae_onsite", "{:.2f}"),
    ("bands RMSE", "band_rmse", "{:.2f}"),
    ("aligned", "band_rmse_gauge", "{:.2f}"),
    ("max", "band_max", "{:.1f}"),
)
COMPARED = (
    ("H MAE", "mae_all"),
    ("cha_s", "cha_s"),
    ("cha_b", "cha_b"),
    ("H MAE, aligned", "mae_gauge"),
    ("on-site", "mae_onsite"),
    ("bands RMSE", "band_rmse"),
    ("bands, aligned", "band_rmse_gauge"),
    ("gap error", "gap_error"),
)
SHARES = (
    ("tracegrad", "backbone", "TraceGrad / backbone"),
    ("tracegrad", "matched", "TraceGrad / backbone of matched parameters"),
    ("tracegrad-standardized", "standardized", "TraceGrad / backbone, both standardized"),
    ("standardized", "backbone", "standardized backbone / backbone"),
    ("harmose", "standardized", "HarmoSE / its stage 1"),
    ("harmose", "harmose-matched", "HarmoSE / standardized backbone of as many parameters"),
    ("tracegrad-harmose", "tracegrad-standardized", "TraceGrad with stage 2 / without"),
)


def model_table() -> str:
    """Errors of the embedded models."""
    blocks = []
    for path in sorted(RESULTS.glob("*-pbe.json")):
        result = json.loads(path.read_text())
        lines = [f"`{result['model']}`: {result['description']} (meV)", ""]
        lines.append("| test set | " + " | ".join(title for title, *_ in COLUMNS) + " |")
        lines.append("|---|" + "---|" * len(COLUMNS))
        for group, figures in result["groups"].items():
            lines.append(f"| {group} | " + " | ".join(form.format(figures[key]) for _, key, form in COLUMNS) + " |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def ablation_table() -> str:
    """What TraceGrad gained at a fixed short budget."""
    result = json.loads((RESULTS / "ablation_tracegrad.json").read_text())
    keys = ("displaced 2x2 mae_all", "displaced 2x2 mae_onsite", "displaced 3x3 mae_all", "displaced 3x3 band_rmse_gauge")
    lines = [
        "| variant | parameters | CPU s | 2x2: H MAE | 2x2: on-site | 3x3: H MAE | 3x3: bands, aligned |",
        "|---|" + "---|" * 6,
    ]
    for variant, entry in result["summary"].items():
        cells = [f"{entry[key]['mean']:.2f} ± {entry[key]['std'] or 0:.2f}" for key in keys]
        lines.append(f"| {variant} | {entry['parameters']} | {entry['cpu_seconds']:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def comparison_tables() -> str:
    """What each variant of benchmarks/comparison.py reached on each data set, and TraceGrad's share of the backbone's error."""
    blocks = []
    for result in read_comparisons():
        if is_of_molecules(result):
            continue
        lines = [
            f"### {result['name']}, a small set of our own: {result['description'].split(',')[0]}",
            f"{result['training_structures']} training and {result['test_structures']} test structures, {result['epochs']} epochs; "
            f"one core of {result['machine']}" + (f"; {' '.join(result['settings'])}" if result["settings"] else ""),
            "",
            "| variant | seeds | parameters | s per epoch | " + " | ".join(title for title, _ in COMPARED) + " |",
            "|---|" + "---|" * (3 + len(COMPARED)),
        ]
        for variant, entry in result["summary"].items():
            cells = [with_spread(entry[f"test {key}"]) for _, key in COMPARED]
            seconds = entry["cpu_seconds"] / result["epochs"]
            lines.append(f"| {variant} | {entry['seeds']} | {entry['parameters']} | {seconds:.2g} | " + " | ".join(cells) + " |")
        blocks.append("\n".join([*lines, "", *shares(result["runs"]), *equivariance_errors(result["runs"])]).rstrip())
    return "\n\n".join(blocks) or "No comparison has been run yet."


def with_spread(figure: dict) -> str:
    """Mean ± standard deviation; the mean alone if there was one seed."""
    return f"{figure['mean']:.2f}" + ("" if figure["std"] is None else f" ± {figure['std']:.2f}")


def shares(runs: dict[str, dict]) -> list[str]:
    """H MAE of TraceGrad in units of that of a backbone with the same seed: a sentence for each backbone there is."""
    lines = []
    for ours, theirs, title in SHARES:
        pairs = [(runs[f"{ours}-{seed}"], runs.get(f"{theirs}-{seed}")) for seed in seeds_of(runs, ours)]
        ratios = [one["groups"]["test"]["mae_all"] / two["groups"]["test"]["mae_all"] for one, two in pairs if two is not None]
        if ratios:
            listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            lines.append(f"* H MAE of {title}, seed by seed: {listed}")
    return lines


def equivariance_errors(runs: dict[str, dict]) -> list[str]:
    """What turning the structure changes, of the runs with a second stage."""
    lines = []
    for name, run in runs.items():
        if turned := run.get("equivariance"):
            rmse, largest, bands, band = (two_digits(turned[key]) for key in ("rmse", "max", "band_rmse", "band_max"))
            lines.append(
                f"* Turning the structure changes ({name}) H by {rmse} meV, at most {largest}; bands by {bands}, at most {band}"
            )
    return lines


def seeds_of(runs: dict[str, dict], variant: str) -> list[int]:
    """Seeds a variant was run with."""
    return [int(name.rsplit("-", 1)[1]) for name in runs if name.rsplit("-", 1)[0] == variant]


def gates_table(name: str) -> str:
    """Ratios that a benchmark is held to, and what was found."""
    result = json.loads((RESULTS / f"{name}.json").read_text())
    lines = ["| what | target | found | reached |", "|---|---|---|---|"]
    for gate, figures in result["gates"].items():
        at_most = figures["target"] < 1  # errors and shares; the others are times faster
        reached = figures["found"] <= figures["target"] if at_most else figures["found"] >= figures["target"]
        sign = "at most" if at_most else "at least"
        lines.append(f"| {gate} | {sign} {figures['target']:.3g} | {figures['found']:.3g} | {'yes' if reached else 'no'} |")
    machine = f"{result['machine']}, one thread, load {result['load']:.1f}, commit {result['commit'][:7]}"
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    return "\n".join([*lines, "", f"{machine}; {versions}."])


def overlap_table() -> str:
    """S(R) against PySCF."""
    result = json.loads((RESULTS / "overlap.json").read_text())
    lines = ["| atoms | blocks | largest difference | ours (s) | PySCF (s) | PySCF / ours |", "|---|" + "---|" * 5]
    for case in result["cases"]:
        seconds = f"{case['ours_cpu_seconds']:.3f} | {case['pyscf_cpu_seconds']:.3f} | {case['pyscf_over_ours']:.1f}"
        lines.append(f"| {case['atoms']} | {case['pairs']} | {case['largest_difference']:.0e} | {seconds} |")
    return "\n".join(lines)


def choice_table() -> str:
    """Which model when."""
    return choice_tables(read_comparisons())


def read_comparisons() -> list[dict]:
    """What benchmarks/comparison.py wrote, set by set."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob("comparison_*.json"))]


def molecule_comparison() -> str:
    """What each variant reached on molecules, and the SCF cycles that its density costs."""
    return molecule_tables(
        [result for result in read_comparisons() if is_of_molecules(result)], read_if_there("scf_cycles_comparison")
    )


def read_if_there(name: str) -> dict | None:
    """The json file of a benchmark, None before its first run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def rotations_table() -> str:
    """What averaging over orientations does for a HarmoSE model, at what cost."""
    result = json.loads((RESULTS / "rotation_average.json").read_text())
    lines = ["| prediction | turned: H | at most | turned: bands, at most | H MAE against DFT | time |", "|---|" + "---|" * 5]
    for row in result["rows"]:
        turned = row["equivariance"]
        cells = [f"{turned[key]:.2f}" for key in ("rmse", "max", "band_max")]
        lines.append(f"| {row['prediction']} | " + " | ".join(cells) + f" | {row['mae_all']:.3f} | {row['cost']:.2g} |")
    about = f"{result['description'].split(',')[0]}, {result['structures']} test structures in {result['turns']} orientations; meV"
    return "\n".join([*lines, "", f"{about}; time in units of both stages without averages."])


def split_levels_table() -> str:
    """How far apart touching bands are."""
    result = json.loads((RESULTS / "split_levels.json").read_text())
    point = result["point"]
    lines = [f"| H of | bands apart at {point} | largest residual of {result['group']} |", "|---|---|---|"]
    for name, figures in (result["ways"] | {"DFT (its grid)": result["label"]}).items():
        lines.append(f"| {name} | {figures['touching']:.2f} | {figures['residual']:.2f} |")
    return "\n".join([*lines, "", "meV."])


def forces_table() -> str:
    """Errors of the forces of a density that is nearly self-consistent, by formula."""
    rows = json.loads((RESULTS / "density_forces.json").read_text())["rows"]
    formulas = list(rows[0]["force_mae"])
    lines = [f"| molecule, error of H | H MAE | E[D] - E | estimated | {' | '.join(formulas)} |"]
    lines.append("|---|" + "---|" * (3 + len(formulas)))
    for row in rows:
        figures = [row["hamiltonian_mae"], row["energy_error"], row["estimated_energy_error"], *row["force_mae"].values()]
        lines.append(f"| {row['molecule']}, {row['error']} | {' | '.join(f'{figure:.3g}' for figure in figures)} |")
    lines += ["", "H MAE in microhartree, E[D] - E in microhartree per atom, forces (MAE, by formula) in meV/Angstrom."]
    return "\n".join(lines)


TABLES = {
    "docs/speed.md": {
        "kspace": lambda: gates_table("kspace"),
        "network": lambda: gates_table("network"),
        "exact_network": lambda: gates_table("exact_network"),
        "molecule_network": lambda: gates_table("molecule_network"),
        "overlap": overlap_table,
    },
    "README.md": {"models": model_table},
    "docs/training.md": {"ablation": ablation_table},
    "docs/method.md": {"rotations": rotations_table, "split_levels": split_levels_table},
    "training/README.md": {"comparison": comparison_tables, "choice": choice_table},
    "docs/molecules.md": {
        "molecule-comparison": molecule_comparison,
        "molecule-errors": lambda: molecule_error_table(read_if_there("molecule_errors")),
        "scf-cycles": lambda: cycle_table(read_if_there("scf_cycles")),
        "density-errors": lambda: density_table(read_if_there("scf_cycles")),
        "density-forces": forces_table,
    },
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    for document, tables in TABLES.items():
        path = ROOT / document
        text = new = path.read_text()
        for name, make in tables.items():
            pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
            new = re.sub(pattern, lambda m, make=make: m[1] + make() + "\n" + m[2], new, flags=re.DOTALL)
        if new == text:
            continue
        if options.check:
            parser.exit(1, f"{document} is out of date: run python training/write_tables.py\n")
        path.write_text(new)


if __name__ == "__main__":
    main()
