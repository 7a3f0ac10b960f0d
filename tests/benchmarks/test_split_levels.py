"""Touching bands at their smallest size: random weights, few angles."""

import json


def test_levels_are_split_by_the_second_stage_alone(load_benchmark, harmose_files, tmp_path):
    benchmark = load_benchmark("split_levels")
    model, data = map(str, harmose_files)
    out, picture = tmp_path / "out.json", tmp_path / "out.png"
    benchmark.main([model, data, "--angles", "2", "--out", str(out), "--picture", str(picture)])
    result = json.loads(out.read_text())
    apart = {name: figures["splitting"]["K"] for name, figures in result["ways"].items()}
    assert set(apart) == {"stage 1", "both stages", "mean of 8 orientations", "symmetrized"}
    assert max(apart["stage 1"], apart["symmetrized"]) < 1e-3 < 0.1 < apart["both stages"]
    turned = result["turned"]["splitting"]
    assert all(len(values) == 2 for values in turned.values())
    assert max(turned["stage 1"]) < 1e-3 * min(turned["both stages"])
    assert set(result["label"]["splitting"]) == {"G", "K", "M"}
    assert picture.stat().st_size > 10_000
