"""The backbone 'deeph-e3': symmetries and limits, float64, random weights, pair features up to l = 6."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from e3nn import o3

from ase_tracegrad.conventions import E3NN_AXES
from ase_tracegrad.nn.backbones import build_network
from ase_tracegrad.nn.batch import make_batch
from ase_tracegrad.nn.checkpoint import load_checkpoint, save_checkpoint
from ase_tracegrad.nn.config import ConfigError, DeepHE3Config, NetworkConfig, TraceGradConfig, config_from_dict, config_to_dict
from ase_tracegrad.nn.interaction import rotate_out_of_frames
from ase_tracegrad.nn.irreps import Channels
from ase_tracegrad.nn.network import HamiltonianNetwork
from ase_tracegrad.nn.path_weights import PathConvolution
from ase_tracegrad.nn.predictor import Predictor
from ase_tracegrad.nn.wigner import edge_rotations
from ase_tracegrad.structure import Structure
from tests.nn.synthetic import SHELLS, fill_statistics, make_basis, make_card
from tests.nn.test_network import NO_CELL, blocks_of, difference, rotations_of_space, turn_matrix
from tests.nn.test_o2 import flatten_for_e3nn, into_frames, random_rows
from tests.nn.test_spinor_network import turn_matrix as turn_matrix_and_spins

BOTH = "4x0e+2x0o+3x1o+2x1e+2x2e+1x2o+2x3o+1x3e+2x4e+1x4o"
TRACEGRAD = TraceGradConfig(hidden=6, invariants=4)
LAYERS = DeepHE3Config(hidden=BOTH, n_blocks=2, embedding=6, n_radial=12, radial_cutoff=4.0)


def make_published(elements=(1, 6), *, tracegrad=TRACEGRAD, cutoff_width=0.0, spinor=False, **layers) -> Predictor:
    """A small network as published (cutoff_width 0), with TraceGrad blocks on atoms and pairs."""
    config = NetworkConfig(
        backbone="deeph-e3",
        cutoff=3.4,
        cutoff_width=cutoff_width,
        spinor=spinor,
        deeph_e3=replace(LAYERS, **layers),
        tracegrad=tracegrad,
    )
    basis = make_basis(elements)
    torch.manual_seed(1)
    network = build_network(config, basis, list(elements)).double()
    fill_statistics(network)
    return Predictor(network, basis, make_card(network, basis))


def make_graph_batch(predictor: Predictor, *structures):
    network = predictor.network
    graphs = [predictor.graph(structure) for structure in structures]
    return make_batch(graphs, network.elements, message_cutoff=3.0, lmax=network.lmax, dtype=torch.float64)


@pytest.fixture(scope="module")
def published() -> Predictor:
    """All four elements, shells up to f and g."""
    return make_published(tuple(SHELLS))


@pytest.fixture
def double_constants():
    """e3nn builds its constants in torch's default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("double_constants")
