"""Which model when: the tables that compare stage 1, HarmoSE and TraceGrad on the sets of benchmarks/comparison.py."""

import math

import numpy as np
from scipy.stats import t as student

CANDIDATES = {
    "standardized": "stage 1",
    "longer": "stage 1, twice the epochs",
    "harmose-matched": "stage 1, as many parameters as HarmoSE",
    "harmose": "HarmoSE",
    "tracegrad-standardized": "TraceGrad",
    "tracegrad-harmose": "TraceGrad with stage 2",
}
STAGE_ONE = {"harmose": "standardized", "tracegrad-harmose": "tracegrad-standardized"}
FIGURES = (
    ("H MAE", "mae_all"),
    ("cha_s", "cha_s"),
    ("cha_b", "cha_b"),
    ("H MAE, aligned", "mae_gauge"),
    ("bands RMSE", "band_rmse"),
    ("bands, aligned", "band_rmse_gauge"),
)
CONFIDENCE = 0.95
Runs = dict[str, dict]


def choice_tables(results: list[dict]) -> str:
    """All candidates on every set that has a HarmoSE run, and what to choose for which purpose; results: comparison_*.json."""
    compared = {result["name"]: (result, shared_seeds(result["runs"])) for result in results if has_second_stage(result["runs"])}
    if not compared:
        return "No run of HarmoSE yet."
    lines = [
        "| what matters | " + " | ".join(f"{name}, {count_seeds(seeds)}" for name, (_, seeds) in compared.items()) + " |",
        "|---|" + "---|" * len(compared),
    ]
    for title, choose in PURPOSES.items():
        lines.append(f"| {title} | " + " | ".join(choose(result["runs"], seeds) for result, seeds in compared.values()) + " |")
    return "\n\n".join(["\n".join(lines), *(candidate_table(result, seeds) for result, seeds in compared.values())])


def has_second_stage(runs: Runs) -> bool:
    """Whether a set has anything to choose between."""
    return any(name.rsplit("-", 1)[0] in STAGE_ONE for name in runs)


def shared_seeds(runs: Runs) -> list[int]:
    """The seeds that every candidate with runs was trained with: only these are compared. SystemExit if there is none."""
    seeds = {variant: {int(name.rsplit("-", 1)[1]) for name in runs if name.rsplit("-", 1)[0] == variant} for variant in CANDIDATES}
    shared = set.intersection(*(found for found in seeds.values() if found))
    if not shared:
        listed = "; ".join(f"{variant} {sorted(found)}" for variant, found in seeds.items() if found)
        raise SystemExit(f"no seed is shared by all candidates: {listed}. Run benchmarks/comparison.py with equal --seeds")
    return sorted(shared)


def count_seeds(seeds: list[int]) -> str:
    """In words."""
    return "one seed, no spread" if len(seeds) == 1 else f"{len(seeds)} seeds"


def candidate_table(result: dict, seeds: list[int]) -> str:
    """Every figure of every candidate of one set, and sentences on what the second stage changed."""
    runs = result["runs"]
    lines = [
        f"**{result['name']}**: {result['training_structures']} training structures, {result['epochs']} epochs of each stage, "
        f"{count_seeds(seeds)}; meV, CPU seconds (s) on {result['machine']}",
        "",
        "| model | parameters | "
        + " | ".join(title for title, _ in FIGURES)
        + " | turned: H | turned: bands, at most | s per epoch | s of training | s per prediction |",
        "|---|" + "---|" * (len(FIGURES) + 6),
    ]
    for variant in candidates_of(runs):
        of_seed = [runs[f"{variant}-{seed}"] for seed in seeds]
        cells = [str(of_seed[0]["parameters"])]
        cells += [with_spread([run["groups"]["test"][key] for run in of_seed]) for _, key in FIGURES]
        cells += [turned_cell(of_seed, "rmse"), turned_cell(of_seed, "band_max")]
        cells.append(f"{np.mean([run['cpu_seconds'] / run['epochs'] for run in of_seed]):.2g}")
        cells.append(f"{training_seconds(runs, seeds, variant):.0f}")
        cells.append(f"{prediction_seconds(runs, seeds, variant):.2g}".replace("nan", "-"))
        lines.append(f"| {CANDIDATES[variant]} | " + " | ".join(cells) + " |")
    sentences = [
        describe_effect(runs, seeds, *pair) for pair in (*STAGE_ONE.items(), ("harmose", "longer"), ("harmose", "harmose-matched"))
    ]
    return "\n".join([*lines, "", *(sentence for sentence in sentences if sentence)])


