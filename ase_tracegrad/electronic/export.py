"""H(R) and S(R) for other programs: sisl as they are; PythTB, TBmodels, WannierBerri and wannier90 files orthonormal."""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ..basis import OrbitalLayout
from ..blocks import BlockMatrix
from ..replace_file import replace_file
from ..structure import Structure
from ..symbols import symbol_of
from .bloch import SMALLEST_THRESHOLD, BlochError, BlochSum
from .kmesh import check_mesh_size, make_mesh

# In H(k) of the k-points that are solved together: 16 MB, of which a few copies live.
NUMBERS_AT_ONCE = 2**20

if TYPE_CHECKING:
    import pythtb
    import sisl
    import tbmodels
    import wannierberri


def to_sisl(hamiltonian: BlockMatrix, overlap: BlockMatrix | None, structure: Structure) -> "sisl.Hamiltonian":
    """The same H and S as a ``sisl.Hamiltonian`` (eV, Angstrom); needs the package sisl.

    Orbitals carry no radial functions, only their number and the reach of the matrix. Spinors become spin-orbit matrices.
    """
    _check_installed("sisl")
    import sisl

    _check_atoms(hamiltonian, structure)
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
    half = np.array(size) // 2
    cells = np.array(list(np.ndindex(*(2 * half + 1)))) - half
    # A cell half way round an even mesh appears with both signs; each carries a half.
    shares = np.prod([np.where((n % 2 == 0) & (2 * np.abs(c) == n), 0.5, 1.0) for n, c in zip(size, cells.T, strict=True)], axis=0)
    matrices = np.zeros((len(cells), sums.n_orbitals, sums.n_orbitals), dtype=complex)
    at_once = max(1, NUMBERS_AT_ONCE // sums.n_orbitals**2)
    for start in range(0, len(mesh), at_once):
        kpts = mesh.kpts[start : start + at_once]
        phases = np.exp(-2j * np.pi * (cells @ kpts.T)) * shares[:, None] / len(mesh)
        matrices += np.tensordot(phases, _orthogonal_hamiltonian(sums, kpts), axes=1)
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
    if eigenvalues.min() < SMALLEST_THRESHOLD:
        raise BlochError(
            f"S(k) has the eigenvalue {eigenvalues.min():.1e}: its orbitals are not independent, and no orthonormal ones "
            "can be made of them; take fewer orbitals, or check that S is complete and belongs to this structure"
        )
    root = (modes / np.sqrt(eigenvalues)[:, None, :]) @ modes.conj().transpose(0, 2, 1)
    return root @ h @ root


def to_pythtb(hamiltonian: BlockMatrix, overlap: BlockMatrix | None, structure: Structure, size) -> "pythtb.tb_model":
    """Loewdin orbitals as a ``pythtb.tb_model`` (eV, Angstrom); needs the package pythtb, whose cells are right-handed.

    size: see orthogonalize. PythTB searches its list of hoppings at each new one: for tens of orbitals, not for hundreds.
    """
    _check_installed("pythtb")
    import pythtb

    tight_binding = orthogonalize(hamiltonian, overlap, size)
    centres = orbital_centres(hamiltonian, structure) @ np.linalg.inv(structure.complete_cell)
    model = pythtb.tb_model(3, 3, structure.complete_cell, centres)
    for (_, _, cell), block in tight_binding.items():
        if cell < (0, 0, 0):
            continue  # the adjoint of -cell, which PythTB adds itself
        if cell == (0, 0, 0):
            model.set_onsite(block.diagonal().real)
        stored = np.triu(block, 1) if cell == (0, 0, 0) else block
        for i, j in np.argwhere(stored):
            model.set_hop(stored[i, j], int(i), int(j), cell)
    return model


def to_tbmodels(hamiltonian: BlockMatrix, overlap: BlockMatrix | None, structure: Structure, size) -> "tbmodels.Model":
    """Loewdin orbitals as a ``tbmodels.Model`` (eV, Angstrom); needs the package tbmodels. size: see orthogonalize."""
    _check_installed("tbmodels")
    import tbmodels

    tight_binding = orthogonalize(hamiltonian, overlap, size).symmetrized()
    hoppings = {cell: block for (_, _, cell), block in tight_binding.items()}
    centres = orbital_centres(hamiltonian, structure) @ np.linalg.inv(structure.complete_cell)
    return tbmodels.Model(hop=hoppings, pos=centres, uc=structure.complete_cell)


def to_wannierberri(
    hamiltonian: BlockMatrix, overlap: BlockMatrix | None, structure: Structure, size
) -> "wannierberri.system.System_R":
    """Loewdin orbitals as a ``wannierberri.system.System_R`` (eV, Angstrom); needs the package wannierberri.

    size: see orthogonalize. The position operator is diagonal, at the atoms, as in every model without its matrix elements.
    """
    _check_installed("wannierberri")
    from wannierberri.fourier.rvectors import Rvectors
    from wannierberri.system import System_R

    tight_binding = orthogonalize(hamiltonian, overlap, size)
    system = System_R(force_internal_terms_only=True, periodic=[bool(n > 1) for n in size])
    system.real_lattice, system.num_wann = structure.complete_cell, tight_binding.n_orbitals
    system.set_wannier_centers(wannier_centers_cart=orbital_centres(hamiltonian, structure))
    cells, centres = tight_binding.shifts, system.wannier_centers_red
    system.rvec = Rvectors(lattice=system.real_lattice, iRvec=cells, shifts_left_red=centres)
    system.set_R_mat("Ham", np.array([block for _, block in tight_binding.items()], dtype=complex))
    system.do_at_end_of_init()
    return system


def orbital_centres(hamiltonian: BlockMatrix, structure: Structure) -> np.ndarray:
    """(N, 3) Angstrom: the atom of each row of H(k)."""
    _check_atoms(hamiltonian, structure)
    return np.tile(np.repeat(structure.positions, hamiltonian.layout.sizes, axis=0), (hamiltonian.n_spin, 1))


def write_wannier90(prefix, hamiltonian: BlockMatrix, overlap: BlockMatrix | None, structure: Structure, size) -> list[Path]:
    """Write PREFIX_hr.dat, PREFIX_centres.xyz and PREFIX.win, as wannier90 leaves them, of Loewdin orbitals; the paths.

    size: see orthogonalize. PythTB (w90), TBmodels (Model.from_wannier_files) and WannierBerri (System_R.from_hr_file) read them.
    """
    prefix = Path(prefix)
    names = [prefix.with_name(prefix.name + ending) for ending in ("_hr.dat", "_centres.xyz", ".win")]
    write_wannier90_hr(names[0], orthogonalize(hamiltonian, overlap, size))

    def rows(label: str, vectors) -> list[str]:
        return [f"{label:<4}" + "".join(f"{x:20.12f}" for x in vector) for vector in vectors]

    centres, cell = orbital_centres(hamiltonian, structure), structure.complete_cell
    atoms = [line for z, at in zip(structure.numbers, structure.positions, strict=True) for line in rows(symbol_of(z), [at])]
    comment = "Loewdin orbitals at their atoms, then the atoms, Angstrom"
    _write_lines(names[1], [str(len(centres) + len(atoms)), comment, *rows("X", centres), *atoms])
    kpts = np.array(list(np.ndindex(check_mesh_size(size)))) / size
    blocks = {"unit_cell_cart": ["Ang", *rows("", cell)], "atoms_cart": ["Ang", *atoms], "kpoints": rows("", kpts)}
    lines = [f"num_wann = {len(centres)}", "mp_grid = " + " ".join(str(n) for n in check_mesh_size(size))]
    for name, block in blocks.items():
        lines += [f"begin {name}", *block, f"end {name}"]
    _write_lines(names[2], lines)
    return names


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
    _write_lines(path, _wannier90_hr_lines(comment, cells, matrices))


def _wannier90_hr_lines(comment: str, cells: np.ndarray, matrices: np.ndarray) -> Iterator[str]:
    """One after the other: all together take many times the memory of the matrices (C, N, N)."""
    n = matrices.shape[1]
    yield from (comment.replace("\n", " "), str(n), str(len(cells)))
    for start in range(0, len(cells), 15):
        yield "".join(f"{1:5d}" for _ in cells[start : start + 15])
    for cell, matrix in zip(cells, matrices, strict=True):
        head = "".join(f"{x:5d}" for x in cell)
        for column in range(n):
            for row, value in enumerate(matrix[:, column].tolist(), start=1):
                yield f"{head}{row:5d}{column + 1:5d}{value.real:20.12f}{value.imag:20.12f}"


def _check_installed(package: str):
    if find_spec(package) is None:
        raise ImportError(f"this needs the package {package}: pip install {package}")


def _check_atoms(hamiltonian: BlockMatrix, structure: Structure):
    if len(structure) != hamiltonian.layout.n_atoms:
        raise ValueError(f"the structure has {len(structure)} atoms, the Hamiltonian {hamiltonian.layout.n_atoms}")


def _write_lines(path, lines: Iterable[str]):
    with replace_file(path) as part, part.open("w") as file:
        file.writelines(line + "\n" for line in lines)