@pytest.mark.parametrize("filter_lmax", [2, 4])
def test_path_weights_are_a_tensor_product(filter_lmax):
    """The exact linear relation: weights of paths -> one matrix per |m|; pairs without direction included."""
    text_in, text_out, gates = BOTH, "3x0e+2x0o+2x1o+2x1e+3x2e+1x2o+1x4e+1x3e", 2
    channels, out = Channels(text_in), Channels(text_out)
    linear = PathConvolution([channels, channels], out, gates, filter_lmax)
    filters = o3.Irreps([(1, (l, (-1) ** l)) for l in range(filter_lmax + 1)])
    irreps_in, irreps_out = o3.Irreps(str(channels)) + o3.Irreps(str(channels)), o3.Irreps(str(out)) + o3.Irreps(f"{gates}x0e")
    groups = len(channels.groups)
    places = {(l, natural): k for k, (l, natural) in enumerate((ir.l, ir.p == (-1) ** ir.l) for _, ir in o3.Irreps(str(channels)))}
    targets = {(l, natural): k for k, (l, natural) in enumerate((ir.l, ir.p == (-1) ** ir.l) for _, ir in o3.Irreps(str(out)))}
    instructions, weights, into = [], [], {}
    for p in linear.paths:
        into[p.l3, p.natural3] = into.get((p.l3, p.natural3), 0) + 1
    for p in linear.paths:
        c1, c3 = p.shape
        inner = linear.inner[p.inner_start : p.inner_start + c1 * c3].view(c1, c3)
        product = inner * linear.outer[p.outer_start : p.outer_start + c3]
        first = places[p.l1, p.natural1] + p.part * groups
        k = targets[p.l3, p.natural3]
        count = out.scalars if k == 0 else c3
        for place, part in ((k, product[:, :count]), (len(targets), product[:, count:])):
            if part.shape[1]:
                # Plain coupling: the norm of paths, 1 / sqrt(paths * channels), is written out here.
                instructions.append((first, p.lf, place, "uvw", True, (2 * p.l3 + 1) / (into[p.l3, p.natural3] * c1)))
                weights.append(part.flatten())
    product = o3.TensorProduct(
        irreps_in,
        filters,
        irreps_out,
        instructions,
        irrep_normalization="none",
        path_normalization="none",
        internal_weights=False,
        shared_weights=True,
    )
    generator = torch.Generator().manual_seed(1)
    features = [random_rows(channels, generator) for _ in range(2)]
    vectors = torch.randn(len(features[0][0]), 3, generator=generator)
    vectors[-2:] = 0  # on-site
    harmonics = o3.spherical_harmonics(filters, vectors[:, list(E3NN_AXES)], True, normalization="component")
    expected = product(torch.cat([flatten_for_e3nn(f, channels) for f in features], dim=1), harmonics, torch.cat(weights))
    rotations = edge_rotations(vectors[:-2], 4)
    local = [
        channels.to_orders(
            [torch.cat([a, row[-2:]]) for a, row in zip(into_frames([r[:-2] for r in f], rotations), f, strict=True)]
        )
        for f in features
    ]
    orders, extra = linear(local, 2)
    turned = rotate_out_of_frames([x[:-2] for x in orders], rotations, out)
    rows = [torch.cat([a, b]) for a, b in zip(turned, out.to_rows([x[-2:] for x in orders]), strict=True)]
    found = torch.cat([flatten_for_e3nn(rows, out), extra], dim=1)
    assert expected[-1].abs().max() > 0.1
    assert (found - expected).abs().max() < 1e-10


@pytest.fixture(scope="module")
def smooth() -> Predictor:
    """The same layers with local norms and a smooth end."""
    return make_published(norm="local", cutoff_width=0.5)


@pytest.mark.parametrize("rotation", rotations_of_space(1))
@pytest.mark.parametrize("kind", ["published", "smooth"])
def test_the_hamiltonian_rotates_with_the_crystal(request, crystal, hydrocarbon, rotation, kind):
    predictor, structure = request.getfixturevalue(kind), {"published": crystal, "smooth": hydrocarbon}[kind]
    turned = replace(structure, positions=structure.positions @ rotation.T, cell=structure.cell @ rotation.T)
    before, after = predictor.predict([structure, turned])
    assert np.abs(before.values).max() > 0.1
    assert difference(after, turn_matrix(before, rotation)) < 1e-10


