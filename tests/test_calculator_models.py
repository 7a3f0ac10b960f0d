"""Models by name, by path and as objects: loading, copies in other processes, and what is refused."""

import copy
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from ase.build import bulk, graphene

from ase_tracegrad import TraceGradCalculator, load_model
from ase_tracegrad.models import UnknownModelError
from ase_tracegrad.nn.checkpoint import CheckpointError
from ase_tracegrad.nn.domain import UnsupportedStructureError
from ase_tracegrad.structure import StructureError
from tests.calculator_cases import EMBEDDED, needs_embedded, write_untrained_model
from tests.standin_model import StandInPredictor


@pytest.fixture(scope="module")
def model_file(tmp_path_factory, graphene_store):
    path = tmp_path_factory.mktemp("models") / "untrained.safetensors"
    write_untrained_model(path, graphene_store.basis)
    return path


def test_a_path_a_string_and_a_predictor_are_the_same(model_file):
    sheet = graphene(vacuum=5.0)
    predictor = load_model(model_file, device="cpu")
    for model, device in ((model_file, "cpu"), (str(model_file), "cpu"), (predictor, None)):
        calc = TraceGradCalculator(model, device=device)
        assert calc.predictor is predictor
        assert np.array_equal(calc.hamiltonian(sheet).values, TraceGradCalculator(predictor).hamiltonian(sheet).values)
    assert "untrained" in repr(TraceGradCalculator(model_file))


def test_dtype_and_device(model_file):
    single, double = (TraceGradCalculator(model_file, dtype=d, device=torch.device("cpu")) for d in ("float32", "float64"))
    sheet = graphene(vacuum=5.0)
    difference = np.abs(single.hamiltonian(sheet).values - double.hamiltonian(sheet).values).max()
    assert 0 < difference < 1e-4
    assert double.hamiltonian(sheet).values.dtype == np.float64
    assert double.device == "cpu"


def _values(pickled: bytes) -> np.ndarray:
    return pickle.loads(pickled).hamiltonian(graphene(vacuum=5.0)).values


def test_pickle_carries_the_path_not_the_weights(model_file, monkeypatch):
    monkeypatch.chdir(model_file.parent)
    calc = TraceGradCalculator(model_file.name, kpts=(2, 2, 1))
    pickled = pickle.dumps(calc)
    assert len(pickled) < 2000 < model_file.stat().st_size
    monkeypatch.chdir(os.sep)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(_values, pickled).result()
    assert np.allclose(found, _values(pickled), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("grafene-pbe", UnknownModelError, "no model named 'grafene-pbe'"),
        ("nowhere/model.safetensors", FileNotFoundError, "no model file"),
        (None, TypeError, "a name or a path"),
    ],
)
def test_unknown_and_missing_models(model, error, message):
    with pytest.raises(error, match=message):
        TraceGradCalculator(model)


@needs_embedded
def test_close_names_are_offered():
    with pytest.raises(UnknownModelError, match=f"did you mean {EMBEDDED}"):
        TraceGradCalculator("grafene-pbe")


def test_a_living_calculator_keeps_its_model(model_file, tmp_path):
    """Touched or deleted, the file matters for new calculators only; a copy in another process needs it again."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(model_file.read_bytes())
    calc = TraceGradCalculator(path)
    predictor = calc.predictor
    os.utime(path, ns=(1, 1))
    assert calc.predictor is predictor
    assert TraceGradCalculator(path).predictor is not predictor
    path.unlink()
    assert calc.predictor is predictor
    assert copy.deepcopy(calc).predictor is predictor
    assert len(calc.hamiltonian(graphene(vacuum=5.0))) > 0
    elsewhere = pickle.loads(pickle.dumps(calc))
    with pytest.raises(FileNotFoundError, match=r"no model file at .*m\.safetensors"):
        _ = elsewhere.predictor


@pytest.mark.parametrize("damage", ["truncated", "text", "foreign"])
def test_damaged_models(damage, model_file, tmp_path):
    path = tmp_path / "damaged.safetensors"
    content = model_file.read_bytes()
    path.write_bytes(
        {"truncated": content[:-500], "text": b"not a model", "foreign": content.replace(b"ase_tracegrad-model", b"x" * 19)}[damage]
    )
    with pytest.raises(CheckpointError, match=r"damaged\.safetensors"):
        TraceGradCalculator(path)


@pytest.mark.parametrize(
    ("choice", "message"),
    [({"device": "tpu9"}, "tpu9"), ({"device": "cuda:77"}, "cuda:77"), ({"dtype": "float16"}, "float16")],
    ids=str,
)
def test_wrong_device_and_dtype(choice, message, model_file):
    with pytest.raises(ValueError, match=message):
        TraceGradCalculator(model_file, **choice)


def test_elements_and_distances(model_file):
    calc = TraceGradCalculator(model_file)
    with pytest.raises(UnsupportedStructureError, match="not Si"):
        bulk("Si").calc = calc
    close = graphene(vacuum=5.0)
    close.positions[1] = close.positions[0] + [0.2, 0, 0]
    with pytest.raises(StructureError, match=r"0\.200 Angstrom apart"):
        calc.hamiltonian(close)


@pytest.mark.parametrize("model", ["stand-in", "untrained", pytest.param(EMBEDDED, marks=needs_embedded)])
def test_a_predictor_object_can_be_pickled(model, model_file):
    predictor = {"stand-in": StandInPredictor, "untrained": lambda: load_model(model_file)}.get(model, lambda: load_model(model))()
    calc = TraceGradCalculator(predictor)
    sheet = graphene(vacuum=5.0)
    again = pickle.loads(pickle.dumps(calc))
    assert np.allclose(again.hamiltonian(sheet).values, calc.hamiltonian(sheet).values)
