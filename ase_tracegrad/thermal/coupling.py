"""Electron-phonon matrix elements g(k, q) from dH/du, dS/du and phonons; orbitals overlap and move with the atoms."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.units import _amu, _hbar
from phonopy import Phonopy

from ..electronic.bloch import BlochSum, check_kpts
from ..electronic.eigen import solve_bloch
from ..replace_file import replace_file
from .derivatives import MatrixDerivatives, nearest_images, orbital_gradients
from .harmonic import SLOWEST

# Phonons of a slightly different cell are welcome, of another crystal or with another order of atoms not.
ANOTHER_CELL = 0.05  # strain
ANOTHER_SITE = 0.3  # Angstrom


@dataclass(frozen=True, eq=False)
class Couplings:
    """Matrix elements of all (q, k) and bands ``bands`` (N,), counted from 0.

    kpts (K, 3), qpts (Q, 3): fractions of the primitive reciprocal vectors; energies (K, N), final_energies (Q, K, N) eV, at k and
    k + q; cartesian (Q, K, n, 3, N, N) complex, eV/Angstrom: <m, k+q| dV/du_a(q) |n, k>, m before n, where atom a of cell R moves
    by u_a(q) exp(2 pi i q.R); frequencies (Q, 3n) THz; modes (Q, K, 3n, N, N) complex, eV:
    g = sum_ax sqrt(hbar / (2 M_a omega)) e_ax cartesian; zero for
    modes slower than SLOWEST. Phases of states and modes are free: |g|^2, summed over degenerate ones, has a meaning.
    """

    kpts: np.ndarray
    qpts: np.ndarray
    bands: np.ndarray
    energies: np.ndarray
    final_energies: np.ndarray
    cartesian: np.ndarray
    frequencies: np.ndarray
    modes: np.ndarray
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray

    def write(self, path):
        """All fields as an .npz; docs/temperature.md says what they are."""
        with replace_file(path) as part, part.open("wb") as stream:
            np.savez_compressed(stream, **{name: getattr(self, name) for name in self.__dataclass_fields__})


def compute_couplings(derivatives: MatrixDerivatives, sums: BlochSum, phonons: Phonopy, kpts, qpts, bands) -> Couplings:
    """Matrix elements at all pairs of kpts (K, 3) and qpts (Q, 3), between the bands (N,), counted from 0.

    sums: H and S of the primitive cell; phonons: with force constants. With C the coefficients, and dS = L + R parted into
    <d phi_i|phi_j> and <phi_i|d phi_j>,
        <m, k+q| dV |n, k> = C_m^+ (dH - e_n L - e_m R) C_n:
    what the orbitals do by moving with their atoms is taken off. At q = 0 and m = n it is the derivative of the band energy.
    Raises ValueError if the phonons are of another crystal, or of the same one with other axes or another order of atoms.
    """
    if sums.hamiltonian.n_spin > 1:
        raise ValueError("matrix elements between spinors are not there yet: take a model without spin-orbit coupling")
    kpts, qpts, bands = check_kpts(kpts), check_kpts(qpts), np.asarray(bands, dtype=int)
    primitive, n = derivatives.primitive, len(derivatives.primitive)
    _check_crystal(primitive, phonons)
    real_space = [[_arrange(derivatives, a, x) for x in range(3)] for a in range(n)]
    starts, start_orbitals = _solve(sums, kpts)
    shape = (len(qpts), len(kpts), n, 3, len(bands), len(bands))
    cartesian, final = np.zeros(shape, dtype=complex), np.zeros((len(qpts), len(kpts), len(bands)))
    frequencies, modes = np.zeros((len(qpts), 3 * n)), np.zeros((len(qpts), len(kpts), 3 * n, *shape[-2:]), dtype=complex)
    for number, q in enumerate(qpts):
        ends, end_orbitals = _solve(sums, kpts + q)
        final[number] = ends[:, bands]
        for k, kpt in enumerate(kpts):
            bra, ket = end_orbitals[k][:, bands].conj().T, start_orbitals[k][:, bands]
            e_bra, e_ket = ends[k, bands][:, None], starts[k, bands][None, :]
            for a in range(n):
                for x in range(3):
                    h, left, right = (_bloch(part, kpt, q, sums.hamiltonian.layout) for part in real_space[a][x])
                    cartesian[number, k, a, x] = bra @ h @ ket - e_ket * (bra @ left @ ket) - e_bra * (bra @ right @ ket)
        frequencies[number], vectors = _phonon_modes(phonons, q, primitive.get_scaled_positions(wrap=False))
        modes[number] = np.einsum("axv,kaxmn->kvmn", vectors, cartesian[number])
    return Couplings(
        kpts, qpts, bands, starts[:, bands], final, cartesian, frequencies, modes, primitive.numbers,
        primitive.positions, primitive.cell.array,
    )  # fmt: skip


def _check_crystal(primitive: Atoms, phonons: Phonopy):
    """The modes of phonopy are taken atom by atom and q-points from both: cells and atoms must be the same."""
    other = phonons.primitive
    same = len(other) == len(primitive) and np.array_equal(other.numbers, primitive.numbers)
    strain = np.linalg.solve(primitive.cell.array, other.cell) - np.eye(3)
    if same and np.abs(strain).max() < ANOTHER_CELL:
        apart = other.scaled_positions - primitive.get_scaled_positions(wrap=False)
        apart -= apart[0]
        same = np.linalg.norm((apart - np.rint(apart)) @ other.cell, axis=1).max() < ANOTHER_SITE
    else:
        same = False
    if not same:
        raise ValueError(
            f"the phonons are of another primitive cell ({', '.join(other.symbols)}; {np.round(other.cell, 3).tolist()}) than the "
            f"derivatives ({', '.join(primitive.symbols)}; {np.round(primitive.cell.array, 3).tolist()}), or have other axes or "
            "another order of atoms: compute the derivatives of the phonons' primitive cell"
        )


def _solve(sums: BlochSum, kpts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies (K, N) and eigenvectors (K, N, N)."""
    solution = solve_bloch(sums, kpts, eigenvectors=True)
    assert solution.coefficients is not None
    return solution.energies, solution.coefficients


