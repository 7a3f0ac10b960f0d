"""Ghost states: energies that no electron can have, which errors of H make where S is nearly singular."""

import numpy as np

from ..blocks import BlockMatrix

# Bonding lowers a state by some ten eV below the orbitals it is made of.
PLAUSIBLE_BINDING = 50.0  # eV


class GhostStateWarning(UserWarning):
    """A state far below every orbital: bands, Fermi level and gap of this structure are not to be trusted."""


def find_lowest_orbital(hamiltonian: BlockMatrix, overlap: BlockMatrix) -> float:
    """The smallest H_ii / S_ii, eV: energy of the lowest orbital by itself; zero where no block is stored, as everywhere."""
    smallest = np.inf
    for atom in range(hamiltonian.layout.n_atoms):
        norms = np.tile(np.diag(overlap.block(atom, atom)).real, hamiltonian.n_spin)
        stored = (atom, atom, (0, 0, 0)) in hamiltonian.index
        energies = np.diag(hamiltonian.block(atom, atom)).real if stored else np.zeros(len(norms))
        smallest = min(smallest, float((energies / norms).min()))
    return smallest


def describe_ghost(energies: np.ndarray, kpts: np.ndarray, lowest_orbital: float, hamiltonian_error: float) -> str | None:
    """What is wrong with energies (K, n) eV at kpts (K, 3), and what to do; None if no state is implausibly low."""
    k, band = np.unravel_index(energies.argmin(), energies.shape)
    if energies[k, band] > lowest_orbital - PLAUSIBLE_BINDING:
        return None
    at = ", ".join(f"{x:.3g}" for x in kpts[k])
    return (
        f"ghost state: a state at {energies[k, band]:.0f} eV, k = ({at}), although no orbital lies below {lowest_orbital:.0f} eV. "
        "S is nearly singular there and amplifies the errors of H, so bands, Fermi level and gap of this structure are not to be "
        "trusted. The structure may lie outside the domain of the model (atoms too close?); if not, raise the expected error of "
        f"H, sample.info['hamiltonian_error'] = {hamiltonian_error:g} eV, so that more modes of S are left out"
    )
