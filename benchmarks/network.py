"""The O(2) network against e3nn tensor products: CPU time and saved activations, one thread, same process.

    python benchmarks/network.py [--repeats 7] [--checkout DeepH-E3] [--out benchmarks/results/network.json]

linear: one O2Linear against FullyConnectedTensorProduct with the harmonics of the edge, forward and backward, 32 channels of
every l of natural parity, 480 edges; the time of O2Linear includes turning the features into and out of the edge frames.
'equal' has the same number of free parameters (all filters lf <= 2 l), 'usual' only filters lf <= l.
network: training step and inference at DeepH-E3's default irreps on 8-atom graphene; 'two' has TraceGrad on the pairs of the
last two blocks, 'all' on nodes and pairs of every block, with trace decoders.
--checkout: also the original DeepH-E3 code at the same irreps; original_deeph_e3.py tells what it needs.
CPU times are process times, the least of several; cases alternate, so a busy machine slows all of them alike.
"""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts its threads

import numpy as np
import torch
from e3nn import o3
from measure import describe_machine, fastest_in_turns, write_result
from original_deeph_e3 import OriginalNetwork, load_original
from tensor_product_network import TensorProductNetwork

from ase_tracegrad.basis import AtomicBasis, Basis
from ase_tracegrad.conventions import E3NN_AXES
from ase_tracegrad.graph import build_graph
from ase_tracegrad.nn.batch import GraphBatch, make_batch
from ase_tracegrad.nn.config import NetworkConfig, TraceGradConfig
from ase_tracegrad.nn.interaction import rotate_out_of_frames
from ase_tracegrad.nn.irreps import Channels
from ase_tracegrad.nn.network import HamiltonianNetwork, count_parameters
from ase_tracegrad.nn.o2 import O2Linear
from ase_tracegrad.nn.wigner import edge_rotations
from ase_tracegrad.structure import Structure

BASIS = Basis({6: AtomicBasis(6, (0, 0, 1, 1, 2), (), 4.0)}, "s2p2d1")
PLAIN = TraceGradConfig(nodes=False, edges=False, decoder=False)
ON_PAIRS = TraceGradConfig(nodes=False, decoder=False)
EVERYWHERE = TraceGradConfig()
DEEPH_E3 = NetworkConfig(
    cutoff=7.2,
    message_cutoff=7.2,
    n_blocks=3,
    embedding=64,
    n_radial=128,
    hidden="64x0e+32x1o+16x2e+8x3o+8x4e",
    edge_last="64x0e+32x1o+16x1e+16x2e+8x2o+8x3o+8x3e+8x4e",
    node_last="64x0e+32x1o+16x1e+16x2e+8x2o+8x3o+8x3e+8x4e",
    final_node_update=False,
    tracegrad=PLAIN,
)
SMALLEST = replace(
    DEEPH_E3,
    cutoff=2.0,
    message_cutoff=2.0,
    n_blocks=1,
    embedding=4,
    n_radial=8,
    hidden="4x0e+2x1o",
    edge_last="4x0e+2x1o+1x1e+1x2e",
    node_last="4x0e+2x1o+1x1e+1x2e",
)


