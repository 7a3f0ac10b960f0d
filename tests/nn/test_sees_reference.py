"""Networks that begin with the blocks of the Hamiltonian of the initial density."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import molecule
from scipy.spatial.transform import Rotation

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.fit.dataset import label_graph
from ase_tracegrad.fit.targets import fit_reference, fit_standardization
from ase_tracegrad.labels.initial_hamiltonian import initial_hamiltonian
from ase_tracegrad.nn.backbones import build_network
from ase_tracegrad.nn.checkpoint import save_checkpoint
from ase_tracegrad.nn.config import ConfigError, NetworkConfig, TraceGradConfig
from ase_tracegrad.nn.predictor import Predictor, load_model
from ase_tracegrad.overlap_filter import filter_by_overlap
from tests.nn.synthetic import make_card

pytest.importorskip("pyscf", reason="PySCF makes these Hamiltonians: pip install 'ase_tracegrad[molecules]'")

CONFIG = NetworkConfig(
    cutoff=8.0,
    message_cutoff=5.0,
    embedding=4,
    n_radial=8,
    radial_hidden=8,
    hidden="4x0e+4x1o+4x2e",
    edge_last="4x0e+4x1o+2x1e+4x2e+2x2o+2x3o+2x3e+2x4e",
    node_last="4x0e+4x1o+2x1e+4x2e+2x2o+2x3o+2x3e+2x4e",
    reference="minao",
    sees_reference=True,
    overlap_floor=0.02,
    tracegrad=TraceGradConfig(hidden=4, invariants=4),
)


@pytest.fixture(scope="module")
def labels():
    """Labels of two molecules with their references."""
    from ase_tracegrad.labels.pyscf import compute_molecule_labels

    samples = [compute_molecule_labels(molecule(name)) for name in ("H2O", "CH3OH")]
    return [replace(sample, reference=initial_hamiltonian(sample.structure, sample.basis)) for sample in samples]


@pytest.fixture(scope="module")
def predictor(labels) -> Predictor:
    basis = labels[1].basis
    torch.manual_seed(0)
    network = build_network(CONFIG, basis, [1, 6, 8]).double()
    graphs = [label_graph(str(k), sample, network, torch.float64) for k, sample in enumerate(labels)]
    fit_standardization(network, graphs)
    fit_reference(network, graphs)
    return Predictor(network, basis, make_card(network, basis))


@pytest.mark.parametrize("sign", [1, -1], ids=["proper", "improper"])
def test_it_turns_with_the_molecule(labels, predictor, sign):
    """H(Rx) = D H D^T to 1e-9 eV for a reference that was turned too."""
    sample, rotation = labels[1], sign * Rotation.random(random_state=3).as_matrix()

    def turn(matrix):
        turns = [matrix.layout.rotation(i, rotation) for i in range(matrix.layout.n_atoms)]
        return BlockMatrix.from_blocks(matrix.layout, {(i, j, r): turns[i] @ b @ turns[j].T for (i, j, r), b in matrix.items()})

    structure = replace(sample.structure, positions=sample.structure.positions @ rotation.T)
    (before,) = predictor.predict([sample.structure], references=[sample.reference])
    (after,) = predictor.predict([structure], references=[turn(sample.reference)])
    assert np.abs((after - turn(before)).values).max() < 1e-9
    if sign == 1:
        (asked,) = predictor.predict([sample.structure], references=[sample.reference], rotation=rotation)
        assert np.abs((asked - before).values).max() < 1e-9


def test_it_sees_the_reference(labels, predictor):
    """What the network adds depends on the blocks; several molecules at once give what each gives alone."""
    structures, references = [s.structure for s in labels], [s.reference for s in labels]
    alone = [predictor.predict([s], references=[r])[0] for s, r in zip(structures, references, strict=True)]
    together = predictor.predict(structures, references=references)
    computed = predictor.predict(structures)
    for a, b, c in zip(alone, together, computed, strict=True):
        assert np.abs((a - b).values).max() < 1e-10
        assert np.array_equal(b.values, c.values)
    changed = references[0] + 0.01 * references[0]
    (answer,) = predictor.predict(structures[:1], references=[changed])
    assert np.abs((answer - changed - alone[0] + references[0]).values).max() > 1e-4


def test_what_it_sees_has_unit_size(labels, predictor):
    """The deviations from the means of the elements and distances, in units of their spread."""
    network = predictor.network
    rows = []
    for sample in labels:
        batch = label_graph("molecule", sample, network, torch.float64).batch
        rows.append(network.reference_tables.standardize(batch.offsite_reference, batch.onsite_reference, batch)[1])
    sizes = [torch.cat([row.flatten() for row in parts]).square().mean().sqrt() for parts in rows]
    assert all(0.05 < size < 2 for size in sizes)


def test_the_difference_is_filtered(labels, predictor):
    """By S as the model says, given or computed."""
    sample = labels[1]
    bare = copy.copy(predictor)
    bare.network = copy.deepcopy(predictor.network)
    bare.network.config = replace(CONFIG, overlap_floor=0.0)
    arguments = [sample.structure], [sample.overlap], [sample.reference]
    (filtered,), (whole,) = predictor.predict(*arguments), bare.predict(*arguments)
    expected = sample.reference + filter_by_overlap(whole - sample.reference, sample.overlap, CONFIG.overlap_floor)
    assert np.abs((filtered - expected).values).max() < 1e-9
    assert np.abs((filtered - whole).values).max() > 1e-4


def test_a_saved_model_says_the_same(labels, predictor, tmp_path):
    save_checkpoint(tmp_path / "model.safetensors", predictor.network, predictor.basis, predictor.card)
    loaded = load_model(tmp_path / "model.safetensors", dtype="float64")
    (before,), (after,) = (p.predict([labels[0].structure], references=[labels[0].reference]) for p in (predictor, loaded))
    assert np.abs((before - after).values).max() < 1e-4, "weights are stored as float32"


def test_it_needs_a_reference(labels, predictor):
    with pytest.raises(ConfigError, match="set reference to 'minao'"):
        NetworkConfig(sees_reference=True)
    with pytest.raises(ConfigError, match="for the backbone 'fast'"):
        NetworkConfig(sees_reference=True, reference="minao", backbone="qhnet")
    with pytest.raises(ConfigError, match="overlap_floor must lie between 0 and 1"):
        NetworkConfig(overlap_floor=-0.1)
    graph = label_graph("water", labels[0], predictor.network, torch.float64)
    with pytest.raises(ValueError, match="the batch needs its blocks"):
        predictor.network(replace(graph.batch, offsite_reference=None, onsite_reference=None))
