"""Tables of molecules in the measures of QH9, from what benchmarks/comparison.py, scf_cycles.py and molecule_errors.py found."""

from pathlib import Path

import numpy as np
from model_choice import CONFIDENCE, Runs, judge, log_ratios, uncertainty
from scf_tables import GUESS

from ase_tracegrad.units import HARTREE

MICROHARTREE = 1000 / HARTREE  # in a meV
SPLITS = ("test", "larger")
COLUMNS = (
    ("H MAE", "mae_all", MICROHARTREE),
    ("median", "median_mae_all", MICROHARTREE),
    ("diagonal", "mae_onsite", MICROHARTREE),
    ("off-diagonal", "mae_offsite", MICROHARTREE),
    ("epsilon", "epsilon", MICROHARTREE),
    ("median", "median_epsilon", MICROHARTREE),
    ("psi (%)", "psi", 100),
)
RATIOS = (
    ("tracegrad", "backbone", "TraceGrad / backbone"),
    ("trace-loss", "backbone", "trace loss / backbone"),
    ("gradient", "backbone", "gradient / backbone"),
    ("tracegrad", "matched", "TraceGrad / backbone of matched parameters"),
    ("tracegrad-standardized", "standardized", "TraceGrad / backbone, both standardized"),
    ("tracegrad-delta", "delta", "TraceGrad / backbone, both delta"),
    ("delta", "standardized", "delta / standardized backbone"),
    ("overlap", "standardized", "overlap as input / standardized backbone"),
)


def is_of_molecules(result: dict) -> bool:
    """Whether a comparison_*.json has the measures of QH9."""
    return all("psi" in run["groups"]["test"] for run in result["runs"].values())


def molecule_tables(results: list[dict], cycles: dict | None) -> str:
    """A table for each split of each set, and ratios; results: comparison_*.json, cycles: scf_cycles_comparison.json."""
    blocks = []
    for result in results:
        blocks.append(
            f"**{result['name']}**: {result['training_structures']} training molecules, {result['epochs']} epochs; one core of "
            f"{result['machine']}" + (f"; {' '.join(result['settings'])}" if result["settings"] else "")
        )
        for split in SPLITS:
            if all(split in run["groups"] for run in result["runs"].values()):
                blocks += split_blocks(result["runs"], titles_of(result), split, cycles)
    return "\n\n".join(blocks) or "No comparison on molecules has been run yet."


def titles_of(result: dict) -> dict[str, str]:
    """{variant: title}: the summary has them in the order of the runs."""
    variants = dict.fromkeys(name.rsplit("-", 1)[0] for name in result["runs"])
    return dict(zip(variants, result["summary"], strict=True))


def split_blocks(runs: Runs, titles: dict[str, str], split: str, cycles: dict | None) -> list[str]:
    """The table of one split, and the sentences below it."""
    count = next(iter(runs.values()))["groups"][split]["structures"]
    heads = [title for title, *_ in COLUMNS]
    lines = [
        f"| {split}: {count} molecules | seeds | parameters | {' | '.join(heads)} | SCF cycles / {GUESS} | s per molecule |",
        "|---|" + "---|" * (4 + len(COLUMNS)),
    ]
    for variant, title in titles.items():
        chosen = {name: run for name, run in runs.items() if name.rsplit("-", 1)[0] == variant}
        groups = [run["groups"][split] for run in chosen.values()]
        cells = [str(len(chosen)), str(next(iter(chosen.values()))["parameters"])]
        cells += [with_spread([scale * group[key] for group in groups if key in group]) for _, key, scale in COLUMNS]
        cells.append(with_spread(cycle_ratios(cycles, split, chosen), decimals=2))
        seconds = [group["prediction_seconds"] for group in groups if "prediction_seconds" in group]
        cells.append(f"{np.mean(seconds):.2g}" if seconds else "-")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return ["\n".join(lines), *filter(None, ["\n".join([*ratio_lines(runs, split), *cycle_lines(cycles, split, runs)])])]


