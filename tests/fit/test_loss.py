from dataclasses import replace

import numpy as np
import pytest
import torch

from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.fit.dataset import label_graph
from ase_tracegrad.fit.loss import band_loss, element_loss, make_bloch_states, trace_loss
from ase_tracegrad.fit.targets import TraceLabels
from ase_tracegrad.nn.network import Prediction
from ase_tracegrad.units import HARTREE
from tests.fit.cases import NETWORK, make_network, make_sample


@pytest.fixture(scope="module")
def case():
    """Network and one labelled graph of two elements, float64, envelope of ones."""
    network = make_network()
    graph = label_graph("chain", make_sample(0), network, torch.float64)
    return network, graph, torch.ones(graph.batch.n_pairs, dtype=torch.float64)


def noise(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_masks_mark_the_orbitals_that_exist(case):
    network, graph, _ = case
    assert network.shells.size == 4  # s and p; hydrogen has s only
    sizes = np.array([4, 4, 1, 1])
    assert graph.onsite_mask.sum((1, 2)).tolist() == (sizes**2).tolist()
    pairs = torch.stack([graph.batch.receiver, graph.batch.sender], dim=1).numpy()
    assert graph.offsite_mask.sum((1, 2)).numpy().tolist() == sizes[pairs].prod(axis=1).tolist()
    assert (graph.offsite * (1 - graph.offsite_mask) == 0).all()


@pytest.mark.parametrize(("kind", "power"), [("l1", 1), ("mse", 2)])
def test_mean_over_the_elements_that_exist(case, kind, power):
    _, graph, envelope = case
    off, on = noise(graph.offsite.shape), noise(graph.onsite.shape, 1)  # errors in meV, also where no orbital is
    prediction = Prediction(graph.offsite + off / 1000, graph.onsite + on / 1000)
    inside = torch.cat([off[graph.offsite_mask > 0], 3.0 ** (1 / power) * on[graph.onsite_mask > 0]])
    expected = inside.abs().pow(power).mean()
    assert element_loss(prediction, graph, envelope, 3.0, kind) == pytest.approx(float(expected), rel=1e-9)


def test_the_loss_of_qh9_is_in_hartree(case):
    _, graph, envelope = case
    prediction = Prediction(graph.offsite + HARTREE * noise(graph.offsite.shape), graph.onsite)
    squared, absolute = (float(element_loss(prediction, graph, envelope, 1.0, kind)) for kind in ("mse", "l1"))
    both = float(element_loss(prediction, graph, envelope, 1.0, "mse+l1"))
    assert both == pytest.approx(squared / (1000 * HARTREE) ** 2 + absolute / (1000 * HARTREE))
    assert 0.1 < both < 10


def test_padding_has_no_gradient(case):
    _, graph, envelope = case
    offsite = (graph.offsite + noise(graph.offsite.shape)).requires_grad_()
    element_loss(Prediction(offsite, graph.onsite), graph, envelope, 1.0, "l1").backward()
    assert (offsite.grad[graph.offsite_mask == 0] == 0).all()
    assert (offsite.grad[graph.offsite_mask > 0] != 0).all()


def test_one_element_needs_no_mask(graphene_store):
    sample = graphene_store["perfect"]
    network = make_network(sample=sample)
    graph = label_graph("perfect", sample, network, torch.float64)
    assert graph.offsite_mask is None
    envelope = network.readout.envelope(graph.batch)
    prediction = Prediction(graph.offsite * envelope[:, None, None] + 0.002, graph.onsite - 0.002)
    assert element_loss(prediction, graph, envelope, 1.0, "l1") == pytest.approx(2.0)
    assert element_loss(prediction, graph, envelope, 1.0, "mse") == pytest.approx(4.0)


def test_labels_are_cut_like_the_prediction(case):
    network, graph, _ = case
    envelope = network.readout.envelope(graph.batch)
    assert envelope.min() < 0.5 < envelope.max()
    prediction = Prediction(graph.offsite * envelope[:, None, None], graph.onsite)
    assert element_loss(prediction, graph, envelope, 1.0, "l1") == 0


def test_trace_loss():
    """Mean over the shell pairs that exist."""
    values, mask = (noise((5, 4)), noise((2, 4), 1)), torch.ones(5, 4, dtype=torch.float64)
    mask[0, :3] = 0
    labels = TraceLabels(values[0] * mask, mask), TraceLabels(values[1], torch.ones(2, 4, dtype=torch.float64))
    prediction = Prediction(torch.zeros(0), torch.zeros(0), None, labels[0].values + 0.5, labels[1].values - 2.0)
    assert trace_loss(prediction, labels) == pytest.approx((17 * 0.5 + 2 * 4 * 2.0) / 25)


@pytest.fixture(scope="module")
def band_case():
    """All pairs of the matrices are inside the cut-off, so a shift of S is one of all bands."""
    sample = make_sample(1)
    network = make_network(replace(NETWORK, cutoff=8.0), sample)
    graph = label_graph("chain", sample, network, torch.float32)
    stored = sample.overlap.distances(sample.structure.positions, sample.structure.cell)
    assert stored.max() < 7.5
    index = np.concatenate([a * 4 + network.shells.index[int(z)] for a, z in enumerate(sample.structure.numbers)])
    states = make_bloch_states(graph, index, 3, 100.0, seed=0)
    return graph, states, torch.ones(graph.batch.n_pairs)


def test_bloch_states_are_the_states_of_the_label(band_case):
    """S-orthonormal columns over the padded orbitals, all ten of them at every k."""
    graph, states, envelope = band_case
    assert len(states.coefficients) == 3
    for k, c in enumerate(states.coefficients):
        assert c.shape == (16, 10)
        hydrogen_padding = [8 + m for m in (1, 2, 3)] + [12 + m for m in (1, 2, 3)]
        assert (c[hydrogen_padding] == 0).all()
        shifted = Prediction(graph.offsite + 0.05 * graph.offsite_overlap, graph.onsite + 0.05 * graph.onsite_overlap)
        loss = band_loss(shifted, graph, envelope, states, k)
        # dH = 50 meV * S: every diagonal element is 50 meV, the mean over real and imaginary parts of all is 50 / (2 n).
        assert loss == pytest.approx(50 + 50 / (2 * 10), rel=1e-4)


def test_no_band_error_without_error(band_case):
    graph, states, envelope = band_case
    assert band_loss(Prediction(graph.offsite, graph.onsite), graph, envelope, states, 0) == 0


def test_band_loss_is_first_order_perturbation_theory(band_case):
    """The diagonal part against exact diagonalisation of H + dH with a small random Hermitian dH."""
    graph, states, envelope = band_case
    sample = graph.sample
    rng = np.random.default_rng(0)
    error = replace(sample.hamiltonian, values=1e-4 * rng.normal(size=sample.hamiltonian.values.shape)).symmetrized()
    kpts = states.kpts
    perturbed = replace(sample.hamiltonian, values=sample.hamiltonian.values + error.values)
    before, after = (compute_bands(h, sample.overlap, kpts) for h in (sample.hamiltonian, perturbed))
    moved = label_graph("moved", replace(sample, hamiltonian=perturbed), make_network(replace(NETWORK, cutoff=8.0), sample))
    for k in range(3):
        c = states.coefficients[k]
        loss = band_loss(Prediction(moved.offsite, moved.onsite), graph, envelope, states, k)
        dense = error.bloch(kpts[k])[0]
        inside = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12]
        projected = c.numpy()[inside].conj().T @ dense @ c.numpy()[inside]
        assert np.abs(np.diag(projected).real - (after[k] - before[k])).max() < 2e-6
        expected = 1000 * (np.abs(np.diag(projected).real).mean() + np.abs(projected.view(float)).mean())
        assert float(loss) == pytest.approx(expected, rel=2e-3)
