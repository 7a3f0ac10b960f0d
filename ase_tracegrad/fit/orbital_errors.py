"""Errors of the orbitals of molecules, the measures of QH9 (H. Yu et al., arXiv 2306.09549)."""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh

from ..blocks import BlockMatrix
from ..io.sample import Sample

FIGURES = ("epsilon", "psi", "homo", "lumo")


def orbital_errors(predicted: BlockMatrix, sample: Sample) -> dict[str, float]:
    """{'epsilon', 'psi', 'homo', 'lumo'} of a closed-shell molecule; {} for a crystal, or labels without their electrons.

    epsilon: mean absolute error of the energies of the occupied orbitals; psi: mean |cosine| of the occupied orbitals with those of
    the label, orbital n with orbital n, under the overlap; homo, lumo: absolute errors. Energies in meV.
    """
    if sample.structure.pbc.any() or "n_electrons" not in sample.info:
        return {}
    occupied = round(sample.info["n_electrons"] / 2)
    origin = [[0.0, 0.0, 0.0]]
    overlap, found, label = (matrix.bloch(origin)[0].real for matrix in (sample.overlap, predicted, sample.hamiltonian))
    (energies, orbitals), (true_energies, true_orbitals) = (eigh(h, overlap) for h in (found, label))
    errors = 1000 * np.abs(energies - true_energies)
    cosines = np.abs(np.einsum("an,ab,bn->n", orbitals[:, :occupied], overlap, true_orbitals[:, :occupied]))
    return {
        "epsilon": float(errors[:occupied].mean()),
        "psi": float(cosines.mean()),
        "homo": float(errors[occupied - 1]),
        "lumo": float(errors[occupied]) if occupied < len(errors) else float("nan"),
    }


def pool_orbital_errors(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over the structures that have them; {} if none has."""
    rows = [row for row in rows if row]
    return {key: float(np.mean([row[key] for row in rows])) for key in FIGURES} if rows else {}
