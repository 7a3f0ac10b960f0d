"""What states are made of: shares of orbitals (Mulliken, Loewdin), of bonds (COOP, COHP), and the density matrix."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from tqdm.auto import tqdm

from ..basis import OrbitalLayout
from ..blocks import BlockKey, BlockMatrix
from .bloch import BlochSum, check_kpts
from .eigen import solve_bloch
from .kmesh import KMesh
from .occupations import Smearing, fill_bands
from .resources import THIS_MACHINE, ProblemTooLargeError

Population = Literal["mulliken", "loewdin"]
GROUPINGS = ("atom", "element", "shell", "orbital")
LETTERS = "spdfghik"
# k-points whose vectors are held at once, and how many matrices each of them needs with all that is computed from it.
KPTS_AT_ONCE, MATRICES_AT_ONCE = 32, 16


# Of the harmonics m = -l..l (docs/conventions.md), from p on.
DIRECTIONS = {
    "p": ("y", "z", "x"),
    "d": ("xy", "yz", "z2", "xz", "x2-y2"),
    "f": ("y(3x2-y2)", "xyz", "yz2", "z3", "xz2", "z(x2-y2)", "x(x2-3y2)"),
}


@dataclass(frozen=True, eq=False)
class OrbitalGroups:
    """Sets of orbitals that together hold every orbital once.

    labels: one dict per group with 'element' and, where they are common to the group, 'atom', 'l', 'm'
    (strings, as ASE's DOS types want them); members (P, N): 1 where an orbital belongs to a group.
    """

    labels: tuple[dict[str, str], ...]
    members: np.ndarray


def group_orbitals(layout: OrbitalLayout, symbols, by: str = "element", *, n_spin: int = 1) -> OrbitalGroups:
    """Group by 'atom', 'element', 'shell' (element and l) or 'orbital' (element, l and m).

    symbols: element of each atom; n_spin: 2 for spinors (both components count together).
    """
    if by not in GROUPINGS:
        raise ValueError(f"orbitals can be grouped by {', '.join(GROUPINGS)}; found {by!r}")
    symbols = list(symbols)
    if len(symbols) != layout.n_atoms:
        raise ValueError(f"expected an element for each of the {layout.n_atoms} atoms, found {len(symbols)}")
    labels = []
    for atom, (symbol, shells) in enumerate(zip(symbols, layout.shells, strict=True)):
        for l in shells:
            for m in range(-l, l + 1):
                label = {"element": symbol}
                label |= {"atom": str(atom)} if by == "atom" else {}
                label |= {"l": LETTERS[l]} if by in ("shell", "orbital") else {}
                label |= {"m": str(m)} if by == "orbital" else {}
                labels.append(label)
    keys = [tuple(label.items()) for label in labels]
    rows = {key: row for row, key in enumerate(dict.fromkeys(keys))}
    members = np.zeros((len(rows), len(labels)))
    members[[rows[key] for key in keys], np.arange(len(labels))] = 1.0
    return OrbitalGroups(tuple(dict(key) for key in rows), np.tile(members, n_spin))


def name_group(label: dict[str, str]) -> str:
    """One of OrbitalGroups.labels in words: 'C', 'C 3', 'C p', 'C p_z'; orbitals beyond f by their m: 'C g_-4'."""
    words = [label[key] for key in ("element", "atom") if key in label]
    if "l" in label:
        l, m = label["l"], label.get("m")
        names = DIRECTIONS.get(l)
        words.append(l if m is None or l == "s" else f"{l}_{names[int(m) + len(names) // 2] if names else m}")
    return " ".join(words)


def compute_shares(coefficients: np.ndarray, overlap: np.ndarray | None, method: Population = "mulliken") -> np.ndarray:
    """Share of each orbital in each state, (K, n, N), adding up to 1 over the orbitals.

    coefficients (K, N, n), overlap S(k) (K, N, N) or None. Mulliken: Re c* (S c), may be negative;
    Loewdin: |S^1/2 c|^2.
    """
    if method not in ("mulliken", "loewdin"):
        raise ValueError(f"expected 'mulliken' or 'loewdin', found {method!r}")
    if overlap is None:
        shares = np.abs(coefficients) ** 2
    elif method == "mulliken":
        shares = (coefficients.conj() * (overlap @ coefficients)).real
    else:
        shares = np.abs(square_root(overlap) @ coefficients) ** 2
    return shares.transpose(0, 2, 1)


def project_states(
    sums: BlochSum, kpts, groups: OrbitalGroups, *, method: Population = "mulliken", progress: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Energies (K, n) eV and the share (K, n, P) of each group in each state: fat bands, or projections for the DOS.

    For a DOS use a mesh that is full or reduced by time reversal: rotations exchange atoms and mix m.
    """
    if groups.members.shape[1] != sums.n_orbitals:
        raise ValueError(
            f"the groups are of {groups.members.shape[1]} orbitals, the Hamiltonian has {sums.n_orbitals}: group_orbitals "
            "takes its layout and, for spinors, n_spin=2"
        )
    found, shares = [], []
    for solution, _, s in iterate_states(sums, kpts, progress=progress):
        found.append(solution.energies)
        shares.append(compute_shares(solution.coefficients, s, method) @ groups.members.T)
    energies, joined = join_bands(found, shares)
    return energies, joined


def project_bonds(sums: BlochSum, kpts, bonds: list[BlockKey], *, progress: bool = False) -> tuple[np.ndarray, ...]:
    """Energies (K, n) eV, and for each bond (i, j, R) its part of the norm and of the energy of each state, (K, n, B).

    Overlap part 2 Re c_i* S_ij(R) e^(ik.R) c_j (its DOS is the COOP: positive where bonding) and the same with
    H, in eV (the COHP: negative where bonding; Dronskowski and Bloechl, J. Phys. Chem. 97, 8617 (1993)). An on-site
    pair counts once, so that all pairs add up to 1 and to the energy. A pair without a block has none.
    """
    n_spin, orbitals = sums.hamiltonian.n_spin, _orbitals_of_atoms(sums.hamiltonian)
    for bond in bonds:
        if len(bond) != 3 or np.shape(bond[2]) != (3,) or not all(0 <= atom < len(orbitals) for atom in bond[:2]):
            raise ValueError(f"a bond is (i, j, (R1, R2, R3)) with atoms from 0 to {len(orbitals) - 1}; found {bond!r}")
    overlap = sums.complete_overlap
    energies, norms, parts = [], [], []
    for solution, chunk, _ in iterate_states(sums, kpts, progress=progress):
        energies.append(solution.energies)
        shares = np.zeros((2, *solution.energies.shape, len(bonds)))
        for b, (i, j, shift) in enumerate(bonds):
            key = (int(i), int(j), tuple(int(x) for x in shift))
            both = 1 if i == j and not any(shift) else 2
            phases = both * np.exp(2j * np.pi * (chunk @ np.array(shift)))[:, None]
            bra, ket = solution.coefficients[:, orbitals[i]].conj(), solution.coefficients[:, orbitals[j]]
            for kind, matrix in enumerate((overlap, sums.hamiltonian)):
                if key in matrix.index:
                    block = matrix.block(*key)
                    full = block if matrix.n_spin == n_spin else np.kron(np.eye(n_spin), block)
                    shares[kind, :, :, b] = (phases * np.einsum("kin,ij,kjn->kn", bra, full, ket, optimize=True)).real
        norms.append(shares[0])
        parts.append(shares[1])
    return join_bands(energies, norms, parts)


def compute_density_matrix(sums: BlochSum, mesh: KMesh, n_electrons: float, *, width: float = 0.0) -> BlockMatrix:
    """P_ij(R) = sum_k w_k sum_n f c_i c_j* exp(-i k.R) on the blocks of the overlap; <S, P> is the number of electrons.

    Solved on the full mesh, occupied by electron count with Fermi-Dirac smearing ``width`` in eV (0: none). The
    cells of the mesh should reach further than the orbitals.
    """
    hamiltonian, overlap = sums.hamiltonian, sums.complete_overlap
    needed, budget = 16.0 * len(mesh.full_kpts) * sums.n_orbitals**2, THIS_MACHINE.budget
    if needed > budget:
        raise ProblemTooLargeError(
            f"the states of {len(mesh.full_kpts)} k-points of {sums.n_orbitals} orbitals need {needed / 2**30:.2f} GiB, "
            f"{budget / 2**30:.2f} GiB may be used: take a coarser mesh"
        )
    solutions = [(solution, chunk) for solution, chunk, _ in iterate_states(sums, mesh.full_kpts)]
    energies = join_bands([solution.energies for solution, _ in solutions])[0]
    filled = _fill_full_mesh(mesh, energies, n_electrons, hamiltonian, width)
    cells, cell_of = np.unique(overlap.shifts, axis=0, return_inverse=True)
    total = np.zeros((len(cells), hamiltonian.n_orbitals, hamiltonian.n_orbitals), dtype=complex)
    start = 0
    for solution, chunk in solutions:
        c = solution.coefficients[:, :, : energies.shape[1]]
        occupied = filled[start : start + len(chunk)]
        at_k = (c * occupied[:, None]) @ c.conj().transpose(0, 2, 1)
        total += np.tensordot(np.exp(-2j * np.pi * (cells @ chunk.T)), at_k, axes=1)
        start += len(chunk)
    if hamiltonian.spin == "none" and not np.iscomplexobj(hamiltonian.values):
        total = total.real
    orbitals = _orbitals_of_atoms(hamiltonian)
    blocks = [
        total[cell][np.ix_(orbitals[i], orbitals[j])].ravel() for (i, j), cell in zip(overlap.pairs, cell_of.ravel(), strict=True)
    ]
    return BlockMatrix(overlap.layout, overlap.pairs, overlap.shifts, np.concatenate(blocks), hamiltonian.spin)


def compute_populations(
    sums: BlochSum,
    mesh: KMesh,
    n_electrons: float,
    groups: OrbitalGroups,
    *,
    method: Population = "mulliken",
    width: float = 0.0,
    progress: bool = False,
) -> np.ndarray:
    """Electrons in each group, (P,), adding up to n_electrons; width: Fermi-Dirac smearing in eV. Solved on the full mesh."""
    energies, shares = project_states(sums, mesh.full_kpts, groups, method=method, progress=progress)
    filled = _fill_full_mesh(mesh, energies, n_electrons, sums.hamiltonian, width)
    return np.einsum("kn,knp->p", filled, shares)


def square_root(overlap: np.ndarray) -> np.ndarray:
    """S^1/2 of Hermitian positive matrices (..., N, N)."""
    eigenvalues, modes = np.linalg.eigh(overlap)
    return (modes * np.sqrt(np.maximum(eigenvalues, 0.0))[..., None, :]) @ modes.conj().swapaxes(-1, -2)


def _fill_full_mesh(mesh: KMesh, energies: np.ndarray, n_electrons: float, hamiltonian: BlockMatrix, width: float) -> np.ndarray:
    """Electrons of each state at full_kpts, (K, n), times the weight of its k-point, which a list has of its own."""
    degeneracy = 1 if hamiltonian.spin == "spinor" else 2
    method: Smearing = "fermi-dirac" if width else "fixed"
    weights = mesh.weights if mesh.size is None else mesh.unreduced().weights
    filled = fill_bands(energies, weights, n_electrons, spin_degeneracy=degeneracy, width=width, method=method)[1]
    return filled * weights[:, None]


def _orbitals_of_atoms(matrix: BlockMatrix) -> list[np.ndarray]:
    """Row numbers of the orbitals of each atom in M(k), both spin components one after the other."""
    layout, spins = matrix.layout, matrix.layout.total * np.arange(matrix.n_spin)
    return [(spins[:, None] + first + np.arange(n)).ravel() for first, n in zip(layout.offsets[:-1], layout.sizes, strict=True)]


def iterate_states(sums: BlochSum, kpts, *, progress: bool = False) -> Iterator[tuple]:
    """(Solution with coefficients, its k-points, S(k) or None), a few k-points at a time; progress: a bar after two seconds."""
    kpts = check_kpts(kpts)
    fitting = int(THIS_MACHINE.budget // (MATRICES_AT_ONCE * 16 * sums.n_orbitals**2))
    at_once = max(1, min(KPTS_AT_ONCE, fitting))
    with tqdm(total=len(kpts), desc="k-points", delay=2, disable=None if progress else True) as bar:
        for start in range(0, len(kpts), at_once):
            chunk = kpts[start : start + at_once]
            yield solve_bloch(sums, chunk, eigenvectors=True), chunk, sums.build(chunk)[1]
            bar.update(len(chunk))


def join_bands(*parts: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Concatenate over k; bands that not every chunk has (dropped modes of S) are left out."""
    n = min(p.shape[1] for p in parts[0])
    return tuple(np.concatenate([p[:, :n] for p in part]) for part in parts)
