"""DeepH-E3 on e3nn tensor products, in the common axes: what nn/deeph_e3.py must equal.

Written from the publication (arXiv 2210.13955) and the behaviour and parameter names of its public code, so that its state dict
is one of that code. Built in torch's default dtype, like everything of e3nn.
"""

import torch
from e3nn import o3
from e3nn.nn import Gate
from torch import Tensor, nn
from torch.nn.functional import one_hot, silu

from ase_tracegrad.conventions import E3NN_AXES


def leads_to(first: o3.Irreps, second: o3.Irreps, irrep: o3.Irrep) -> bool:
    return any(irrep in a * b for _, a in first for _, b in second)


class Gaussians(nn.Module):
    def __init__(self, stop: float, n: int):
        super().__init__()
        self.register_buffer("offsets", torch.linspace(0, stop, n))
        self.register_buffer("width", (self.offsets[1] - self.offsets[0]) * torch.ones(n))

    def forward(self, distance: Tensor) -> Tensor:
        return torch.exp(-0.5 * ((distance[:, None] - self.offsets) / self.width) ** 2)


class SeparateWeightProduct(nn.Module):
    """Weights weights1[u, w] weights2[v, w]; ``normalization``: 'path' up to e3nn 0.4.0, 'element' later.

    ``optimized``: as e3nn builds it by default; not so is fast to build and slow to run.
    """

    def __init__(self, first: o3.Irreps, second: o3.Irreps, out: o3.Irreps, normalization: str, optimized: bool):
        super().__init__()
        instructions = [
            (i, j, k, "uvw", True, 1.0)
            for i, (_, a) in enumerate(first)
            for j, (_, b) in enumerate(second)
            for k, (_, c) in enumerate(out)
            if c in a * b
        ]
        self.weights1 = nn.ParameterList(torch.randn(first[i].mul, out[k].mul) for i, _, k, *_ in instructions)
        self.weights2 = nn.ParameterList(torch.randn(second[j].mul, out[k].mul) for _, j, k, *_ in instructions)
        options = {"internal_weights": False, "shared_weights": True, "compile_right": False, "_optimize_einsums": optimized}
        self.tp = o3.TensorProduct(first, second, out, instructions, path_normalization=normalization, **options)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        pairs = zip(self.weights1, self.weights2, strict=True)
        return self.tp(x, y, torch.cat([(a[:, None, :] * b[None]).flatten() for a, b in pairs]))


class Convolution(nn.Module):
    def __init__(
        self, first: o3.Irreps, harmonics: o3.Irreps, wanted: o3.Irreps, n_radial: int, normalization: str, optimized: bool
    ):
        super().__init__()
        scalars = o3.Irreps([(n, ir) for n, ir in wanted if ir.l == 0 and leads_to(first, harmonics, ir)]).simplify()
        gated = o3.Irreps([(n, ir) for n, ir in wanted if ir.l > 0 and leads_to(first, harmonics, ir)]).simplify()
        gates = o3.Irreps([(n, "0e") for n, _ in gated]).simplify()
        functions = {1: silu, -1: torch.tanh}
        self.nonlin = Gate(scalars, [functions[ir.p] for _, ir in scalars], gates, [torch.sigmoid] * len(gates), gated)
        self.irreps_out = self.nonlin.irreps_out
        self.tp = SeparateWeightProduct(first, harmonics, self.nonlin.irreps_in, normalization, optimized)
        self.fc = nn.Sequential(
            nn.Linear(n_radial, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, self.irreps_out.num_irreps)
        )
        spread = [c for c, (_, ir) in enumerate((1, ir) for n, ir in self.irreps_out for _ in range(n)) for _ in range(ir.dim)]
        self.spread = torch.tensor(spread)

    def forward(self, x: Tensor, y: Tensor, radial: Tensor) -> Tensor:
        return self.nonlin(self.tp(x, y)) * self.fc(radial)[:, self.spread]


