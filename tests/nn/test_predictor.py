import gc
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import ase_tracegrad.models as models
from ase_tracegrad.batching import _count_elements
from ase_tracegrad.models import UnknownModelError, available_models, find_model
from ase_tracegrad.nn.checkpoint import CheckpointError, save_checkpoint
from ase_tracegrad.nn.domain import UnsupportedStructureError
from ase_tracegrad.nn.predictor import Predictor, load_model
from ase_tracegrad.structure import Structure, StructureError
from tests.nn.synthetic import make_predictor

NO_CELL = (np.zeros((3, 3)), [False, False, False])


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A folder with one model in it."""
    predictor = make_predictor((1, 6), dtype=torch.float32)
    folder = tmp_path_factory.mktemp("models")
    save_checkpoint(folder / "hydrocarbons.safetensors", predictor.network, predictor.basis, predictor.card)
    return folder


@pytest.fixture
def model_file(model_folder):
    return model_folder / "hydrocarbons.safetensors"


def test_by_path(model_file, hydrocarbon):
    predictor = load_model(str(model_file), device="cpu")
    assert predictor.path == model_file.resolve()
    assert predictor.dtype == "float32"
    assert predictor.card.name == "synthetic"
    assert "synthetic" in repr(predictor)
    matrix = predictor.predict([hydrocarbon])[0]
    assert matrix.is_hermitian(1e-6)
    assert matrix.values.dtype == np.float64


def test_loaded_once_per_file_device_and_dtype(model_file, tmp_path, monkeypatch):
    predictor = load_model(model_file)
    assert load_model(str(model_file), device=predictor.device) is predictor
    monkeypatch.chdir(model_file.parent)
    assert load_model(model_file.name) is predictor
    assert load_model(model_file, dtype="float64") is not predictor
    assert load_model(predictor) is predictor


def test_a_new_file_is_loaded_again(model_file, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(model_file.read_bytes())
    first = load_model(path)
    os.utime(path, ns=(1, 1))
    second = load_model(path)
    assert second is not first
    assert load_model(path) is second
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None, "the old version must not stay in memory"


@pytest.mark.parametrize("choice", [{"dtype": "float64"}, {"device": "cpu"}], ids=str)
def test_a_loaded_model_takes_neither_device_nor_dtype(model_file, choice):
    with pytest.raises(ValueError, match="already loaded, pass neither"):
        load_model(load_model(model_file), **choice)


def test_double_precision_agrees(model_file, hydrocarbon):
    single, double = (load_model(model_file, dtype=d, device="cpu").predict([hydrocarbon])[0] for d in ("float32", "float64"))
    assert 0 < np.abs((single - double).values).max() < 3e-5 * np.abs(double.values).max()


def test_by_name(model_folder, monkeypatch):
    monkeypatch.setattr(models, "FOLDER", model_folder)
    assert available_models() == ["hydrocarbons"]
    assert load_model("hydrocarbons").card.name == "synthetic"
    with pytest.raises(UnknownModelError, match="did you mean hydrocarbons") as caught:
        load_model("hydrocarbon")
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(UnknownModelError, match="no model named 'silicon'; embedded models: hydrocarbons"):
        find_model("silicon")
    with pytest.raises(FileNotFoundError, match=r"no model file at .*x\.safetensors"):
        load_model("x.safetensors")
    with pytest.raises(FileNotFoundError, match="no model file at"):
        load_model("some/folder/x")
    with pytest.raises(TypeError, match="a model is a name or a path, found int"):
        load_model(3)


def test_a_folder_is_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model file"):
        load_model(tmp_path)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"12345678abc")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_model(path)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "mars", 3.5])
def test_wrong_device(model_file, device):
    with pytest.raises(ValueError, match=r"device .* cannot be used; available: cpu"):
        load_model(model_file, device=device)


def test_wrong_dtype(model_file):
    with pytest.raises(ValueError, match="dtype must be one of float32, float64, found 'float16'"):
        load_model(model_file, dtype="float16")


def test_unknown_element(model_file):
    with pytest.raises(UnsupportedStructureError, match=r"knows H C, not Kr Xe: choose or train another model"):
        load_model(model_file).predict([Structure([54, 36], [[0, 0, 0], [1.2, 0, 0]], *NO_CELL)])


def test_an_embedded_model_that_knows_the_elements_is_named(model_file):
    with pytest.raises(UnsupportedStructureError, match=r"knows H C, not S Mo: choose mos2-pbe"):
        load_model(model_file).predict([Structure([42, 16], [[0, 0, 0], [2.4, 0, 0]], *NO_CELL)])


def test_atoms_on_top_of_each_other(model_file):
    with pytest.raises(StructureError, match=r"atoms 0 and 1 are 0\.100 Angstrom apart"):
        load_model(model_file).predict([Structure([6, 1], [[0, 0, 0], [0.1, 0, 0]], *NO_CELL)])


def test_threads_share_a_predictor(model_file, hydrocarbon):
    """Different structures at the same time give what they give alone, up to rounding: BLAS may sum in another order."""
    moved = [
        Structure(hydrocarbon.numbers, hydrocarbon.positions * (1 + 0.01 * k), hydrocarbon.cell, hydrocarbon.pbc) for k in range(8)
    ]
    predictor = load_model(model_file, device="cpu")
    alone = [predictor.predict([s])[0].values for s in moved]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda s: predictor.predict([s])[0].values, moved))
    for a, b in zip(alone, together, strict=True):
        assert np.abs(a - b).max() < 1e-5


def test_threads_load_one_predictor(model_file, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(model_file.read_bytes())
    barrier = threading.Barrier(4)

    def load(_):
        barrier.wait()
        return load_model(path)

    with ThreadPoolExecutor(4) as pool:
        assert len({id(p) for p in pool.map(load, range(4))}) == 1


def test_unchanged_by_the_callers_inference_mode(model_file, hydrocarbon):
    predictor = load_model(model_file, device="cpu")
    outside = predictor.predict([hydrocarbon])[0].values
    with torch.inference_mode():
        inside = predictor.predict([hydrocarbon])[0].values
    with torch.enable_grad():
        assert np.array_equal(predictor.predict([hydrocarbon])[0].values, outside)
    assert np.array_equal(inside, outside)


def test_the_pairs_follow_the_cutoff(model_file):
    structure = Structure([6, 6, 1], [[0, 0, 0], [3.9, 0, 0], [7.95, 0, 0]], *NO_CELL)
    matrix = load_model(model_file).predict([structure])[0]
    assert set(matrix.index) == {(i, i, (0, 0, 0)) for i in range(3)} | {(0, 1, (0, 0, 0)), (1, 0, (0, 0, 0))}


@pytest.mark.parametrize("spinor", [False, True])
def test_the_size_of_a_prediction_is_known_before(hydrocarbon, spinor):
    """Batches are made by it; 2 x 2 numbers of a spinor for each of a spinless matrix."""
    predictor = make_predictor((1, 6), spinor=spinor)
    assert _count_elements(predictor, hydrocarbon) == predictor.predict([hydrocarbon])[0].values.size


def test_check_delegates_to_the_domain_of_the_card(light_predictor, hydrocarbon):
    with pytest.raises(UnsupportedStructureError, match="never saw"):
        light_predictor.check(hydrocarbon)  # an empty domain knows no pair
    assert isinstance(light_predictor, Predictor)