VARIANTS = {
    "none": TraceGradConfig(nodes=False, edges=False, decoder=False),
    "both": TraceGradConfig(nodes=False, hidden=6, invariants=4),
    "trace loss only": TraceGradConfig(nodes=False, gradient=False, hidden=6, invariants=4),
    "gradient only": TraceGradConfig(nodes=False, decoder=False, hidden=6, invariants=4),
    "full": TraceGradConfig(full=True, hidden=6, invariants=4),
    "rank": TraceGradConfig(rank=2, hidden=6, invariants=4),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_tracegrad(hydrocarbon, variant):
    """Equivariant blocks, invariant traces where they are asked for, no parameter without a use."""
    config = VARIANTS[variant]
    predictor = make_published(tracegrad=config)
    rotation = rotations_of_space(1)[1]
    turned = replace(hydrocarbon, positions=hydrocarbon.positions @ rotation.T, cell=hydrocarbon.cell @ rotation.T)
    before, after = predictor.predict([hydrocarbon, turned])
    assert difference(after, turn_matrix(before, rotation)) < 1e-10
    here, there = (predictor.network(make_graph_batch(predictor, s), with_traces=True) for s in (hydrocarbon, turned))
    assert (here.offsite_trace is not None) == config.decoder
    for a, b in ((here.offsite_trace, there.offsite_trace), (here.onsite_trace, there.onsite_trace)):
        if a is not None:
            assert a.abs().max() > 0.01
            assert (a.sort(0).values - b.sort(0).values).abs().max() < 1e-10
    sum(x.square().sum() for x in vars(here).values() if x is not None).backward()
    unused = [name for name, p in predictor.network.named_parameters() if p.numel() and p.grad is None]
    if not config.decoder and config.gradient:  # the last layer of z only enters through its sum
        unused = [name for name in unused if not name.endswith("mlp.last.bias")]
    assert unused == []


def test_the_trace_loss_alone_leaves_the_blocks_alone(hydrocarbon):
    """Without the gradient the blocks of H are those of the network without TraceGrad, weight by weight."""
    with_decoder, without = (make_published(tracegrad=VARIANTS[name]) for name in ("trace loss only", "none"))
    shared = {k: v for k, v in with_decoder.network.state_dict().items() if k in without.network.state_dict()}
    without.network.load_state_dict(shared)
    assert difference(with_decoder.predict([hydrocarbon])[0], without.predict([hydrocarbon])[0]) == 0


def test_spinor_blocks(hydrocarbon):
    """The published rule adds the irreps that spin-orbit blocks take; Hermitian, and spins turn with space."""
    predictor = make_published(spinor=True, hidden="4x0e+3x1o+2x2e")
    assert predictor.network.blocks[-1].atom == Channels("4x0e+3x1o+3x1e+2x2e")
    rotation = rotations_of_space(1)[1]
    turned = replace(hydrocarbon, positions=hydrocarbon.positions @ rotation.T, cell=hydrocarbon.cell @ rotation.T)
    before, after = predictor.predict([hydrocarbon, turned])
    assert before.hermiticity_residual() < 1e-14
    assert np.abs(before.values.imag).max() > 0.1
    assert difference(after, turn_matrix_and_spins(before, rotation)) < 1e-10


def test_hermitian(published, crystal):
    assert published.predict([crystal])[0].hermiticity_residual() < 1e-14


def test_permutation_of_atoms(published, crystal):
    order = np.array([2, 0, 3, 1])  # new atom k is old atom order[k]
    new_of = np.argsort(order)
    permuted = replace(crystal, numbers=crystal.numbers[order], positions=crystal.positions[order])
    before, after = published.predict([crystal, permuted])
    expected = {(int(new_of[i]), int(new_of[j]), r): b for (i, j, r), b in before.items()}
    assert difference(after, type(before).from_blocks(after.layout, expected)) < 1e-10


def test_batch_equals_single(published, crystal, hydrocarbon):
    """The statistics of a structure are its own."""
    molecule = Structure([6, 1, 22], [[0, 0, 0], [0, 0, 1.1], [1.4, 0, 0.2]], *NO_CELL)
    atom = Structure([58], [[0, 0, 0]], *NO_CELL)
    structures = [crystal, atom, hydrocarbon, molecule]
    for together, structure in zip(published.predict(structures), structures, strict=True):
        assert difference(together, published.predict([structure])[0]) < 1e-10


def test_supercell_has_the_blocks_of_the_primitive_cell(hydrocarbon):
    predictor = make_published()
    positions = np.concatenate([hydrocarbon.positions, hydrocarbon.positions + hydrocarbon.cell[0]])
    cell = hydrocarbon.cell * np.array([2, 1, 1])[:, None]
    primitive, double = predictor.predict(
        [hydrocarbon, Structure(np.tile(hydrocarbon.numbers, 2), positions, cell, hydrocarbon.pbc)]
    )
    for (i, j, r), block in double.items():
        shift = np.array([j // 3, 0, 0]) + np.array([2, 1, 1]) * r - np.array([i // 3, 0, 0])
        assert np.abs(block - primitive.block(i % 3, j % 3, shift)).max() < 1e-10


def molecule_across(distance: float) -> Structure:
    """Atom 0 and atom 2 are at the cut-off of 3.4; atom 1 sees both."""
    return Structure([6, 1, 6], [[0, 0, 0], [1.0, 0.9, 0.3], [distance, 0, 0]], *NO_CELL)


def test_as_published_it_jumps_at_the_cutoff():
    """The docstring says so: a pair comes with a full message, and moves the norm of all the others."""
    low, high = blocks_of(make_published(), [molecule_across(3.4 - 1e-6), molecule_across(3.4 + 1e-6)])
    assert np.abs(high - low)[:8, :8].max() > 1e-3


@pytest.mark.parametrize("reach", [{}, {"H": 1.7, "C": 1.5}])
def test_smooth_at_the_cutoff_with_a_width_and_local_norms(smooth, reach):
    """No kink: the second difference over h shrinks with h."""
    config = replace(smooth.network.config, reach=reach)
    network = build_network(config, smooth.basis, [1, 6]).double()
    network.load_state_dict(smooth.network.state_dict())
    predictor, end = Predictor(network, smooth.basis, smooth.card), 2 * config.reach_of([6])[6]

    def kink(h):
        low, middle, high = blocks_of(predictor, [molecule_across(end + s * h) for s in (-1, 0, 1)])
        assert np.abs(high - low).max() > 1e-14
        return np.abs(high - 2 * middle + low).max() / h

    assert kink(1e-4) < 0.2 * kink(1e-3) + 1e-8


def test_isolated_atom_has_finite_gradients():
    """All features with l > 0 are exactly zero, and so are the deviations the norm divides by."""
    predictor = make_published()
    batch = make_graph_batch(predictor, Structure([6], [[0, 0, 0]], *NO_CELL))
    predictor.network(batch).onsite.square().sum().backward()
    gradients = [p.grad for p in predictor.network.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(g).all() for g in gradients)


def test_checkpoint(tmp_path, hydrocarbon):
    predictor = make_published()
    save_checkpoint(tmp_path / "model.tgh", predictor.network, predictor.basis, predictor.card)
    network, basis, card = load_checkpoint(tmp_path / "model.tgh", torch.float64)
    assert type(network) is type(predictor.network)
    again = Predictor(network, basis, card).predict([hydrocarbon])[0]
    # The file holds single precision.
    predictor.network.load_state_dict({name: value.float().double() for name, value in predictor.network.state_dict().items()})
    assert difference(again, predictor.predict([hydrocarbon])[0]) < 1e-12


def test_pairs_end_at_the_sum_of_two_reaches(hydrocarbon):
    config = replace(make_published().network.config, reach={"H": 1.2, "C": 1.7}, cutoff=3.4)
    network = build_network(config, make_basis((1, 6)), [1, 6])
    assert network.reach == {1: 1.2, 6: 1.7}
    assert config_from_dict(NetworkConfig, config_to_dict(config)) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "deeph"}, "backbone must be one of fast, deeph-e3"),
        ({"backbone": "deeph-e3", "hidden": "8x0e"}, "hidden: settings of the backbone 'fast'"),
        ({"cutoff_width": 0.0}, "cutoff_width must lie between"),
        ({"backbone": "deeph-e3", "cutoff_width": 0.0, "reach": {"C": 3.0}}, "cutoff must be twice the largest reach"),
        ({"reach": {"C": 3.75, "H": 2.0}}, "must not exceed twice the smallest reach, 4.0 Angstrom, found 5.0"),
        ({"reach": {"c": 3.75}}, "reach must be .element: positive length., such as .*, found {c: 3.75}"),
        ({"reach": {"C": "far"}}, "reach must be .element: positive length."),
        ({"deeph_e3": {"norm": "layer"}}, "norm must be 'structure' or 'local'"),
        ({"deeph_e3": {"n_blocks": 0}}, "n_blocks must be at least 1"),
        ({"deeph_e3": {"n_radial": 1}}, "n_radial must be at least 2"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        config_from_dict(NetworkConfig, settings)


def test_wrong_class():
    with pytest.raises(ValueError, match="use build_network"):
        HamiltonianNetwork(make_published().network.config, make_basis((1, 6)), [1, 6])


def test_irreps_that_cannot_be_reached():
    with pytest.raises(ValueError, match="which the last pair features do not hold"):
        make_published(edge_last="4x0e+2x1o+2x2e")
