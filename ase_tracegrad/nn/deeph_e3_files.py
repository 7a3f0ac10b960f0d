"""The files of a DeepH-E3 training, read without running anything in them; its irreps, and which output is which block."""

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..basis import Basis
from ..damage import DAMAGE
from ..symbols import symbol_of
from .checkpoint_header import CheckpointError
from .coupling import CommonShells
from .irreps import Channels
from .path_weights import irreps_of
from .torch_files import TORCH_DAMAGE

# Arguments of the original network that have one supported value.
SUPPORTED = {"use_sc": True, "no_parity": False, "use_sbf": False, "only_ij": False, "if_sort_irreps": False, "selftp": False}
NEEDED = (
    "num_species irreps_embed_node irreps_edge_init irreps_sh irreps_mid_node irreps_mid_edge irreps_post_node irreps_post_edge "
    "num_block r_max"
).split()

FACTS = ("index_to_Z", "orbital_types", "spinful")

Irreps = list[tuple[int, int, bool]]  # (number, l, natural) in the order of the original


def read_arguments(path: Path) -> dict[str, Any]:
    """Keyword arguments of ``net = Net(...)`` in build_model.py, which must be literals."""
    try:
        tree = ast.parse(_require(path).read_text())
        call = next(node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Net")
        return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
    except (*DAMAGE, SyntaxError, MemoryError) as error:  # MemoryError: nested deeper than the parser follows
        raise CheckpointError(f"{path}: expected the call Net(name=literal, ...) that DeepH-E3 writes: {error!r}") from error


def read_json(path: Path):
    """Content of a JSON file of the folder."""
    try:
        return json.loads(_require(path).read_text())
    except DAMAGE as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in best_model.pkl; nothing but tensors and plain Python is read."""
    try:
        content = torch.load(_require(path), map_location="cpu", weights_only=True)
        return content["state_dict"]
    except TORCH_DAMAGE as error:
        raise CheckpointError(
            f"{path} is not a checkpoint that can be read safely: {error}. Where DeepH-E3 runs, write it anew with "
            "torch.save({'state_dict': torch.load(path)['state_dict']}, path)"
        ) from error


def check_supported(folder: Path, arguments: dict[str, Any], info: dict[str, Any], basis: Basis):
    """CheckpointError for what this network cannot represent, or if the basis is another one."""
    for file, needed, given in (("build_model.py", NEEDED, arguments), ("dataset_info.json", FACTS, info)):
        missing = [name for name in needed if name not in given]
        if missing:
            raise CheckpointError(f"{folder}: {file} does not give {', '.join(missing)}")
    for name, value in SUPPORTED.items():
        if arguments.get(name, value) != value:
            raise CheckpointError(f"{folder}: {name} = {arguments[name]} is not supported, only {value}")
    for first, second in (("irreps_mid_node", "irreps_mid_edge"), ("irreps_embed_node", "irreps_edge_init")):
        if parse_irreps(arguments[first]) != parse_irreps(arguments[second]):
            raise CheckpointError(f"{folder}: {first} and {second} differ, which is not supported")
    harmonics = parse_irreps(arguments["irreps_sh"])
    if harmonics != [(1, l, True) for l in range(len(harmonics))]:
        raise CheckpointError(f"{folder}: irreps_sh must hold each harmonic once, found {arguments['irreps_sh']}")
    for z, shells in zip(info["index_to_Z"], info["orbital_types"], strict=True):
        if z not in basis.atoms or tuple(shells) != tuple(basis[z].angular_momenta):
            have = list(basis[z].angular_momenta) if z in basis.atoms else "none"
            raise CheckpointError(
                f"{folder}: element {z} has the shells l = {shells}, the basis has {have}: pass the basis of the labels"
            )


def parse_irreps(text: str) -> Irreps:
    """(number, l, natural) of each term; neighbours that are equal are one. CheckpointError if an irrep comes twice."""
    merged: Irreps = []
    for term in str(text).replace(" ", "").split("+"):
        ((_, _, count),) = (g for g in Channels(term).groups)
        ((l, natural, _, _),) = irreps_of(Channels(term))
        if merged and merged[-1][1:] == (l, natural):
            count += merged.pop()[0]
        merged.append((count, l, natural))
    if len({ir[1:] for ir in merged}) < len(merged):
        raise CheckpointError(f"the irreps {text} list an irrep twice, which is not supported")
    return merged


def keep_reached(irreps: Irreps, reached: Channels) -> Irreps:
    """Output of a gated convolution: scalars first, then the rest in order, of what ``reached`` holds."""
    present = {(l, natural) for l, natural, _, _ in irreps_of(reached)}
    kept = [ir for ir in irreps if ir[1:] in present]
    return [ir for ir in kept if ir[1] == 0] + [ir for ir in kept if ir[1] > 0]


def channel_order(irreps: Irreps) -> Tensor:
    """Index (channels,): which channel of the original is each of ours, sorted by l, natural first."""
    starts, first = {}, 0
    for count, l, natural in irreps:
        starts[l, natural] = torch.arange(first, first + count)
        first += count
    return torch.cat([starts[key] for key in sorted(starts, key=lambda key: (key[0], not key[1]))])


def irreps_of_block(l1: int, l2: int, *, spinor: bool) -> list[tuple[int, int, int, int, int]]:
    """(l1, l2, orbital, spin, L) in the order of the original: spin 0 first, then spin 1 of every orbital part."""
    orbitals = range(abs(l1 - l2), l1 + l2 + 1)
    scalar = [(l1, l2, orbital, 0, orbital) for orbital in orbitals]
    vector = [(l1, l2, orbital, 1, L) for orbital in orbitals for L in range(abs(orbital - 1), orbital + 2)]
    return scalar + (vector if spinor else [])


def targets_of_shells(
    shells: CommonShells, elements: list[int], orbital_types: list[list[int]], targets: list[dict[str, list[int]]], folder: Path
) -> dict[tuple[int, int], int]:
    """{(common shell a, common shell b): number of the target that gives its blocks for all elements}."""
    common = {
        z: [
            int(np.searchsorted(shells.starts, shells.index[z][first]))
            for first in np.cumsum([0] + [2 * l + 1 for l in types])[:-1]
        ]
        for z, types in zip(elements, orbital_types, strict=True)
    }
    found: dict[tuple[int, int], set[int]] = {}
    covered = set()
    for number, target in enumerate(targets):
        for name, (i, j) in target.items():
            za, zb = map(int, name.split())
            found.setdefault((common[za][i], common[zb][j]), set()).add(number)
            covered.add((za, zb, i, j))
    for za in elements:
        for zb in elements:
            missing = [(i, j) for i in range(len(common[za])) for j in range(len(common[zb])) if (za, zb, i, j) not in covered]
            if missing:
                raise CheckpointError(
                    f"{folder}: this model gives only a part of H: no {symbol_of(za)}-{symbol_of(zb)} block of the shells "
                    f"{missing[0]}; models of parts cannot be joined here, train with target_blocks_type = all"
                )
    if any(len(numbers) > 1 for numbers in found.values()):
        raise CheckpointError(f"{folder}: different outputs give the same shell pair of different elements, which is not supported")
    return {pair: next(iter(numbers)) for pair, numbers in found.items()}


def _require(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: expected the output folder of a DeepH-E3 training, with best_model.pkl and src/")
    return path
