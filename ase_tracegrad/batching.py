"""Many structures through a network: batches of bounded memory, halved when they do not fit."""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import replace
from typing import TypeVar

import numpy as np
from ase.calculators.calculator import InputError
from tqdm.auto import tqdm

from .blocks import BlockMatrix
from .graph import build_graph
from .io.sample import Sample
from .overlap import compute_overlap
from .structure import Structure
from .warn import warn_caller

log = logging.getLogger(__name__)
Item = TypeVar("Item")

# Numbers in the H(R) of one forward pass; each costs about 130 bytes on the way (measured on the embedded
# architecture). A CPU gains nothing from more than this, and progress should show.
LARGEST_BATCH = {"cpu": 1_000_000, "cuda": 10_000_000}
SHOWN = 3  # reasons in a warning; one cause often has many


class OutOfDomainWarning(UserWarning):
    """A structure unlike those the model was trained on; the message says in what."""


def predict_samples(
    predictor, atoms_list: Iterable, *, batch: int | str = "auto", charge: float | None = None, progress: bool = True
) -> Iterator[Sample]:
    """H(R) and S(R) of many structures, one Sample each, in the order given.

    predictor: nn.predictor.Predictor; atoms_list: ase.Atoms or Structures, a generator will do;
    batch: structures per forward pass, or 'auto' by their size; charge: see find_charge. A batch that does not fit into
    memory is halved. Raises StructureError or UnsupportedStructureError naming the structure.
    """
    if batch != "auto" and not (isinstance(batch, (int, np.integer)) and batch > 0):
        raise ValueError(f"batch must be 'auto' or a positive number of structures, found {batch!r}")
    return _predict_all(predictor, atoms_list, batch, charge, progress)


def predict_one(predictor, structure: Structure) -> Sample:
    """H(R) and S(R) of one structure; OutOfDomainWarning where the model's training did not reach."""
    _check(predictor, structure)
    return next(_predict_batch(predictor, [structure]))


def predict_each(predictor, structures: Sequence[Structure], batch: int | str = "auto") -> Iterator[Sample | Exception]:
    """H(R) and S(R) of Structures that the model's ``check`` has passed, in their order; one that fails gives its error.

    Their info holds 'scalars', see Predictor.predict_described.
    """
    for together in _fill_batches(((s, _size(predictor, s, batch)) for s in structures), _largest(predictor, batch)):
        try:
            yield from list(_predict_batch(predictor, together, described=True))
            continue
        except Exception as error:
            log.info("a batch of %d structures failed, they are tried one by one: %s", len(together), error)
        for structure in together:
            try:
                yield next(_predict_batch(predictor, [structure], described=True))
            except Exception as error:
                yield error


def find_charge(atoms, chosen: float | None = None) -> float:
    """Charge of a structure in units of e: the one chosen, else atoms.info['charge'], else 0. InputError for what is none."""
    charge = getattr(atoms, "info", {}).get("charge", 0) if chosen is None else chosen
    if isinstance(charge, bool) or not isinstance(charge, (int, float, np.number)) or not math.isfinite(charge):
        name = "charge" if chosen is not None else "atoms.info['charge']"
        raise InputError(f"{name} must be a number of elementary charges, such as -1, found {charge!r}")
    return float(charge)


def with_charge(sample: Sample, charge: float) -> Sample:
    """The same H and S with as many electrons as the charge leaves; a warning where that is not zero."""
    before = sample.info.get("charge", 0.0)
    if charge == before:
        return sample
    if charge:
        warn_caller(
            f"charge {charge:g}: the network sees no charge, so H is that of the atoms it was trained on (neutral ones, unless "
            "its data were ions) and only the number of electrons follows the charge",
            OutOfDomainWarning,
        )
    info = {"charge": charge, "n_electrons": sample.info["n_electrons"] + before - charge}
    return replace(sample, info=sample.info | info)


def _predict_all(predictor, atoms_list: Iterable, batch: int | str, charge: float | None, progress: bool) -> Iterator[Sample]:
    total = len(atoms_list) if isinstance(atoms_list, Sized) else None
    with tqdm(total=total, desc="predict", unit="structure", disable=None if progress else True) as bar:
        for together in _fill_batches(_checked(predictor, atoms_list, batch, charge), _largest(predictor, batch)):
            structures, charges = zip(*together, strict=True)
            for sample, found in zip(_predict_batch(predictor, structures), charges, strict=True):
                bar.update()
                yield with_charge(sample, found)


