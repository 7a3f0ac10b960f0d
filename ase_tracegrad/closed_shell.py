"""Whether a molecule has unpaired electrons, which no restricted Hamiltonian describes."""

import numpy as np


class OpenShellError(ValueError):
    """A molecule with unpaired electrons; only closed shells are supported."""


def describe_open_shell(atoms, charge: float) -> str | None:
    """Why these ase.Atoms with a charge (in units of e) are taken for an open shell; None: nothing speaks for one.

    An odd number of electrons, magnetic moments (which ASE's g2 set has) or a lone neutral atom with an open shell;
    another triplet cannot be told from here.
    """
    from ase.data import ground_state_magnetic_moments

    formula, electrons = atoms.get_chemical_formula(), atoms.numbers.sum() - charge
    if electrons % 2:
        kind = "an odd number" if electrons % 2 == 1 else "not whole pairs"
        return (
            f"{formula} with charge {charge:g} has {electrons:g} electrons, {kind}: radicals have no restricted closed-shell "
            "Hamiltonian and are not supported; give the charge of the ion, if it is one"
        )
    if np.abs(atoms.get_initial_magnetic_moments()).any():
        return f"{formula} carries magnetic moments: only closed shells are supported; remove them if it has none"
    if len(atoms) == 1 and charge == 0 and ground_state_magnetic_moments[atoms.numbers[0]]:
        return f"the atom {formula} has an open shell in its ground state, which is not supported"
    return None
