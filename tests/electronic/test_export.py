import sys
import warnings

import numpy as np
import pytest

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic import export
from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.bloch import BlochError
from ase_tracegrad.electronic.export import (
    orthogonalize,
    to_pythtb,
    to_sisl,
    to_tbmodels,
    to_wannierberri,
    write_wannier90,
    write_wannier90_hr,
)
from ase_tracegrad.structure import Structure
from tests.electronic.lattice_models import random_on_structure

SHELLS = {6: (0, 1)}


@pytest.mark.parametrize("spinor", [False, True])
def test_sisl_gives_the_same_bands(graphene_structure, kpts, spinor):
    pytest.importorskip("sisl", reason="sisl is not installed")
    h, s = random_on_structure(graphene_structure, SHELLS, spinor=spinor)
    exported = to_sisl(h, s, graphene_structure)
    bands = compute_bands(h, s, kpts)
    assert np.abs(np.array([exported.eigh(k) for k in kpts]) - bands).max() < 1e-10
    with pytest.raises(ValueError, match="has 1 atoms, the Hamiltonian 2"):
        to_sisl(h, s, Structure([6], [[0, 0, 0]], graphene_structure.cell, graphene_structure.pbc))
    orthonormal = to_sisl(h, None, graphene_structure)
    assert np.abs(orthonormal.eigh(kpts[0]) - compute_bands(h, None, kpts[:1])).max() < 1e-10


def test_orthogonal_orbitals_have_the_same_bands(graphene_structure, monkeypatch):
    h, s = random_on_structure(graphene_structure, SHELLS)
    size = (6, 5, 1)
    tight_binding = orthogonalize(h, s, size)
    assert tight_binding.is_hermitian(1e-12)
    on_mesh = np.array([[2 / 6, 1 / 5, 0], [0, 0, 0], [0.5, 2 / 5, 0]])
    assert np.abs(compute_bands(tight_binding, None, on_mesh) - compute_bands(h, s, on_mesh)).max() < 1e-11
    monkeypatch.setattr(export, "NUMBERS_AT_ONCE", 7 * 8**2)
    assert np.abs(orthogonalize(h, s, size).values - tight_binding.values).max() < 1e-12, "a few k-points at a time"
    between = np.array([[0.123, 0.234, 0.0]])
    coarse, fine = (
        np.abs(compute_bands(orthogonalize(h, s, (n, n, 1)), None, between) - compute_bands(h, s, between)).max() for n in (4, 12)
    )
    assert fine < 1e-3 * coarse


def test_orbitals_that_are_not_independent_are_refused(graphene_structure):
    h, s = random_on_structure(graphene_structure, SHELLS)
    onsite = (s.pairs[:, 0] == s.pairs[:, 1]) & (s.shifts == 0).all(axis=1)
    blocks = {key: block * (0.1 if keep else 1.0) for (key, block), keep in zip(s.items(), onsite, strict=True)}
    with pytest.raises(BlochError, match="not independent"):
        orthogonalize(h, BlockMatrix.from_blocks(s.layout, blocks), (3, 3, 1))


