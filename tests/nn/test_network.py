"""Symmetries and limits of the whole network, float64, random weights, shells up to g."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.nn.batch import make_batch
from ase_tracegrad.nn.config import TraceGradConfig
from ase_tracegrad.structure import Structure
from tests.nn.synthetic import make_predictor

NO_CELL = (np.zeros((3, 3)), [False, False, False])


def rotations_of_space(n: int):
    """Proper and improper rotations, the pure inversion and a mirror."""
    proper = list(Rotation.random(n, random_state=8).as_matrix())
    return [*proper, *(-q for q in proper[:2]), -np.eye(3), np.diag([1.0, -1, 1])]


def turn_matrix(matrix: BlockMatrix, rotation) -> BlockMatrix:
    """D_i H_ij D_j^T of every block."""
    turns = [matrix.layout.rotation(i, rotation) for i in range(matrix.layout.n_atoms)]
    return BlockMatrix.from_blocks(matrix.layout, {(i, j, r): turns[i] @ b @ turns[j].T for (i, j, r), b in matrix.items()})


def difference(a: BlockMatrix, b: BlockMatrix) -> float:
    assert a.index.keys() == b.index.keys()
    return float(np.abs((a - b).values).max())


@pytest.mark.parametrize("rotation", rotations_of_space(4))
def test_the_hamiltonian_rotates_with_the_crystal(predictor, crystal, rotation):
    turned = replace(crystal, positions=crystal.positions @ rotation.T, cell=crystal.cell @ rotation.T)
    before, after = predictor.predict([crystal, turned])
    assert np.abs(before.values).max() > 0.1
    assert difference(after, turn_matrix(before, rotation)) < 1e-10


VARIANTS = {
    "without TraceGrad": TraceGradConfig(nodes=False, edges=False, decoder=False),
    "full": TraceGradConfig(full=True, hidden=6, invariants=3),
    "rank": TraceGradConfig(rank=2, hidden=6, invariants=3),
    "trace loss only": TraceGradConfig(gradient=False, hidden=6, invariants=3),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_tracegrad_is_equivariant(hydrocarbon, variant):
    predictor = make_predictor((1, 6), tracegrad=VARIANTS[variant])
    for rotation in rotations_of_space(1):
        turned = replace(hydrocarbon, positions=hydrocarbon.positions @ rotation.T, cell=hydrocarbon.cell @ rotation.T)
        before, after = predictor.predict([hydrocarbon, turned])
        assert difference(after, turn_matrix(before, rotation)) < 1e-10


def test_trace_labels_are_invariant(predictor, crystal):
    rotation = -Rotation.random(random_state=3).as_matrix()
    turned = replace(crystal, positions=crystal.positions @ rotation.T, cell=crystal.cell @ rotation.T)
    traces = []
    for structure in (crystal, turned):
        graph, network = predictor.graph(structure), predictor.network
        batch = make_batch([graph], network.elements, message_cutoff=3.0, lmax=network.lmax, dtype=torch.float64)
        prediction = network(batch, with_traces=True)
        offsite = torch.empty_like(prediction.offsite_trace)
        offsite[batch.pair_order] = prediction.offsite_trace
        keys = np.hstack([graph.pairs, graph.shifts])[graph.n_onsite :]
        traces.append((offsite[np.lexsort(keys.T)], prediction.onsite_trace))
    for a, b in zip(*traces, strict=True):
        assert a.abs().max() > 0.01
        assert (a - b).abs().max() < 1e-10


def test_hermitian_by_construction(predictor, crystal):
    assert predictor.predict([crystal])[0].hermiticity_residual() < 1e-14


def test_translation(predictor, crystal):
    moved = replace(crystal, positions=crystal.positions + np.array([11.3, -4.2, 0.7]))
    before, after = predictor.predict([crystal, moved])
    assert difference(before, after) < 1e-11


def test_atoms_in_another_cell(predictor, crystal):
    """Moving atom 2 by a lattice vector changes names of cells only: H_ij(R) -> H_ij(R - s_j + s_i)."""
    shift = np.array([[0, 0, 0], [0, 0, 0], [1, -2, 0], [0, 0, 0]])
    moved = replace(crystal, positions=crystal.positions + shift @ crystal.cell)
    before, after = predictor.predict([crystal, moved])
    expected = {(i, j, tuple((np.array(r) - shift[j] + shift[i]).tolist())): b for (i, j, r), b in before.items()}
    assert difference(after, BlockMatrix.from_blocks(before.layout, expected)) < 1e-11


def test_permutation_of_atoms(predictor, crystal):
    order = np.array([2, 0, 3, 1])  # new atom k is old atom order[k]
    new_of = np.argsort(order)
    permuted = replace(crystal, numbers=crystal.numbers[order], positions=crystal.positions[order])
    before, after = predictor.predict([crystal, permuted])
    expected = {(int(new_of[i]), int(new_of[j]), r): b for (i, j, r), b in before.items()}
    assert difference(after, BlockMatrix.from_blocks(after.layout, expected)) < 1e-11


def test_batch_equals_single(predictor, crystal, hydrocarbon):
    molecule = Structure([6, 1, 22], [[0, 0, 0], [0, 0, 1.1], [1.4, 0, 0.2]], *NO_CELL)
    atom = Structure([58], [[0, 0, 0]], *NO_CELL)
    structures = [crystal, atom, hydrocarbon, molecule, crystal]
    for together, structure in zip(predictor.predict(structures), structures, strict=True):
        assert difference(together, predictor.predict([structure])[0]) < 1e-11


def test_no_structures(predictor):
    assert predictor.predict([]) == []


def test_supercell_has_the_blocks_of_the_primitive_cell(light_predictor, hydrocarbon):
    n = np.array([2, 2, 1])
    cells = np.array([[a, b, 0] for a in range(2) for b in range(2)])
    positions = (hydrocarbon.positions + (cells @ hydrocarbon.cell)[:, None]).reshape(-1, 3)
    supercell = Structure(np.tile(hydrocarbon.numbers, 4), positions, hydrocarbon.cell * n[:, None], hydrocarbon.pbc)
    primitive, folded = light_predictor.predict([hydrocarbon, supercell])
    assert len(folded) == 4 * len(primitive)
    for (i, j, r), block in folded.items():
        shift = cells[j // 3] + n * r - cells[i // 3]
        assert np.abs(block - primitive.block(i % 3, j % 3, shift)).max() < 1e-11


def test_periodic_image_equals_explicit_neighbour(light_predictor):
    """A chain with one atom per cell and its open copy of 13 atoms agree in the middle."""
    chain = Structure([6], [[0, 0, 0]], np.diag([1.9, 9, 9]), [True, False, False])
    numbers = np.full(13, 6)
    open_chain = Structure(numbers, np.arange(-6, 7)[:, None] * [1.9, 0, 0], *NO_CELL)
    periodic, finite = light_predictor.predict([chain, open_chain])
    for shift in (0, 1, 2):
        assert np.abs(periodic.block(0, 0, (shift, 0, 0)) - finite.block(6, 6 + shift)).max() < 1e-11


def blocks_of(predictor, structures):
    """Dense H of finite structures; blocks that do not exist are zero."""
    return [m.bloch(np.zeros(3))[0].real for m in predictor.predict(structures)]


@pytest.mark.parametrize(("axis", "crossing"), [("cutoff", 4.0), ("message cutoff", 3.0)])
def test_smooth_where_an_atom_crosses(light_predictor, axis, crossing):
    """Neither a jump (second difference / h would grow) nor a kink (it would stay) when h shrinks by ten."""

    def molecule(distance):
        # Atom 0 and atom 2 are at the crossing; atom 1 sees both.
        return Structure([6, 1, 6], [[0, 0, 0], [1.0, 0.9, 0.3], [distance, 0, 0]], *NO_CELL)

    def kink(h):
        low, middle, high = blocks_of(light_predictor, [molecule(crossing + s * h) for s in (-1, 0, 1)])
        assert np.abs(high - low).max() > 1e-12, f"nothing depends on the {axis}"
        return np.abs(high - 2 * middle + low).max() / h

    assert kink(1e-4) < 0.2 * kink(1e-3) + 1e-8


@pytest.mark.parametrize(("reach", "elements", "end"), [({}, [6, 6], 4.0), ({"H": 1.6, "C": 2.0}, [6, 1], 3.6)])
def test_everything_of_a_pair_ends_at_the_cutoff(reach, elements, end):
    pair = Structure(elements, [[0, 0, 0], [0, 0, end - 1e-4]], *NO_CELL)
    apart = Structure(elements, [[0, 0, 0], [0, 0, end + 1e-4]], *NO_CELL)
    near, far = make_predictor((1, 6), reach=reach).predict([pair, apart])
    assert (0, 1, (0, 0, 0)) in near.index
    assert np.abs(near.block(0, 1)).max() < 1e-8
    assert list(far.index) == [(0, 0, (0, 0, 0)), (1, 1, (0, 0, 0))]
    assert np.abs(far.block(0, 0) - near.block(0, 0)).max() < 1e-12  # messages ended long before


@pytest.mark.parametrize("periodic", [False, True])
def test_isolated_atom_is_spherical(predictor, periodic):
    cell, pbc = (np.eye(3) * 9, [True] * 3) if periodic else NO_CELL
    matrix = predictor.predict([Structure([58], [[0.3, 0, 0]], cell, pbc)])[0]
    assert list(matrix.index) == [(0, 0, (0, 0, 0))]
    rotation = -Rotation.random(random_state=1).as_matrix()
    assert difference(matrix, turn_matrix(matrix, rotation)) < 1e-12


def test_blocks_have_the_shells_of_their_elements(predictor, crystal):
    matrix = predictor.predict([crystal])[0]
    assert matrix.layout.sizes.tolist() == [1 + 3 + 7 + 9, 1 + 1 + 3, 1 + 3 + 1 + 5, 1 + 3 + 5 + 7]
    assert all(np.isfinite(block).all() and np.abs(block).max() > 0 for _, block in matrix.items())


def test_an_element_does_not_feel_the_shells_of_absent_ones(crystal):
    """Cutting the padding out commutes with everything: a hydrocarbon has exactly its own orbitals."""
    structure = Structure([6, 1], [[0, 0, 0], [0, 0, 1.1]], *NO_CELL)
    matrix = make_predictor((1, 6, 58)).predict([structure])[0]
    assert matrix.layout.shells == ((0, 1, 0, 2), (0, 0, 1))
    assert matrix.n_orbitals == 15


def test_single_precision(predictor, crystal):
    exact = predictor.predict([crystal])[0]
    rounded = make_predictor(dtype=torch.float32).predict([crystal])[0]
    assert rounded.values.dtype == np.float64
    assert 0 < difference(exact, rounded) < 3e-5 * np.abs(exact.values).max()


def test_inference_mode_and_training_mode_agree(light_predictor, hydrocarbon):
    network = light_predictor.network
    batch = make_batch(
        [light_predictor.graph(hydrocarbon)], network.elements, message_cutoff=3.0, lmax=network.lmax, dtype=torch.float64
    )
    with torch.inference_mode():
        quiet = network(batch)
    recorded = network(batch, with_traces=True)
    assert quiet.offsite_trace is None
    assert (quiet.offsite - recorded.offsite).abs().max() < 1e-13
    assert (quiet.onsite - recorded.onsite).abs().max() < 1e-13


def test_every_parameter_gets_a_gradient(light_predictor, hydrocarbon):
    """A parameter outside of the graph would be dead weight in every checkpoint."""
    network = make_predictor((1, 6), energy_zero="cell-average").network
    batch = make_batch(
        [light_predictor.graph(hydrocarbon)], network.elements, message_cutoff=3.0, lmax=network.lmax, dtype=torch.float64
    )
    prediction = network(batch, with_traces=True)
    sum(x.square().sum() for x in vars(prediction).values() if x is not None).backward()
    unused = [name for name, p in network.named_parameters() if p.requires_grad and p.numel() and p.grad is None]
    assert unused == []


def test_gradients_equal_finite_differences(light_predictor, hydrocarbon):
    network = make_predictor((1, 6), n_blocks=1).network
    batch = make_batch(
        [light_predictor.graph(hydrocarbon)], network.elements, message_cutoff=3.0, lmax=network.lmax, dtype=torch.float64
    )

    def value():
        prediction = network(batch)
        return prediction.offsite.square().mean() + prediction.onsite.square().mean()

    value().backward()
    generator = torch.Generator().manual_seed(0)
    directions = {p: torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in network.parameters() if p.grad is not None}
    expected = sum((p.grad * d).sum() for p, d in directions.items())
    h, values = 1e-5, []
    with torch.no_grad():
        for step in (h, -2 * h):
            for p, d in directions.items():
                p.add_(step * d)
            values.append(value())
    assert (values[0] - values[1]) / (2 * h) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own tracing does it
@pytest.mark.parametrize("numbers", [[6, 6], [6, 1]])
def test_torch_compile_takes_the_network_as_one_graph(numbers):
    """fullgraph=True fails on any graph break. The eager
    backend is used because code generation takes minutes: inductor was run once by hand, forward equal to 5e-7 and backward;
    146 s and 226 s to compile a network of one block on a busy core. Every structure has other shapes, so the package
    itself does not compile."""
    small = "4x0e+2x1o+1x1e+1x2e"
    elements = sorted(set(numbers))
    predictor = make_predictor(elements, n_blocks=1, hidden=small, edge_last=small, node_last=small, final_node_update=False)
    structure, network = Structure(numbers, [[0, 0, 0], [1.4, 0, 0]], *NO_CELL), predictor.network
    batch = make_batch([predictor.graph(structure)], elements, message_cutoff=3.0, lmax=network.lmax, dtype=torch.float64)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert (compiled(batch).offsite - network(batch).offsite).abs().max() < 1e-12
