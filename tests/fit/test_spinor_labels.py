"""Spinor labels through data set, standardisation, losses, metrics and training; float64 where nothing is trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.symmetry import time_reversal_residual
from ase_tracegrad.fit.dataset import label_graph
from ase_tracegrad.fit.evaluate import evaluate_model
from ase_tracegrad.fit.export import export_model
from ase_tracegrad.fit.loss import band_loss, element_loss, make_bloch_states
from ase_tracegrad.fit.metrics import BandReference, hamiltonian_error
from ase_tracegrad.fit.targets import fit_moments, fit_standardization, trace_labels
from ase_tracegrad.fit.trainer import Trainer
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.nn.assembly import assemble, to_block_matrices
from ase_tracegrad.nn.config import config_to_dict
from ase_tracegrad.nn.network import Prediction
from ase_tracegrad.nn.predictor import load_model
from tests.fit.cases import (
    MOMENTS,
    SPINOR_NETWORK,
    in_order_of_pairs,
    make_network,
    make_sample,
    make_spinor_sample,
    make_training_config,
    with_error,
    write_store,
)

SIGMA = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


@pytest.fixture(scope="module")
def labelled():
    """A network and three labelled graphs."""
    network = make_network(SPINOR_NETWORK)
    return network, [label_graph(f"chain-{k}", make_spinor_sample(k), network, torch.float64) for k in range(3)]


def test_the_cases_are_physical():
    sample = make_spinor_sample()
    assert sample.hamiltonian.hermiticity_residual() < 1e-12
    assert time_reversal_residual(sample.hamiltonian) < 1e-12
    assert np.abs(sample.hamiltonian.values.imag).max() > 0.1


def test_labels_become_blocks_again(labelled):
    """All that the label holds on the network's pairs, spin by spin."""
    network, graphs = labelled
    graph = graphs[0]
    assert graph.offsite.shape[1:] == (4, 4, 4)
    found = to_block_matrices(
        [graph.graph], graph.batch, Prediction(graph.offsite, graph.onsite), graph.sample.basis, network.shells
    )
    expected = graph.sample.hamiltonian.restricted_to(found[0])
    assert found[0].spin == "spinor"
    assert np.abs(found[0].values - expected.values).max() < 1e-12
    assert torch.equal(graph.offsite_overlap[:, 1:], torch.zeros_like(graph.offsite_overlap[:, 1:]))
    assert torch.equal(graph.offsite_mask.sum((1, 2, 3)), 4 * graph.offsite_mask[:, 0].sum((1, 2)))


def test_labels_of_the_wrong_kind_are_refused():
    with pytest.raises(ValueError, match=r"a: the label is a spinor Hamiltonian, .* set network.spinor to true"):
        label_graph("a", make_spinor_sample(), make_network())
    with pytest.raises(ValueError, match=r"a: the label is a spinless Hamiltonian, .* set network.spinor to false"):
        label_graph("a", make_sample(), make_network(SPINOR_NETWORK))
    sample = make_spinor_sample()
    blocks = {key: block.copy() for key, block in sample.hamiltonian.items()}
    blocks[0, 0, (0, 0, 0)] += 0.1 * np.kron(SIGMA[2], np.eye(4))  # a moment along z
    magnetic = BlockMatrix.from_blocks(sample.hamiltonian.layout, blocks, "spinor")
    with pytest.raises(ValueError, match=r"differs from its time reverse by up to 0\.2 eV, so the label is magnetic"):
        label_graph("a", replace(sample, hamiltonian=magnetic), make_network(SPINOR_NETWORK))
    spinless = make_sample()
    currents = replace(spinless.hamiltonian, values=spinless.hamiltonian.values * (1 + 0.1j))
    with pytest.raises(ValueError, match="differs from its time reverse"):
        label_graph("a", replace(spinless, hamiltonian=currents), make_network())


@pytest.mark.filterwarnings("error")
def test_real_labels_stored_as_complex_numbers():
    sample, network = make_sample(), make_network()
    stored = replace(sample.hamiltonian, values=sample.hamiltonian.values + 0j)
    found, expected = (label_graph("a", s, network) for s in (replace(sample, hamiltonian=stored), sample))
    assert torch.equal(found.onsite, expected.onsite)
    assert torch.equal(found.offsite, expected.offsite)


