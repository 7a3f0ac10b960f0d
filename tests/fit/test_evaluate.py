from types import SimpleNamespace

import pytest

from ase_tracegrad.fit.evaluate import evaluate_model


def test_samples_are_taken_one_at_a_time(graphene_store):
    """A test set need not fit into memory; and a model that gives the labels back makes no errors."""
    events = []
    sample = graphene_store["displaced"]

    def samples():
        for name in ("a", "b"):
            events.append(name)
            yield "group", name, sample

    def predict(structures, overlaps, references):
        events.append("predicted")
        return [sample.hamiltonian]

    result = evaluate_model(SimpleNamespace(predict=predict), samples(), progress=False)
    assert events == ["a", "predicted", "b", "predicted"]
    assert set(result["structures"]) == {"a", "b"}
    assert result["groups"]["group"]["structures"] == 2
    assert result["groups"]["group"]["mae_all"] == 0
    assert result["groups"]["group"]["band_max"] == pytest.approx(0, abs=1e-6)
