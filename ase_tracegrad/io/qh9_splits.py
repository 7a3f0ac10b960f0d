"""The four published splits of QH9 as index rules (H. Yu et al., arXiv 2306.09549; divelab/AIRS, OpenDFT/QHBench/QH9).

Each rule gives {split: rows}, rows counted from 0 in the order of the database, in the order in which it deals them.
"""

import random
from collections.abc import Callable

import numpy as np

SEED = 43
GEOMETRIES = 100  # of each molecule in QH9Dynamic
RULES = {"stable-id": "stable", "stable-ood": "stable", "dynamic-geo": "dynamic", "dynamic-mol": "dynamic"}


def split_stable_id(n_molecules: int) -> dict[str, np.ndarray]:
    """80 / 10 / 10 per cent of all molecules at random: 104664 / 13083 / 13084 of 130831."""
    order = np.random.RandomState(SEED).permutation(n_molecules)
    return _cut(order, int(n_molecules * 0.8), int(n_molecules * 0.1))


def split_stable_ood(sizes) -> dict[str, np.ndarray]:
    """By number of atoms, sizes (M,): train up to 20, validation 21 and 22, test from 23: 104001 / 17495 / 9335 of 130831."""
    sizes = np.asarray(sizes)
    chosen = {"train": sizes <= 20, "validation": (sizes == 21) | (sizes == 22), "test": sizes >= 23}
    return {split: np.nonzero(mask)[0] for split, mask in chosen.items()}


def split_dynamic_geo(n_rows: int, geometries: int = GEOMETRIES) -> dict[str, np.ndarray]:
    """80 / 10 / 10 per cent of the geometries of each molecule, by a seed that is the number of the molecule's last row."""
    parts = []
    for first in range(0, _whole_molecules(n_rows, geometries) * geometries, geometries):
        order = first + np.random.RandomState(first + geometries - 1).permutation(geometries)
        parts.append(_cut(order, int(geometries * 0.8), int(geometries * 0.1)))
    return {split: np.concatenate([part[split] for part in parts]) for split in parts[0]}


def split_dynamic_mol(n_rows: int, geometries: int = GEOMETRIES) -> dict[str, np.ndarray]:
    """80 / 10 / 10 per cent of the molecules with all their geometries: 239800 / 29900 / 30100 of 299800 rows."""
    molecules = list(range(_whole_molecules(n_rows, geometries)))
    random.Random(SEED).shuffle(molecules)
    cut = _cut(np.array(molecules), int(len(molecules) * 0.8), int(len(molecules) * 0.1))
    return {split: (np.sort(m)[:, None] * geometries + np.arange(geometries)).ravel() for split, m in cut.items()}


def assign_published_split(rule: str, form: str, n_rows: int, sizes: Callable[[], np.ndarray]) -> np.ndarray:
    """(rows,) of 'train', 'validation' or 'test'; '' where a rule takes no molecule.

    rule: one of RULES; form: stable or dynamic; sizes: gives the atoms of each row (rows,), asked for by stable-ood only.
    ValueError if the rule is for the other form.
    """
    if RULES.get(rule) != form:
        fitting = [name for name, of in RULES.items() if of == form]
        raise ValueError(f"the split of a {form} QH9 database is {' or '.join(fitting)}, found {rule!r}")
    rows = {
        "stable-id": lambda: split_stable_id(n_rows),
        "stable-ood": lambda: split_stable_ood(sizes()),
        "dynamic-geo": lambda: split_dynamic_geo(n_rows),
        "dynamic-mol": lambda: split_dynamic_mol(n_rows),
    }[rule]()
    assigned = np.full(n_rows, "", dtype="<U10")
    for split, members in rows.items():
        assigned[members] = split
    return assigned


def _cut(order: np.ndarray, n_train: int, n_validation: int) -> dict[str, np.ndarray]:
    train, validation, test = np.split(order, [n_train, n_train + n_validation])
    return {"train": train, "validation": validation, "test": test}


def _whole_molecules(n_rows: int, geometries: int) -> int:
    if n_rows < geometries or n_rows % geometries:
        raise ValueError(
            f"expected {geometries} rows for each molecule, found {n_rows} in all: this split is for complete dynamic databases"
        )
    return n_rows // geometries
