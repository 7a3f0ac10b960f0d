"""The comparison at its smallest size: one epoch on two-atom cells."""

import json
from dataclasses import replace

import pytest
import yaml

from ase_tracegrad.io.store import StoreWriter
from ase_tracegrad.nn.backbones import build_network
from ase_tracegrad.nn.config import DeepHE3Config, NetworkConfig, QHNetConfig, TraceGradConfig
from ase_tracegrad.nn.network import count_parameters
from tests.molecule_model import FEW_LAYERS, label_by_hueckel

NETWORK = {
    "cutoff": 3.0,
    "message_cutoff": 2.6,
    "n_blocks": 1,
    "embedding": 8,
    "n_radial": 8,
    "radial_hidden": 8,
    "hidden": "8x0e+4x1o+2x2e",
    "edge_last": "8x0e+4x1o+2x1e+2x2e",
    "node_last": "8x0e+4x1o+2x1e+2x2e",
    "tracegrad": {"hidden": 8, "invariants": 6},
}


@pytest.fixture
def comparison(load_benchmark):
    return load_benchmark("comparison")


@pytest.fixture
def config(tmp_path, graphene_store):
    data = tmp_path / "graphene.h5"
    with StoreWriter(data) as store:
        for name, split, group in (
            ("a", "train", "displaced"),
            ("b", "validation", "displaced"),
            ("c", "test", "displaced"),
            ("d", "test", "primitive cell"),
        ):
            sample = graphene_store["perfect" if group == "primitive cell" else "displaced"]
            sample.info.update(split=split, group=group)
            store.add(name, sample)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({"data": str(data), "out": "not used", "network": NETWORK}))
    return path


@pytest.fixture
def command(comparison, config, tmp_path):
    """command(*arguments) runs the script and returns the json it wrote."""

    def run(*arguments):
        out = tmp_path / "out.json"
        comparison.main([str(config), "--epochs", "1", "--work", str(tmp_path / "work"), "--out", str(out), *arguments])
        return json.loads(out.read_text())

    return run


def test_runs_are_kept_and_summarised(comparison, command, tmp_path, monkeypatch, capsys):
    first = command("--variants", "tracegrad", "backbone")
    assert list(first["runs"]) == ["backbone-0", "tracegrad-0"]
    figures = first["runs"]["backbone-0"]["groups"]
    assert set(figures) == {"test", "displaced", "primitive cell"}
    assert figures["test"]["structures"] == 1  # without the primitive cell
    assert figures["test"]["mae_all"] == figures["displaced"]["mae_all"]
    assert figures["test"]["band_rmse"] == pytest.approx(figures["displaced"]["band_rmse"])
    assert "TraceGrad" in capsys.readouterr().out
    assert first["summary"]["backbone"]["prediction_seconds"] > 0

    monkeypatch.setattr(comparison, "Trainer", lambda *_: pytest.fail("a finished run is repeated"))
    assert command("--variants", "tracegrad")["runs"] == first["runs"]
    with pytest.raises(ValueError, match="of other settings or data"):
        command("--variants", "tracegrad", "--set", "loss.elements=mse")


