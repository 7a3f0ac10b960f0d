"""The closed form against automatic differentiation of the same invariants."""

import pytest
import torch

from ase_tracegrad.nn.irreps import Channels
from ase_tracegrad.nn.tracegrad import InvariantMLP, TraceGradBlock
from ase_tracegrad.nn.wigner import edge_rotations

TEXT = "5x0e+2x0o+3x1o+2x1e+3x2e+2x3o+1x3e+2x4e"
VARIANTS = {"default": {}, "rank": {"rank": 2}, "full": {"full": True}, "trace loss only": {"gradient": False}}
E = 6


def make_block(kind: str, **options) -> TraceGradBlock:
    torch.manual_seed(0)
    block = TraceGradBlock(Channels(TEXT), kind, hidden=7, invariants=4, **options).double()
    if block.step is not None:
        block.step.data.uniform_(0.5, 1.5)  # every channel its own, so that a wrong one is seen
    return block


def make_feature(block: TraceGradBlock) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randn(E, 2 * l + 1, c, generator=generator, dtype=torch.float64) for l, c in enumerate(block.channels.counts)]
    rows = block.channels.to_orders(rows) if block.kind == "edge" else rows
    return [x.requires_grad_() for x in rows]


def forward_by_autograd(block: TraceGradBlock, f):
    """(f + step * dz/df, z) with everything differentiated by torch, twice where parameters are concerned."""
    if block.full:
        u = block._gram_matrices(block._as_rows(f))
    else:
        u = block.algebra.inner(block._left(f), block.algebra.mix(f, list(block.right)))
    z = block.mlp(u * block.norms)
    if not block.gradient:
        return f, z
    v = torch.autograd.grad(z.sum(), f, create_graph=True)
    return [x + y for x, y in zip(f, block.algebra.scale(list(v), block.step[None]), strict=True)], z


def gradients(block, f, output, z):
    """Of a fixed random linear function of the outputs, with respect to the feature and all parameters."""
    generator = torch.Generator().manual_seed(2)
    value = sum((torch.randn(x.shape, generator=generator, dtype=x.dtype) * x).sum() for x in [*output, z])
    return torch.autograd.grad(value, [*f, *block.parameters()], allow_unused=True)


@pytest.mark.parametrize("kind", ["node", "edge"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_closed_form_equals_autograd(kind, variant):
    block = make_block(kind, **VARIANTS[variant])
    f = make_feature(block)
    output, z = block(f)
    expected, expected_z = forward_by_autograd(block, f)
    assert (z - expected_z).abs().max() < 1e-12
    for x, y in zip(output, expected, strict=True):
        assert (x - y).abs().max() < 1e-12
    if block.gradient:
        assert max((x - y).abs().max() for x, y in zip(output, f, strict=True)) > 1e-3


@pytest.mark.parametrize("kind", ["node", "edge"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_training_gradients_equal_those_of_the_autograd_version(kind, variant):
    block = make_block(kind, **VARIANTS[variant])
    f = make_feature(block)
    ours = gradients(block, f, *block(f))
    oracle = gradients(block, f, *forward_by_autograd(block, f))
    named = [f"feature {k}" for k in range(len(f))] + [name for name, _ in block.named_parameters()]
    for name, a, b in zip(named, ours, oracle, strict=True):
        if variant == "trace loss only" and name == "step":
            assert a is None
            assert b is None
            continue
        # The bias of the last layer and the layer norms cancel out of dz/df; there both are zero or unused.
        a, b = (torch.zeros(1, dtype=torch.float64) if x is None else x for x in (a, b))
        assert (a - b).abs().max() < 1e-12 * max(1, b.abs().max()), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_invariants_the_feature_is_the_same(variant, monkeypatch):
    block = make_block("node", **VARIANTS[variant])
    f = make_feature(block)
    expected, _ = block(f)
    calls = []
    monkeypatch.setattr(block.mlp.last, "forward", lambda *_: calls.append(1))
    found, z = block(f, invariants=False)
    assert z is None
    assert not calls, "z was computed for nothing"
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_node_and_edge_layouts_give_the_same_function(variant):
    """Rows and orders are two layouts of one feature; the block must not know which one it got."""
    node, edge = make_block("node", **VARIANTS[variant]), make_block("edge", **VARIANTS[variant])
    rows = make_feature(node)
    output, z = node(rows)
    orders, edge_z = edge(edge.channels.to_orders(rows))
    assert (z - edge_z).abs().max() < 1e-12
    for x, y in zip(edge.channels.to_rows(orders), output, strict=True):
        assert (x - y).abs().max() < 1e-12


@pytest.mark.parametrize("variant", VARIANTS)
def test_equivariant(variant):
    block = make_block("node", **VARIANTS[variant])
    rows = make_feature(block)
    output, z = block(rows)
    rotations = edge_rotations(torch.tensor([[0.3, -0.8, 0.4]], dtype=torch.float64), block.channels.lmax)
    turned, turned_z = block([d @ row for d, row in zip(rotations, rows, strict=True)])
    assert (turned_z - z).abs().max() < 1e-12
    for x, y, d in zip(turned, output, rotations, strict=True):
        assert (x - d @ y).abs().max() < 1e-12
    inverted, inverted_z = block([invert(row, l, block.channels) for l, row in enumerate(rows)])
    assert (inverted_z - z).abs().max() < 1e-12
    for l, (x, y) in enumerate(zip(inverted, output, strict=True)):
        assert (x - invert(y, l, block.channels)).abs().max() < 1e-12


def invert(row, l, channels):
    sign = (-1) ** l
    return torch.cat([sign * row[:, :, : channels.natural[l]], -sign * row[:, :, channels.natural[l] :]], dim=2)


def test_works_without_autograd():
    block = make_block("edge")
    f = make_feature(block)
    expected, _ = block(f)
    with torch.inference_mode():
        found, _ = block([x.detach() for x in f])
    for x, y in zip(found, expected, strict=True):
        assert torch.equal(x, y)


def test_vanishing_features_give_finite_numbers_and_gradients():
    """Before the first message all l > 0 features are zero, and so may be the scalars."""
    block = make_block("edge")
    f = [torch.zeros_like(x).requires_grad_() for x in make_feature(block)]
    output, z = block(f)
    assert all((x == 0).all() for x in output)
    assert all(torch.isfinite(g).all() for g in gradients(block, f, output, z) if g is not None)


def test_gradient_of_the_mlp():
    torch.manual_seed(3)
    mlp = InvariantMLP(5, 8, 3).double()
    u = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    z, g = mlp.with_gradient(u)
    assert torch.equal(z, mlp(u))
    (expected,) = torch.autograd.grad(z.sum(), u)
    assert (g - expected).abs().max() < 1e-13
