"""Standardisation, energy zero and trace labels, float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.fit import targets
from ase_tracegrad.fit.dataset import label_graph
from ase_tracegrad.fit.targets import MIN_OFFSITE_SPREAD, MIN_ONSITE_SPREAD, fit_standardization, trace_labels
from ase_tracegrad.overlap import compute_overlap
from ase_tracegrad.structure import Structure
from tests.fit.cases import MOMENTS, NETWORK, in_order_of_pairs, make_network, make_sample, with_error
from tests.standin_model import StandInPredictor


def baseline_blocks(network, graph):
    """What a network whose heads are zero predicts."""
    readout = network.readout
    zeros = [
        torch.zeros(graph.batch.n_pairs, 2 * l + 1, c, dtype=torch.float64) for l, c in enumerate(network.shells.channels.counts)
    ]
    onsite = [
        torch.zeros(graph.batch.n_atoms, 2 * l + 1, c, dtype=torch.float64) for l, c in enumerate(network.shells.channels.counts)
    ]
    return readout.offsite_blocks(zeros, graph.batch), readout.onsite_blocks(onsite, graph.batch)


@pytest.fixture(scope="module")
def labelled():
    """A network and three labelled graphs."""
    network = make_network()
    return network, [label_graph(f"chain-{k}", make_sample(k), network, torch.float64) for k in range(3)]


@pytest.mark.parametrize(("prior", "smooth", "tolerance"), [(1.0, True, 3e-3), (1e-9, False, 1e-6)], ids=["smooth", "rough"])
def test_a_two_centre_hamiltonian_is_all_baseline(labelled, monkeypatch, prior, smooth, tolerance):
    """H made of radial functions of the table, in all natural M = 0 components: only the prior keeps it from being exact."""
    for name in ("RIDGE", "ROUGHNESS"):
        monkeypatch.setattr(targets, name, prior * getattr(targets, name))
    _, graphs = labelled
    truth, fitted = make_network(), make_network()
    generator = torch.Generator().manual_seed(0)
    tables = torch.randn(truth.readout.baseline.shape, generator=generator, dtype=torch.float64)
    if smooth:  # as radial functions are: one random number for each component, falling with the distance
        tables = tables[:, :1] * torch.exp(-torch.linspace(0, 3, tables.shape[1], dtype=torch.float64))[:, None]
    truth.readout.baseline.copy_(tables * truth.shells.components["two_centre"])
    two_centre = []
    for graph in graphs:
        blocks, onsite = baseline_blocks(truth, graph)
        envelope = truth.readout.envelope(graph.batch)[:, None, None].clamp_min(1e-6)
        two_centre.append(replace(graph, offsite=blocks / envelope * (envelope > 1e-3), onsite=onsite))
    fit_standardization(fitted, two_centre)
    for graph in two_centre:
        offsite, onsite = baseline_blocks(fitted, graph)
        expected = graph.offsite * fitted.readout.envelope(graph.batch)[:, None, None]
        assert expected.abs().max() > 1
        assert (offsite - expected).abs().max() < tolerance * expected.abs().max()
        assert (onsite - graph.onsite).abs().max() < 1e-12


def test_distances_without_data_are_bridged():
    """A smooth function of the distance, known but for a gap: both in the gap and a little before the first data."""
    readout = make_network().readout.double()
    d = torch.linspace(1.3, 3.9, 400, dtype=torch.float64)
    d = d[(d < 1.7) | (d > 2.2)]
    phi = readout.distance_basis(d)
    table = torch.linalg.solve(phi.T @ phi + targets._prior(), phi.T @ torch.exp(-d))
    asked = torch.tensor([1.2, 1.9, 2.0], dtype=torch.float64)
    errors = readout.distance_basis(asked) @ table - torch.exp(-asked)
    assert (errors / torch.exp(-asked)).abs().max() < 0.1


def test_the_overlap_is_two_centre(labelled):
    """A real two-centre matrix between unlike atoms, 1 eV per unit: the baseline holds it within the resolution of its table."""
    network, graphs = make_network(), labelled[1]
    overlaps = [replace(g, offsite=g.offsite_overlap, onsite=g.onsite_overlap) for g in graphs]
    fit_standardization(network, overlaps)
    for graph in overlaps:
        offsite, onsite = baseline_blocks(network, graph)
        envelope = network.readout.envelope(graph.batch)[:, None, None]
        assert (offsite - graph.offsite * envelope).abs().max() < 2e-3
        assert (onsite - graph.onsite).abs().max() < 1e-6


def test_standardised_targets_have_unit_spread(graphene_store):
    """CP2K graphene: the root mean square of what is left is one in every group, or at the floor."""
    sample = graphene_store["displaced"]
    network = make_network(sample=sample)
    graph = label_graph("displaced", sample, network, torch.float64)
    fit_standardization(network, [graph])
    readout = network.readout
    baseline, spread = readout.statistics(graph.batch)
    left = (readout.couple_offsite(graph.offsite, graph.batch) - baseline) / spread
    assert 0.5 < left.square().mean().sqrt() < 1.5
    assert graph.offsite.square().mean().sqrt() > 3 * (left * spread).square().mean().sqrt()
    assert spread.min() >= MIN_OFFSITE_SPREAD * (1 - 1e-12)
    onsite = readout.couple_onsite(graph.onsite) - readout.onsite_mean[0]
    assert readout.onsite_spread.min() >= MIN_ONSITE_SPREAD
    assert (onsite / readout.onsite_spread[0]).square().mean().sqrt() < 1.0 + 1e-6


def test_tables_respect_rotation_symmetry(labelled):
    network, graphs = make_network(), labelled[1]
    fit_standardization(network, graphs)
    facts, readout = network.shells.components, network.readout
    assert (readout.baseline[:, :, ~facts["two_centre"]] == 0).all()
    assert (readout.onsite_mean[:, facts["L"] > 0] == 0).all()
    for piece in facts["piece"].unique():
        of_piece = facts["piece"] == piece
        assert (readout.onsite_spread[:, of_piece].diff(dim=1).abs() < 1e-12).all()
        for order in facts["order"][of_piece].unique():
            group = readout.spread[:, :, of_piece & (facts["order"] == order)]
            assert (group.diff(dim=2).abs() < 1e-12).all()


def test_elements_never_seen_keep_neutral_tables(labelled):
    network = make_network()
    atoms = make_sample(5)
    only_carbon = replace(atoms.structure, numbers=[6, 6], positions=atoms.structure.positions[:2])
    layout = atoms.basis.layout([6, 6])
    blocks = {k: b for k, b in atoms.hamiltonian.items() if max(k[:2]) < 2}
    matrix = BlockMatrix.from_blocks(layout, blocks)
    graph = label_graph("carbon", replace(atoms, structure=only_carbon, hamiltonian=matrix, overlap=matrix), network, torch.float64)
    fit_standardization(network, [graph])
    assert (network.readout.spread[0] == 1).all()  # H-H
    assert (network.readout.baseline[0] == 0).all()
    assert not (network.readout.baseline[3] == 0).all()  # C-C


def rotated(sample, rotation):
    """The sample in a turned frame: positions, cell and every block."""

    def turn(matrix):
        turns = [matrix.layout.rotation(i, rotation) for i in range(matrix.layout.n_atoms)]
        return BlockMatrix.from_blocks(matrix.layout, {(i, j, r): turns[i] @ b @ turns[j].T for (i, j, r), b in matrix.items()})

    structure = replace(
        sample.structure, positions=sample.structure.positions @ rotation.T, cell=sample.structure.cell @ rotation.T
    )
    return replace(sample, structure=structure, hamiltonian=turn(sample.hamiltonian), overlap=turn(sample.overlap))


@pytest.mark.parametrize("kind", ["raw", "log", "layer-norm"])
@pytest.mark.parametrize("sign", [1, -1], ids=["proper", "improper"])
def test_trace_labels_are_invariant(labelled, kind, sign):
    network, graphs = make_network(), labelled[1]
    fit_standardization(network, graphs)
    rotation = sign * Rotation.random(random_state=2).as_matrix()
    turned = label_graph("turned", rotated(graphs[0].sample, rotation), network, torch.float64)
    before, after = trace_labels(network, graphs[0], kind), trace_labels(network, turned, kind)
    for a, b in (
        (in_order_of_pairs(graphs[0], before[0].values), in_order_of_pairs(turned, after[0].values)),
        (before[1].values, after[1].values),
    ):
        assert a.abs().max() > 0.01
        assert (a - b).abs().max() < 1e-6 * a.abs().max()


def test_raw_trace_is_the_square_norm_of_the_shell_pair(labelled):
    """With neutral tables T = sum |Q|^2 of each shell pair, the definition of the paper."""
    network, graphs = make_network(), labelled[1]
    offsite, onsite = trace_labels(network, graphs[0], "raw")
    shells, starts = network.shells.shells, network.shells.starts
    for a, la in enumerate(shells):
        for b, lb in enumerate(shells):
            rows, columns = slice(starts[a], starts[a] + 2 * la + 1), slice(starts[b], starts[b] + 2 * lb + 1)
            column = a * len(shells) + b
            for labels, blocks in ((offsite, graphs[0].offsite), (onsite, graphs[0].onsite)):
                assert (labels.values[:, column] - blocks[:, rows, columns].square().sum((1, 2))).abs().max() < 1e-10


def test_absent_shell_pairs_are_masked(labelled):
    """An atom with fewer shells than the common ones: its missing pairs carry no label and do not enter the norm."""
    network, graphs = labelled
    for kind in ("raw", "log", "layer-norm"):
        for labels in trace_labels(network, graphs[0], kind):
            assert set(labels.mask.unique().tolist()) <= {0.0, 1.0}
            assert (labels.values[labels.mask == 0] == 0).all()
    shells = network.shells
    z = [int(n) for n in graphs[0].graph.structure.numbers]
    expected = torch.tensor([float(shells.shell_mask[n].sum()) ** 2 for n in z], dtype=torch.float64)
    assert torch.equal(trace_labels(network, graphs[0], "raw")[1].mask.sum(1), expected)


def test_unknown_kind_of_label(labelled):
    with pytest.raises(ValueError, match="must be raw, log or layer-norm, found 'x'"):
        trace_labels(labelled[0], labelled[1][0], "x")


def moments_case(heights):
    """H = local + (sum of q) / Omega S of two molecules in cells of different height."""
    network = make_network(replace(NETWORK, energy_zero="cell-average"))
    graphs = []
    for number, (height, keep) in enumerate(heights):
        full = make_sample(len(keep))
        chain = full.structure
        structure = Structure(chain.numbers[keep], chain.positions[keep], np.diag([2.5, 9, height]), [True, True, True])
        overlap = compute_overlap(structure, full.basis)
        plain = StandInPredictor().predict([structure])[0]
        q = sum(MOMENTS[z] for z in structure.numbers)
        shifted = with_error(plain, overlap, q / (2.5 * 9 * height))
        sample = replace(full, structure=structure, hamiltonian=shifted, overlap=overlap)
        graphs.append((plain, label_graph(f"cell-{number}", sample, network, torch.float64)))
    return network, *zip(*graphs, strict=True)


def test_moments_of_the_energy_zero_are_found():
    network, plain, graphs = moments_case([(9, [0, 1, 2, 3]), (12, [0, 1, 2, 3]), (9, [0, 2, 3]), (14, [0, 2, 3])])
    found = targets.fit_moments(network, graphs)
    assert torch.allclose(found, torch.tensor([MOMENTS[1], MOMENTS[6]], dtype=torch.float64), atol=1e-3)
    network.energy_zero.moment.copy_(found)
    without = label_graph("plain", replace(graphs[3].sample, hamiltonian=plain[3]), network, torch.float64)
    for local, expected in zip(targets.local_blocks(network, graphs[3]), (without.offsite, without.onsite), strict=True):
        assert torch.allclose(local, expected, atol=1e-6)


def test_moments_need_one_structure_in_two_cells():
    network, _, graphs = moments_case([(9, [0, 1, 2, 3]), (14, [0, 2, 3])])
    with pytest.raises(ValueError, match="labelled in two cells of different volume"):
        targets.fit_moments(network, graphs)
