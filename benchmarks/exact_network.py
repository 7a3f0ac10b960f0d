"""The converted DeepH-E3 network against the same network on e3nn tensor products: CPU time, and how nearly they agree.

    python benchmarks/exact_network.py [--repeats 5] [--out benchmarks/results/exact_network.json]

One state dict at DeepH-E3's published settings (random numbers), read by load_deeph_e3 and by the twin of the tests, which is
written from the publication; 8-atom graphene with s2p2d1 orbitals, one thread, same process. CPU times are the least of
several; the two take turns, so a busy machine slows both alike.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts its threads
sys.path.insert(0, str(Path(__file__).parents[1]))  # the twin stands among the tests

import torch
from measure import describe_machine, fastest_in_turns, write_result
from network import BASIS, make_graphene_structure

from ase_tracegrad.nn.batch import make_batch
from ase_tracegrad.nn.deeph_e3_checkpoint import load_deeph_e3
from ase_tracegrad.nn.network import count_parameters
from ase_tracegrad.nn.predictor import Predictor
from tests.nn.deeph_e3_twin import Twin, decompose, give_life, simplified, to_blocks

HIDDEN = "64x0e+32x1o+16x2e+8x3o+8x4e"
CUTOFF = 7.2  # Angstrom
SHELLS = list(BASIS[6].angular_momenta)
SHELL_PAIRS = [(a, b) for a in SHELLS for b in SHELLS]
TARGETS = [{"6 6": [i, j]} for i in range(len(SHELLS)) for j in range(len(SHELLS))]


def make_settings() -> dict:
    """What the original's build_model.py passes to its network, at its published defaults."""
    out = decompose(SHELL_PAIRS)
    return {
        "num_species": 1,
        "irreps_embed_node": "64x0e",
        "irreps_edge_init": "64x0e",
        "irreps_sh": "1x0e+1x1o+1x2e+1x3o+1x4e",
        "irreps_mid_node": HIDDEN,
        "irreps_post_node": HIDDEN + "+32x1e",  # without a partner of the other parity the blocks p-p and d-d lose a part
        "irreps_out_node": "1x0e",
        "irreps_mid_edge": HIDDEN,
        "irreps_post_edge": simplified(out),
        "irreps_out_edge": out,
        "num_block": 3,
        "r_max": CUTOFF,
        "num_basis": 128,
        "use_sc": True,
        "no_parity": False,
        "use_sbf": False,
        "only_ij": False,
        "if_sort_irreps": False,
    }


def make_pair(dtype: torch.dtype) -> tuple[Twin, Predictor]:
    """The two networks with the same weights."""
    torch.set_default_dtype(dtype)  # e3nn builds its constants in it
    torch.manual_seed(0)
    settings = make_settings()
    twin = Twin(settings, optimized=True)
    give_life(twin)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        source.mkdir()
        arguments = "".join(f"    {name}={value!r},\n" for name, value in settings.items())
        (source / "build_model.py").write_text(f"net = Net(\n{arguments})\n")
        info = {"spinful": False, "index_to_Z": [6], "orbital_types": [SHELLS]}
        (source / "dataset_info.json").write_text(json.dumps(info))
        (source / "target_blocks.json").write_text(json.dumps(TARGETS))
        torch.save({"state_dict": twin.state_dict()}, Path(folder) / "best_model.pkl")
        return twin, load_deeph_e3(folder, BASIS, reach={6: CUTOFF / 2})


def measure(dtype: torch.dtype, repeats: int) -> dict:
    """CPU seconds of a training step and of inference, and the largest relative difference of the blocks."""
    twin, predictor = make_pair(dtype)
    structure = make_graphene_structure(2)
    graph, network = predictor.graph(structure), predictor.network.train()
    batch = make_batch([graph], [6], message_cutoff=CUTOFF, lmax=network.lmax, dtype=dtype)
    species = torch.zeros(len(structure.numbers), dtype=torch.long)
    inputs = species, torch.from_numpy(graph.pairs), torch.from_numpy(graph.vectors).to(dtype), species
    labels = torch.randn(len(graph.pairs), 13, 13), torch.randn(batch.n_pairs, 13, 13), torch.randn(batch.n_atoms, 13, 13)

    def twin_loss():
        return (whole_blocks(twin, inputs) - labels[0]).abs().mean()

    def our_loss():
        prediction = network(batch)
        return (prediction.offsite - labels[1]).abs().mean() + (prediction.onsite - labels[2]).abs().mean()

    def step(loss, optimizer):
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    def infer(loss):
        with torch.inference_mode():
            loss()

    difference = largest_difference(twin, predictor, structure, inputs)
    losses = {"tensor_products": (twin_loss, twin), "o2": (our_loss, network)}
    inference = fastest_in_turns({name: lambda loss=loss: infer(loss) for name, (loss, _) in losses.items()}, repeats)
    optimizers = {name: torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True) for name, (_, net) in losses.items()}
    steps = {name: lambda loss=loss, name=name: step(loss, optimizers[name]) for name, (loss, _) in losses.items()}
    training = fastest_in_turns(steps, repeats)
    return {
        "atoms": batch.n_atoms,
        "pairs": len(graph.pairs),
        "parameters": {"tensor_products": count_parameters(twin), "o2": count_parameters(network)},
        "relative_difference": difference,
        "inference_cpu_seconds": inference,
        "training_cpu_seconds": training,
        "inference_ratio": inference["tensor_products"] / inference["o2"],
        "training_ratio": training["tensor_products"] / training["o2"],
    }


def whole_blocks(twin: Twin, inputs) -> torch.Tensor:
    """(pairs, 13, 13) from the twin's output."""
    pieces = to_blocks(twin(*inputs), SHELL_PAIRS)
    rows = [torch.cat(pieces[n : n + len(SHELLS)], dim=2) for n in range(0, len(pieces), len(SHELLS))]
    return torch.cat(rows, dim=1)


def largest_difference(twin: Twin, predictor: Predictor, structure, inputs) -> float:
    """max |H - H'| / max |H'| over all blocks, H' the Hermitian part of the twin's output."""
    graph = predictor.graph(structure)
    with torch.no_grad():
        raw = whole_blocks(twin, inputs).numpy()
    expected = 0.5 * (raw + raw[graph.reverse].transpose(0, 2, 1))
    found = dict(predictor.predict([structure])[0].items())
    keys = ((int(i), int(j), tuple(shift.tolist())) for (i, j), shift in zip(graph.pairs, graph.shifts, strict=True))
    return float(max(abs(found[key] - block).max() for key, block in zip(keys, expected, strict=True)) / abs(expected).max())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "exact_network.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    double, single = measure(torch.float64, 1), measure(torch.float32, options.repeats)
    result = describe_machine("torch", "e3nn", "numpy") | {
        "gates": {
            "exact DeepH-E3 network, training step, times faster": {"target": 3.5, "found": single["training_ratio"]},
            "its blocks, float32, relative difference at most": {"target": 1e-5, "found": single["relative_difference"]},
            "its blocks, float64, relative difference at most": {"target": 1e-10, "found": double["relative_difference"]},
        },
        "float32": single,
        "float64": double,
    }
    print(json.dumps(result, indent=1))
    write_result(options.out, result)


if __name__ == "__main__":
    main()
