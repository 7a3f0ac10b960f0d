"""How other programs order and sign the real harmonics inside a shell, and e3nn's axes.

Every reader converts here, at the border; inside the package there is one order only
(see ``harmonics``). Sources of each order are listed in docs/conventions.md.
"""

from dataclasses import dataclass

import numpy as np

# e3nn's axes: feeding a vector as (y, z, x) makes its harmonics equal to ours, element by element.
E3NN_AXES = (1, 2, 0)


@dataclass(frozen=True)
class OrbitalConvention:
    """Order and sign of m in a program: ``order(l)`` lists m, ``sign(m)`` the factor of our harmonic."""

    name: str
    orders: dict[int, tuple[int, ...]]
    condon_shortley: bool = False

    def order(self, l: int) -> tuple[int, ...]:
        """m of the program's orbitals of a shell, in the program's order."""
        return self.orders.get(l, tuple(range(-l, l + 1)))

    def to_ours(self, shells) -> tuple[np.ndarray, np.ndarray]:
        """Gather index and signs for one atom: ours = sign * theirs[index].

        shells: l of each shell. Returns two (n_orbitals,) arrays.
        """
        index, sign, offset = [], [], 0
        for l in shells:
            order = self.order(l)
            for m in range(-l, l + 1):
                index.append(offset + order.index(m))
                sign.append(-1.0 if self.condon_shortley and m % 2 else 1.0)
            offset += 2 * l + 1
        return np.array(index, dtype=int), np.array(sign)

    def from_ours(self, shells) -> tuple[np.ndarray, np.ndarray]:
        """Gather index and signs for one atom: theirs = sign * ours[index]."""
        index, sign = self.to_ours(shells)
        inverse = np.argsort(index)
        return inverse, sign[inverse]


def _alternating(l: int) -> tuple[int, ...]:
    """0, +1, -1, +2, -2, ..."""
    return (0,) + tuple(sign * m for m in range(1, l + 1) for sign in (1, -1))


OURS = OrbitalConvention("ours", {})
CP2K = OrbitalConvention("CP2K", {})
OPENMX = OrbitalConvention("OpenMX", {1: (1, -1, 0), 2: (0, 2, -2, 1, -1)} | {l: _alternating(l) for l in range(3, 8)})
PYSCF = OrbitalConvention("PySCF", {1: (1, -1, 0)})
SIESTA = OrbitalConvention("SIESTA", {}, condon_shortley=True)
ABACUS = OrbitalConvention("ABACUS", {l: _alternating(l) for l in range(8)}, condon_shortley=True)

CONVENTIONS = {c.name.lower(): c for c in (OURS, CP2K, OPENMX, PYSCF, SIESTA, ABACUS)}
