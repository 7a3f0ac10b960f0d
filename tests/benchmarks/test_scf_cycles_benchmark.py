"""The benchmark of SCF cycles on one displaced water: the label's density needs least, and the figures are summed up."""

import json
import sys

import pytest

from ase_tracegrad.io.store import StoreReader
from tests.molecule_model import label_waters, write_baseline_model


def test_water(load_benchmark, tmp_path, monkeypatch, tidy_pyscf):
    benchmark = load_benchmark("scf_cycles")
    data, model = label_waters(tmp_path), tmp_path / "baseline.safetensors"
    write_baseline_model(model, data)
    with StoreReader(data) as store:
        assert benchmark.choose_names(store, ["train", "test"], 1) == ["water-0", "water-3"]
        with pytest.raises(SystemExit, match="no molecules of larger"):
            benchmark.choose_names(store, ["larger"], None)
    out = tmp_path / "scf_cycles.json"
    arguments = [str(model), "--data", str(data), "--splits", "test", "--guesses", "minao", "1e", "--forces", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["scf_cycles.py", *arguments])
    benchmark.main()
    result = json.loads(out.read_text())
    assert set(result["summary"]) == {"all", "split test", "1 heavy atoms"}
    figures = result["summary"]["all"]
    assert list(figures["models"]) == [f"{model.parent.name}/{model.name}"], "no path of this machine"
    starts, (found,) = figures["starts"], figures["models"].values()
    assert starts["label"]["cycles"] < found["cycles"] <= starts["minao"]["cycles"] < starts["1e"]["cycles"]
    assert found["same_energy"] == 1
    assert found["cycles_ratio"]["minao"] == found["cycles"] / starts["minao"]["cycles"]
    density = found["density"]
    assert density["energy_error"] > 0  # variational
    assert density["force_mae"] != density["force_mae_without_response"]
    assert min(density[f"{part}_seconds"] for part in ("prediction", "functional", "gradient", "response")) > 0
