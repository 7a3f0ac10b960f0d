"""train.py and evaluate.py as users run them, on two CP2K structures and a tiny network."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ase_tracegrad.io.store import StoreWriter
from ase_tracegrad.nn.checkpoint_header import read_header
from ase_tracegrad.nn.predictor import load_model

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "validate_every": 1,
    "validate_bands": 1,
    "network": {
        "cutoff": 3.0,
        "message_cutoff": 2.6,
        "n_blocks": 1,
        "embedding": 4,
        "n_radial": 8,
        "radial_hidden": 4,
        "hidden": "4x0e+2x1o+1x2e",
        "edge_last": "4x0e+2x1o+1x1e+1x2e",
        "node_last": "4x0e+2x1o+1x1e+1x2e",
        "tracegrad": {"hidden": 4, "invariants": 2},
    },
    "loss": {"band_weight": 0.3, "band_start": 0.2, "band_kpts": 3, "trace_decay": True},
    "schedule": {"epochs": 8},
    "card": {"name": "tiny", "description": "two graphene cells", "label_noise_mev": 0.3},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory, graphene_store):
    """displaced and rotated to train, perfect to validate and to test."""
    path = tmp_path_factory.mktemp("data") / "graphene.h5"
    with StoreWriter(path) as store:
        for name, source, split in (
            ("x1-000", "displaced", "train"),
            ("x1-001", "rotated", "train"),
            ("x1-002", "perfect", "validation"),
            ("x1-003", "perfect", "test"),
            ("other-004", "rotated", "test"),
        ):
            sample = graphene_store[source]
            sample.info["split"] = split
            store.add(name, sample)
    return path


@pytest.fixture(scope="module")
def configuration(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(SETTINGS | {"data": str(data), "out": "to be set"}))
    return path


def start(script: str, *arguments, before=()) -> subprocess.Popen:
    command = [sys.executable, *before, str(ROOT / "training" / f"{script}.py"), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)


def run(script: str, *arguments) -> tuple[int, str, str]:
    process = start(script, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def finished(tmp_path_factory, configuration):
    """The folder of a run that nobody disturbed."""
    out = tmp_path_factory.mktemp("finished")
    code, stdout, stderr = run("train", configuration, "--set", f"out={out}", "--threads", 1)
    assert code == 0, stderr
    assert "python training/evaluate.py" in stdout
    assert "training structures" in stderr
    return out


def call(script, name, monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, standard output and error of a script's main() in this process."""
    monkeypatch.setattr("sys.argv", [f"{name}.py", *map(str, arguments)])
    code = 0
    try:
        script(name).main()
    except SystemExit as stopped:
        code = stopped.code
    return code, *capsys.readouterr()


