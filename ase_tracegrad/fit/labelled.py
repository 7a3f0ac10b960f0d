"""The labelled graphs of a split: in memory as far as the limit allows, the others made again from the packed file."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from torch import Tensor
from tqdm.auto import tqdm

from ..io.store import StoreReader
from ..nn.network import HamiltonianNetwork
from .dataset import LabelledGraph, label_graph

NO_FERMI_LEVEL = "put it into the info.json of the data, or set validate_bands and loss.band_weight to 0"
AHEAD = 2  # structures that are read while the network works


class LabelledGraphs:
    """graphs[k] of the samples ``names`` of a packed file, as often as one likes.

    memory: bytes that may stay in memory; at least one graph does. Which ones is random, so that they can stand for all.
    """

    def __init__(self, path, names: list[str], network: HamiltonianNetwork, memory: float = math.inf):
        self.path, self.names, self.network = path, names, network
        self._kept: dict[str, LabelledGraph] = {}
        order = names if math.isinf(memory) else np.random.default_rng(0).permutation(names).tolist()
        with StoreReader(path) as store:
            for name in tqdm(order, desc="reading labels", disable=None, leave=False):
                graph = label_graph(name, store[name], network)
                memory -= count_bytes(graph)
                if memory < 0 and self._kept:
                    break
                self._kept[name] = graph

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> LabelledGraph:
        name = self.names[number]
        if name in self._kept:
            return self._kept[name]
        with StoreReader(self.path) as store:
            return label_graph(name, store[name], self.network)

    def __iter__(self) -> Iterator[LabelledGraph]:
        return self.in_order(range(len(self)))

    def in_order(self, numbers: Iterable[int]) -> Iterator[LabelledGraph]:
        """graphs[k] for each k of ``numbers``; what is not in memory is read ahead in the background."""
        if len(self._kept) == len(self):
            yield from (self[number] for number in numbers)
            return
        with ThreadPoolExecutor(1) as pool:
            waiting: deque = deque()
            for number in numbers:
                waiting.append(pool.submit(self.__getitem__, number))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def keeps(self, name: str) -> bool:
        """Whether this graph stays in memory."""
        return name in self._kept

    @property
    def kept(self) -> list[LabelledGraph]:
        """The graphs that stay in memory, in the order of the names."""
        return [self._kept[name] for name in self.names if name in self._kept]


def load_labelled(
    path,
    network: HamiltonianNetwork,
    splits: Iterable[str],
    *,
    limit: int = 0,
    needs_fermi_level: bool = False,
    memory: float = math.inf,
) -> dict[str, LabelledGraphs]:
    """{split: graphs} of a packed file whose samples name their split in info['split'].

    limit > 0 takes the first samples of each split only; needs_fermi_level: ValueError for samples without one;
    memory: bytes, shared by the splits according to their numbers of samples.
    """
    names: dict[str, list[str]] = {split: [] for split in splits}
    nowhere = []
    with StoreReader(path) as store:
        for name in store.names:
            facts = store.facts(name)
            chosen = names.get(facts.get("split", ""))
            if chosen is None or (limit and len(chosen) >= limit):
                continue
            chosen.append(name)
            if "fermi_level" not in facts:
                nowhere.append(name)
    empty = [split for split, chosen in names.items() if not chosen]
    if empty:
        raise ValueError(describe_missing_splits(path, empty))
    if nowhere and needs_fermi_level:
        raise ValueError(f"{path}: {nowhere[0]} has no Fermi level: {NO_FERMI_LEVEL}")
    total = sum(map(len, names.values()))
    return {split: LabelledGraphs(path, chosen, network, memory * len(chosen) / total) for split, chosen in names.items()}


def describe_missing_splits(path, splits: list[str]) -> str:
    """What a file lacks, and how to give its structures splits."""
    return (
        f"{path} holds no structure of split {' or '.join(map(repr, splits))}: "
        f"tracegrad convert {path} NEW.h5 --splits 0.8,0.1,0.1 draws train, validation and test"
    )


def count_bytes(graph: LabelledGraph) -> int:
    """Memory of the tensors and of the sample's matrices."""
    tensors = [*vars(graph).values(), *vars(graph.batch).values(), *graph.batch.rotations]
    sample = graph.sample
    matrices = [matrix for matrix in (sample.hamiltonian, sample.overlap, sample.reference) if matrix is not None]
    return sum(matrix.values.nbytes for matrix in matrices) + sum(tensor.nbytes for tensor in tensors if isinstance(tensor, Tensor))