def _arrange(derivatives: MatrixDerivatives, atom: int, axis: int) -> tuple[dict, dict, dict]:
    """dH, and the parts L and R of dS, of one atom and direction in real space, as nearest_images gives them."""
    h = nearest_images(derivatives, derivatives.hamiltonian[atom][axis], atom)
    s = nearest_images(derivatives, derivatives.overlap[atom][axis], atom)
    left: dict = {}
    right: dict = {}
    for (i, j), (p, p_end, weights, blocks) in s.items():
        first, second = (i == atom) & ~p.any(axis=1), (j == atom) & ~p_end.any(axis=1)
        for part, chosen in ((left, first & ~second), (right, second & ~first)):
            if chosen.any():
                part[i, j] = p[chosen], p_end[chosen], weights[chosen], blocks[chosen]
    gradient = orbital_gradients(derivatives.basis, int(derivatives.primitive.numbers[atom]))[axis]
    home = np.zeros((1, 3), dtype=int)
    for part, block in ((left, gradient.T), (right, gradient)):
        own = (home, home, np.ones(1), block[None])
        known = part.get((atom, atom))
        part[atom, atom] = own if known is None else tuple(np.concatenate(pair) for pair in zip(known, own, strict=True))
    return h, left, right


def _bloch(part: dict, kpt: np.ndarray, q: np.ndarray, layout) -> np.ndarray:
    """(N, N) sum over p, p' of exp(-2 pi i (k+q).p) M(p, p') exp(2 pi i k.p')."""
    total = np.zeros((layout.total, layout.total), dtype=complex)
    edges = layout.offsets
    for (i, j), (p, p_end, weights, blocks) in part.items():
        phases = weights * np.exp(2j * np.pi * (p_end @ kpt - p @ (kpt + q)))
        total[edges[i] : edges[i + 1], edges[j] : edges[j + 1]] += np.tensordot(phases, blocks, axes=1)
    return total


def _phonon_modes(phonons: Phonopy, q: np.ndarray, sites: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (3n,) THz and zero-point displacements (n, 3, 3n) Angstrom of the modes, with the phases of cells: phonopy's
    eigenvectors have those of atoms."""
    found = phonons.run_qpoints([q.tolist()], with_eigenvectors=True)
    assert found.eigenvectors is not None
    frequencies, vectors = np.asarray(found.frequencies[0]), np.asarray(found.eigenvectors[0])
    moving = np.abs(frequencies) > SLOWEST
    omega = 2e12 * np.pi * np.where(moving, np.abs(frequencies), 1.0)
    lengths = np.where(moving, np.sqrt(_hbar / (2 * omega * _amu)) * 1e10, 0.0)
    vectors = vectors.reshape(len(sites), 3, -1) * np.exp(2j * np.pi * sites @ q)[:, None, None]
    return frequencies, vectors * lengths / np.sqrt(phonons.primitive.masses)[:, None, None]
