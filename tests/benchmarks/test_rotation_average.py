"""The averages over orientations at their smallest size: one structure, random weights."""

import json

import pytest


def test_rows(load_benchmark, harmose_files, tmp_path, monkeypatch):
    benchmark = load_benchmark("rotation_average")
    monkeypatch.setattr(benchmark, "REPEATS", 1)
    model, data = map(str, harmose_files)
    benchmark.main([model, data, "--rotations", "16", "--out", str(tmp_path / "out.json")])
    rows = {row["prediction"]: row for row in json.loads((tmp_path / "out.json").read_text())["rows"]}
    exact, plain, averaged = (
        rows[name]["equivariance"]["rmse"] for name in ("stage 1 alone", "both stages", "mean of 16 orientations")
    )
    assert exact < 0.01 * plain  # rounding
    assert averaged < 0.7 * plain
    assert rows["both stages"]["cost"] == 1
    assert rows["stage 1 alone"]["mae_all"] != rows["both stages"]["mae_all"] > 0


def test_no_test_structure(load_benchmark, harmose_files):
    with pytest.raises(ValueError, match="no test structure"):
        load_benchmark("rotation_average").read_test_structures(harmose_files[1], 0)
