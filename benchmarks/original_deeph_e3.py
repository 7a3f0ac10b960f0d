"""The network of the original DeepH-E3 code, from a checkout that the user names, for benchmarks/network.py.

    git clone https://github.com/Xiaoxun-Gong/DeepH-E3
    pip install torch_scatter torch_geometric sympy        # beside torch and e3nn, which are here already
    python benchmarks/network.py --checkout DeepH-E3

Its deephe3/model.py is imported and run as it is: name a checkout you trust. Nothing of it is part of this repository.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import torch
from tensor_product_network import FILTER_LMAX, irreps_of, rows_of
from torch import Tensor, nn

from ase_tracegrad.nn.batch import GraphBatch
from ase_tracegrad.nn.config import NetworkConfig
from ase_tracegrad.nn.coupling import CommonShells

NEEDS = "torch_scatter torch_geometric sympy"


def load_original(checkout: Path) -> type[nn.Module]:
    """The class Net of a checkout. FileNotFoundError, ImportError say what is missing."""
    source = checkout / "deephe3"
    if not (source / "model.py").is_file():
        raise FileNotFoundError(
            f"{checkout}: expected a checkout of DeepH-E3 with deephe3/model.py, found none: "
            "git clone https://github.com/Xiaoxun-Gong/DeepH-E3"
        )
    for name in [name for name in sys.modules if name.split(".")[0] == "deephe3"]:
        del sys.modules[name]  # of another checkout
    package = ModuleType("deephe3")  # its own __init__ imports all that training needs
    package.__path__ = [str(source)]
    sys.modules["deephe3"] = package
    try:
        return importlib.import_module("deephe3.model").Net
    except ImportError as error:
        raise ImportError(f"{checkout}: deephe3/model.py cannot be imported: {error}. It needs: pip install {NEEDS}") from error


class Graph(dict):
    """A graph as the original reads it: graph["edge_attr"] and graph.x."""

    def __getattr__(self, name: str) -> Tensor:
        return self[name]


class OriginalNetwork(nn.Module):
    """Off-site (E, U, U) and on-site (N, U, U) blocks of one element, by the original's Net at the irreps of ``config``."""

    coupling: Tensor

    def __init__(self, net: type[nn.Module], config: NetworkConfig, shells: CommonShells):
        super().__init__()
        target, embedding = str(irreps_of(str(shells.channels))), f"{config.embedding}x0e"
        self.size = shells.size
        self.net = net(
            num_species=1,
            irreps_embed_node=embedding,
            irreps_edge_init=embedding,
            irreps_sh="+".join(f"1x{l}{'eo'[l % 2]}" for l in range(FILTER_LMAX + 1)),
            irreps_mid_node=config.hidden,
            irreps_post_node=config.node_last,
            irreps_out_node="1x0e",
            irreps_mid_edge=config.hidden,
            irreps_post_edge=config.edge_last,
            irreps_out_edge=target,
            num_block=config.n_blocks,
            r_max=config.cutoff,
            use_sbf=False,
            num_basis=config.n_radial,
        )
        self.register_buffer("coupling", shells.coupling[rows_of(shells.channels)], persistent=False)

    def forward(self, batch: GraphBatch, directions: Tensor) -> tuple[Tensor, Tensor]:
        """directions (E, 3): vectors of the pairs, in the order of the batch."""
        atoms = torch.arange(batch.n_atoms)
        pairs = torch.stack([torch.cat([batch.receiver, atoms]), torch.cat([batch.sender, atoms])])
        vectors = torch.cat([directions, directions.new_zeros(batch.n_atoms, 3)])  # on-site pairs are pairs
        edges = torch.cat([vectors.norm(dim=1, keepdim=True), vectors], dim=1)
        graph = Graph(x=batch.species, edge_index=pairs, edge_attr=edges, batch=batch.structure)
        blocks = (self.net(graph)[1] @ self.coupling).view(-1, self.size, self.size)
        offsite, onsite = blocks.split([batch.n_pairs, batch.n_atoms])
        return offsite, onsite