def read_log(out: Path) -> list[dict]:
    with open(out / "log.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "cpu_seconds"} for row in csv.DictReader(file)]


# train.py, which stands still at the end of its fourth epoch, with weights that are newer than the saved state.
STANDS_STILL = """
import runpy, sys, time
from ase_tracegrad.fit.trainer import Trainer

run_epoch = Trainer._run_epoch

def stand_still(trainer):
    losses = run_epoch(trainer)
    if trainer.epoch == 3:
        print("standing still", flush=True)
        time.sleep(600)
    return losses

Trainer._run_epoch = stand_still
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_killed_run_resumes_bit_exactly(finished, configuration, tmp_path):
    process = start("train", configuration, "--set", f"out={tmp_path}", "--threads", 1, before=["-c", STANDS_STILL])
    said = process.stdout.readline()
    process.kill()
    _, stderr = process.communicate()
    assert said == "standing still\n", stderr
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "model.safetensors").exists()
    assert len(read_log(tmp_path)) == 3

    code, _, stderr = run("train", configuration, "--set", f"out={tmp_path}", "--threads", 1, "--resume")
    assert code == 0, stderr
    whole, resumed = (load_file(folder / "model.safetensors") for folder in (finished, tmp_path))
    assert whole.keys() == resumed.keys()
    for name in whole:
        assert torch.equal(whole[name], resumed[name]), name
    assert read_log(tmp_path) == read_log(finished)
    assert read_header(tmp_path / "model.safetensors")[0] == read_header(finished / "model.safetensors")[0]


def test_the_model_of_a_run(finished):
    card, basis, config = read_header(finished / "model.safetensors")
    assert (card.name, card.xc, card.elements) == ("tiny", "PBE", [6])
    assert card.training_set == "2 structures, 4 atoms, 8 epochs"
    assert basis[6].reach > 5
    assert config.cutoff == 3.0
    assert len(read_log(finished)) == 8


def test_evaluate_writes_json_table_and_card(script, finished, data, tmp_path, monkeypatch, capsys):
    model = tmp_path / "tiny.safetensors"
    model.write_bytes((finished / "model.safetensors").read_bytes())
    monkeypatch.chdir(tmp_path)
    code, table, stderr = call(script, "evaluate", monkeypatch, capsys, model, data, "--write-card")
    assert code == 0, stderr
    result = json.loads((tmp_path / "evaluation.json").read_text())
    assert set(result["groups"]) == {"primitive cell, strained", "other"}
    assert set(result["structures"]) == {"x1-003", "other-004"}
    for name, figures in result["groups"].items():
        assert name in table
        assert figures["structures"] == 1
        assert f"{figures['band_rmse']:.3f}" in table
        assert all(math.isfinite(v) for v in figures.values())
    card = read_header(model)[0]
    assert set(card.errors) == set(result["groups"])
    assert card.errors["other"]["mae_all"] == pytest.approx(result["groups"]["other"]["mae_all"], abs=1e-4)
    assert "primitive cell, strained" in str(card)
    before, after = load_file(finished / "model.safetensors"), load_file(model)
    assert all(torch.equal(before[name], after[name]) for name in before)

    arguments = [model, data, "--split", "train", "--out", tmp_path / "train.json"]
    code, _, _ = call(script, "evaluate", monkeypatch, capsys, *arguments)
    assert code == 0
    assert set(json.loads((tmp_path / "train.json").read_text())["structures"]) == {"x1-000", "x1-001"}
    assert read_header(model)[0] == card


def test_the_trained_model_is_a_model(finished, graphene_store):
    sample = graphene_store["displaced"]
    predictor = load_model(finished / "model.safetensors", dtype="float64")
    matrix = predictor.predict([sample.structure])[0]
    assert matrix.is_hermitian(1e-12)
    label = sample.hamiltonian.restricted_to(matrix)
    near = matrix.distances(sample.structure.positions, sample.structure.cell) < 2.5
    errors, scale = (abs(m.cut(near).values).mean() for m in (matrix - label, label))
    assert errors < 0.5 * scale


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedule.epoch=3"], "train.py: unknown key 'schedule.epoch'; did you mean 'epochs'?"),
        (["network.hidden=4x0q"], "train.py: cannot read the irreps '4x0q': expected terms such as 32x0e or 8x1o, found '4x0q'"),
        (["network.cutoff=1.0"], "train.py: message_cutoff must lie between 0 and cutoff = 1.0, found 2.6"),
        (["data=nowhere.h5"], "train.py: no packed data file at nowhere.h5"),
        (["data=README.md"], "train.py: README.md is not a readable HDF5 file"),
        (["out"], "train.py: --set expects section.key=value, found 'out'"),
    ],
)
def test_bad_settings_are_one_line_and_exit_code_2(script, configuration, monkeypatch, capsys, overrides, message):
    monkeypatch.chdir(ROOT)
    code, _, err = call(script, "train", monkeypatch, capsys, configuration, "--set", *overrides)
    assert code == 2
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_bad_files_are_one_line_and_exit_code_2(script, configuration, data, finished, tmp_path, monkeypatch, capsys):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((finished / "model.safetensors").read_bytes()[:1000])
    for name, arguments, message in (
        ("train", ["nowhere.yaml"], "train.py: no configuration file at nowhere.yaml"),
        ("train", [configuration, "--set", f"out={tmp_path}", "--resume"], "train.py: nothing to resume: no "),
        ("evaluate", ["nothing", data], "evaluate.py: no model named 'nothing'"),
        ("evaluate", [damaged, data], f"evaluate.py: {damaged} is not a readable safetensors file"),
        ("evaluate", [finished / "model.safetensors", "nowhere.h5"], "evaluate.py: no packed data file at nowhere.h5"),
        (
            "evaluate",
            [finished / "model.safetensors", data, "--split", "tset"],
            f"evaluate.py: {data} holds no sample of split 'tset'",
        ),
    ):
        code, _, err = call(script, name, monkeypatch, capsys, *arguments)
        assert code == 2
        assert err.splitlines()[-1].startswith(message)
        assert "Traceback" not in err


def test_a_diverging_run_says_what_to_do(script, configuration, tmp_path, monkeypatch, capsys):
    settings = [f"out={tmp_path}", "optimizer.learning_rate=1e30"]
    arguments = [configuration, *(part for setting in settings for part in ("--set", setting))]
    code, _, err = call(script, "train", monkeypatch, capsys, *arguments)
    assert code == 1
    assert "train.py: the gradient is not finite at step" in err
    assert "lower optimizer.learning_rate" in err
    assert "Traceback" not in err