def _checked(
    predictor, atoms_list: Iterable, batch: int | str, charge: float | None
) -> Iterator[tuple[tuple[Structure, float], int]]:
    for number, atoms in enumerate(atoms_list):
        try:
            structure = atoms if isinstance(atoms, Structure) else Structure.from_atoms(atoms)
            _check(predictor, structure)
            size = _size(predictor, structure, batch)
        except ValueError as error:
            raise type(error)(f"structure {number}: {error}") from error
        yield (structure, find_charge(atoms, charge)), size


def _fill_batches(sized: Iterable[tuple[Item, int]], largest: int) -> Iterator[list[Item]]:
    pending: list[Item] = []
    filled = 0
    for item, size in sized:
        if pending and filled + size > largest:
            yield pending
            pending, filled = [], 0
        pending.append(item)
        filled += size
    if pending:
        yield pending


def _largest(predictor, batch: int | str) -> int:
    if batch != "auto":
        return int(batch)
    return LARGEST_BATCH.get(str(predictor.device).split(":")[0], LARGEST_BATCH["cpu"])


def _size(predictor, structure: Structure, batch: int | str) -> int:
    return 1 if batch != "auto" else _count_elements(predictor, structure)


def _check(predictor, structure: Structure):
    reasons = predictor.check(structure)
    if reasons:
        more = f"; and {len(reasons) - SHOWN} more reasons" if len(reasons) > SHOWN else ""
        listed = "; ".join(reasons[:SHOWN])
        warn_caller(f"outside the training domain of {predictor.card.name}: {listed}{more}", OutOfDomainWarning)


def _count_elements(predictor, structure: Structure) -> int:
    """Numbers in H(R): what the memory of a forward pass grows with."""
    basis = predictor.basis
    graph = build_graph(structure, dict.fromkeys(structure.numbers.tolist(), predictor.card.cutoff / 2))
    sizes = predictor.n_spin * np.array([basis[z].size for z in structure.numbers])
    return int(sizes[graph.pairs].prod(axis=1).sum())


def _predict_batch(
    predictor, structures: Sequence[Structure], overlaps: Sequence[BlockMatrix] | None = None, *, described: bool = False
) -> Iterator[Sample]:
    if overlaps is None:
        overlaps = [compute_overlap(structure, predictor.basis) for structure in structures]
    scalars: Sequence[np.ndarray | None] = [None] * len(structures)
    try:
        if described:
            hamiltonians, scalars = predictor.predict_described(structures, overlaps)
        else:
            hamiltonians = predictor.predict(structures, overlaps)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        if len(structures) == 1:
            raise MemoryError(
                f"a structure of {len(structures[0])} atoms alone does not fit into the memory of {predictor.device}: "
                "use a device with more memory, device='cpu' or dtype='float32'"
            ) from error
        half = len(structures) // 2
        log.info("%d structures do not fit into memory at once, trying %d", len(structures), half)
        hamiltonians = None
    if hamiltonians is None:
        # Outside the handler, so that the failed pass and its tensors are released first.
        yield from _predict_batch(predictor, structures[:half], overlaps[:half], described=described)
        yield from _predict_batch(predictor, structures[half:], overlaps[half:], described=described)
        return
    for structure, hamiltonian, overlap, rows in zip(structures, hamiltonians, overlaps, scalars, strict=True):
        info = {
            "model": predictor.card.name,
            "n_electrons": predictor.basis.count_electrons(structure.numbers),
            "hamiltonian_error": _expected_error(predictor.card),
        } | ({} if rows is None else {"scalars": rows})
        yield Sample(structure, predictor.basis, hamiltonian, overlap, info)


def _expected_error(card) -> float:
    """Largest mean error of H over the card's test sets, eV: the solver needs it where S is nearly singular."""
    return max((figures.get("mae_all", 0.0) for figures in card.errors.values()), default=0.0) / 1000


def _is_out_of_memory(error: BaseException) -> bool:
    """torch reports it as its own OutOfMemoryError on a GPU and as a RuntimeError with this text on a CPU."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
