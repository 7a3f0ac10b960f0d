"""load_deeph_e3: a model trained with the original DeepH-E3 code, as a Predictor of ours.

The original writes into its output folder best_model.pkl (state dict) and src/ with build_model.py (the arguments of the network),
dataset_info.json (elements, orbitals, spin) and target_blocks.json (which output is which block). Nothing in them is executed:
the Python file is parsed for its literals and the weights are read with weights_only=True.

Conversion is linear and exact. What depends on the version of e3nn the model was trained with is read off the buffers of the
state dict: the normalisation of paths (changed in 0.4) and the signs of some Wigner 3j symbols (changed in 0.5).
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from e3nn.o3 import wigner_3j
from torch import Tensor, nn

from ..basis import Basis
from ..damage import DAMAGE
from ..symbols import symbol_of
from .card import ModelCard
from .checkpoint_header import CheckpointError
from .config import DeepHE3Config, NetworkConfig, TraceGradConfig
from .deeph_e3 import PAIR_GAUSSIANS_END, DeepHE3Block, DeepHE3Network
from .deeph_e3_files import (
    Irreps,
    channel_order,
    check_supported,
    irreps_of_block,
    keep_reached,
    parse_irreps,
    read_arguments,
    read_json,
    read_state,
    targets_of_shells,
)
from .deeph_e3_layers import ChannelLinear, EquivariantNorm, GatedPathConvolution, Update
from .path_weights import ProductPath
from .predictor import Predictor

# Sorted (l1, l2, l3) up to 6 whose symbol has the other sign before e3nn 0.5.
OLD_SIGNS = {(1, 2, 2), (1, 3, 3), (1, 4, 4), (1, 5, 5), (1, 6, 6), (3, 4, 6), (4, 4, 5), (4, 5, 6), (5, 5, 5), (5, 6, 6)}
PUBLISHED_GAUSSIANS = 128
# What a state dict holds besides the parameters that lead to H.
IGNORED = re.compile(
    r"output_mask$|^lin_node\.|\.nonlin\.|\.tp\.tp\.|^basis\.|^distance_expansion\.|^sh\.|\._compiled|(^embedding|skip_connect\.sc)\.bias$"
)


def load_deeph_e3(folder, basis: Basis, *, reach: Mapping[int, float] | None = None) -> Predictor:
    """The model in a DeepH-E3 output folder (the one with best_model.pkl and src/), in the precision it was trained in.

    basis: orbitals of the training data, with radial functions if bands are wanted (S(R) is computed from them).
    reach: Angstrom of each element; the original takes the pairs of the DFT code, which end at the sum of two reaches;
    None takes those of the basis. Blocks are the Hermitian part of what the original gives,
    with spin-orbit coupling the part that time reversal leaves as well.
    Raises FileNotFoundError, and CheckpointError for what is damaged or cannot be represented.
    """
    folder = Path(folder)
    arguments = read_arguments(folder / "src" / "build_model.py")
    info, targets = (read_json(folder / "src" / name) for name in ("dataset_info.json", "target_blocks.json"))
    state = read_state(folder / "best_model.pkl")
    try:
        check_supported(folder, arguments, info, basis)
        elements = [int(z) for z in info["index_to_Z"]]
    except CheckpointError:
        raise
    except DAMAGE as error:
        raise CheckpointError(f"{folder}: build_model.py or dataset_info.json is damaged: {error!r}") from error
    reaches = {z: float(reach[z] if reach else basis[z].reach) for z in elements}
    try:
        config = _make_config(arguments, reaches, info["spinful"])
        with torch.random.fork_rng(devices=[]):
            network = DeepHE3Network(config, basis, elements).to(state["embedding.weight"].dtype)
        _Conversion(state, network, folder).run(arguments, info["orbital_types"], targets)
    except CheckpointError:
        raise
    except (*DAMAGE, RuntimeError) as error:
        raise CheckpointError(f"{folder}: best_model.pkl does not fit build_model.py: {error!r}") from error
    description = f"converted from DeepH-E3, {folder.name}"
    return Predictor(network, basis, ModelCard(folder.name, description, elements, basis.name, basis.code, basis.xc, config.cutoff))


def _make_config(arguments: dict[str, Any], reaches: dict[int, float], spinor: bool) -> NetworkConfig:
    return NetworkConfig(
        backbone="deeph-e3",
        cutoff=2 * max(reaches.values()),
        cutoff_width=0.0,
        reach={symbol_of(z): r for z, r in reaches.items()},
        spinor=spinor,
        deeph_e3=DeepHE3Config(
            hidden=arguments["irreps_mid_node"],
            edge_last=arguments["irreps_post_edge"],
            node_last=arguments["irreps_post_node"],
            filter_lmax=len(parse_irreps(arguments["irreps_sh"])) - 1,
            n_blocks=int(arguments["num_block"]),
            embedding=parse_irreps(arguments["irreps_embed_node"])[0][0],
            n_radial=int(arguments.get("num_basis", PUBLISHED_GAUSSIANS)),
            radial_cutoff=float(arguments["r_max"]),
        ),
        tracegrad=TraceGradConfig(nodes=False, edges=False, decoder=False),
    )


class _Conversion:
    """Copies the state dict of the original into a network, and knows which of its entries were used."""

    def __init__(self, state: dict[str, Tensor], network: DeepHE3Network, folder: Path):
        self.state, self.network, self.folder = state, network, folder
        self.used: set[str] = set()
        # The graph of a tensor product was renamed in the release that changed the norm of paths.
        self.by_path = any("_compiled_main_out" in name for name in state)
        symbols = {name.rpartition("_w3j_")[2]: value for name, value in state.items() if "_w3j_" in name}
        differ = [key for key, value in symbols.items() if _has_other_sign(key, value)]
        self.old_signs = bool(differ) or self.by_path
        strange = [key for key in differ if tuple(sorted(map(int, key.split("_")))) not in OLD_SIGNS]
        if strange:
            raise CheckpointError(f"{folder}: unknown signs of the Wigner 3j symbols {', '.join(strange)}: made by another e3nn")

    def sign(self, *degrees: int) -> float:
        """Of the Wigner 3j symbol of the original's e3nn, relative to ours."""
        return -1.0 if self.old_signs and tuple(sorted(degrees)) in OLD_SIGNS else 1.0

    def take(self, name: str) -> Tensor:
        """An entry of the state dict; CheckpointError if it is missing."""
        if name not in self.state:
            raise CheckpointError(f"{self.folder}: best_model.pkl has no {name}")
        self.used.add(name)
        return self.state[name]

    @torch.no_grad()
    def run(self, arguments: dict[str, Any], orbital_types: list[list[int]], targets: list[dict[str, list[int]]]):
        """Fill the network."""
        self._require_gaussians()
        network, n = self.network, len(self.network.elements)
        network.atom_embedding.weight.copy_(self.take("embedding.weight").view(n, -1))
        atom = pair = parse_irreps(arguments["irreps_embed_node"])
        for number, block in enumerate(network.blocks):
            assert isinstance(block, DeepHE3Block)
            kind = "post" if number == len(network.blocks) - 1 else "mid"
            name = f"node_update_blocks.{number}"
            atom_before, atom = atom, keep_reached(parse_irreps(arguments[f"irreps_{kind}_node"]), block.atom)
            self._update(name, block.atom_update, [atom_before, atom_before, pair], atom_before, atom)
            name = f"edge_update_blocks.{number}"
            pair_before, pair = pair, keep_reached(parse_irreps(arguments[f"irreps_{kind}_edge"]), block.pair)
            self._update(name, block.pair_update, [atom, atom, pair_before], pair_before, pair)
        self._head(pair, orbital_types, targets)
        unknown = [name for name in self.state if name not in self.used and not IGNORED.search(name)]
        if unknown:
            raise CheckpointError(
                f"{self.folder}: best_model.pkl holds weights this program does not know: {', '.join(unknown[:5])}"
            )

    def _require_gaussians(self):
        """The buffers of the radial functions tell whether the distance means what we think."""
        c = self.network.config.deeph_e3
        for name, stop, n in (("basis", c.radial_cutoff, c.n_radial), ("distance_expansion", PAIR_GAUSSIANS_END, c.embedding)):
            offsets = self.take(f"{name}.offsets").double()
            if len(offsets) != n or (offsets - torch.linspace(0, stop, n, dtype=torch.float64)).abs().max() > 1e-4:
                raise CheckpointError(f"{self.folder}: {name}.offsets are not {n} equidistant centres from 0 to {stop} Angstrom")

    def _update(self, name: str, update: Update, inputs: list[Irreps], old: Irreps, new: Irreps):
        self._linear(f"{name}.lin_pre", update.before, old, old)
        self._convolution(f"{name}.conv", update.convolution, inputs, new)
        self._linear(f"{name}.lin_post", update.after, new, new)
        self._linear(f"{name}.sc", update.self_connection, old, new)
        self._norm(f"{name}.norm", update.norm, new)
        if update.skip is not None:
            self._linear(f"{name}.skip_connect.sc", update.skip, old, new)

    def _linear(self, name: str, linear: ChannelLinear, old: Irreps, new: Irreps):
        flat, first = self.take(f"{name}.weight"), 0
        for a, l1, natural1 in old:
            for b, l3, natural3 in new:
                if (l1, natural1) == (l3, natural3):
                    size = a * linear.n_types * b
                    block = flat[first : first + size].view(a, linear.n_types, b).transpose(0, 1)
                    linear.weights[2 * l1 + (not natural1)].copy_(block)
                    first += size
        self._require_all(name, flat, first)
        if linear.bias is not None:
            linear.bias.copy_(self.take(f"{name}.bias"))

    def _norm(self, name: str, norm: EquivariantNorm, irreps: Irreps):
        norm.weight.copy_(self.take(f"{name}.weight")[channel_order(irreps)])
        norm.bias.copy_(self.take(f"{name}.bias"))

    def _convolution(self, name: str, convolution: GatedPathConvolution, inputs: list[Irreps], out: Irreps):
        linear, order = convolution.linear, channel_order(out)
        scalars = convolution.scalars
        # Output columns of 0e: true scalars, then a gate for each channel with l > 0 in the order of the original.
        gated = [k for k in order.tolist() if k >= scalars + convolution.pseudoscalars]
        gates = np.argsort(np.argsort(gated)) if gated else np.zeros(0, dtype=int)
        scalar_columns = torch.from_numpy(np.concatenate([np.arange(scalars), gates + scalars]))
        paths = {(p.part, p.l1, p.natural1, p.lf, p.l3, p.natural3): p for p in linear.paths}
        number = 0
        for part, irreps in enumerate(inputs):
            for _, l1, natural1 in irreps:
                for lf in range(linear.filter_lmax + 1):
                    # The original sorts by (l, parity), odd first.
                    for _, l3, natural3 in sorted(out, key=lambda ir: (ir[1], _is_even(ir[1], ir[2]))):
                        path = paths.get((part, l1, natural1, lf, l3, natural3))
                        if path is None:
                            continue
                        inner, outer = (self.take(f"{name}.tp.weights{k}.{number}") for k in (1, 2))
                        if inner.shape != path.shape:
                            raise CheckpointError(
                                f"{self.folder}: {name}.tp.weights1.{number} is {tuple(inner.shape)}, expected {path.shape}"
                            )
                        inner = inner * self.sign(l1, lf, l3) * (1.0 if self.by_path else _element_norm(linear.paths, path))
                        columns = scalar_columns if l3 == 0 and natural3 else torch.arange(path.shape[1])
                        size = inner.numel()
                        linear.inner[path.inner_start : path.inner_start + size].copy_(inner[:, columns].flatten())
                        linear.outer[path.outer_start : path.outer_start + len(columns)].copy_(outer[0, columns])
                        number += 1
        for layer in (0, 2, 4):
            weight, bias = (self.take(f"{name}.fc.{layer}.{kind}") for kind in ("weight", "bias"))
            rows = order if layer == 4 else torch.arange(len(bias))
            module = convolution.radial[layer]
            assert isinstance(module, nn.Linear)
            module.weight.copy_(weight[rows])
            module.bias.copy_(bias[rows])

    def _head(self, pair: Irreps, orbital_types: list[list[int]], targets: list[dict[str, list[int]]]):
        head, shells = self.network.head, self.network.shells
        assert head.bias is not None
        target_of = targets_of_shells(shells, self.network.elements, orbital_types, targets, self.folder)
        outputs = []  # of every target, the (l1, l2, orbital, spin, L) of its irreps
        for target in targets:
            (pair_name, (a, b)), *_ = target.items()
            l1, l2 = (orbital_types[self.network.elements.index(int(z))][k] for z, k in zip(pair_name.split(), (a, b), strict=True))
            outputs.append(irreps_of_block(l1, l2, spinor=shells.spinor))
        # Spinor outputs are complex: real parts of all of them, then imaginary parts.
        n_real = sum(map(len, outputs))
        irreps = [(o[-1], (sum(o[:2]) + o[-1]) % 2 == 0) for output in outputs for o in output] * (2 if shells.spinor else 1)
        flat, bias, first = self.take("lin_edge.weight"), self.take("lin_edge.bias"), 0
        columns: dict[int, Tensor] = {}
        for count, *ir in pair:
            for k, irrep in enumerate(irreps):
                if tuple(ir) == irrep:
                    columns[k] = flat[first : first + count]
                    first += count
        self._require_all("lin_edge", flat, first)
        starts = np.concatenate([[0], np.cumsum([len(output) for output in outputs])])
        scalars = np.cumsum([irrep == (0, True) for irrep in irreps]) - 1
        position: dict[tuple[int, bool], int] = {}
        for a, b, orbital, spin, L in shells.pieces:
            l1, l2 = shells.shells[a], shells.shells[b]
            natural = (l1 + l2 + L) % 2 == 0
            column = position.get((L, natural), 0)
            position[L, natural] = column + 1
            # Time reversal leaves the real part of what multiplies 1 and the imaginary part of what multiplies sigma.
            k = int(starts[target_of[a, b]]) + outputs[target_of[a, b]].index((l1, l2, orbital, spin, L)) + spin * n_real
            scale = self._coupling_scale(l1, l2, orbital, spin, L) / (math.sqrt(2) if shells.spinor else 1.0)
            head.weights[2 * L + (not natural)][0, :, column] = columns[k] * scale
            if L == 0 and natural:
                head.bias[column] = bias[scalars[k]] * scale

    def _coupling_scale(self, l1: int, l2: int, orbital: int, spin: int, L: int) -> float:
        """From the plain 3j symbols of the original to our orthonormal coefficients."""
        scale = self.sign(l1, l2, orbital) / math.sqrt(2 * orbital + 1)
        return scale * self.sign(orbital, spin, L) / math.sqrt(2 * L + 1) if spin else scale

    def _require_all(self, name: str, flat: Tensor, used: int):
        if len(flat) != used:
            raise CheckpointError(f"{self.folder}: {name}.weight has {len(flat)} numbers, expected {used}")


def _has_other_sign(key: str, symbol: Tensor) -> bool:
    """Whether a Wigner 3j symbol of the state dict (up to a positive factor) is minus that of the e3nn installed here."""
    ours = wigner_3j(*map(int, key.split("_")), dtype=torch.float64)
    return bool((ours * symbol.double()).sum() < 0)


def _element_norm(paths: list[ProductPath], path: ProductPath) -> float:
    """From the norm by elements of e3nn >= 0.4, 1 / sqrt(sum of c1), to that by paths, 1 / sqrt(number of paths * c1)."""
    into = [p.shape[0] for p in paths if (p.l3, p.natural3) == (path.l3, path.natural3)]
    return math.sqrt(len(into) * path.shape[0] / sum(into))


def _is_even(l: int, natural: bool) -> bool:
    return (l % 2 == 0) == natural