class StructureNorm(nn.Module):
    def __init__(self, irreps: o3.Irreps):
        super().__init__()
        self.irreps = irreps
        self.weight = nn.Parameter(torch.ones(irreps.num_irreps))
        self.bias = nn.Parameter(torch.zeros(sum(n for n, ir in irreps if ir.is_scalar())))

    def forward(self, x: Tensor, structure: Tensor) -> Tensor:
        out, channel, bias = torch.empty_like(x), 0, 0
        for (n, ir), place in zip(self.irreps, self.irreps.slices(), strict=True):
            field = x[:, place].reshape(-1, n, ir.dim)
            for s in structure.unique():
                part = field[structure == s]
                part = part - part.mean(dim=(0, 1))
                part = part / (part.square().mean().sqrt() + 1e-5) * self.weight[channel : channel + n, None]
                if ir.is_scalar():
                    part = part + self.bias[bias : bias + n, None]
                out[structure == s, place] = part.flatten(1)
            channel, bias = channel + n, bias + (n if ir.is_scalar() else 0)
        return out


class Skip(nn.Module):
    def __init__(self, old: o3.Irreps, new: o3.Irreps):
        super().__init__()
        self.sc = None if old == new else o3.Linear(old, new)

    def forward(self, old: Tensor, new: Tensor) -> Tensor:
        return new + (old if self.sc is None else self.sc(old))


class Update(nn.Module):
    """lin_pre acts on the irreps ``old`` that are updated."""

    def __init__(self, node, edge, old, harmonics, wanted, n_types: int, *common):
        super().__init__()
        self.lin_pre = o3.Linear(old, old, biases=True)
        self.conv = Convolution(node + node + edge, harmonics, wanted, *common)
        self.irreps_out = out = self.conv.irreps_out
        self.lin_post = o3.Linear(out, out, biases=True)
        self.sc = o3.FullyConnectedTensorProduct(old, f"{n_types}x0e", out)
        self.norm = StructureNorm(out)
        self.skip_connect = Skip(old, out)

    def finish(self, old: Tensor, new: Tensor, types: Tensor, structure: Tensor) -> Tensor:
        return self.skip_connect(old, self.norm(self.lin_post(new) + self.sc(old, types), structure))


class Twin(nn.Module):
    """Last pair features through lin_edge: (pairs, irreps_out_edge), on-site pairs among the pairs."""

    def __init__(self, settings: dict, normalization: str = "element", *, optimized: bool = False):
        super().__init__()
        s = {name: o3.Irreps(value) if name.startswith("irreps") else value for name, value in settings.items()}
        self.settings, self.n = settings, s["num_species"]
        self.embedding = o3.Linear(f"{self.n}x0e", s["irreps_embed_node"])
        self.basis = Gaussians(s["r_max"], s.get("num_basis", 128))
        self.distance_expansion = Gaussians(6.0, s["irreps_edge_init"].dim)
        self.harmonics = s["irreps_sh"]
        node, edge = s["irreps_embed_node"], s["irreps_edge_init"]
        self.node_update_blocks, self.edge_update_blocks = nn.ModuleList(), nn.ModuleList()
        for number in range(s["num_block"]):
            kind = "post" if number == s["num_block"] - 1 else "mid"
            common = (s.get("num_basis", 128), normalization, optimized)
            update = Update(node, edge, node, self.harmonics, s[f"irreps_{kind}_node"], self.n, *common)
            node = update.irreps_out
            self.node_update_blocks.append(update)
            update = Update(node, edge, edge, self.harmonics, s[f"irreps_{kind}_edge"], self.n**2, *common)
            edge = update.irreps_out
            self.edge_update_blocks.append(update)
        self.lin_node = o3.Linear(node, s["irreps_out_node"], biases=True)
        self.lin_edge = o3.Linear(edge, s["irreps_out_edge"], biases=True)

    def forward(self, species: Tensor, pairs: Tensor, vectors: Tensor, structure: Tensor) -> Tensor:
        i, j = pairs.T
        one, two = (one_hot(t, n).to(vectors) for t, n in ((species, self.n), (self.n * species[i] + species[j], self.n**2)))
        distance = vectors.norm(dim=1)
        y = o3.spherical_harmonics(self.harmonics, vectors[:, list(E3NN_AXES)], True, normalization="component")
        radial, x, e = self.basis(distance), self.embedding(one), self.distance_expansion(distance)
        for node, edge in zip(self.node_update_blocks, self.edge_update_blocks, strict=True):
            prepared = node.lin_pre(x)
            message = node.conv(torch.cat([prepared[i], prepared[j], e], dim=1), y, radial)
            summed = message.new_zeros(len(x), message.shape[1]).index_add(0, i, message)
            x = node.finish(x, summed, one, structure)
            new = edge.conv(torch.cat([x[i], x[j], edge.lin_pre(e)], dim=1), y, radial)
            e = edge.finish(e, new, two, structure[i])
        return self.lin_edge(e)


