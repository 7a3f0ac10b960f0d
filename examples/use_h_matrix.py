"""H(R) and S(R) as numpy arrays, and H(k) c = E S(k) c by hand."""

import numpy as np
from ase.build import graphene
from scipy.linalg import eigh

from ase_tracegrad import TraceGradCalculator

atoms = graphene(a=2.46, vacuum=5.0)
calc = TraceGradCalculator("graphene-pbe")
hamiltonian, overlap = calc.hamiltonian(atoms), calc.overlap(atoms)

# One block: orbitals of atom 0 in the home cell (rows) with those of atom 1 in cell (1, 0, 0), in eV.
block = hamiltonian.block(0, 1, (1, 0, 0))
print(f"{len(hamiltonian)} blocks; block (0, 1, (1, 0, 0)) has shape {block.shape}, largest element {abs(block).max():.3f} eV")


def bloch_sum(matrix, k):
    """M(k) = sum_R exp(+2 pi i k.R) M(R), k in fractions of the reciprocal vectors."""
    edges = matrix.layout.offsets
    out = np.zeros((matrix.n_orbitals, matrix.n_orbitals), dtype=complex)
    for (i, j, cell), values in matrix.items():
        out[edges[i] : edges[i + 1], edges[j] : edges[j + 1]] += np.exp(2j * np.pi * np.dot(k, cell)) * values
    return out


k = [1 / 3, 1 / 3, 0]
energies, coefficients = eigh(bloch_sum(hamiltonian, k), bloch_sum(overlap, k))
print("lowest energies at K (eV):", np.round(energies[:6], 4))
print("the two touching bands differ by", f"{1000 * (energies[4] - energies[3]):.4f} meV")

# The package does the same for many k-points at once.
calc.set(kpts=[k])
atoms.calc = calc
assert np.allclose(atoms.calc.get_eigenvalues(0), energies, atol=1e-6)
assert np.allclose(hamiltonian.bloch([k])[0], bloch_sum(hamiltonian, k))
