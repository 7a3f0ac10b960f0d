"""Gates and norms against the same written with torch's own operations; derivatives against finite differences."""

import pytest
import torch
from torch import nn

from ase_tracegrad.nn.gate import gate_and_weigh, normalize_scalars
from ase_tracegrad.nn.radial import gaussian_basis


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_gate():
    x, extra, weight = [random(5, 7), random(5, 2, 4)], random(5, 4), random(5, 7)
    first, second = gate_and_weigh(x, extra, weight)
    scalars = torch.nn.functional.silu(x[0][:, :3]) * weight[:, :3]
    assert torch.allclose(first[:, :3], scalars, atol=1e-14)
    assert torch.allclose(first[:, 3:], x[0][:, 3:] * torch.sigmoid(extra) * weight[:, 3:], atol=1e-14)
    assert torch.allclose(second, x[1] * (torch.sigmoid(extra) * weight[:, 3:])[:, None], atol=1e-14)
    assert torch.autograd.gradcheck(lambda w, g, *y: tuple(gate_and_weigh(list(y), g, w)), [weight, extra, *x])


@pytest.mark.parametrize("with_residual", [True, False])
def test_norm(with_residual):
    norm, x = nn.LayerNorm(3).double(), random(5, 7)
    nn.init.normal_(norm.weight)
    residual = random(5, 7) if with_residual else None
    expected = torch.cat([norm(x[:, :3]), x[:, 3:]], dim=1)
    expected = expected + residual if with_residual else expected
    assert torch.allclose(normalize_scalars(norm, x, residual), expected, atol=1e-14)
    inputs = [x, residual] if with_residual else [x]
    assert torch.autograd.gradcheck(lambda *y: normalize_scalars(norm, *y), inputs)
    gradients = [torch.autograd.grad(y.square().sum(), norm.parameters()) for y in (normalize_scalars(norm, *inputs), expected)]
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gaussians_have_no_subnormal_tails(dtype):
    distance = torch.linspace(0, 8, 400, dtype=dtype)
    found = gaussian_basis(distance, 0.0, 7.2, 128)
    assert not ((found > 0) & (found < torch.finfo(dtype).tiny)).any()
    assert (found == 0).any()
    exact = torch.exp(-0.5 * ((distance.double()[:, None] - torch.linspace(0, 7.2, 128).double()) * (127 / 7.2)) ** 2)
    assert (found.double() - exact).abs().max() < 1e-4
