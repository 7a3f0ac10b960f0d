"""How far to trust a prediction: the distance of atoms from those of training, in the features of the network.

The scalars that an atom ends with in the network say what the network sees of its surroundings. Training gives their mean
and covariance C for each element; the distance of an atom is sqrt((f - mean)^T C^-1 (f - mean) / n), about 1 for atoms as
in training (Mahalanobis, Proc. Natl. Inst. Sci. India 2, 49 (1936); C with a small ridge). Errors on structures that were not
trained on say what a distance, or the spread of several models, is worth in meV. All of it is kept beside the model as
NAME.trust.json.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..damage import DAMAGE
from ..replace_file import replace_text

FORMAT = "ase_tracegrad-trust 1"
# Of the largest eigenvalue of C: directions in which training hardly varies must not decide.
RIDGE = 1e-4
# An atom this many times farther than the farthest of training and validation is outside.
FARTHER = 1.5


class TrustError(ValueError):
    """A trust file that is damaged or belongs to another model."""


@dataclass(frozen=True, eq=False)
class Trust:
    """means {Z: (n,)} and whitening {Z: (n, n)} of the scalars; farthest: distance seen in training and validation.

    model: SHA-256 of the model file; members: those of the other models of the ensemble that ``factors`` belong to; factors:
    {'distance': {'hamiltonian': meV}, 'spread': {'hamiltonian': 1, 'gap': 1}}, median error per unit; data: what
    it was learned from, and how well it did there.
    """

    model: str
    means: dict[int, np.ndarray]
    whitening: dict[int, np.ndarray]
    farthest: float
    members: tuple[str, ...]
    factors: dict[str, dict[str, float]]
    data: dict[str, Any]

    def distances(self, numbers: np.ndarray, scalars: np.ndarray) -> np.ndarray:
        """(N,) of atoms with these atomic numbers (N,) and scalars (N, n); infinite for elements that training lacks."""
        found = np.full(len(numbers), np.inf)
        for z, mean in self.means.items():
            atoms = numbers == z
            found[atoms] = np.linalg.norm((scalars[atoms] - mean) @ self.whitening[z], axis=1) / np.sqrt(len(mean))
        return found

    def write(self, path):
        """As JSON."""
        elements = {str(z): {"mean": _plain(self.means[z]), "whitening": _plain(self.whitening[z])} for z in self.means}
        facts = {"format": FORMAT, "model": self.model, "farthest": self.farthest, "members": self.members}
        replace_text(path, json.dumps(facts | {"factors": self.factors, "data": self.data, "elements": elements}) + "\n")


def fit_scalars(numbers: np.ndarray, scalars: np.ndarray) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Means and whitening of atoms (N,) with scalars (N, n), by element."""
    means, whitening = {}, {}
    for z in np.unique(numbers).tolist():
        rows = scalars[numbers == z]
        values, vectors = np.linalg.eigh(np.cov(rows.T))
        # Digits beyond those of the network are no information.
        scale = 1 / np.sqrt(np.maximum(values, 0) + RIDGE * values[-1] + np.finfo(float).tiny)
        means[z], whitening[z] = rows.mean(axis=0), vectors * scale
    return means, whitening


def trust_file(model: Path) -> Path:
    """Where the trust of a model file is kept."""
    return model.with_name(model.name.removesuffix(".safetensors") + ".trust.json")


def read_trust(model: Path) -> Trust | None:
    """The trust beside a model file, None if there is none. Raises TrustError."""
    path = trust_file(model)
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text())
        if facts["format"] != FORMAT:
            raise TrustError(f"{path} has the format {facts['format']!r}, expected {FORMAT!r}: calibrate again")
        elements = {int(z): rows for z, rows in facts["elements"].items()}
        means, whitening = (
            {z: np.array(rows[name], dtype=float) for z, rows in elements.items()} for name in ("mean", "whitening")
        )
        if any(matrix.shape != (len(means[z]),) * 2 for z, matrix in whitening.items()):
            raise TrustError(f"{path} is damaged: a matrix of the wrong size")
        factors = {kind: {name: float(x) for name, x in rows.items()} for kind, rows in facts["factors"].items()}
        numbers = [*means.values(), *whitening.values(), facts["farthest"], *(list(rows.values()) for rows in factors.values())]
        if not all(np.isfinite(x).all() for x in numbers):
            raise TrustError(f"{path} is damaged: a number that is not finite")
        found = Trust(facts["model"], means, whitening, float(facts["farthest"]), tuple(facts["members"]), factors, facts["data"])
    except TrustError:
        raise
    except DAMAGE as error:
        raise TrustError(f"{path} is damaged ({type(error).__name__}: {error}): delete it, or calibrate again") from error
    if found.model != hash_model(model):
        raise TrustError(f"{path} belongs to another version of {model.name}: delete it, or calibrate again")
    return found


def hash_model(path) -> str:
    """SHA-256 of a model file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mean_spread(values: Sequence[np.ndarray]) -> float:
    """Of the predictions of several models: mean over elements of the standard deviation between them."""
    return float(np.std(values, axis=0, ddof=1).mean())


def _plain(array: np.ndarray) -> list:
    return np.array([float(f"{x:.7g}") for x in array.ravel()]).reshape(array.shape).tolist()
