"""The orbitals of QH9: def2-SVP of H, C, N, O and F (F. Weigend and R. Ahlrichs, Phys. Chem. Chem. Phys. 7, 3297 (2005))."""

from functools import cache

import numpy as np

from ..basis import AtomicBasis, Basis, GaussianRadial, Shell
from ..symbols import number_of

PYSCF_BOHR = 0.52917721092  # Angstrom, of PySCF (CODATA 2010); matrices of molecules in Angstrom refer to it
FUNCTIONAL = "b3lyp5"  # B3LYP with VWN5, which PySCF called b3lyp until 2.2; its 2.3 changed the name's meaning

# A line is a shell: l, then exponents (1 / Bohr^2) and coefficients of normalised primitives. The signs matter: those of the
# contracted functions of N and F are negative.
TABLE = """
H
0  13.010701 0.019682158  1.9622572 0.13796524  0.44453796 0.47831935
0  0.12194962 1
1  0.8 1
C
0  1238.4016938 0.0054568832082  186.29004992 0.040638409211  42.251176346 0.18025593888  11.676557932 0.46315121755  3.5930506482 0.44087173314
0  0.40245147363 1
0  0.13090182668 1
1  9.4680970621 0.038387871728  2.0103545142 0.21117025112  0.54771004707 0.51328172114
1  0.15268613795 1
2  0.8 1
N
0  1712.8415853 -0.0053934125305  257.64812677 -0.040221581118  58.458245853 -0.1793114499  16.198367905 -0.46376317823  5.0052600809 -0.44171422662
0  0.58731856571 1
0  0.18764592253 1
1  13.571470233 -0.040072398852  2.9257372874 -0.21807045028  0.79927750754 -0.51294466049
1  0.21954348034 1
2  1.0 1
O
0  2266.1767785 -0.0053431809926  340.87010191 -0.03989003923  77.363135167 -0.17853911985  21.47964494 -0.46427684959  6.6589433124 -0.44309745172
0  0.80975975668 1
0  0.25530772234 1
1  17.721504317 0.043394573193  3.863550544 0.23094120765  1.0480920883 0.51375311064
1  0.27641544411 1
2  1.2 1
F
0  2894.832599 -0.0053408255515  435.4193912 -0.039904258866  98.843328866 -0.17912768038  27.485198001 -0.46758090825  8.5405498171 -0.4465313102
0  1.0654578038 1
0  0.33247346748 1
1  22.696633924 -0.045212874436  4.9872339257 -0.23754317067  1.3491613954 -0.51287353587
1  0.34829881977 1
2  1.4 1
"""  # noqa: E501


@cache
def def2_svp_basis(xc: str = FUNCTIONAL) -> Basis:
    """def2-SVP of the elements of QH9 with all electrons as valence; xc: what the matrices were computed with."""
    shells: dict[int, list[Shell]] = {}
    for line in TABLE.strip().splitlines():
        words = line.split()
        if len(words) == 1:
            number = number_of(words[0])
            shells[number] = []
            continue
        numbers = np.array([float(word) for word in words[1:]]).reshape(-1, 2)
        shells[number].append(contract_gaussians(int(words[0]), numbers[:, 0], numbers[:, 1]))
    return Basis({z: atom_of_shells(z, found) for z, found in shells.items()}, name="def2-SVP", code="PySCF", xc=xc)


def contract_gaussians(l: int, exponents: np.ndarray, coefficients: np.ndarray) -> Shell:
    """A shell from exponents (n,) in 1 / Bohr^2 (of PySCF) and coefficients (n,) of normalised primitives.

    A normalised primitive is proportional to a^((2l+3)/4) r^l exp(-a r^2); the contraction is normalised as a whole.
    """
    return Shell(l, GaussianRadial(l, exponents / PYSCF_BOHR**2, coefficients * exponents ** ((2 * l + 3) / 4)))


def atom_of_shells(number: int, shells: list[Shell]) -> AtomicBasis:
    """An all-electron atom: every electron is a valence electron."""
    return AtomicBasis(number, tuple(shell.l for shell in shells), tuple(shells), float(number))
