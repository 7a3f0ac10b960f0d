"""H(R) and S(R) for other programs: a sisl Hamiltonian, and a wannier90 _hr.dat of orthonormal orbitals."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ..basis import OrbitalLayout
from ..blocks import BlockMatrix
from ..structure import Structure
from .bloch import BlochSum
from .kmesh import check_mesh_size, make_mesh

if TYPE_CHECKING:
    import sisl


def to_sisl(hamiltonian: BlockMatrix, overlap: BlockMatrix | None, structure: Structure) -> "sisl.Hamiltonian":
    """The same H and S as a ``sisl.Hamiltonian`` (eV, Angstrom); needs the package sisl.

    Orbitals carry no radial functions, only their number and the reach of the matrix. Spinors become spin-orbit matrices.
    """
    import sisl

    shifts = np.vstack([m.shifts for m in (hamiltonian, overlap) if m is not None])
    reach = float(max(m.distances(structure.positions, structure.cell).max() for m in (hamiltonian, overlap) if m is not None))
    atoms = [
        sisl.Atom(int(z), R=[reach / 2 + 1e-3] * int(n)) for z, n in zip(structure.numbers, hamiltonian.layout.sizes, strict=True)
    ]
    lattice = sisl.Lattice(structure.complete_cell, nsc=2 * np.abs(shifts).max(axis=0) + 1)
    geometry = sisl.Geometry(structure.positions, atoms=atoms, lattice=lattice)
    parts = [_to_supercell_csr(hamiltonian, geometry, rows, columns) for rows, columns in _spin_parts(hamiltonian)]
    s = None if overlap is None else _to_supercell_csr(overlap, geometry, 0, 0)
    if hamiltonian.spin == "none":
        return sisl.Hamiltonian.fromsp(geometry, parts[0], S=s)
    return sisl.Hamiltonian.fromsp(geometry, parts, S=s, spin=sisl.Spin("spin-orbit"))


def _spin_parts(matrix: BlockMatrix) -> tuple[tuple[int, int], ...]:
    """Spin of rows and columns in sisl's order: up-up, down-down, up-down, down-up."""
    return ((0, 0),) if matrix.spin == "none" else ((0, 0), (1, 1), (0, 1), (1, 0))


def _to_supercell_csr(matrix: BlockMatrix, geometry, row_spin: int, column_spin: int) -> sparse.csr_matrix:
    """One spin part as (N, N * cells), the columns in sisl's order of cells."""
    n, first = matrix.layout.total, matrix.layout.offsets
    rows, columns, values = [], [], []
    for (i, j, shift), block in matrix.items():
        n_i, n_j = matrix.layout.sizes[[i, j]]
        part = block.reshape(matrix.n_spin, n_i, matrix.n_spin, n_j)[row_spin, :, column_spin]
        start = first[j] + n * geometry.lattice.sc_index(shift)
        rows.append(np.repeat(first[i] + np.arange(n_i), n_j))
        columns.append(np.tile(start + np.arange(n_j), n_i))
        values.append(part.ravel())
    data = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(data, shape=(n, n * geometry.n_s))


def orthogonalize(hamiltonian: BlockMatrix, overlap: BlockMatrix | None, size) -> BlockMatrix:
    """Tight-binding Hamiltonian of Loewdin orbitals: S(k)^-1/2 H(k) S(k)^-1/2, back in real space, eV.

    size (n1, n2, n3): mesh of k-points, and so of cells R; exact at its k-points, and between them as
    good as the orthogonal orbitals are short. Cells on the boundary of the mesh are shared among +R and -R.
    Raises BlochError for matrices that do not fit.
    """
    sums = BlochSum(hamiltonian, overlap)
    size = check_mesh_size(size)
    mesh = make_mesh(size, gamma=True, time_reversal=False)
    at_k = np.concatenate([_orthogonal_hamiltonian(sums, kpts) for kpts in np.array_split(mesh.kpts, -(-len(mesh) // 64))])
    half = np.array(size) // 2
    cells = np.array(list(np.ndindex(*(2 * half + 1)))) - half
    # A cell half way round an even mesh appears with both signs; each carries a half.
    shares = np.prod([np.where((n % 2 == 0) & (2 * np.abs(c) == n), 0.5, 1.0) for n, c in zip(size, cells.T, strict=True)], axis=0)
    phases = np.exp(-2j * np.pi * (cells @ mesh.kpts.T)) * shares[:, None] / len(mesh)
    matrices = np.tensordot(phases, at_k, axes=1)
    if sums.is_real:
        matrices = matrices.real
    # One "atom" that holds all orbitals: spinors come out as plain orbitals, spin outermost.
    layout = OrbitalLayout(((0,) * sums.n_orbitals,))
    return BlockMatrix(layout, np.zeros((len(cells), 2)), cells, matrices.ravel())


def _orthogonal_hamiltonian(sums: BlochSum, kpts: np.ndarray) -> np.ndarray:
    h, s = sums.build(kpts)
    if s is None:
        return h
    eigenvalues, modes = np.linalg.eigh(s)
    root = (modes / np.sqrt(eigenvalues)[:, None, :]) @ modes.conj().transpose(0, 2, 1)
    return root @ h @ root


def write_wannier90_hr(path, hamiltonian: BlockMatrix, comment: str = "orthonormal orbitals, eV"):
    """Write H(R) of orthonormal orbitals (``orthogonalize`` makes them) as wannier90's ``_hr.dat``.

    Read by WannierBerri, PythTB, TBmodels and WannierTools. All cells have degeneracy 1. The file appears only when complete.
    """
    cells, cell_of = np.unique(hamiltonian.shifts, axis=0, return_inverse=True)
    n, spins = hamiltonian.n_orbitals, hamiltonian.n_spin
    matrices = np.zeros((len(cells), n, n), dtype=complex)
    for ((i, j, _), block), cell in zip(hamiltonian.items(), cell_of.ravel(), strict=True):
        index = [
            (
                np.arange(spins)[:, None] * hamiltonian.layout.total
                + hamiltonian.layout.offsets[a]
                + np.arange(hamiltonian.layout.sizes[a])
            )
            for a in (i, j)
        ]
        matrices[cell][np.ix_(index[0].ravel(), index[1].ravel())] = block
    lines = [comment.replace("\n", " "), str(n), str(len(cells))]
    lines += ["".join(f"{1:5d}" for _ in cells[start : start + 15]) for start in range(0, len(cells), 15)]
    for cell, matrix in zip(cells, matrices, strict=True):
        head = "".join(f"{x:5d}" for x in cell)
        for column in range(n):
            lines += [
                f"{head}{r + 1:5d}{column + 1:5d}{matrix[r, column].real:20.12f}{matrix[r, column].imag:20.12f}" for r in range(n)
            ]
    path = Path(path)
    part = path.with_name(path.name + ".part")
    part.write_text("\n".join(lines) + "\n")
    os.replace(part, path)