def decompose(angular_momenta: list[tuple[int, int]], *, spinful: bool = False) -> str:
    """irreps_out_edge of shell pairs (l1, l2), unsimplified as in the original: spin 0, spin 1; real and imaginary parts."""
    terms = []
    for a, b in angular_momenta:
        degrees = list(range(abs(a - b), a + b + 1))
        if spinful:
            degrees += [L for orbital in degrees for L in range(abs(orbital - 1), orbital + 2)]
        terms += [f"1x{L}{'eo'[(a + b) % 2]}" for L in degrees]
    return "+".join(terms * 2 if spinful else terms)


def symbol(a: int, b: int, c: int, flipped) -> Tensor:
    """Wigner 3j symbol; flipped: sorted l of those with the other sign."""
    return o3.wigner_3j(a, b, c) * (-1 if tuple(sorted((a, b, c))) in flipped else 1)


def to_blocks(output: Tensor, angular_momenta: list[tuple[int, int]], flipped=frozenset()) -> list[Tensor]:
    """H blocks (pairs, 2 l1 + 1, 2 l2 + 1) of each shell pair, m = -l..l."""
    blocks, first = [], 0
    for a, b in angular_momenta:
        couplings = torch.cat([symbol(a, b, L, flipped) for L in range(abs(a - b), a + b + 1)], dim=2)
        n = couplings.shape[2]
        blocks.append(torch.einsum("abc,ec->eab", couplings, output[:, first : first + n]))
        first += n
    return blocks


def to_spinor_blocks(output: Tensor, angular_momenta: list[tuple[int, int]]) -> list[Tensor]:
    """Complex H blocks (pairs, 2, 2 l1 + 1, 2, 2 l2 + 1): (o + y sigma_y + z sigma_z + x sigma_x) / sqrt(2)."""
    pauli = torch.tensor([[[1, 0], [0, 1]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]], [[0, 1], [1, 0]]]) / 2**0.5
    real, imaginary = output.chunk(2, dim=1)
    values, blocks, first = torch.complex(real, imaginary), [], 0
    for a, b in angular_momenta:
        orbitals = range(abs(a - b), a + b + 1)
        n = (2 * a + 1) * (2 * b + 1)
        scalar, first = values[:, first : first + n], first + n
        vectors = []
        for orbital in orbitals:
            coupling = torch.cat([o3.wigner_3j(orbital, 1, L) for L in range(abs(orbital - 1), orbital + 2)], dim=2)
            m = coupling.shape[2]
            vectors.append(torch.einsum("osc,ec->eos", coupling.to(values), values[:, first : first + m]))
            first += m
        spins = torch.cat([scalar[:, :, None], torch.cat(vectors, dim=1)], dim=2)
        coupling = torch.cat([o3.wigner_3j(a, b, L) for L in orbitals], dim=2).to(values)
        blocks.append(torch.einsum("abo,eos,sij->eiajb", coupling, spins, pauli.to(values)))
    return blocks


def simplified(text: str) -> str:
    return str(o3.Irreps(text).sort().irreps.simplify())


def give_life(net: nn.Module):
    """Random biases and norms: freshly made ones are zero and one and hide what belongs to them."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in net.named_parameters():
        if name.endswith("bias") or ".norm." in name:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
