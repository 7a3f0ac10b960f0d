"""The uncertainty benchmark on labels of chains and networks without training."""

import pytest

from tests.fit.cases import write_store
from tests.screen.test_uncertainty import save_untrained


def test_figures_follow_from_the_structures(tmp_path, load_benchmark):
    benchmark = load_benchmark("uncertainty")
    data = write_store(tmp_path / "chains.h5", train=4, validation=5, test=6)
    models = [str(save_untrained(tmp_path / f"{seed}.safetensors", seed)) for seed in range(2)]
    found = benchmark.judge_uncertainty(models, data)
    assert len(found["structures"]) == 6
    figures, factor = found["test"]["spread"]["hamiltonian"], found["validation"]["factors"]["spread"]["hamiltonian"]
    errors = [one["error"]["hamiltonian"] for one in found["structures"]]
    spreads = [factor * one["uncertainty"]["spread"]["hamiltonian"] for one in found["structures"]]
    below = sum(error < 2 * spread for error, spread in zip(errors, spreads, strict=True))
    assert figures["share_below"]["2"] == pytest.approx(below / 6)
    assert -1 <= figures["rank_correlation"] <= 1
    assert not (tmp_path / "0.trust.json").exists()  # it goes beside a copy
