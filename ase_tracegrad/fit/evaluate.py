"""Errors of a model on labelled structures, grouped into named test sets."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from ..io.sample import Sample
from ..io.store import StoreReader
from ..nn.checkpoint import load_checkpoint, save_checkpoint
from ..nn.predictor import DTYPES, Predictor, load_model
from .equivariance import measure_equivariance
from .metrics import BandReference, hamiltonian_error, pool_errors
from .orbital_errors import orbital_errors, pool_orbital_errors

# Test sets of our own data, whose samples do not name their group, by the beginning of their names up to the dash.
GROUPS = {
    "x1": "primitive cell, strained",
    "x2": "displaced 2x2",
    "x3": "displaced 3x3",
    "x4": "rippled 4x4",
    "vacuum": "primitive cell, more vacuum",
    "rect": "rippled rectangle",
    "2x1x1": "displaced 2x1x1",
    "2x2x2": "displaced 2x2x2",
    "g2": "molecules of the G2 set",
    "s1": "molecules, 1 heavy atom",
    **{f"s{n}": f"molecules, {n} heavy atoms" for n in range(2, 10)},
}

TURNED = 8  # structures on which a second stage's error of equivariance is measured


def evaluate_file(model, data, *, split: str = "test", device: str | None = None) -> dict:
    """Errors of a model (name or file) on one split of a packed file: header facts, 'groups' and 'structures', in meV.

    Of a model with a second stage (HarmoSE) also its 'equivariance', see measure_equivariance.

    A sample belongs to the group its info names, or to that of its name. ValueError if there is no sample of this split.
    """
    predictor = load_model(model, device=device)
    with StoreReader(data) as store:
        there = sorted({store.split(name) or "without a split" for name in store.names})
        samples = ((group_of(name, store.facts(name)), name, store[name]) for name in store.names if store.split(name) == split)
        result = evaluate_model(predictor, samples)
        if predictor.refine and result["structures"]:
            chosen = [store[name] for name in list(result["structures"])[:TURNED]]
            result["equivariance"] = measure_equivariance(predictor, chosen)
    if not result["groups"]:
        raise ValueError(f"{data} holds no sample of split {split!r}; it holds: {', '.join(there) or 'nothing'}")
    card = predictor.card
    facts = {"model": card.name, "description": card.description, "training_set": card.training_set}
    return facts | {"data_sha256": card.data_sha256, "split": split} | result


def group_of(name: str, facts: Mapping) -> str:
    """The test set a sample is counted in."""
    return facts.get("group") or GROUPS.get(name.split("-")[0], name.split("-")[0])


def evaluate_model(predictor: Predictor, samples: Iterable[tuple[str, str, Sample]], *, progress: bool = True) -> dict:
    """Figures of every group and of every structure.

    samples: (group, name, sample), taken one at a time. Bands use the label's overlap, a 6 x 6 mesh and states below E_F + 3 eV.
    Returns {'groups': {group: figures}, 'structures': {name: figures}}, energies in meV; of molecules also those of orbital_errors.
    """
    groups: dict[str, list] = {}
    structures = {}
    for group, name, sample in tqdm(samples, desc="evaluating", disable=None if progress else True):
        start = time.perf_counter()
        references = None if sample.reference is None else [sample.reference]
        (predicted,) = predictor.predict([sample.structure], [sample.overlap], references)
        seconds = time.perf_counter() - start
        elements = hamiltonian_error(predicted, sample)
        bands = BandReference(sample).error(predicted, elements)
        orbitals = orbital_errors(predicted, sample)
        groups.setdefault(group, []).append((elements, bands, orbitals))
        figures = pool_errors([elements], [bands]) | orbitals
        structures[name] = {"group": group, "seconds": seconds, "mu": elements.mu, **figures}
    pooled = {}
    for group, rows in groups.items():
        all_elements, all_bands, all_orbitals = zip(*rows, strict=True)
        pooled[group] = pool_errors(all_elements, all_bands) | pool_orbital_errors(all_orbitals)
    return {"groups": pooled, "structures": structures}


def format_table(groups: Mapping[str, Mapping[str, float]]) -> str:
    """The groups as a text table, meV."""
    columns = [
        "structures",
        "mae_all",
        "mae_onsite",
        "mae_offsite",
        "mae_gauge",
        "band_rmse",
        "band_rmse_gauge",
        "band_max",
        "gap_error",
    ]
    titles = ["n", "H MAE", "on-site", "off-site", "aligned", "bands", "aligned", "max", "gap"]
    lines = [f"{'structures (meV)':<29}" + "".join(f" {title:>9}" for title in titles)]
    for group, figures in groups.items():
        cells = [f" {figures[c]:>9d}" if c == "structures" else f" {figures[c]:>9.3f}" for c in columns]
        lines.append(f"{group:<29}" + "".join(cells))
    return "\n".join(lines)


def write_errors_into_card(path: Path, groups: Mapping[str, Mapping[str, float]], equivariance: Mapping[str, float] | None = None):
    """Store test errors, and the error of equivariance if there is one, in a model's card; the weights stay as they are."""
    network, basis, card = load_checkpoint(path, DTYPES["float32"])
    errors = {group: {k: round(float(v), 4) for k, v in figures.items()} for group, figures in groups.items()}
    turned = {k: round(float(v), 6) for k, v in (equivariance or {}).items()}
    save_checkpoint(path, network, basis, replace(card, errors=errors, equivariance=turned))
