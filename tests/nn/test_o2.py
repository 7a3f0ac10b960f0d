"""O2Linear against e3nn's tensor products with the harmonics of the edge."""

import itertools

import pytest
import torch
from e3nn import o3

from ase_tracegrad.conventions import E3NN_AXES
from ase_tracegrad.harmonics import shell_rotation
from ase_tracegrad.nn.interaction import rotate_out_of_frames
from ase_tracegrad.nn.irreps import Channels, NodeLinear
from ase_tracegrad.nn.o2 import O2Linear
from ase_tracegrad.nn.wigner import edge_rotations

E = 7
BOTH = "3x0e+2x0o+2x1o+3x1e+2x2e+1x2o+2x3o+1x3e+1x4e+2x4o"
CASES = {
    "both parities": ([BOTH], BOTH),
    "natural only": (["4x0e+3x1o+2x2e"], "2x0e+2x1o+3x2e"),
    "natural to pseudo": (["4x0e+3x1o+2x2e"], "2x0e+1x0o+2x1e+3x2o"),
    "pseudo to natural": (["2x0o+3x1e+2x2o"], "2x0e+2x1o+3x2e"),
    "higher out than in": (["3x0e+2x1o"], "2x0e+2x1o+2x1e+2x4e+1x4o"),
    "lower out than in": (["3x0e+2x1o+2x4e+1x3e"], "2x0e+2x1o+1x1e"),
    "three inputs": (["3x0e+2x1o+1x2e", "2x0e+1x1e+2x3o", "4x0e"], "3x0e+2x1o+1x1e+2x3o"),
}


def random_rows(channels: Channels, generator) -> list[torch.Tensor]:
    return [torch.randn(E, 2 * l + 1, c, generator=generator, dtype=torch.float64) for l, c in enumerate(channels.counts)]


def into_frames(rows, rotations):
    return [torch.bmm(d.transpose(1, 2), row) for d, row in zip(rotations, rows, strict=False)]


def flatten_for_e3nn(rows, channels: Channels) -> torch.Tensor:
    """Rows (E, 2l+1, c) -> e3nn's order: irrep by irrep, channel by channel, m fastest."""
    parts = [rows[l][:, :, first - channels.starts[l] :][:, :, :count] for l, first, count in channels.groups]
    return torch.cat([part.transpose(1, 2).flatten(1) for part in parts], dim=1)


def copy_path_weights(product: o3.FullyConnectedTensorProduct, filters: list[int], linear: O2Linear):
    """W_m += C^{l1 lf l3}[m, 0, m] sqrt(2 lf + 1) * path_weight * w, the formula that makes both the same map.

    Row and column of C are those of the first component of order m: x_-m of natural, x_+m of pseudo irreps.
    """
    channels_in, channels_out = linear.inputs[0], linear.channels_out
    for parameter in linear.parameters():
        parameter.data.zero_()
    for _, instruction, weight in product.weight_views(yield_instruction=True):
        l1, start1, count1 = channels_in.groups[instruction.i_in1]
        l3, start3, count3 = channels_out.groups[instruction.i_out]
        lf = filters[instruction.i_in2]
        natural1, natural3 = start1 in channels_in.natural_index, start3 in channels_out.natural_index
        coefficients = o3.wigner_3j(l1, lf, l3, dtype=torch.float64) * (2 * lf + 1) ** 0.5 * instruction.path_weight
        block = weight.reshape(count1, count3)
        if natural1 == natural3:
            matrix = linear.weight_natural if natural1 else linear.weight_pseudo
            index1 = channels_in.natural_index if natural1 else channels_in.pseudo_index
            index3 = channels_out.natural_index if natural3 else channels_out.pseudo_index
            row, column = index1.index(start1), index3.index(start3)
            matrix.data[row : row + count1, column : column + count3] += coefficients[l1, lf, l3] * block
        for m in range(1, min(l1, l3) + 1):
            first1, first3 = l1 - m if natural1 else l1 + m, l3 - m if natural3 else l3 + m
            row, column = start1 - channels_in.starts[m], start3 - channels_out.starts[m]
            linear.weights[m - 1].data[row : row + count1, column : column + count3] += coefficients[first1, lf, first3] * block