def measure_linear(lmax: int, channels: int = 32, edges: int = 480, repeats: int = 5) -> dict:
    """CPU seconds of forward and backward of one convolution without gates, float32."""
    layout = Channels("+".join(f"{channels}x{l}{'eo'[l % 2]}" for l in range(lmax + 1)))
    torch.manual_seed(0)
    vectors = torch.randn(edges, 3)
    rows = [torch.randn(edges, 2 * l + 1, channels) for l in range(lmax + 1)]
    flat = torch.cat([row.transpose(1, 2).flatten(1) for row in rows], dim=1)
    linear, rotations = O2Linear([layout], layout), edge_rotations(vectors, lmax)
    orders = layout.to_orders(rows)

    def o2_in_frame():
        inputs = [x.requires_grad_() for x in orders]
        sum(x.square().sum() for x in linear([inputs])[0]).backward()

    def o2_with_rotations():
        inputs = [row.requires_grad_() for row in rows]
        turned = layout.to_orders([torch.bmm(d.transpose(1, 2), row) for d, row in zip(rotations, inputs, strict=True)])
        sum(x.square().sum() for x in rotate_out_of_frames(linear([turned])[0], rotations, layout)).backward()

    calls = {"o2_in_frame": o2_in_frame, "o2": o2_with_rotations}
    parameters = {"o2": count_parameters(linear) - linear.bias.numel()}
    for name, filters in (("equal", range(2 * lmax + 1)), ("usual", range(lmax + 1))):
        harmonics = o3.spherical_harmonics(list(filters), vectors[:, list(E3NN_AXES)], True, normalization="component")
        product = o3.FullyConnectedTensorProduct(
            str(layout), o3.Irreps([(1, (l, (-1) ** l)) for l in filters]), str(layout), shared_weights=True
        )
        calls[name] = lambda product=product, harmonics=harmonics: (
            product(flat.requires_grad_(), harmonics).square().sum().backward()
        )
        parameters[name] = product.weight_numel
    seconds = fastest_in_turns(calls, repeats)
    ratios = {f"{name}_over_o2": seconds[name] / seconds["o2"] for name in ("equal", "usual")}
    return {"lmax": lmax, "channels": channels, "edges": edges, "cpu_seconds": seconds, "parameters": parameters, **ratios}


def make_graphene_structure(repeat: int) -> Structure:
    """Displaced graphene, repeat x repeat cells of two atoms."""
    a = 2.46
    cell = np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, 20.0]])
    home = np.array([[0, 0, 10.0], [0, a / np.sqrt(3), 10.0]])
    steps = np.array([[i, j, 0] for i in range(repeat) for j in range(repeat)])
    positions = (home + (steps @ cell)[:, None]).reshape(-1, 3) + np.random.default_rng(0).uniform(-0.1, 0.1, (2 * repeat**2, 3))
    return Structure(np.full(len(positions), 6), positions, cell * [[repeat], [repeat], [1]], [True, True, False])


def make_graphene_batch(config: NetworkConfig, lmax: int, repeat: int = 2) -> tuple[GraphBatch, torch.Tensor]:
    """Displaced graphene: the batch and the directions of its pairs."""
    graph = build_graph(make_graphene_structure(repeat), {6: config.cutoff / 2})
    batch = make_batch([graph], [6], message_cutoff=config.message_cutoff, lmax=lmax, dtype=torch.float32)
    return batch, torch.from_numpy(graph.vectors[graph.n_onsite :][batch.pair_order]).float()


def make_networks(config: NetworkConfig, original: type[torch.nn.Module] | None = None) -> dict[str, torch.nn.Module]:
    """The networks to compare, float32; original: see load_original."""
    torch.manual_seed(0)
    networks: dict[str, torch.nn.Module] = {
        name: HamiltonianNetwork(replace(config, tracegrad=c), BASIS, [6]).float()
        for name, c in (("o2", PLAIN), ("o2_tracegrad_two", ON_PAIRS), ("o2_tracegrad_all", EVERYWHERE))
    }
    for block in networks["o2_tracegrad_two"].blocks[:-2]:
        block.edge_tracegrad = None
    networks["tensor_products"] = TensorProductNetwork(config, networks["o2"].shells).float()
    if original is not None:
        networks["original"] = OriginalNetwork(original, config, networks["o2"].shells).float()
    return networks