@pytest.mark.parametrize("spinor", [False, True])
def test_wannier90_file(tmp_path, graphene_structure, kpts, spinor):
    h, s = random_on_structure(graphene_structure, SHELLS, spinor=spinor)
    tight_binding = orthogonalize(h, s, (5, 5, 1))
    path = tmp_path / "graphene_hr.dat"
    write_wannier90_hr(path, tight_binding)
    lines = path.read_text().splitlines()
    n, n_cells = int(lines[1]), int(lines[2])
    degeneracies = " ".join(lines[3 : 3 + -(-n_cells // 15)]).split()
    assert n == h.n_orbitals
    assert degeneracies == ["1"] * n_cells
    table = np.array([[float(x) for x in line.split()] for line in lines[3 + -(-n_cells // 15) :]])
    assert len(table) == n_cells * n**2
    at_k = np.zeros((n, n), dtype=complex)
    np.add.at(
        at_k, tuple(table[:, 3:5].astype(int).T - 1), (table[:, 5] + 1j * table[:, 6]) * np.exp(2j * np.pi * table[:, :3] @ kpts[0])
    )
    assert np.abs(np.linalg.eigvalsh(at_k) - compute_bands(tight_binding, None, kpts[:1])).max() < 1e-9
    assert not list(tmp_path.glob("*.part"))


SIZE = (4, 3, 1)
# On the mesh of SIZE the bands are those of H and S, elsewhere those of the tight-binding model.
ON_MESH = np.array([[1 / 4, 2 / 3, 0], [0, -1 / 3, 0]])
NO_TBMODELS = "tbmodels is not installed (it brings pymatgen and plotly, so the test extra leaves it out)"


@pytest.fixture(params=[False, True])
def exported(request, graphene_structure, kpts):
    """H, S, structure; k-points and the bands there that a peer has to give."""
    h, s = random_on_structure(graphene_structure, SHELLS, spinor=request.param)
    between = compute_bands(orthogonalize(h, s, SIZE), None, kpts[:2])
    return h, s, graphene_structure, np.vstack([ON_MESH, kpts[:2]]), np.vstack([compute_bands(h, s, ON_MESH), between])


def peer_bands(program: str, model, kpts) -> np.ndarray:
    """Energies as each program computes them."""
    if program == "pythtb":
        return model.solve_all(kpts).T
    if program == "tbmodels":
        return np.array([model.eigenval(k) for k in kpts])
    from wannierberri.data_K import get_data_k_class_from_system
    from wannierberri.grid import Grid

    data, grid = get_data_k_class_from_system(model), Grid(model, NK=1, NKFFT=1)
    return np.array([data(model, grid=grid, dK=k).E_K[0] for k in kpts])


MAKERS = {"pythtb": to_pythtb, "tbmodels": to_tbmodels, "wannierberri": to_wannierberri}
REASONS = {"pythtb": "pythtb is not installed", "tbmodels": NO_TBMODELS, "wannierberri": "wannierberri is not installed"}


# TBmodels 1.4.3 is older than numpy's rule for __array__.
old_tbmodels = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")


@old_tbmodels
@pytest.mark.parametrize("program", MAKERS)
def test_objects_give_the_same_bands(exported, program):
    pytest.importorskip(program, reason=REASONS[program])
    h, s, structure, kpts, expected = exported
    model = MAKERS[program](h, s, structure, SIZE)
    assert np.abs(peer_bands(program, model, kpts) - expected).max() < 1e-10


def read_wannier90(program: str, prefix):
    """The three files of write_wannier90 through a program's own reader, and where it finds the orbitals, in fractions."""
    if program == "pythtb":
        import pythtb

        model = pythtb.w90(str(prefix.parent), prefix.name).model()
        return model, model.get_orb()
    if program == "tbmodels":
        import tbmodels

        files = {"hr_file": "_hr.dat", "xyz_file": "_centres.xyz", "win_file": ".win"}
        model = tbmodels.Model.from_wannier_files(**{key: str(prefix) + ending for key, ending in files.items()})
        return model, model.pos
    from wannierberri.system import System_R

    lines = (prefix.parent / f"{prefix.name}_centres.xyz").read_text().splitlines()
    centres = np.array([[float(x) for x in line.split()[1:]] for line in lines if line.startswith("X")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # WannierBerri 26.10 leaves the files to the garbage collector
        model = System_R.from_hr_file(str(prefix), wannier_centers_cart=centres)
    return model, model.wannier_centers_red


@pytest.mark.parametrize("program", ["sisl", *MAKERS])
def test_a_missing_package_is_named(graphene_structure, monkeypatch, program):
    monkeypatch.setitem(sys.modules, program, None)
    h, s = random_on_structure(graphene_structure, SHELLS)
    with pytest.raises(ImportError, match=f"pip install {program}"):
        to_sisl(h, s, graphene_structure) if program == "sisl" else MAKERS[program](h, s, graphene_structure, SIZE)


@old_tbmodels
@pytest.mark.parametrize("program", MAKERS)
def test_files_give_the_same_bands(exported, program, tmp_path):
    pytest.importorskip(program, reason=REASONS[program])
    h, s, structure, kpts, expected = exported
    written = write_wannier90(tmp_path / "graphene", h, s, structure, SIZE)
    assert sorted(written) == sorted(tmp_path.iterdir())
    model, centres = read_wannier90(program, tmp_path / "graphene")
    assert np.abs(peer_bands(program, model, kpts) - expected).max() < 1e-9
    atoms = np.tile(np.repeat(structure.positions @ np.linalg.inv(structure.cell), 4, axis=0), (h.n_spin, 1))
    assert np.abs(centres - atoms).max() < 1e-9