def with_spread(values: list[float], decimals: int | None = None) -> str:
    """Mean ± standard deviation; the value alone if there is one, - if there is none; by default to about three digits."""
    if not values:
        return "-"
    mean = float(np.mean(values))
    if decimals is None:
        decimals = 0 if mean >= 1000 else 1 if mean >= 100 else 2
    return f"{mean:.{decimals}f}" + (f" ± {np.std(values, ddof=1):.{decimals}f}" if len(values) > 1 else "")


def ratio_lines(runs: Runs, split: str) -> list[str]:
    """H MAE of one variant over that of another with the same seeds: mean, confidence interval and verdict of model_choice."""
    lines = []
    for ours, theirs, title in RATIOS:
        seeds = sorted(seeds_of(runs, ours) & seeds_of(runs, theirs))
        if not seeds:
            continue
        logs = log_ratios(runs, seeds, ours, theirs, "mae_all", split)
        text = f"* H MAE of {title}, seed by seed: {', '.join(f'{ratio:.2f}' for ratio in np.exp(logs))}"
        if len(seeds) > 1:
            low, high = np.exp(logs.mean() + np.array([-1, 1]) * uncertainty(logs))
            text += f"; mean {np.exp(logs.mean()):.2f}, {CONFIDENCE:.0%} interval {low:.2f} to {high:.2f}"
        lines.append(f"{text} ({judge(logs)})")
    return lines


def seeds_of(runs: Runs, variant: str) -> set[int]:
    """Seeds a variant was run with."""
    return {int(name.rsplit("-", 1)[1]) for name in runs if name.rsplit("-", 1)[0] == variant}


def cycle_ratios(cycles: dict | None, split: str, runs: Runs) -> list[float]:
    """Mean SCF cycles from the densities of these runs over those from PySCF's guess; [] if none was measured."""
    return [figures["cycles_ratio"][GUESS] for figures in find_models(cycles, split, runs).values()]


def cycle_lines(cycles: dict | None, split: str, runs: Runs) -> list[str]:
    """On how many molecules, and whether all runs end at the same energy."""
    found = find_models(cycles, split, runs)
    if not found:
        return []
    summary = cycles["summary"][f"split {split}"]
    starts = ", ".join(f"{name} {start['cycles']:.1f}" for name, start in summary["starts"].items())
    same = min(figures["same_energy"] for figures in found.values())
    share = "all" if same == 1 else f"at least {same:.0%}"
    return [
        f"* SCF on {summary['molecules']} of them; mean cycles from other starts: {starts}; {share} of the runs from each "
        f"prediction end at the energy of {GUESS}"
    ]


def find_models(cycles: dict | None, split: str, runs: Runs) -> dict[str, dict]:
    """{run: figures of scf_cycles_comparison.json}: models of comparison.py lie in folders named like their runs."""
    models = ((cycles or {"summary": {}})["summary"].get(f"split {split}") or {"models": {}})["models"]
    return {name: figures for path, figures in models.items() if (name := Path(path).parent.name) in runs}


def molecule_error_table(result: dict | None) -> str:
    """Errors of models of molecules, split by split; result: molecule_errors.json."""
    if result is None:
        return "No model of molecules has been measured yet."
    keys = ("h_all", "h_onsite", "h_offsite", "epsilon", "homo", "lumo")
    lines = [
        "| model | molecules | of | H MAE | diagonal | off-diagonal | epsilon | HOMO | LUMO | psi (%) | s per molecule |",
        "|---|" + "---|" * 10,
    ]
    for name, model in result["models"].items():
        for split, group in model.items():
            if not isinstance(group, dict):
                continue
            for kind in ("mean", "median"):
                figures = group[kind]
                cells = [with_spread([figures[key]]) for key in keys]
                cells += [with_spread([100 * figures["psi"]]), f"{figures['seconds']:.2g}"]
                lines.append(f"| {name} | {group['molecules']} {split} | {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
