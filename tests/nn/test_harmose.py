"""The second stage of HarmoSE: what it keeps exactly, that it does break rotations, and that training by rotations sees so."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.symmetry import time_reversal_residual
from ase_tracegrad.nn.backbones import build_network
from ase_tracegrad.nn.batch import make_batch
from ase_tracegrad.nn.config import ConfigError, DeepHE3Config, HarmoSEConfig, NetworkConfig, QHNetConfig
from ase_tracegrad.nn.harmose import attend
from ase_tracegrad.nn.predictor import Predictor
from ase_tracegrad.nn.rotated import forward_rotated, random_rotation, turn_blocks
from ase_tracegrad.structure import Structure
from tests.nn.synthetic import SHELLS, make_basis, make_card, make_predictor

NO_CELL = (np.zeros((3, 3)), [False, False, False])
ROTATION = random_rotation(np.random.default_rng(4))
QHNET = {"hidden": 5, "lmax": 2, "bottleneck": 3, "n_layers": 2, "n_pair_layers": 1, "n_radial": 8, "message_hidden": 6}
SPINOR_IRREPS = "6x0e+2x0o+4x1o+3x1e+3x2e+2x2o+2x3o+2x3e+2x4e+1x4o+1x5e"


def make_refined(elements=(1, 6), *, awake: bool = True, **changes) -> Predictor:
    settings = {"n_blocks": 2, "width": 12, "heads": 3, "harmonics_lmax": 3, "n_radial": 8}
    sees = changes.pop("sees", "both")
    predictor = make_predictor(elements, harmose=HarmoSEConfig(**settings, sees=sees), **changes)
    return wake(predictor) if awake else predictor


def wake(predictor: Predictor) -> Predictor:
    """A new second stage adds nothing; this one does."""
    torch.manual_seed(2)
    torch.nn.init.normal_(predictor.network.refiner.head.weight, std=0.3)
    return predictor


def make_on_backbone(backbone: str) -> Predictor:
    small = {"hidden": "6x0e+4x1o+2x1e+3x2e", "n_blocks": 1, "embedding": 6, "n_radial": 8, "radial_cutoff": 4.0}
    layers = {"deeph-e3": {"deeph_e3": DeepHE3Config(**small)}, "qhnet": {"qhnet": QHNetConfig(**QHNET), "message_cutoff": 3.0}}[
        backbone
    ]
    second = HarmoSEConfig(n_blocks=1, width=12, heads=3, harmonics_lmax=7, n_radial=8)  # above what the backbone needs
    basis = make_basis((1, 6))
    torch.manual_seed(1)
    config = NetworkConfig(backbone=backbone, cutoff=4.0, cutoff_width=0.5, harmose=second, **layers)
    network = build_network(config, basis, [1, 6]).double()
    return wake(Predictor(network, basis, make_card(network, basis)))


@pytest.fixture(scope="module", params=["features", "hamiltonian", "both", "spinors"])
def refined(request) -> Predictor:
    """Four elements of unequal shells."""
    if request.param == "spinors":
        return make_refined(tuple(SHELLS), spinor=True, node_last=SPINOR_IRREPS, edge_last=SPINOR_IRREPS)
    return make_refined(tuple(SHELLS), sees=request.param)


@pytest.fixture(scope="module")
def light() -> Predictor:
    return make_refined()


@pytest.fixture(scope="module")
def spinors() -> Predictor:
    return make_refined(spinor=True, node_last=SPINOR_IRREPS, edge_last=SPINOR_IRREPS)


def batch_of(predictor: Predictor, *structures: Structure):
    network = predictor.network
    graphs = [predictor.graph(structure) for structure in structures]
    return make_batch(graphs, network.elements, message_cutoff=3.0, lmax=network.lmax, dtype=torch.float64)


def largest(a, b) -> float:
    return max((a.offsite - b.offsite).abs().max().item(), (a.onsite - b.onsite).abs().max().item())


def difference(a: BlockMatrix, b: BlockMatrix) -> float:
    assert a.index.keys() == b.index.keys()
    return float(np.abs((a - b).values).max())


def test_a_new_second_stage_changes_nothing(hydrocarbon):
    predictor = make_refined(awake=False)
    batch = batch_of(predictor, hydrocarbon)
    assert largest(predictor.network(batch), predictor.network(batch, refine=False)) == 0


@pytest.mark.parametrize("fixture", ["light", "spinors"])
def test_rotations_are_exact_for_stage_one_alone(request, fixture, hydrocarbon):
    predictor = request.getfixturevalue(fixture)
    network, batch = predictor.network, batch_of(predictor, hydrocarbon)
    with torch.no_grad():
        for refine, low, high in ((False, 0, 1e-10), (True, 1e-3, 100)):
            assert low <= largest(network(batch, refine=refine), forward_rotated(network, batch, ROTATION, refine=refine)) < high


def test_a_turned_batch_is_the_batch_of_a_turned_crystal(light, hydrocarbon):
    """The frames of the pairs differ by a turn about the pair; nothing may depend on it."""
    turned = replace(hydrocarbon, positions=hydrocarbon.positions @ ROTATION.T, cell=hydrocarbon.cell @ ROTATION.T)
    network, batch = light.network, batch_of(light, turned)
    with torch.no_grad():
        direct = network(batch)
        expected = turn_blocks(direct.onsite, network.shells, ROTATION.T)
        found = forward_rotated(network, batch_of(light, hydrocarbon), ROTATION).onsite
    assert (found - expected).abs().max() < 1e-10


@pytest.mark.parametrize("backbone", ["deeph-e3", "qhnet"])
def test_on_the_other_backbones(backbone, hydrocarbon):
    """On-site pairs stand among the pairs there: what is seen of them must still be theirs."""
    predictor = make_on_backbone(backbone)
    molecule = Structure([6, 1, 1], [[0, 0, 0], [0, 0, 1.1], [1.0, 0, 0.2]], *NO_CELL)
    exact = predictor.with_options(refine=False)
    assert difference(exact.predict([hydrocarbon])[0], exact.predict([hydrocarbon], rotation=ROTATION)[0]) < 1e-10
    refined = predictor.predict([molecule, hydrocarbon])
    for together, structure in zip(refined, (molecule, hydrocarbon), strict=True):
        assert together.hermiticity_residual() < 1e-13
        assert difference(together, predictor.predict([structure])[0]) < 1e-11
        assert difference(together, exact.predict([structure])[0]) > 1e-3
    moved = replace(hydrocarbon, positions=hydrocarbon.positions + np.array([11.3, -4.2, 0.7]))
    assert difference(*predictor.predict([hydrocarbon, moved])) < 1e-11


def test_memory_is_linear_in_the_pairs(light, hydrocarbon):
    """What the second stage keeps for the derivatives, in supercells: no matrix of atoms or of pairs."""

    def count_kept(batch, refine: bool) -> int:
        counted = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: counted.append(x.numel()) or x, lambda x: x):
            light.network(batch, refine=refine)
        return sum(counted)

    kept, pairs = [], []
    for n in (1, 2, 4):
        positions = (hydrocarbon.positions[None] + np.arange(n)[:, None, None] * hydrocarbon.cell[0]).reshape(-1, 3)
        supercell = Structure(np.tile(hydrocarbon.numbers, n), positions, hydrocarbon.cell * [[n], [1], [1]], hydrocarbon.pbc)
        batch = batch_of(light, supercell)
        kept.append(count_kept(batch, True) - count_kept(batch, False))
        pairs.append(batch.n_pairs)
    assert pairs == [pairs[0], 2 * pairs[0], 4 * pairs[0]]
    assert kept[2] - kept[1] == 2 * (kept[1] - kept[0]) > 0


def test_hermitian(refined, crystal):
    assert refined.predict([crystal])[0].hermiticity_residual() < 1e-13


def test_spinors_are_hermitian_and_keep_time_reversal(spinors, hydrocarbon):
    (matrix,) = spinors.predict([hydrocarbon])
    assert matrix.hermiticity_residual() < 1e-13
    assert time_reversal_residual(matrix) < 1e-13


def test_translation(refined, crystal):
    moved = replace(crystal, positions=crystal.positions + np.array([11.3, -4.2, 0.7]))
    assert difference(*refined.predict([crystal, moved])) < 1e-11


def test_permutation_of_atoms(refined, crystal):
    order = np.array([2, 0, 3, 1])  # new atom k is old atom order[k]
    new_of = np.argsort(order)
    permuted = replace(crystal, numbers=crystal.numbers[order], positions=crystal.positions[order])
    before, after = refined.predict([crystal, permuted])
    expected = {(int(new_of[i]), int(new_of[j]), r): b for (i, j, r), b in before.items()}
    assert difference(after, BlockMatrix.from_blocks(after.layout, expected, after.spin)) < 1e-11


def test_batch_equals_single(refined, crystal, hydrocarbon):
    molecule = Structure([6, 1, 22], [[0, 0, 0], [0, 0, 1.1], [1.4, 0, 0.2]], *NO_CELL)
    atom = Structure([58], [[0, 0, 0]], *NO_CELL)
    structures = [crystal, atom, hydrocarbon, molecule, crystal]
    for together, structure in zip(refined.predict(structures), structures, strict=True):
        assert difference(together, refined.predict([structure])[0]) < 1e-11


@pytest.mark.parametrize("crossing", [4.0, 3.5, 3.0])
def test_smooth_where_an_atom_crosses(light, crossing):
    """The cut-off, where its smooth end begins, and the end of attention: neither a jump nor a kink."""

    def molecule(distance):
        return Structure([6, 1, 6], [[0, 0, 0], [1.0, 0.9, 0.3], [distance, 0, 0]], *NO_CELL)

    def kink(h):
        matrices = light.predict([molecule(crossing + s * h) for s in (-1, 0, 1)])
        keys = set.intersection(*(set(matrix.index) for matrix in matrices))
        low, middle, high = (np.concatenate([matrix.block(*key).ravel() for key in sorted(keys)]) for matrix in matrices)
        assert np.abs(high - low).max() > 1e-12, "nothing depends on the distance"
        return np.abs(high - 2 * middle + low).max() / h

    assert kink(1e-4) < 0.2 * kink(1e-3) + 1e-8


def test_every_parameter_of_the_second_stage_gets_a_gradient(light, hydrocarbon):
    network = light.network
    prediction = network(batch_of(light, hydrocarbon))
    (prediction.offsite.square().sum() + prediction.onsite.square().sum()).backward()
    without = [name for name, p in network.refiner.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    network.zero_grad()
    assert without == []


def test_attention_is_a_weighted_mean():
    """Of the values that arrive; weight zero is no token at all."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 5, 4, dtype=torch.float64)
    receiver, weight = torch.tensor([0, 0, 1, 0, 1]), torch.tensor([1.0, 0.5, 1.0, 0.0, 1.0], dtype=torch.float64)
    out = attend(query, key, value, receiver, weight, 2, 2)
    for head, columns in enumerate((slice(0, 2), slice(2, 4))):
        logits = 5 * torch.tanh((query[:, columns] * key[:, columns]).sum(1) / np.sqrt(2) / 5)
        for atom in (0, 1):
            share = logits.exp() * weight * (receiver == atom)
            assert torch.allclose(out[atom, columns], (share / share.sum()) @ value[:, columns]), (head, atom)


