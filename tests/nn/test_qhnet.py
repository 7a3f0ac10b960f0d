"""The backbone 'qhnet': equal to e3nn tensor products, symmetries of the blocks, TraceGrad's switches, limits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from e3nn import o3

from ase_tracegrad.basis import Basis
from ase_tracegrad.conventions import E3NN_AXES
from ase_tracegrad.io.def2_svp import def2_svp_basis
from ase_tracegrad.nn.assembly import from_block_matrix
from ase_tracegrad.nn.backbones import build_network
from ase_tracegrad.nn.batch import make_batch
from ase_tracegrad.nn.channel_convolution import ChannelConvolution
from ase_tracegrad.nn.channel_product import ChannelProduct
from ase_tracegrad.nn.checkpoint import load_checkpoint, save_checkpoint
from ase_tracegrad.nn.config import ConfigError, NetworkConfig, QHNetConfig, TraceGradConfig, config_from_dict, config_to_dict
from ase_tracegrad.nn.frames import rotate_into_frames
from ase_tracegrad.nn.interaction import rotate_out_of_frames
from ase_tracegrad.nn.irreps import Channels
from ase_tracegrad.nn.predictor import Predictor
from ase_tracegrad.nn.qhnet import QHNetNetwork
from ase_tracegrad.nn.qhnet_layers import SoftNorm
from ase_tracegrad.nn.radial import bernstein_basis
from ase_tracegrad.nn.wigner import edge_rotations
from ase_tracegrad.overlap import compute_overlap
from ase_tracegrad.structure import Structure
from tests.nn.deeph_e3_twin import give_life
from tests.nn.qhnet_twin import Twin, irreps, product_of_features, product_with_harmonics, radial_functions
from tests.nn.synthetic import fill_statistics, make_basis, make_card
from tests.nn.test_network import NO_CELL, blocks_of, difference, rotations_of_space, turn_matrix
from tests.nn.test_o2 import flatten_for_e3nn, random_rows

LAYERS = QHNetConfig(hidden=5, lmax=2, bottleneck=3, n_layers=3, n_pair_layers=2, n_radial=8, message_hidden=6)
TRACEGRAD = TraceGradConfig(hidden=6, invariants=4)
WITHOUT = TraceGradConfig(nodes=False, edges=False, decoder=False)


def make_gaussian_basis() -> Basis:
    """The orbitals of QH9's hydrogen and carbon."""
    whole = def2_svp_basis()
    return Basis({z: whole[z] for z in (1, 6)}, whole.name, whole.code, whole.xc)


def make_qhnet(elements=(1, 6), *, tracegrad=TRACEGRAD, cutoff_width=0.5, basis=None, **layers) -> Predictor:
    """A small network with a message cut-off within the cut-off."""
    config = NetworkConfig(
        backbone="qhnet",
        cutoff=4.0,
        cutoff_width=cutoff_width,
        message_cutoff=3.0,
        qhnet=replace(LAYERS, **layers),
        tracegrad=tracegrad,
    )
    basis = basis or make_basis(elements)
    torch.manual_seed(2)
    network = build_network(config, basis, list(elements)).double()
    return Predictor(network, basis, make_card(network, basis))


def make_graph_batch(predictor: Predictor, *structures):
    network = predictor.network
    graphs = [predictor.graph(structure) for structure in structures]
    return make_batch(graphs, network.elements, message_cutoff=3.0, lmax=network.lmax, dtype=torch.float64)


def turn(structure: Structure, rotation) -> Structure:
    return replace(structure, positions=structure.positions @ rotation.T, cell=structure.cell @ rotation.T)


