import numpy as np
import pytest

from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.export import orthogonalize, to_sisl, write_wannier90_hr
from tests.electronic.lattice_models import random_on_structure

SHELLS = {6: (0, 1)}


@pytest.mark.parametrize("spinor", [False, True])
def test_sisl_gives_the_same_bands(graphene_structure, kpts, spinor):
    pytest.importorskip("sisl", reason="sisl is not installed")
    h, s = random_on_structure(graphene_structure, SHELLS, spinor=spinor)
    exported = to_sisl(h, s, graphene_structure)
    bands = compute_bands(h, s, kpts)
    assert np.abs(np.array([exported.eigh(k) for k in kpts]) - bands).max() < 1e-10


def test_orthogonal_orbitals_have_the_same_bands(graphene_structure):
    h, s = random_on_structure(graphene_structure, SHELLS)
    size = (6, 5, 1)
    tight_binding = orthogonalize(h, s, size)
    assert tight_binding.is_hermitian(1e-12)
    on_mesh = np.array([[2 / 6, 1 / 5, 0], [0, 0, 0], [0.5, 2 / 5, 0]])
    assert np.abs(compute_bands(tight_binding, None, on_mesh) - compute_bands(h, s, on_mesh)).max() < 1e-11
    between = np.array([[0.123, 0.234, 0.0]])
    coarse, fine = (
        np.abs(compute_bands(orthogonalize(h, s, (n, n, 1)), None, between) - compute_bands(h, s, between)).max() for n in (4, 12)
    )
    assert fine < 1e-3 * coarse


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
