"""QHNet as published on our layers against the same network on e3nn tensor products: CPU time, and how nearly they agree.

    python benchmarks/molecule_network.py [--repeats 3] [--out benchmarks/results/molecule_network.json]

The published settings for QH9 (128 channels, l up to 4, five layers) with random weights, on benzene with def2-SVP orbitals; the
peer is the twin of the tests, written from the publication, with e3nn's compiled products. One thread, same process; CPU times are
the least of several; the two take turns, so a busy machine slows both alike.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts its threads
sys.path.insert(0, str(Path(__file__).parents[1]))  # the twin stands among the tests

import numpy as np
import torch
from ase.build import molecule
from measure import describe_machine, fastest_in_turns, write_result

from ase_tracegrad.graph import build_graph
from ase_tracegrad.io.def2_svp import def2_svp_basis
from ase_tracegrad.nn.backbones import build_network
from ase_tracegrad.nn.batch import make_batch
from ase_tracegrad.nn.config import NetworkConfig, QHNetConfig, TraceGradConfig
from ase_tracegrad.nn.network import count_parameters
from ase_tracegrad.structure import Structure
from tests.nn import qhnet_twin

CUTOFF = 15.0  # Angstrom
PLAIN = TraceGradConfig(nodes=False, edges=False, decoder=False)


def measure(layers: QHNetConfig, repeats: int, name: str = "C6H6") -> dict:
    """CPU seconds of a training step and of inference, and the largest relative difference of the blocks."""
    atoms = molecule(name)
    structure = Structure(atoms.numbers, atoms.positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    elements = sorted(set(atoms.numbers.tolist()))
    config = NetworkConfig(backbone="qhnet", cutoff=CUTOFF, cutoff_width=0.0, message_cutoff=CUTOFF, qhnet=layers, tracegrad=PLAIN)
    torch.manual_seed(0)
    network = build_network(config, def2_svp_basis(), elements).float()
    qhnet_twin.OPTIONS.clear()  # the tests build the products without compiling them, which is slower
    twin = qhnet_twin.Twin(network)
    graph = build_graph(structure, network.reach)
    batch = make_batch([graph], elements, message_cutoff=CUTOFF, lmax=network.lmax, dtype=torch.float32)
    n = graph.n_onsite
    pairs, vectors = torch.from_numpy(graph.pairs[n:]), torch.from_numpy(graph.vectors[n:]).float()

    def ours() -> tuple[torch.Tensor, torch.Tensor]:
        prediction = network(batch)
        return prediction.offsite, prediction.onsite

    def peer() -> tuple[torch.Tensor, torch.Tensor]:
        return twin(batch.species, pairs, vectors)

    def infer(call):
        with torch.inference_mode():
            call()

    def step(call):
        network.zero_grad(set_to_none=True)  # the twin holds the same parameters
        offsite, onsite = call()
        (offsite.abs().sum() + onsite.abs().sum()).backward()

    with torch.no_grad():
        found, (expected, _) = ours()[0], peer()
    reverse = torch.from_numpy(graph.reverse[n:] - n)
    expected = (0.5 * (expected + expected[reverse].transpose(1, 2)))[batch.pair_order]
    calls = {"tensor_products": peer, "ours": ours}
    inference = fastest_in_turns({key: lambda call=call: infer(call) for key, call in calls.items()}, repeats, warm_up=1)
    training = fastest_in_turns({key: lambda call=call: step(call) for key, call in calls.items()}, repeats, warm_up=1)
    return {
        "molecule": name,
        "atoms": batch.n_atoms,
        "pairs": batch.n_pairs,
        "parameters": count_parameters(network),
        "relative_difference": float((found - expected).abs().max() / expected.abs().max()),
        "inference_cpu_seconds": inference,
        "training_cpu_seconds": training,
        "inference_ratio": inference["tensor_products"] / inference["ours"],
        "training_ratio": training["tensor_products"] / training["ours"],
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "molecule_network.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    result = describe_machine("torch", "e3nn") | measure(QHNetConfig(), options.repeats)
    result["gates"] = {
        "QHNet, inference, times faster": {"target": 4.0, "found": result["inference_ratio"]},
        "QHNet, training step, times faster": {"target": 4.0, "found": result["training_ratio"]},
        "its blocks, float32, relative difference": {"target": 1e-5, "found": result["relative_difference"]},
    }
    write_result(options.out, result)
    print(f"inference {result['inference_ratio']:.1f}x, training {result['training_ratio']:.1f}x e3nn tensor products")


if __name__ == "__main__":
    main()