def test_raw_trace_is_summed_over_the_spin(labelled):
    """T = sum |Q|^2 over the complex elements of a shell pair, all four spin parts, from the block itself."""
    network, graphs = make_network(SPINOR_NETWORK), labelled[1]
    graph, (_, onsite) = graphs[0], trace_labels(network, graphs[0], "raw")
    block = graph.sample.hamiltonian.block(0, 0).reshape(2, 4, 2, 4)  # s and p of carbon
    for a, rows in enumerate((slice(0, 1), slice(1, 4))):
        for b, columns in enumerate((slice(0, 1), slice(1, 4))):
            expected = (np.abs(block[:, rows][..., columns]) ** 2).sum()
            assert onsite.values[0, 2 * a + b] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("sign", [1, -1], ids=["proper", "improper"])
def test_trace_labels_are_invariant(labelled, sign):
    """Orbitals and spins of a sample turn together; the labels of the turned sample are the same."""
    network, graphs = make_network(SPINOR_NETWORK), labelled[1]
    fit_standardization(network, graphs)
    proper = Rotation.random(random_state=2)
    turned = label_graph("turned", rotated(graphs[0].sample, proper, sign), network, torch.float64)
    before, after = trace_labels(network, graphs[0], "log"), trace_labels(network, turned, "log")
    for a, b in (
        (in_order_of_pairs(graphs[0], before[0].values), in_order_of_pairs(turned, after[0].values)),
        (before[1].values, after[1].values),
    ):
        assert a.abs().max() > 0.01
        assert (a - b).abs().max() < 1e-6 * a.abs().max()


def rotated(sample, proper: Rotation, sign: int):
    """The sample in a turned frame; inversion leaves the spins alone."""
    rotation, spin = sign * proper.as_matrix(), expm(-0.5j * np.einsum("c,cab->ab", proper.as_rotvec(), SIGMA))

    def turn(matrix, spin):
        turns = [np.kron(spin, matrix.layout.rotation(i, rotation)) for i in range(matrix.layout.n_atoms)]
        blocks = {(i, j, r): turns[i] @ b @ turns[j].conj().T for (i, j, r), b in matrix.items()}
        return BlockMatrix.from_blocks(matrix.layout, blocks, matrix.spin)

    old = sample.structure
    structure = replace(old, positions=old.positions @ rotation.T, cell=old.cell @ rotation.T)
    return replace(sample, structure=structure, hamiltonian=turn(sample.hamiltonian, spin), overlap=turn(sample.overlap, np.eye(1)))


def test_tables_respect_the_symmetries(labelled):
    """What two centres allow: natural M = 0; what one atom allows: scalars without the pseudo-scalars, L.s among them."""
    network, graphs = make_network(SPINOR_NETWORK), labelled[1]
    fit_standardization(network, graphs)
    facts, readout = network.shells.components, network.readout
    assert (readout.baseline[:, :, ~facts["two_centre"]] == 0).all()
    assert (readout.onsite_mean[:, ~facts["invariant"]] == 0).all()
    assert int(facts["invariant"].sum()) == 3 < int((facts["L"] == 0).sum())  # ss, pp and L.s of pp; besides sp x spin
    assert readout.onsite_mean[1].abs().gt(1e-3).sum() == 3
    baseline, _ = readout.statistics(graphs[0].batch)
    left = readout.couple_offsite(graphs[0].offsite, graphs[0].batch) - baseline
    assert left.square().mean() < 0.05 * graphs[0].offsite.square().mean()


