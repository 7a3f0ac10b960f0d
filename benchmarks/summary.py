"""Figures of the runs of comparison.py: pooled over the test structures of a run, then over the seeds of a variant."""

import numpy as np
from variants import ALL

POOLED = "test"  # all test structures but unperturbed primitive cells, which the literature's sets do not hold
MEANS = ("mae_all", "mae_onsite", "mae_offsite", "mae_gauge", "gap_error", "epsilon", "psi", "homo", "lumo")
LARGEST = ("cha_s", "cha_b", "band_max")
SQUARES = ("band_rmse", "band_rmse_gauge")
OF_MOLECULES = ("median_mae_all", "median_epsilon", "prediction_seconds")


def pool(structures: dict[str, dict]) -> dict[str, float]:
    """Figures of all displaced test structures, each with the same weight."""
    rows = [figures for figures in structures.values() if "primitive cell" not in figures["group"]]
    if not rows:
        raise ValueError("the test split holds no displaced structure")
    figures = {key: float(np.mean([row[key] for row in rows])) for key in MEANS if key in rows[0]}
    figures |= {key: float(max(row[key] for row in rows)) for key in LARGEST}
    figures |= {key: float(np.sqrt(np.mean([row[key] ** 2 for row in rows]))) for key in SQUARES}
    return figures | {"structures": len(rows)}


def medians(structures: dict[str, dict], group: str) -> dict[str, float]:
    """Medians over the molecules of a group, which single failures do not move; that of epsilon only if it is known."""
    rows = [figures for figures in structures.values() if figures["group"] == group]
    return {f"median_{key}": float(np.median([row[key] for row in rows])) for key in ("mae_all", "epsilon") if key in rows[0]}


def variant_of(run_name: str) -> str:
    """'tracegrad' of 'tracegrad-0'."""
    return run_name.rsplit("-", 1)[0]


def summarize(runs: dict[str, dict]) -> dict:
    """Mean and standard deviation over the seeds, of every variant that has runs."""
    summary = {}
    for name in dict.fromkeys(map(variant_of, runs)):
        rows = [result for run_name, result in runs.items() if variant_of(run_name) == name]
        seconds = [row["cpu_seconds"] for row in rows]
        entry = {"seeds": len(rows), "parameters": rows[0]["parameters"], "cpu_seconds": float(np.mean(seconds))}
        if all("prediction_seconds" in row for row in rows):
            entry["prediction_seconds"] = float(np.mean([row["prediction_seconds"] for row in rows]))
        for group in rows[0]["groups"]:
            for key in (*MEANS, *LARGEST, *SQUARES, *OF_MOLECULES):
                values = [row["groups"][group][key] for row in rows if key in row["groups"].get(group, {})]
                if values:
                    entry[f"{group} {key}"] = mean_and_spread(values)
        summary[ALL[name].title] = entry
    return summary


def mean_and_spread(values: list[float]) -> dict[str, float | None]:
    """Mean and standard deviation, None for one value."""
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None}