def test_molecules_are_evaluated_split_by_split(comparison, tmp_path, command):
    """A run that saw one split is evaluated again if more are asked for; the training is not repeated."""
    config = tmp_path / "tiny.yaml"
    with StoreWriter(tmp_path / "molecules.h5") as store:
        for seed, (formula, split) in enumerate(
            zip([*4 * ["H2O"], "H2O2"], ["train", "validation", "test", "test", "larger"], strict=True)
        ):
            sample = label_by_hueckel(formula, seed)
            sample.info["split"] = split
            store.add(f"{formula}-{seed}", sample)
    network = {"backbone": "qhnet", "cutoff": 10.0, "message_cutoff": 5.0, "qhnet": FEW_LAYERS}
    network["tracegrad"] = {"hidden": 4, "invariants": 3}
    config.write_text(yaml.safe_dump({"data": str(tmp_path / "molecules.h5"), "out": "not used", "network": network}))
    before = command("--variants", "backbone")
    assert "larger" not in before["runs"]["backbone-0"]["groups"]
    result = command("--variants", "backbone", "tracegrad", "--splits", "test", "larger")
    for run in result["runs"].values():
        test, larger = run["groups"]["test"], run["groups"]["larger"]
        assert (test["structures"], larger["structures"]) == (2, 1)
        assert larger["median_mae_all"] == larger["mae_all"]
        assert larger["median_epsilon"] == larger["epsilon"]
        assert 0 < larger["psi"] <= 1
        assert test["prediction_seconds"] == run["prediction_seconds"]
        assert larger["prediction_seconds"] > 0
    assert result["runs"]["backbone-0"]["cpu_seconds"] == before["runs"]["backbone-0"]["cpu_seconds"]
    assert result["runs"]["backbone-0"]["groups"]["test"]["mae_all"] == pytest.approx(
        before["runs"]["backbone-0"]["groups"]["test"]["mae_all"]
    )
    assert result["summary"]["TraceGrad"]["larger median_epsilon"]["std"] is None
    with pytest.raises(SystemExit):
        command("--splits", "larger")


def test_runs_of_an_older_version_stay(command, tmp_path):
    """Settings that came later had their defaults then."""
    first = command("--variants", "backbone")
    file = tmp_path / "work" / "backbone-0" / "result.json"
    result = json.loads(file.read_text())
    del result["made_with"]["network"]["harmose"], result["made_with"]["refine"], result["prediction_seconds"]
    file.write_text(json.dumps(result))
    again = command("--variants", "backbone")["runs"]["backbone-0"]
    assert again["groups"] == first["runs"]["backbone-0"]["groups"]
    assert again["prediction_seconds"] > 0  # measured later


def test_mean_and_spread_over_seeds(load_benchmark):
    summary = load_benchmark("summary")
    figures = dict.fromkeys((*summary.MEANS, *summary.LARGEST, *summary.SQUARES), 1.0)
    runs = {
        f"tracegrad-{seed}": {"parameters": 5, "cpu_seconds": 2.0, "groups": {"test": figures | {"mae_all": mae, "structures": 1}}}
        for seed, mae in ((0, 2.0), (1, 4.0))
    }
    ((title, entry),) = summary.summarize(runs).items()
    assert (title, entry["seeds"]) == ("TraceGrad", 2)
    assert entry["test mae_all"] == {"mean": 3.0, "std": pytest.approx(2**0.5)}
    assert "test structures" not in entry
    assert summary.summarize({"tracegrad-0": runs["tracegrad-0"]})["TraceGrad"]["test mae_all"]["std"] is None


def test_what_the_variants_are(comparison, config, tmp_path):
    options = comparison.parse([str(config), "--epochs", "20", "--set", "optimizer.learning_rate=1e-3"])
    made = {name: comparison.make_config(config, name, 7, options) for name in comparison.VARIANTS}
    parts = {name: (c.network.tracegrad.edges, c.network.tracegrad.gradient, c.loss.trace_weight > 0) for name, c in made.items()}
    assert parts["tracegrad"] == parts["tracegrad-standardized"] == (True, True, True)
    assert parts["trace-loss"] == (True, False, True)
    assert parts["gradient"] == (True, True, False)
    assert parts["backbone"] == parts["standardized"] == parts["matched"] == (False, True, False)
    assert [name for name, c in made.items() if c.standardize] == ["standardized", "tracegrad-standardized"]
    assert {(c.seed, c.schedule.epochs, c.validate_every, c.optimizer.learning_rate) for c in made.values()} == {(7, 20, 2, 1e-3)}


