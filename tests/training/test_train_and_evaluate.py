"""tracegrad train and evaluate, and the scripts that are the same, on two CP2K structures and a tiny network."""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ase_tracegrad.cli import main
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
    assert f"evaluate it with  tracegrad evaluate {out / 'model.safetensors'}" in stdout
    assert "epoch 8/8: mae_all" in stderr
    assert "s per epoch, 0 s left" in stderr
    assert "training structures" in stderr
    return out


def call(capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, standard output and error of a command in this process."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code, *capsys.readouterr()


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


def test_evaluate_writes_json_table_and_card(finished, data, tmp_path, monkeypatch, capsys):
    model = tmp_path / "tiny.safetensors"
    model.write_bytes((finished / "model.safetensors").read_bytes())
    monkeypatch.chdir(tmp_path)
    code, table, stderr = call(capsys, "evaluate", model, data, "--write-card")
    assert code == 0, stderr
    result = json.loads((tmp_path / "evaluation.json").read_text())
    assert set(result["groups"]) == {"primitive cell, strained", "other"}
    assert set(result["structures"]) == {"x1-003", "other-004"}
    for name, figures in result["groups"].items():
        assert name in table
        assert "wrote evaluation.json" in table
        assert figures["structures"] == 1
        assert f"{figures['band_rmse']:.3f}" in table
        assert f"{figures['gap_error']:.3f}" in table
        assert all(math.isfinite(v) for v in figures.values())
    card = read_header(model)[0]
    assert set(card.errors) == set(result["groups"])
    assert card.errors["other"]["mae_all"] == pytest.approx(result["groups"]["other"]["mae_all"], abs=1e-4)
    assert "primitive cell, strained" in str(card)
    before, after = load_file(finished / "model.safetensors"), load_file(model)
    assert all(torch.equal(before[name], after[name]) for name in before)

    arguments = [model, data, "--split", "train", "--out", tmp_path / "train.json"]
    code, _, _ = call(capsys, "evaluate", *arguments)
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
        (["schedule.epoch=3"], "tracegrad: error: unknown key 'schedule.epoch'; did you mean 'epochs'?"),
        (
            ["network.hidden=4x0q"],
            "tracegrad: error: cannot read the irreps '4x0q': expected terms such as 32x0e or 8x1o, found '4x0q'",
        ),
        (["network.cutoff=1.0"], "tracegrad: error: message_cutoff must lie between 0 and cutoff = 1.0, found 2.6"),
        (["data=nowhere.h5"], "tracegrad: error: no packed data file at nowhere.h5"),
        (["data=README.md"], "tracegrad: error: README.md is not a readable HDF5 file"),
        (["data=docs"], "tracegrad: error: docs is a folder, expected a packed data file: tracegrad convert docs NAME.h5"),
        (["out"], "tracegrad: error: --set expects section.key=value, found 'out'"),
    ],
)
def test_bad_settings_are_one_line_and_exit_code_2(configuration, monkeypatch, capsys, overrides, message):
    monkeypatch.chdir(ROOT)
    code, _, err = call(capsys, "train", configuration, "--set", *overrides)
    assert code == 2
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_bad_files_are_one_line_and_exit_code_2(configuration, data, finished, tmp_path, capsys):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((finished / "model.safetensors").read_bytes()[:1000])
    for name, arguments, message in (
        ("train", ["nowhere.yaml"], "tracegrad: error: no configuration file at nowhere.yaml"),
        ("train", [configuration, "--set", f"out={tmp_path}", "--resume"], "tracegrad: error: nothing to resume: no "),
        (
            "train",
            [configuration, "--set", f"out={damaged}/run"],
            f"tracegrad: error: out: the folder {damaged}/run cannot be made (Not a directory): choose another with --set out=",
        ),
        ("train", [configuration, "--set", f"out={finished}"], f"tracegrad: error: {finished} holds another run"),
        ("evaluate", ["nothing", data], "tracegrad: error: no model named 'nothing'"),
        ("evaluate", [damaged, data], f"tracegrad: error: {damaged} is not a readable safetensors file"),
        ("evaluate", [finished / "model.safetensors", "nowhere.h5"], "tracegrad: error: no packed data file at nowhere.h5"),
        (
            "evaluate",
            [finished / "model.safetensors", data, "--split", "tset"],
            f"tracegrad: error: {data} holds no sample of split 'tset'; it holds: ",
        ),
        (
            "evaluate",
            [finished / "model.safetensors", data, "--split", "train", "--write-card"],
            "tracegrad: error: --write-card: the card shows errors of unseen structures",
        ),
    ):
        code, _, err = call(capsys, name, *arguments)
        assert code == 2
        assert err.splitlines()[-1].startswith(message)
        assert "Traceback" not in err


def test_a_diverging_run_says_what_to_do(configuration, tmp_path, capsys):
    settings = [f"out={tmp_path}", "optimizer.learning_rate=1e30"]
    arguments = [configuration, *(part for setting in settings for part in ("--set", setting))]
    code, _, err = call(capsys, "train", *arguments)
    assert code == 1
    assert "tracegrad: error: the gradient is not finite at step" in err
    assert "lower optimizer.learning_rate" in err
    assert "Traceback" not in err


