"""Which structures of a set are to train, to validate and to test: drawn from a seed, or listed in a file."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..damage import DAMAGE

SPLITS = ("train", "validation", "test")


def make_splits(text: str, names: Sequence[str]) -> dict[str, str]:
    """{name: split} from 'train,validation,test' shares such as '0.8,0.1,0.1', or from the JSON file of that name.

    ValueError says what was expected.
    """
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        return read_splits(Path(text), names)
    if len(shares) != len(SPLITS) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"splits {text}: expected three positive shares that add up to 1, such as 0.8,0.1,0.1, or a JSON file")
    validation, test = (max(1, round(len(names) * share)) for share in shares[1:])
    return deal_splits(names, [len(names) - validation - test, validation, test])


def deal_splits(names: Sequence[str], sizes: Sequence[int]) -> dict[str, str]:
    """{name: split} with so many members of each of SPLITS; equal names give equal splits. ValueError for an empty one."""
    if min(sizes) < 1:
        raise ValueError(f"{len(names)} structures are too few for three splits: give more structures, or a file of splits")
    order = np.random.default_rng(0).permutation(sorted(names)).tolist()
    return dict(zip(order, [split for split, size in zip(SPLITS, sizes, strict=True) for _ in range(size)], strict=True))


def read_splits(path: Path, names: Sequence[str]) -> dict[str, str]:
    """{name: split} of a JSON file {split: [names]}; structures that it does not name are in none.

    FileNotFoundError, ValueError with what was expected.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file of splits at {path}")
    example = json.dumps({split: [min(names, default="name")] for split in SPLITS})
    try:
        listed = json.loads(path.read_text())
        splits = {name: split for split, group in listed.items() for name in group if not isinstance(group, str)}
        count = sum(map(len, listed.values()))
    except DAMAGE as error:
        raise ValueError(f"{path}: expected JSON such as {example}: {error}") from error
    unknown = sorted(set(splits) - set(names))
    if unknown:
        raise ValueError(f"{path} names {unknown[:3]}, which are not there; names look like {sorted(names)[:3]}")
    if len(splits) < count:
        raise ValueError(f"{path}: a structure stands in two splits, or a split is no list; expected JSON such as {example}")
    return splits