def test_rotations_up_to_an_angle():
    generator = np.random.default_rng(1)
    angles = [np.arccos((np.trace(random_rotation(generator, 0.3)) - 1) / 2) for _ in range(50)]
    assert max(angles) < 0.3
    assert max(angles) > 0.2
    assert all(np.linalg.det(random_rotation(generator)) > 0.999 for _ in range(5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sees": "all"}, "features"),
        ({"width": 10, "heads": 4}, "multiple of heads"),
        ({"n_blocks": -1}, "n_blocks"),
        ({"n_radial": 1}, "n_radial"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        HarmoSEConfig(**settings)


def test_options_of_a_predictor(light, hydrocarbon):
    """Without the second stage the exact stage 1; with many orientations nearer to an equivariant answer."""
    alone = light.with_options(refine=False)
    assert alone.network is light.network
    assert light.refine
    assert difference(alone.predict([hydrocarbon])[0], alone.predict([hydrocarbon], rotation=ROTATION)[0]) < 1e-10

    def error(predictor):
        return difference(predictor.predict([hydrocarbon])[0], predictor.predict([hydrocarbon], rotation=ROTATION)[0])

    assert 1e-3 < error(light.with_options(n_rotations=24)) < 0.5 * error(light)
    single = Predictor(copy.deepcopy(light.network).float(), light.basis, light.card).with_options(n_rotations=3)
    assert single.predict([hydrocarbon])[0].hermiticity_residual() == 0
    with pytest.raises(ValueError, match="whole number"):
        light.with_options(n_rotations=-1)


def test_options_need_a_second_stage():
    with pytest.raises(ValueError, match="second stage"):
        make_predictor((1, 6)).with_options(refine=False)