def test_losses_are_means_over_real_and_imaginary_parts(labelled):
    network, graphs = labelled
    graph, ones = graphs[0], torch.ones(graphs[0].batch.n_pairs, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    off, on = (torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in (graph.offsite, graph.onsite))
    prediction = Prediction(graph.offsite + 1e-3 * off, graph.onsite + 1e-3 * on)
    matrix = to_block_matrices([graph.graph], graph.batch, prediction, graph.sample.basis, network.shells)[0]
    error = 1000 * (matrix.values - graph.sample.hamiltonian.restricted_to(matrix).values)
    for kind, power in (("l1", 1), ("mse", 2)):
        expected = np.mean(np.abs(error.view(float)) ** power)
        assert element_loss(prediction, graph, ones, 1.0, kind) == pytest.approx(expected, rel=1e-9)


def test_metrics_count_the_modulus_and_know_the_energy_zero(labelled):
    sample = labelled[1][0].sample
    h, overlap = sample.hamiltonian, sample.overlap.with_spin("spinor")
    error = hamiltonian_error(replace(h, values=h.values + 0.004 + 0.003j), sample)
    assert error.all == pytest.approx(5.0)
    assert error.largest_block == pytest.approx(5.0)
    shifted = with_error(h, overlap, 0.025)
    error = hamiltonian_error(shifted, sample)
    assert error.mu == pytest.approx(25.0)
    assert error.gauge == pytest.approx(0, abs=1e-10)
    bands = BandReference(sample).error(shifted, error)
    assert bands.largest == pytest.approx(25.0, abs=1e-6)


def test_challenging_block_is_a_shell_pair_with_all_its_spins(labelled):
    """4 meV on the spin-flip elements between the s shells of two carbons: half of the elements of that shell pair."""
    h = labelled[1][0].sample.hamiltonian
    blocks = {key: block.copy() for key, block in h.items()}
    for block in blocks.values():
        if block.shape == (8, 8):
            block[[0, 4], [4, 0]] += 0.004
    error = hamiltonian_error(BlockMatrix.from_blocks(h.layout, blocks, "spinor"), labelled[1][0].sample)
    assert error.largest_block == pytest.approx(2.0)


def test_band_loss_is_first_order_perturbation_theory():
    """Against exact diagonalisation of H + dH; S-orthonormal spinor states, all twenty of them at every k."""
    sample = make_spinor_sample(1)
    network = make_network(replace(SPINOR_NETWORK, cutoff=8.0), sample)
    graph = label_graph("chain", sample, network, torch.float64)
    states = make_bloch_states(graph, network.shells.padded_index(sample.structure.numbers), 2, 100.0, seed=0)
    ones, h = torch.ones(graph.batch.n_pairs, dtype=torch.float64), sample.hamiltonian
    moved = 1.001 * h
    labels = label_graph("moved", replace(sample, hamiltonian=moved), network, torch.float64)
    before, after = (compute_bands(x, sample.overlap, states.kpts) for x in (h, moved))
    assert np.abs(np.diff(before[0])).min() > 1e-6, "levels must not be degenerate for a comparison one by one"
    for k in range(2):
        assert states.coefficients[k].shape == (4 * 8, 20)
        shifts = np.abs(after[k] - before[k])  # dH is diagonal between the states
        loss = band_loss(Prediction(labels.offsite, labels.onsite), graph, ones, states, k)
        assert float(loss) == pytest.approx(1000 * (shifts.mean() + shifts.sum() / (2 * 20**2)), rel=1e-3)


def test_energy_zero_shifts_both_spins():
    """mu S x sigma_0 is taken out of the labels by moments found in two cells, and put back by the assembly."""
    network = make_network(replace(SPINOR_NETWORK, energy_zero="cell-average"))
    samples = [make_sample(0, height=height) for height in (9, 13)]
    graphs = [
        label_graph(f"cell-{k}", replace(s, hamiltonian=s.hamiltonian.with_spin("spinor")), network, torch.float64)
        for k, s in enumerate(samples)
    ]
    found = fit_moments(network, graphs)
    expected = 2 * (MOMENTS[1] + MOMENTS[6])
    assert float(2 * found.sum()) == pytest.approx(expected, rel=1e-3)
    zeros = Prediction(torch.zeros_like(graphs[0].offsite), torch.zeros_like(graphs[0].onsite), torch.tensor([0.5]))
    overlap = graphs[0].sample.overlap
    (matrix,) = assemble(network, [graphs[0].graph], graphs[0].batch, zeros, graphs[0].sample.basis, [overlap])
    onsite = matrix.block(0, 0)
    assert np.abs(onsite - 0.5 * np.kron(np.eye(2), overlap.block(0, 0))).max() < 1e-12


def test_a_spinor_network_is_trained_exported_and_loaded(tmp_path):
    """All losses on; two samples by heart, errors far below those of the baseline; the file knows that it is for spinors."""
    store = write_store(tmp_path / "chains.h5", make=make_spinor_sample)
    config = make_training_config(
        store,
        tmp_path / "run",
        network=config_to_dict(SPINOR_NETWORK),
        schedule={"epochs": 40},
        validate_every=40,
        optimizer={"ema": 0.8, "learning_rate": 2e-2},
        loss={"band_weight": 0.1, "band_start": 0.5, "band_kpts": 2},
    )
    with StoreReader(store) as reader:
        trainer = Trainer(config, reader.basis, [1, 6])
    untrained = trainer.evaluate(trainer.data["train"], 0)
    trainer.run(progress=False)
    trained = trainer.evaluate(trainer.data["train"], 1)
    assert trained["mae_all"] < 0.4 * untrained["mae_all"]
    assert np.isfinite(trained["band_rmse"])
    predictor = load_model(export_model(trainer), dtype="float64")
    assert predictor.network.config.spinor
    sample = trainer.data["validation"][0].sample
    figures = evaluate_model(predictor, [("test", "chain", sample)], progress=False)["groups"]["test"]
    assert figures["mae_all"] < 2 * untrained["mae_all"]
    matrix = predictor.predict([sample.structure])[0]
    assert matrix.spin == "spinor"
    (kept,) = predictor.predict([sample.structure], [sample.overlap])
    assert np.array_equal(matrix.values, kept.values)