def measure_network(
    config: NetworkConfig = DEEPH_E3, repeat: int = 2, repeats: int = 5, original: type[torch.nn.Module] | None = None
) -> dict:
    """CPU seconds of a training step and of inference, and activations kept for the backward pass."""
    networks = make_networks(config, original)
    lmax = networks["o2"].lmax
    batch, directions = make_graphene_batch(config, lmax, repeat)
    labels = torch.randn(batch.n_pairs, 13, 13), torch.randn(batch.n_atoms, 13, 13)

    def forward(name: str) -> list[torch.Tensor]:
        if name in ("tensor_products", "original"):
            return list(networks[name](batch, directions))
        prediction = networks[name](batch, with_traces=True)
        return [x for x in vars(prediction).values() if x is not None]

    def loss(name: str) -> torch.Tensor:
        offsite, onsite, *traces = forward(name)
        return (offsite - labels[0]).abs().mean() + (onsite - labels[1]).abs().mean() + sum(t.abs().mean() for t in traces)

    optimizers = {name: torch.optim.AdamW(n.parameters(), lr=1e-3, fused=True) for name, n in networks.items()}

    def step(name: str):
        optimizers[name].zero_grad(set_to_none=True)
        loss(name).backward()
        optimizers[name].step()

    def infer(name: str):
        with torch.inference_mode():
            forward(name)

    train = fastest_in_turns({name: lambda name=name: step(name) for name in networks}, repeats)
    inference = fastest_in_turns({name: lambda name=name: infer(name) for name in networks}, repeats)
    saved = {name: saved_bytes(lambda name=name: loss(name), networks[name]) / batch.n_pairs for name in networks}
    rows = {"training_ratio": train, "inference_ratio": inference, "saved_ratio": saved}
    return {
        "atoms": batch.n_atoms,
        "pairs": batch.n_pairs,
        "blocks": config.n_blocks,
        "parameters": {name: count_parameters(network) for name, network in networks.items()},
        "training_cpu_seconds": train,
        "inference_cpu_seconds": inference,
        "saved_bytes_per_pair": saved,
        "training_ratio": train["tensor_products"] / train["o2"],
        "training_ratio_with_tracegrad_two": train["tensor_products"] / train["o2_tracegrad_two"],
        "inference_ratio": inference["tensor_products"] / inference["o2"],
        "saved_ratio": saved["tensor_products"] / saved["o2"],
        "tracegrad_overhead_two": train["o2_tracegrad_two"] / train["o2"] - 1,
        "tracegrad_overhead_all": train["o2_tracegrad_all"] / train["o2"] - 1,
        **{f"original_{key}": row["original"] / row["o2"] for key, row in rows.items() if "original" in row},
    }


def saved_bytes(loss, network: torch.nn.Module) -> int:
    """Bytes autograd keeps between forward and backward, each storage once, without the parameters and buffers."""
    own = {t.untyped_storage().data_ptr() for t in [*network.parameters(), *network.buffers()]}
    kept: dict[int, int] = {}
    held = []  # so that no storage is freed and its address given out again

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss()
    return sum(kept.values())


def compare_with_gates(linear: list[dict], network: dict) -> dict:
    """The speed gates: target and what was found; a saving or an overhead is a fraction."""
    gates = {
        "training step, times faster": (8, network["training_ratio"]),
        "inference, times faster": (8, network["inference_ratio"]),
        "training with TraceGrad in two blocks, times faster": (7, network["training_ratio_with_tracegrad_two"]),
        "saved activations, at most": (0.25, 1 / network["saved_ratio"]),
        "TraceGrad overhead, at most": (0.25, network["tracegrad_overhead_two"]),
    }
    if "original_training_ratio" in network:
        gates |= {
            "training step against the original code, times faster": (8, network["original_training_ratio"]),
            "inference against the original code, times faster": (8, network["original_inference_ratio"]),
        }
    for row, target in zip(linear, (7, 14), strict=True):
        gates[f"linear map l = {row['lmax']}, usual filters, times faster"] = (target, row["usual_over_o2"])
    return {name: {"target": target, "found": found} for name, (target, found) in gates.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--checkout", type=Path, default=None, help="of DeepH-E3's original code: timed as well")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "network.json")
    options = parser.parse_args()
    try:
        original = load_original(options.checkout) if options.checkout else None
    except (FileNotFoundError, ImportError) as error:
        parser.exit(2, f"network.py: {error}\n")
    torch.set_num_threads(1)
    linear = [measure_linear(lmax, repeats=options.repeats) for lmax in (4, 6)]
    network = measure_network(repeats=options.repeats, original=original)
    result = describe_machine("torch", "e3nn", "numpy") | {
        "gates": compare_with_gates(linear, network),
        "linear": linear,
        "network": network,
    }
    print(json.dumps(result, indent=1))
    write_result(options.out, result)


if __name__ == "__main__":
    main()