@pytest.fixture
def double_constants():
    """e3nn builds the constants of a tensor product in torch's default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("double_constants")
@pytest.mark.parametrize("case", [name for name in CASES if name != "three inputs"])
def test_equals_the_sum_of_e3nn_tensor_products(case):
    """The full set of filters lf <= l_in + l_out is one O2Linear, weight by weight."""
    (text_in,), text_out = CASES[case]
    channels_in, channels_out = Channels(text_in), Channels(text_out)
    filters = list(range(channels_in.lmax + channels_out.lmax + 1))
    generator = torch.Generator().manual_seed(1)
    rows = random_rows(channels_in, generator)
    vectors = torch.randn(E, 3, generator=generator, dtype=torch.float64)
    vectors[0] = torch.tensor([0, 0, 1.0])
    vectors[1] = torch.tensor([0, 0, -2.0])
    # str() joins the groups in the order of Channels.groups: by l, natural first.
    product = o3.FullyConnectedTensorProduct(
        str(channels_in), o3.Irreps([(1, (l, (-1) ** l)) for l in filters]), str(channels_out), shared_weights=True
    )
    harmonics = o3.spherical_harmonics(filters, vectors[:, list(E3NN_AXES)], True, normalization="component")
    expected = product(flatten_for_e3nn(rows, channels_in), harmonics)

    linear = O2Linear([channels_in], channels_out)
    copy_path_weights(product, filters, linear)
    rotations = edge_rotations(vectors, max(channels_in.lmax, channels_out.lmax))
    orders, _ = linear([channels_in.to_orders(into_frames(rows, rotations))])
    found = flatten_for_e3nn(rotate_out_of_frames(orders, rotations, channels_out), channels_out)
    assert expected.abs().max() > 0.1
    assert (found - expected).abs().max() < 1e-10


def test_tensor_products_reach_every_weight():
    """Nothing an O2Linear can express is beyond the tensor product: equally many free numbers."""
    channels = Channels(BOTH)
    filters = range(2 * channels.lmax + 1)
    product = o3.FullyConnectedTensorProduct(BOTH, o3.Irreps([(1, (l, (-1) ** l)) for l in filters]), BOTH)
    linear = O2Linear([channels], channels)
    assert product.weight_numel == sum(p.numel() for p in linear.parameters()) - linear.bias.numel()


@pytest.mark.parametrize("case", CASES)
def test_equivariant_under_proper_and_improper_rotations(case):
    texts_in, text_out = CASES[case]
    inputs, out = [Channels(t) for t in texts_in], Channels(text_out)
    generator = torch.Generator().manual_seed(2)
    features = [random_rows(c, generator) for c in inputs]
    vectors = torch.randn(E, 3, generator=generator, dtype=torch.float64)
    torch.manual_seed(3)
    linear = O2Linear(inputs, out, gates=2).double()
    linear.bias.data.normal_()

    def apply(features, vectors):
        rotations = edge_rotations(vectors, max(c.lmax for c in [*inputs, out]))
        orders = [c.to_orders(into_frames(f, rotations)) for c, f in zip(inputs, features, strict=True)]
        orders, gates = linear(orders)
        return rotate_out_of_frames(orders, rotations, out), gates

    rows, gates = apply(features, vectors)
    for parity in (1, -1):
        rotation = parity * o3.rand_matrix(dtype=torch.float64)
        turned = [act(f, c, rotation) for c, f in zip(inputs, features, strict=True)]
        new_rows, new_gates = apply(turned, vectors @ rotation.T)
        assert (new_gates - gates).abs().max() < 1e-10
        for found, expected in zip(new_rows, act(rows, out, rotation), strict=True):
            assert found.numel() == 0 or (found - expected).abs().max() < 1e-10


def act(rows, channels: Channels, rotation: torch.Tensor):
    """The group action on rows: D_l of the proper part, and the parity (-1)^l or -(-1)^l under inversion."""
    inverts = torch.det(rotation) < 0
    turned = []
    for l, row in enumerate(rows):
        new = torch.from_numpy(shell_rotation(l, rotation.numpy())) @ row
        if inverts:  # shell_rotation already holds (-1)^l, the parity of natural irreps
            new = torch.cat([new[:, :, : channels.natural[l]], -new[:, :, channels.natural[l] :]], dim=2)
        turned.append(new)
    return turned


@pytest.mark.parametrize(("text_in", "text_out"), list(itertools.product([BOTH, "3x0e+2x1o", "2x0o+2x2o"], [BOTH, "2x0e+1x5o"])))
def test_node_linear_is_equivariant(text_in, text_out):
    channels_in, channels_out = Channels(text_in), Channels(text_out)
    generator = torch.Generator().manual_seed(4)
    rows = random_rows(channels_in, generator)
    torch.manual_seed(4)
    linear = NodeLinear(channels_in, channels_out).double()
    for parity in (1, -1):
        rotation = parity * o3.rand_matrix(dtype=torch.float64)
        turned_first, turned_last = linear(act(rows, channels_in, rotation)), act(linear(rows), channels_out, rotation)
        for found, expected in zip(turned_first, turned_last, strict=True):
            assert found.numel() == 0 or (found - expected).abs().max() < 1e-12


@pytest.mark.parametrize("text", [BOTH, "4x0e", "2x1o+1x3e", "1x0e+2x5o"])
def test_both_layouts_hold_the_same_numbers(text):
    channels = Channels(text)
    rows = random_rows(channels, torch.Generator().manual_seed(5))
    for again, row in zip(channels.to_rows(channels.to_orders(rows)), rows, strict=True):
        assert torch.equal(again, row)


def test_channels_text():
    assert str(Channels("2x1o + 3x0e+1x1e+4x1o")) == "3x0e+6x1o+1x1e"
    assert Channels("3x0e+2x1o") == Channels("2x1o+3x0e") != Channels("3x0e+2x1e")
    with pytest.raises(ValueError, match="expected terms such as 32x0e"):
        Channels("3x0e+2y1o")
