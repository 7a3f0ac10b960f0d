"""Which model when: made from runs alone, and no louder than their seeds allow."""

import pytest


@pytest.fixture
def choice(script):
    return script("model_choice")


def make_run(choice, mae, *, seconds=60.0, equivariance=None, **changes):
    figures = {key: mae for _, key in choice.FIGURES} | changes
    run = {"parameters": 10, "epochs": 20, "cpu_seconds": seconds, "prediction_seconds": seconds / 1000}
    return run | {"groups": {"test": figures}, "equivariance": equivariance or {}}


def make_result(choice, errors: dict[str, list[float]]) -> dict:
    """One set; errors: H MAE of each variant, one for each seed."""
    turned = {"rmse": 0.25, "band_max": 4.5}
    runs = {
        f"{variant}-{seed}": make_run(choice, mae, equivariance=turned if variant in choice.STAGE_ONE else None)
        for variant, maes in errors.items()
        for seed, mae in enumerate(maes)
    }
    return {"name": "mg", "training_structures": 34, "epochs": 20, "machine": "a processor", "runs": runs}


def test_one_seed(choice):
    text = choice.choice_tables([make_result(choice, {"standardized": [2.0, 2.1], "harmose": [1.5], "tracegrad": [1.0]})])
    assert "| what matters | mg, one seed, no spread |" in text
    assert "| smallest error of H | HarmoSE (1.50) |" in text  # TraceGrad on raw H is no candidate
    assert "| exact symmetry, then the error of H | stage 1 (2.00) |" in text
    assert "| short training | stage 1 (60 s) |" in text
    assert "| HarmoSE | 10 | 1.50 | 1.50 | 1.50 | 1.50 | 1.50 | 1.50 | 0.25 | 4.50 | 3 | 120 | 0.06 |" in text  # both stages
    assert "| stage 1 | 10 | 2.00 | 2.00 | 2.00 | 2.00 | 2.00 | 2.00 | exact | exact | 3 | 60 | 0.06 |" in text
    assert text.endswith("HarmoSE / stage 1, seed by seed: 0.75 (one seed, no spread: not known whether it is more than chance)")


def test_seeds_decide(choice):
    """A gain of a third that every seed shows, and one of a fiftieth within their spread."""
    errors = {"standardized": [2.0, 2.1, 1.9], "harmose": [1.5, 1.6, 1.4], "tracegrad-standardized": [1.45, 1.65, 1.35]}
    text = choice.choice_tables([make_result(choice, errors)])
    assert "| smallest error of H | TraceGrad (1.48 ± 0.15); not told apart from: HarmoSE |" in text
    assert "seed by seed: 0.75, 0.76, 0.74 (lower, beyond the spread of the seeds)" in text
    equal = make_result(choice, {"standardized": [2.0, 2.1, 1.9], "harmose": [1.9, 2.2, 1.95]})
    assert "seed by seed: 0.95, 1.05, 1.03 (no significant effect)" in choice.choice_tables([equal])


def test_two_seeds_tell_little(choice):
    text = choice.choice_tables([make_result(choice, {"standardized": [2.0, 2.1], "harmose": [1.7, 1.9]})])
    assert "0.85, 0.90 (no significant effect)" in text


def test_runs_of_an_older_version(choice):
    """They did not take the time of a prediction."""
    result = make_result(choice, {"standardized": [2.0], "harmose": [1.5]})
    for run in result["runs"].values():
        del run["prediction_seconds"]
    text = choice.choice_tables([result])
    assert "| fast prediction | - |" in text
    assert "| 3 | 120 | - |" in text


def test_sets_without_a_second_stage_are_left_out(choice):
    assert choice.choice_tables([make_result(choice, {"standardized": [2.0]})]) == "No run of HarmoSE yet."