@pytest.fixture
def double_constants():
    """e3nn builds its constants in torch's default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="module")
def qhnet() -> Predictor:
    """Hydrogen and carbon with a d shell."""
    predictor = make_qhnet()
    fill_statistics(predictor.network)
    return predictor


@pytest.fixture(scope="module")
def molecule() -> Structure:
    """Two atoms pass no messages to each other, two have no common block."""
    positions = [[0.1, 0.2, 0.3], [1.3, 0.4, 0.6], [2.0, 1.4, 0.9], [-0.6, 0.5, 1.2], [3.1, 1.9, 2.0]]
    return Structure([6, 6, 1, 1, 1], positions, *NO_CELL)


# -- what is exactly a tensor product ------------------------------------------------------------------


@pytest.mark.usefixtures("double_constants")
@pytest.mark.parametrize("lmax_in", [0, 3])
def test_messages_are_products_with_harmonics(lmax_in):
    """The O(2) form: one matrix per |m| and channel in the frame of the pair."""
    before, after = (Channels("+".join(f"3x{l}{'eo'[l % 2]}" for l in range(n + 1))) for n in (lmax_in, 3))
    convolution, generator = ChannelConvolution(3, lmax_in, 3, 2), torch.Generator().manual_seed(1)
    rows = random_rows(before, generator)
    n = len(rows[0])
    vectors, weights = torch.randn(n, 3, generator=generator), torch.randn(n, convolution.n_weights, generator=generator)
    harmonics = o3.Irreps.spherical_harmonics(2)
    product = product_with_harmonics(irreps(before), irreps(after), harmonics)
    y = o3.spherical_harmonics(harmonics, vectors[:, list(E3NN_AXES)], True, normalization="component")
    expected = product(flatten_for_e3nn(rows, before), y, weights)
    rotations = edge_rotations(vectors, 3)
    found = rotate_out_of_frames(
        convolution(rotate_into_frames(rows, torch.arange(n), rotations, before), weights), rotations, after
    )
    assert expected.abs().max() > 0.1
    assert (flatten_for_e3nn(found, after) - expected).abs().max() < 1e-10


@pytest.mark.usefixtures("double_constants")
@pytest.mark.parametrize("shared", [True, False])
def test_pairs_are_true_clebsch_gordan_products(shared, monkeypatch):
    """Of (a, b) and of (b, a), also when the rows are cut into chunks, and with the derivatives of every input."""
    monkeypatch.setattr("ase_tracegrad.nn.channel_product.CHUNK", 7)
    atom, pair = Channels("3x0e+3x1o+3x2e"), Channels("3x0e+3x1o+3x1e+3x2e+3x2o+3x3o+3x4e")
    product, generator = ChannelProduct(3, 2, pair), torch.Generator().manual_seed(1)
    a, b = (random_rows(atom, generator) for _ in range(2))
    weights = [torch.randn(1 if shared else len(a[0]), product.n_weights, generator=generator) for _ in range(2)]
    inputs = [x.requires_grad_() for x in (*weights, *a, *b)]
    twin = product_of_features(irreps(atom), irreps(pair), shared=shared)
    sides = [flatten_for_e3nn(rows, atom) for rows in (a, b)]
    expected = torch.stack([twin(*ends, w[0] if shared else w) for ends, w in zip((sides, sides[::-1]), weights, strict=True)])
    found = torch.stack([flatten_for_e3nn(rows, pair) for rows in product(a, b, *weights)])
    assert expected.abs().amax(dim=(1, 2)).min() > 0.1
    assert (found - expected).abs().max() < 1e-10
    gradients = [torch.autograd.grad(out.pow(3).sum(), inputs) for out in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        assert (one - other).abs().max() < 1e-10 * other.abs().max()


def test_derivatives_of_the_convolution():
    convolution, generator = ChannelConvolution(2, 2, 2, 2).double(), torch.Generator().manual_seed(1)
    channels = Channels("2x0e+2x1o+2x2e")
    x = [part.double().requires_grad_() for part in channels.to_orders(random_rows(channels, generator))]
    weights = torch.randn(len(x[0]), convolution.n_weights, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, *x: tuple(convolution(list(x), w)), (weights, *x))


@pytest.mark.usefixtures("double_constants")
def test_whole_network_on_tensor_products(molecule):
    predictor = make_qhnet((1, 6, 22), tracegrad=WITHOUT, cutoff_width=0.0, lmax=3, hidden=4)
    network = predictor.network
    give_life(network)
    structure = replace(molecule, numbers=np.array([6, 22, 1, 1, 6]))
    graph, batch = predictor.graph(structure), make_graph_batch(predictor, structure)
    n = graph.n_onsite
    with torch.no_grad():
        found = network(batch)
        offsite, onsite = Twin(network)(batch.species, *(torch.from_numpy(part[n:]) for part in (graph.pairs, graph.vectors)))
    offsite = 0.5 * (offsite + offsite[torch.from_numpy(graph.reverse[n:] - n)].transpose(1, 2))
    assert batch.n_near < batch.n_pairs
    assert offsite.abs().max() > 1
    assert (found.offsite - offsite[batch.pair_order]).abs().max() < 1e-10
    assert (found.onsite - 0.5 * (onsite + onsite.transpose(1, 2))).abs().max() < 1e-10


@pytest.mark.usefixtures("double_constants")
def test_functions_of_the_distance():
    distance = torch.linspace(0.5, 4.5, 50, dtype=torch.float64)
    decay = torch.tensor(0.5, dtype=torch.float64)
    found = bernstein_basis(distance, decay, 4.0, 8)
    assert (found - radial_functions(distance, 0.5, 4.0, 8)).abs().max() < 1e-12
    assert (found[distance > 4] == 0).all()


# -- symmetries ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rotation", rotations_of_space(2))
@pytest.mark.parametrize("kind", ["molecule", "hydrocarbon"])
def test_the_hamiltonian_rotates_with_the_structure(request, qhnet, rotation, kind):
    """Improper rotations too; a molecule and a crystal."""
    structure = request.getfixturevalue(kind)
    before, after = qhnet.predict([structure, turn(structure, rotation)])
    assert np.abs(before.values).max() > 0.1
    assert difference(after, turn_matrix(before, rotation)) < 1e-9


def test_what_is_not_published_keeps_the_symmetry(molecule):
    """Products in units of their size and the overlap as an input: measured units, and both at work."""
    rotation = rotations_of_space(2)[1]
    plain = make_qhnet(normalize=False)
    predictor = make_qhnet(normalize=True, overlap=True, basis=make_gaussian_basis())
    network = predictor.network
    network.prepare([make_graph_batch(predictor, molecule)], predictor.basis)
    units = [module.unit for module in network.modules() if isinstance(module, SoftNorm)]
    assert len(units) == 2 + LAYERS.n_layers + 2 * LAYERS.n_pair_layers
    assert all((unit != 1).any() for unit in units)
    before, after = predictor.predict([molecule, turn(molecule, rotation)])
    assert difference(after, turn_matrix(before, rotation)) < 1e-9 * np.abs(before.values).max()
    rows = [p.network._features(make_graph_batch(p, molecule), False).offsite[2].detach() for p in (plain, predictor)]
    assert rows[1].abs().max() > 10 * rows[0].abs().max(), "pairs begin at a useful size"
    network.overlaps.table.zero_()
    (without,) = predictor.predict([molecule])
    assert difference(without, before) > 1e-3 * np.abs(before.values).max()


def test_overlaps_of_two_atoms(molecule):
    """tr(S S^T) of every shell pair from the table, against S itself; of shells that an element lacks zero."""
    predictor = make_qhnet(overlap=True, basis=make_gaussian_basis())
    table = predictor.network.overlaps
    table.fill(predictor.basis)
    batch, overlap = make_graph_batch(predictor, molecule), compute_overlap(molecule, predictor.basis)
    found = table.double()(batch)
    shells = predictor.network.shells
    graph = predictor.graph(molecule)
    offsite, _ = from_block_matrix(overlap, graph, batch, shells, torch.float64)
    slices = [slice(a, a + 2 * l + 1) for a, l in zip(shells.starts, shells.shells, strict=True)]
    expected = torch.stack([offsite[:, a, b].square().sum((1, 2)) for a in slices for b in slices], dim=1)
    assert expected.max() > 0.1
    assert (found - expected).abs().max() < 0.01


def test_shells_beyond_d(crystal):
    """f and g shells: the pairs hold irreps up to l = 8, which features up to l = 4 give."""
    predictor = make_qhnet((1, 6, 22, 58), lmax=4, hidden=3, n_layers=1, n_pair_layers=1)
    rotation = rotations_of_space(1)[1]
    before, after = predictor.predict([crystal, turn(crystal, rotation)])
    assert difference(after, turn_matrix(before, rotation)) < 1e-9 * np.abs(before.values).max()


VARIANTS = {
    "none": WITHOUT,
    "both": TRACEGRAD,
    "trace loss only": replace(TRACEGRAD, gradient=False),
    "gradient only": replace(TRACEGRAD, decoder=False),
    "pairs only": replace(TRACEGRAD, nodes=False),
    "atoms only": replace(TRACEGRAD, edges=False),
    "full": replace(TRACEGRAD, full=True),
    "rank": replace(TRACEGRAD, rank=2),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_tracegrad(molecule, variant):
    """Equivariant blocks, invariant traces where they are asked for, no parameter without a use."""
    config = VARIANTS[variant]
    predictor = make_qhnet(tracegrad=config, n_layers=2, n_pair_layers=1)
    rotation = rotations_of_space(1)[1]
    turned = turn(molecule, rotation)
    before, after = predictor.predict([molecule, turned])
    assert difference(after, turn_matrix(before, rotation)) < 1e-9
    here, there = (predictor.network(make_graph_batch(predictor, s), with_traces=True) for s in (molecule, turned))
    assert (here.offsite_trace is not None) == config.decoder
    for a, b in ((here.offsite_trace, there.offsite_trace), (here.onsite_trace, there.onsite_trace)):
        if a is not None:
            assert a.abs().max() > 0.01
            assert (a.sort(0).values - b.sort(0).values).abs().max() < 1e-9
    sum(x.square().sum() for x in vars(here).values() if x is not None).backward()
    unused = [name for name, p in predictor.network.named_parameters() if p.numel() and p.grad is None]
    if not config.decoder and config.gradient:  # the last layer of z only enters through its sum
        unused = [name for name in unused if not name.endswith("mlp.last.bias")]
    assert unused == []


def test_the_trace_loss_alone_leaves_the_blocks_alone(molecule):
    """Without the gradient the blocks of H are those of the network without TraceGrad, weight by weight."""
    with_decoder, without = (make_qhnet(tracegrad=VARIANTS[name]) for name in ("trace loss only", "none"))
    shared = {k: v for k, v in with_decoder.network.state_dict().items() if k in without.network.state_dict()}
    without.network.load_state_dict(shared)
    assert difference(with_decoder.predict([molecule])[0], without.predict([molecule])[0]) == 0


def test_hermitian(qhnet, molecule, hydrocarbon):
    for matrix in qhnet.predict([molecule, hydrocarbon]):
        assert matrix.hermiticity_residual() < 1e-14


def test_translation(qhnet, molecule):
    moved = replace(molecule, positions=molecule.positions + np.array([11.3, -4.2, 0.7]))
    before, after = qhnet.predict([molecule, moved])
    assert difference(before, after) < 1e-9


def test_permutation_of_atoms(qhnet, molecule):
    order = np.array([2, 0, 4, 3, 1])  # new atom k is old atom order[k]
    new_of = np.argsort(order)
    permuted = replace(molecule, numbers=molecule.numbers[order], positions=molecule.positions[order])
    before, after = qhnet.predict([molecule, permuted])
    expected = {(int(new_of[i]), int(new_of[j]), r): b for (i, j, r), b in before.items()}
    assert difference(after, type(before).from_blocks(after.layout, expected)) < 1e-9


def test_batch_equals_single(qhnet, molecule, hydrocarbon):
    """A molecule, a crystal, H2 and a lone atom together."""
    hydrogen = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]], *NO_CELL)
    structures = [molecule, Structure([6], [[0, 0, 0]], *NO_CELL), hydrocarbon, hydrogen]
    for together, structure in zip(qhnet.predict(structures), structures, strict=True):
        assert difference(together, qhnet.predict([structure])[0]) < 1e-9


def test_supercell_has_the_blocks_of_the_primitive_cell(qhnet, hydrocarbon):
    positions = np.concatenate([hydrocarbon.positions, hydrocarbon.positions + hydrocarbon.cell[0]])
    cell = hydrocarbon.cell * np.array([2, 1, 1])[:, None]
    primitive, double = qhnet.predict([hydrocarbon, Structure(np.tile(hydrocarbon.numbers, 2), positions, cell, hydrocarbon.pbc)])
    for (i, j, r), block in double.items():
        shift = np.array([j // 3, 0, 0]) + np.array([2, 1, 1]) * r - np.array([i // 3, 0, 0])
        assert np.abs(block - primitive.block(i % 3, j % 3, shift)).max() < 1e-9


# -- limits --------------------------------------------------------------------------------------------


def test_lone_atom_is_spherical(qhnet):
    matrix = qhnet.predict([Structure([6], [[0.3, 0, 0]], *NO_CELL)])[0]
    assert list(matrix.index) == [(0, 0, (0, 0, 0))]
    assert np.abs(matrix.values).max() > 0.1
    rotation = rotations_of_space(1)[1]
    assert difference(matrix, turn_matrix(matrix, rotation)) < 1e-12


@pytest.mark.parametrize("positions", [[[0.0, 0, 0]], [[0.0, 0, 0], [0, 0, 0.74]]], ids=["H", "H2"])
def test_symmetric_structures_have_finite_gradients(positions):
    """Norms of features that symmetry makes exactly zero are differentiated."""
    predictor = make_qhnet()
    batch = make_graph_batch(predictor, Structure([1] * len(positions), positions, *NO_CELL))
    prediction = predictor.network(batch, with_traces=True)
    sum(x.square().sum() for x in vars(prediction).values() if x is not None).backward()
    gradients = [p.grad for p in predictor.network.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(g).all() for g in gradients)


def test_smooth_where_atoms_cross_both_cutoffs(qhnet):
    """Neither a jump nor a kink: the second difference over h shrinks with h."""

    def structure(distance):
        return Structure([6, 1, 6], [[0, 0, 0], [1.0, 0.9, 0.3], [distance, 0, 0]], *NO_CELL)

    def kink(crossing, h):
        low, middle, high = blocks_of(qhnet, [structure(crossing + s * h) for s in (-1, 0, 1)])
        return np.abs(high - 2 * middle + low).max() / h

    for crossing in (3.0, 4.0):
        assert kink(crossing, 1e-4) < 0.2 * kink(crossing, 1e-3) + 1e-8


def test_gradients_equal_finite_differences(molecule):
    predictor = make_qhnet(n_layers=2, n_pair_layers=1)
    network, batch = predictor.network, make_graph_batch(predictor, molecule)

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


def test_checkpoint(tmp_path, qhnet, molecule):
    save_checkpoint(tmp_path / "model.tgh", qhnet.network, qhnet.basis, qhnet.card)
    network, basis, card = load_checkpoint(tmp_path / "model.tgh", torch.float64)
    assert type(network) is QHNetNetwork
    again, before = Predictor(network, basis, card).predict([molecule])[0], qhnet.predict([molecule])[0]
    assert difference(again, before) < 1e-4 * np.abs(before.values).max()  # the file holds single precision


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spinor": True}, "predicts spinless blocks only"),
        ({"hidden": "8x0e"}, "hidden: settings of the backbone 'fast'; those of 'qhnet' stand in the section qhnet"),
        ({"qhnet": {"hidden": 0}}, "qhnet.hidden must be at least 1, found 0"),
        ({"qhnet": {"n_pair_layers": 6}}, "qhnet.n_pair_layers must not exceed n_layers = 5, found 6"),
        ({"qhnet": {"n_radial": 1}}, "qhnet.n_radial must be at least 2"),
        ({"message_cutoff": 9.0}, "message_cutoff must lie between 0 and cutoff"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        config_from_dict(NetworkConfig, {"backbone": "qhnet", **settings})


def test_settings_survive_the_checkpoint_header():
    config = make_qhnet().network.config
    assert config_from_dict(NetworkConfig, config_to_dict(config)) == config


def test_shells_that_need_a_higher_lmax():
    with pytest.raises(ValueError, match=r"irreps up to l = 4: set qhnet\.lmax to 2 or more"):
        make_qhnet(lmax=1)
