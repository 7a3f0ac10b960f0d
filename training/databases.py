"""The six periodic benchmark databases as facts: what they hold, how the literature splits them, where they are from.

Sources: X. Gong et al., arXiv 2210.13955 (DeepH-E3) and arXiv 2405.05722 (TraceGrad) for names, sizes, basis and splits. The
publications name the sizes of the splits, not their members; which structure goes where follows here from a seed. No hash of the
downloads is known to us, so none is compared; the prepared file's own hash is printed and kept.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ase.data import atomic_numbers

from ase_tracegrad.basis import AtomicBasis, Basis
from ase_tracegrad.io.splits import deal_splits
from ase_tracegrad.io.valence import set_valence

LETTERS = "spdf"
PAO = {"C": ("C6.0", "s2p2d1"), "Mo": ("Mo7.0", "s3p2d2"), "S": ("S7.0", "s2p2d1")}
PAO |= {"Bi": ("Bi8.0", "s3p2d2"), "Te": ("Te7.0", "s3p2d2"), "Se": ("Se7.0", "s3p2d2")}
PRIMITIVE = "prim"  # an unperturbed primitive cell beside the displaced ones: only to test
SMALLEST_KIND = 5  # fewer structures of a kind are not split on their own


@dataclass(frozen=True)
class Database:
    """sizes: structures to train, validate and test, or fractions where only these are known; atoms: per structure, if known."""

    name: str
    title: str
    elements: tuple[str, ...]
    spinful: bool
    sizes: tuple[float, float, float]
    zenodo: int
    atoms: int | None = None

    @property
    def structures(self) -> int | None:
        """How many structures are published, without the twisted ones; None if unknown."""
        return int(sum(self.sizes)) if self.sizes[0] > 1 else None

    @property
    def shells(self) -> dict[str, str]:
        """Element -> shells, such as 's3p2d2'."""
        return {symbol: PAO[symbol][1] for symbol in self.elements}

    @property
    def pao_files(self) -> dict[str, str]:
        """Element -> the name of its file in OpenMX's data base."""
        return {symbol: f"{PAO[symbol][0]}.pao" for symbol in self.elements}

    def bare_basis(self) -> Basis:
        """The shells and valence charges without radial functions."""
        atoms = {}
        for symbol in self.elements:
            shells, number = PAO[symbol][1], atomic_numbers[symbol]
            momenta = [LETTERS.index(letter) for letter, count in re.findall(r"([a-z])(\d)", shells) for _ in range(int(count))]
            atoms[number] = AtomicBasis(number, tuple(momenta))
        name = " ".join(f"{PAO[symbol][0]}-{PAO[symbol][1]}" for symbol in self.elements)
        return set_valence(Basis(atoms, name=name, code="OpenMX", xc="PBE"), "openmx")


DATABASES = {
    database.name: database
    for database in (
        Database("MG", "monolayer graphene", ("C",), False, (270, 90, 90), 7553640),
        Database("MM", "monolayer MoS2", ("Mo", "S"), False, (300, 100, 100), 7553640),
        Database("BG", "bilayer graphene", ("C",), False, (180, 60, 60), 7553640, 64),
        Database("BB", "bilayer bismuthene", ("Bi",), True, (231, 113, 113), 7553640),
        Database("BT", "Bi2Te3 bilayer", ("Bi", "Te"), True, (0.8, 0.15, 0.05), 7553843),
        Database("BS", "Bi2Se3 bilayer", ("Bi", "Se"), True, (231, 113, 113), 7553827),
    )
}


def assign_splits(database: Database, names: Sequence[str]) -> dict[str, str]:
    """{name: split}: the published sizes if all structures are there, otherwise the same proportions of every kind of name."""
    splits = {name: "test" for name in names if name == PRIMITIVE}
    others = sorted(name for name in names if name not in splits)
    if len(others) == database.structures:
        return splits | deal_splits(others, [int(size) for size in database.sizes])
    total = sum(database.sizes)
    for kind in kinds(others).values():
        validation, test = (max(1, round(len(kind) * size / total)) for size in database.sizes[1:])
        splits |= deal_splits(kind, [len(kind) - validation - test, validation, test])
    return splits


def kinds(names: Sequence[str]) -> dict[str, list[str]]:
    """Names by what stands before their number (x2_014 is of kind x2); one kind '' if any has too few."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(re.sub(r"[-_]?\d*$", "", name), []).append(name)
    return found if min(map(len, found.values()), default=0) >= SMALLEST_KIND else {"": list(names)}