def test_dry_run_says_what_is_needed_and_trains_nothing(configuration, data, tmp_path, capsys):
    out = tmp_path / "never"
    code, text, _ = call(capsys, "train", configuration, "--set", f"out={out}", "--dry-run")
    assert code == 0
    assert not out.exists()
    resolved = yaml.safe_load(text.split("\n\n")[0])
    assert resolved["network"]["hidden"] == "4x0e+2x1o+1x2e"
    assert resolved["schedule"]["kind"] == "one-cycle"  # what the file leaves out is shown as well
    assert f"data: {data}: 2 train, 1 validation, 2 test" in text
    assert "steps: 2 per epoch, 16 at most" in text
    parameters = int(re.search(r"model: (\d+) parameters, C l = 0 0 1 1 2", text)[1])
    assert parameters > 1000
    assert "spinless Hamiltonians; in x1-000, 2 atoms" in text

    code, text, _ = call(capsys, "train", configuration, "--set", f"out={out}", "--set", "limit=1", "--dry-run")
    assert code == 0
    assert f"data: {data}: 2 train, 1 validation, 2 test" in text
    assert "limit: 1 of each split, so 1 train, 1 validation are used" in text
    assert "steps: 1 per epoch, 8 at most" in text

    code, text, _ = call(capsys, "train", configuration, "--set", "network.spinor=true", "--dry-run")
    assert code == 2
    assert "set network.spinor to false" in text
    assert "training/prepare" not in text  # the data are there

    code, text, _ = call(capsys, "train", configuration, "--set", f"data={tmp_path / 'none.h5'}", "--dry-run")
    assert code == 2
    assert "cannot train yet: data: no packed data file at" in text
    assert "training/prepare*.py make those of training/configs" in text


def test_dry_run_of_deeph_e3_with_the_settings_of_the_paper(data, capsys):
    path = ROOT / "training" / "configs" / "mg-deeph-e3.yaml"
    code, text, _ = call(capsys, "train", path, "--set", f"data={data}", "--dry-run")
    assert code == 0, text
    resolved = yaml.safe_load(text.split("\n\n")[0])
    assert resolved["network"]["backbone"] == "deeph-e3"
    optimizer = resolved["optimizer"]
    assert (optimizer["learning_rate"], optimizer["beta2"], optimizer["weight_decay"]) == (2e-3, 0.999, 0)
    assert (resolved["loss"]["elements"], resolved["schedule"]["kind"], resolved["standardize"]) == ("mse", "plateau", False)
    without = ["network.tracegrad.edges=false", "network.tracegrad.decoder=false"]
    code, backbone, _ = call(capsys, "train", path, "--dry-run", *(p for s in (f"data={data}", *without) for p in ("--set", s)))
    assert code == 0, backbone
    sizes = [int(re.search(r"model: (\d+) parameters", part)[1]) for part in (text, backbone)]
    assert sizes[0] > sizes[1] > 100_000


def test_dry_run_names_a_missing_split(configuration, graphene_store, tmp_path, capsys):
    path = tmp_path / "train-only.h5"
    with StoreWriter(path) as store:
        sample = graphene_store["perfect"]
        sample.info["split"] = "train"
        store.add("x1-000", sample)
    code, text, _ = call(capsys, "train", configuration, "--set", f"data={path}", "--dry-run")
    assert code == 2
    assert f"{path} holds no structure of split 'validation': tracegrad convert {path} NEW.h5 --splits 0.8,0.1,0.1" in text


def test_the_command_gives_what_the_script_gave(finished, configuration, tmp_path, capsys):
    code, stdout, _ = call(capsys, "train", configuration, "--set", f"out={tmp_path}", "--threads", 1)
    assert code == 0
    assert "tracegrad evaluate" in stdout
    script, command = (load_file(folder / "model.safetensors") for folder in (finished, tmp_path))
    assert all(torch.equal(script[name], command[name]) for name in script)


def test_evaluate_script(finished, data, tmp_path):
    code, table, stderr = run("evaluate", finished / "model.safetensors", data, "--out", tmp_path / "e.json")
    assert code == 0, stderr
    assert "primitive cell, strained" in table
    assert set(json.loads((tmp_path / "e.json").read_text())["groups"]) == {"primitive cell, strained", "other"}


# -- several processes ----------------------------------------------------------------------------

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


# Without the decoder the blocks have a bias that nothing uses: weight decay must not find it in two processes only.
PARTS = {"all": [], "no decoder": ["network.tracegrad.decoder=false", "optimizer.weight_decay=0.3"]}


@pytest.mark.parametrize("parts", PARTS)
def test_two_processes_give_the_loss_curve_of_one(configuration, graphene_store, tmp_path, parts):
    """Three structures in batches of two: the second process has nothing to do in every other step."""
    with StoreWriter(tmp_path / "three.h5") as store:
        for name, source, split in (
            ("a", "displaced", "train"),
            ("b", "rotated", "train"),
            ("c", "perfect", "train"),
            ("d", "displaced", "validation"),
            ("e", "rotated", "validation"),
        ):
            sample = graphene_store[source]
            sample.info["split"] = split
            store.add(name, sample)
    settings = [f"data={tmp_path / 'three.h5'}", "validate_bands=2", "optimizer.batch_size=2", "schedule.epochs=3", *PARTS[parts]]
    overrides = [part for setting in settings for part in ("--set", setting)]
    logs, models = [], []
    for folder, before in (("one", ()), ("two", TORCHRUN)):
        process = start("train", configuration, "--set", f"out={tmp_path / folder}", *overrides, "--threads", 1, before=before)
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        assert stderr.count("epoch 3/3: mae_all") == 1  # only the first process talks
        logs.append(read_log(tmp_path / folder))
        models.append(load_file(tmp_path / folder / "model.safetensors"))
    for one, two in zip(*logs, strict=True):
        assert {k: float(v) for k, v in two.items()} == pytest.approx({k: float(v) for k, v in one.items()}, rel=1e-5)
    for name, tensor in models[0].items():
        assert torch.allclose(tensor, models[1][name], rtol=1e-4, atol=1e-6), name