def candidates_of(runs: Runs) -> list[str]:
    """Those with runs, in the order of the table."""
    there = {name.rsplit("-", 1)[0] for name in runs}
    return [variant for variant in CANDIDATES if variant in there]


def with_spread(values: list[float]) -> str:
    """Mean ± standard deviation; the value alone if there is one."""
    return f"{np.mean(values):.2f}" + (f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else "")


def turned_cell(runs: list[dict], key: str) -> str:
    """What turning the structures changes; 'exact' without a second stage."""
    found = [run["equivariance"][key] for run in runs if run.get("equivariance")]
    return with_spread(found) if found else "exact"


def training_seconds(runs: Runs, seeds: list[int], variant: str) -> float:
    """CPU seconds of all stages."""
    parts = [variant, *([STAGE_ONE[variant]] if variant in STAGE_ONE else [])]
    return sum(float(np.mean([runs[f"{part}-{seed}"]["cpu_seconds"] for seed in seeds])) for part in parts)


def prediction_seconds(runs: Runs, seeds: list[int], variant: str) -> float:
    """CPU seconds, in the mean over the test structures; nan if an older version did not measure it."""
    return float(np.mean([runs[f"{variant}-{seed}"].get("prediction_seconds", math.nan) for seed in seeds]))


def describe_effect(runs: Runs, seeds: list[int], ours: str, theirs: str) -> str:
    """H MAE of one candidate over that of another, and whether the seeds tell them apart; '' if one has no runs."""
    if not {ours, theirs} <= set(candidates_of(runs)):
        return ""
    ratios = np.exp(log_ratios(runs, seeds, ours, theirs, "mae_all"))
    listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return f"* H MAE of {CANDIDATES[ours]} / {CANDIDATES[theirs]}, seed by seed: {listed} ({judge(np.log(ratios))})"


def log_ratios(runs: Runs, seeds: list[int], ours: str, theirs: str, key: str, group: str = "test") -> np.ndarray:
    """(seeds,) of a figure of two candidates with the same seed."""
    figures = np.array([[runs[f"{variant}-{seed}"]["groups"][group][key] for seed in seeds] for variant in (ours, theirs)])
    return np.log(figures[0] / figures[1])


def judge(values: np.ndarray) -> str:
    """Whether the seeds tell two candidates apart, in words; values (seeds,): logarithms of the ratios of their errors."""
    if len(values) == 1:
        return "one seed, no spread: not known whether it is more than chance"
    if differs(values):
        return f"{'lower' if values.mean() < 0 else 'higher'}, beyond the spread of the seeds"
    return "no significant effect"


def differs(values: np.ndarray) -> bool:
    """Whether the mean is not zero by Student's t test at the level CONFIDENCE; two values at least."""
    return bool(abs(values.mean()) > uncertainty(values))


def uncertainty(values: np.ndarray) -> float:
    """Half the width of the confidence interval of the mean, by Student's t at the level CONFIDENCE; two values at least."""
    return float(student.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


def choose_by_error(key: str, *, exact: bool = False):
    """A column of the recommendation: the lowest figure, and which others the seeds do not tell from it."""

    def choose(runs: Runs, seeds: list[int]) -> str:
        chosen = [variant for variant in candidates_of(runs) if not (exact and variant in STAGE_ONE)]
        values = {variant: [runs[f"{variant}-{seed}"]["groups"]["test"][key] for seed in seeds] for variant in chosen}
        best = min(chosen, key=lambda variant: np.mean(values[variant]))
        text = f"{CANDIDATES[best]} ({with_spread(values[best])})"
        if len(seeds) == 1:
            return text
        alike = [CANDIDATES[other] for other in chosen if other != best and not differs(log_ratios(runs, seeds, other, best, key))]
        return text + (f"; not told apart from: {', '.join(alike)}" if alike else "")

    return choose


def choose_by_seconds(measure):
    """A column of the recommendation: the shortest time."""

    def choose(runs: Runs, seeds: list[int]) -> str:
        seconds = {variant: measure(runs, seeds, variant) for variant in candidates_of(runs)}
        known = {variant: value for variant, value in seconds.items() if math.isfinite(value)}
        best = min(known, key=lambda variant: known[variant], default=None)
        return "-" if best is None else f"{CANDIDATES[best]} ({known[best]:.3g} s)"

    return choose


PURPOSES = {
    "smallest error of H": choose_by_error("mae_all"),
    "smallest error of the worst shell pair": choose_by_error("cha_b"),
    "smallest error of the bands, aligned": choose_by_error("band_rmse_gauge"),
    "exact symmetry, then the error of H": choose_by_error("mae_all", exact=True),
    "short training": choose_by_seconds(training_seconds),
    "fast prediction": choose_by_seconds(prediction_seconds),
}
