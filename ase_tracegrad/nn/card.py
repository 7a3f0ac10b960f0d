"""ModelCard: what a model is, what it was made from, how wrong it is and where it may be used."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_origin

from ..basis import LAST_ELEMENT
from .config import UnknownKeyError


@dataclass(frozen=True)
class ModelCard:
    """Facts stored in the checkpoint.

    elements: atomic numbers; cutoff Angstrom; errors: {test set: {quantity: value in meV}}; label_noise_mev: noise of the
    reference bands; equivariance: {'rmse', 'max', 'band_max'} in meV of a model that is not exactly equivariant, measured
    on the validation data when it was trained, or on the test data with its errors; {} for one that is; domain: limits of the
    training data (see domain.py); versions: of the programs that made it.
    """

    name: str
    description: str
    elements: list[int]
    basis: str
    code: str
    xc: str
    cutoff: float
    training_set: str = ""
    data_sha256: str = ""
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    label_noise_mev: float = 0.0
    equivariance: dict[str, float] = field(default_factory=dict)
    domain: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The card in one line."""
        return f"{self.name}: {self.description} [{self.xc}, {self.basis}, {self.code}]"

    @property
    def rotations(self) -> str:
        """What turning a structure changes, in words; '' for an exactly equivariant model."""
        return describe_rotations(self.equivariance)

    def __str__(self) -> str:
        return self.describe(self.rotations)

    def describe(self, rotations: str) -> str:
        """The facts as a table; rotations: how exactly what predicts with this model follows a turned structure."""
        from ..symbols import symbol_of

        rows = [
            ("model", self.name),
            ("what", self.description),
            ("elements", " ".join(symbol_of(z) for z in self.elements)),
            ("labels", f"{self.code}, {self.xc}, {self.basis}"),
            ("pair cut-off", f"{self.cutoff:.2f} Angstrom"),
            ("training data", self.training_set),
            ("label noise", f"{self.label_noise_mev:g} meV in the bands"),
        ]
        rows.append(("equivariance", rotations))
        lines = [f"{name:>14}  {value}" for name, value in rows if value]
        if self.errors:
            if rotations != self.rotations and self.equivariance:
                lines.append(f"{'':>14}  test errors are those of both stages, without averages over orientations")
            lines.append(f"{'test errors':>14}  {'set':<28}{'H MAE':>9}{'bands RMSE':>12}{'max':>9}   (meV)")
            for test, figures in self.errors.items():
                cells = [_cell(figures, key) for key in ("mae_all", "band_rmse", "band_max")]
                lines.append(f"{'':>14}  {test:<28}{cells[0]:>9}{cells[1]:>12}{cells[2]:>9}")
        return "\n".join(lines)

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> "ModelCard":
        """The card that ``to_json`` wrote. Raises UnknownKeyError, TypeError."""
        if not isinstance(facts, dict):
            raise TypeError(f"a card must be a mapping, found {type(facts).__name__}")
        known = {field.name for field in fields(cls)}
        unknown = [key for key in facts if key not in known]
        if unknown:
            raise UnknownKeyError(f"unknown key(s) {', '.join(map(repr, unknown))} in the card")
        card = cls(**facts)
        card._check_types()
        return card

    def _check_types(self):
        """TypeError for facts of another kind than announced: the card is shown and asked without looking again."""
        for f in fields(self):
            kind, value = get_origin(f.type) or f.type, getattr(self, f.name)
            if not isinstance(value, (int, float) if kind is float else kind):  # type: ignore[arg-type]
                raise TypeError(f"{f.name} of the card must be of type {f.type}, found {type(value).__name__}")
        figures = [x for test in self.errors.values() for x in (test.values() if isinstance(test, dict) else (None,))]
        if not all(isinstance(x, int | float) for x in (*figures, *self.equivariance.values())):
            raise TypeError("the errors of the card must be {test set: {quantity: number}}, those of equivariance numbers")
        if not self.elements or not all(type(z) is int and 1 <= z <= LAST_ELEMENT for z in self.elements):
            raise TypeError(f"the elements of the card must be atomic numbers, found {self.elements[:5]}")

    def to_json(self) -> dict[str, Any]:
        """Plain data for the checkpoint header."""
        return asdict(self)


def describe_rotations(equivariance: Mapping[str, float]) -> str:
    """What a measured error of equivariance says, '' for none; meV."""
    if not equivariance:
        return ""
    rmse, largest = (two_digits(equivariance[key]) for key in ("rmse", "max"))
    bands = f", bands by {two_digits(equivariance['band_max'])}" if "band_max" in equivariance else ""
    return f"turning the structure changes H by {rmse} meV; at most, in a few samples: an element by {largest}{bands}"


def two_digits(value: float) -> str:
    """Two significant digits, without an exponent where people do not expect one."""
    return f"{float(f'{value:.2g}'):g}"


def _cell(figures: dict[str, float], key: str) -> str:
    return f"{figures[key]:.2f}" if key in figures else "-"