def test_the_ablation_changes_one_choice_of_tracegrad(comparison, config, load_benchmark):
    variants = load_benchmark("variants").ABLATION
    options = comparison.parse([str(config), "--epochs", "20", "--variants", *variants])
    plain = comparison.make_config(config, "tracegrad", 0, options)
    for name in options.variants:
        if name != "backbone-three-blocks":
            changed = comparison.make_config(config, name, 0, options)
            assert replace(changed, out=plain.out, card=plain.card) != plain, name
            assert changed.network.tracegrad.gradient


def test_a_second_stage_begins_from_the_run_of_the_same_seed(command, tmp_path):
    """The run it needs is made, or made into a model if an older version kept none."""
    small = ("--set", "network.harmose.width=8", "--set", "network.harmose.heads=2")
    first = command("--variants", "harmose", "--seeds", "3", *small)
    assert list(first["runs"]) == ["standardized-3", "harmose-3"]
    assert first["runs"]["harmose-3"]["equivariance"]["max"] > 0
    assert first["runs"]["standardized-3"]["equivariance"] == {}
    more = first["runs"]["harmose-3"]["parameters"] - first["runs"]["standardized-3"]["parameters"]
    assert more > 0  # both stages count
    model = tmp_path / "work" / "standardized-3" / "model.safetensors"
    before = model.read_bytes()
    model.unlink()
    (tmp_path / "work" / "harmose-3" / "result.json").unlink()
    (tmp_path / "work" / "harmose-3" / "state.pt").unlink()
    again = command("--variants", "harmose", "--seeds", "3", *small)
    assert again["runs"]["harmose-3"]["groups"] == first["runs"]["harmose-3"]["groups"]
    assert len(model.read_bytes()) == len(before)


@pytest.mark.parametrize("backbone", ["fast", "deeph-e3", "qhnet"])
def test_matched_parameters(comparison, config, graphene_store, backbone):
    with_blocks = comparison.load_config(config).network
    if backbone == "deeph-e3":
        small = DeepHE3Config(hidden="12x0e+6x1o+4x2e", filter_lmax=2, n_blocks=1, embedding=8, n_radial=8)
        with_blocks = NetworkConfig(backbone=backbone, cutoff=3.0, deeph_e3=small, tracegrad=with_blocks.tracegrad)
    if backbone == "qhnet":
        small = QHNetConfig(hidden=16, lmax=2, bottleneck=8, n_layers=1, n_pair_layers=1, n_radial=8)
        with_blocks = NetworkConfig(backbone=backbone, cutoff=3.0, message_cutoff=3.0, qhnet=small, tracegrad=with_blocks.tracegrad)
    without = replace(with_blocks, tracegrad=TraceGradConfig(nodes=False, edges=False, decoder=False))
    basis = graphene_store["displaced"].basis
    count = lambda network: count_parameters(build_network(network, basis, [6]))  # noqa: E731
    matched = comparison.match_parameters(without, with_blocks, comparison.load_config(config).data)
    assert count(without) < count(with_blocks) <= count(matched) < 1.3 * count(with_blocks)
    assert matched.tracegrad == without.tracegrad


def test_stage_one_trained_as_long_as_both(comparison, config, command):
    options = comparison.parse([str(config), "--epochs", "20"])
    longer, plain = (comparison.make_config(config, name, 0, options) for name in ("longer", "standardized"))
    assert (longer.schedule.epochs, plain.schedule.epochs) == (40, 20)
    assert replace(longer, out="", card=plain.card, validate_every=2, schedule=plain.schedule) == replace(plain, out="")
    result = command("--variants", "longer", "standardized")
    assert result["epochs"] == 1
    assert {name: row["epochs"] for name, row in result["runs"].items()} == {"standardized-0": 1, "longer-0": 2}


def test_splits_that_are_not_there(command):
    """Known before anything is trained."""
    with pytest.raises(SystemExit, match=r"hold no larger; they hold test, train, validation"):
        command("--splits", "test", "larger")


def test_runs_of_different_length_do_not_mix(command):
    command("--variants", "backbone")
    with pytest.raises(ValueError, match="holds runs of different length or data"):
        command("--variants", "gradient", "--epochs", "2")
