import numpy as np
import pytest

from ase_tracegrad.basis import OrbitalLayout
from ase_tracegrad.electronic import projections
from ase_tracegrad.electronic.bloch import BlochSum
from ase_tracegrad.electronic.eigen import solve_bands
from ase_tracegrad.electronic.kmesh import make_list, make_mesh
from ase_tracegrad.electronic.projections import (
    GROUPINGS,
    MATRICES_AT_ONCE,
    compute_density_matrix,
    compute_populations,
    compute_shares,
    group_orbitals,
    name_group,
    project_bonds,
    project_states,
)
from ase_tracegrad.electronic.resources import Machine, ProblemTooLargeError
from tests.electronic.lattice_models import graphene_model, random_model


@pytest.mark.parametrize("by", GROUPINGS)
@pytest.mark.parametrize("spinor", [False, True])
@pytest.mark.parametrize("method", ["mulliken", "loewdin"])
def test_shares_add_up_to_one(kpts, by, spinor, method):
    h, s = random_model(spinor=spinor)
    groups = group_orbitals(h.layout, ["C", "N"], by, n_spin=h.n_spin)
    assert (groups.members.sum(axis=0) == 1).all()
    energies, shares = project_states(BlochSum(h, s), kpts, groups, method=method)
    assert shares.shape == (*energies.shape, len(groups.labels))
    assert np.abs(shares.sum(axis=2) - 1).max() < 1e-11


def test_labels():
    h, _ = random_model(((0, 1), (0, 0, 1)))
    assert [x["element"] for x in group_orbitals(h.layout, ["C", "C"]).labels] == ["C"]
    shells = group_orbitals(h.layout, ["C", "N"], "shell")
    assert [(x["element"], x["l"]) for x in shells.labels] == [("C", "s"), ("C", "p"), ("N", "s"), ("N", "p")]
    assert shells.members.sum(axis=1).tolist() == [1, 3, 2, 3]
    assert group_orbitals(h.layout, ["C", "N"], "orbital").labels[1] == {"element": "C", "l": "p", "m": "-1"}
    with pytest.raises(ValueError, match="grouped by"):
        group_orbitals(h.layout, ["C", "N"], "spin")
    with pytest.raises(ValueError, match="each of the 2 atoms"):
        group_orbitals(h.layout, ["C"])


def test_the_two_populations_agree_without_overlap(kpts):
    h, _ = random_model()
    c = solve_bands(h, None, kpts, eigenvectors=True).coefficients
    identity = np.broadcast_to(np.eye(h.n_orbitals), (len(kpts), h.n_orbitals, h.n_orbitals))
    plain = compute_shares(c, None)
    for method in ("mulliken", "loewdin"):
        assert np.abs(compute_shares(c, identity, method) - plain).max() < 1e-12
    with pytest.raises(ValueError, match="mulliken"):
        compute_shares(c, None, "hirshfeld")


@pytest.mark.parametrize("spinor", [False, True])
def test_bonds_add_up_to_norm_and_energy(kpts, spinor):
    """Each bond counted once: the sum of all overlap parts is 1, of all Hamiltonian parts the energy."""
    h, s = random_model(spinor=spinor)
    bonds = [(i, j, r) for i, j, r in s.index if (i, j, r) <= (j, i, tuple(-x for x in r))]
    energies, norm, energy = project_bonds(BlochSum(h, s), kpts, bonds)
    assert np.abs(norm.sum(axis=2) - 1).max() < 1e-11
    assert np.abs(energy.sum(axis=2) - energies).max() < 1e-10


@pytest.mark.parametrize("bond", [(0, 2, (0, 0, 0)), (0, -1, (0, 0, 0)), (0, 1), (0, 1, 0)])
def test_bonds_that_are_none_are_refused(bond):
    h, s = random_model()
    with pytest.raises(ValueError, match="atoms from 0 to 1"):
        project_bonds(BlochSum(h, s), [[0, 0, 0]], [bond])


def test_orthonormal_orbitals_have_populations_as_well(kpts):
    h, _ = random_model()
    bonds = [(i, j, r) for i, j, r in h.index if (i, j, r) <= (j, i, tuple(-x for x in r))]
    energies, norm, energy = project_bonds(BlochSum(h), kpts, bonds)
    assert np.abs(norm.sum(axis=2) - 1).max() < 1e-11
    assert np.abs(energy.sum(axis=2) - energies).max() < 1e-10
    density = compute_density_matrix(BlochSum(h), make_mesh((4, 4, 1)), 5.0)
    assert sum(np.trace(density.block(i, i)).real for i in range(2)) == pytest.approx(5.0)


def test_groups_of_other_orbitals_are_refused(kpts):
    h, s = random_model(spinor=True)
    with pytest.raises(ValueError, match="n_spin=2"):
        project_states(BlochSum(h, s), kpts, group_orbitals(h.layout, ["C", "N"]))


def test_bonding_and_antibonding():
    h, s = graphene_model()
    _, norm, energy = project_bonds(BlochSum(h, s), [[0, 0, 0]], [(0, 1, (0, 0, 0)), (0, 1, (4, 0, 0))])
    assert norm[0, 0, 0] > 0 > norm[0, 1, 0]
    assert energy[0, 0, 0] < 0 < energy[0, 1, 0]
    assert not norm[..., 1].any()
    assert not energy[..., 1].any()


@pytest.mark.parametrize("spinor", [False, True])
@pytest.mark.parametrize(("n_electrons", "width"), [(4, 0.0), (3.3, 0.0), (5.5, 0.3)])
def test_density_matrix_and_populations(spinor, n_electrons, width):
    """<S, P> = electrons; <H, P> = sum of occupied energies; Mulliken populations are the rows of P S."""
    h, s = random_model(spinor=spinor)
    mesh = make_mesh((5, 5, 1), gamma=True)
    p = compute_density_matrix(BlochSum(h, s), mesh, n_electrons, width=width)
    spread = s if not spinor else type(s).from_blocks(s.layout, {k: np.kron(np.eye(2), b) for k, b in s.items()}, "spinor")
    assert p.is_hermitian(1e-10)
    assert spread.inner(p) == pytest.approx(n_electrons)
    groups = group_orbitals(h.layout, ["C", "N"], "atom", n_spin=h.n_spin)
    mulliken = compute_populations(BlochSum(h, s), mesh, n_electrons, groups, width=width)
    by_atom = [sum(np.vdot(b, p.block(*k)).real for k, b in spread.items() if k[0] == atom) for atom in range(2)]
    assert mulliken == pytest.approx(by_atom)
    loewdin = compute_populations(BlochSum(h, s), mesh, n_electrons, groups, method="loewdin", width=width)
    assert loewdin.sum() == pytest.approx(n_electrons)


def test_states_that_do_not_fit(monkeypatch, kpts):
    """A density matrix holds all states at once and is refused; projections are made of fewer k-points at a time."""
    h, s = random_model()
    sums, groups, full = BlochSum(h, s), group_orbitals(h.layout, ["C", "N"]), make_mesh((5, 5, 1))
    expected = project_states(sums, kpts, groups)[1]
    monkeypatch.setattr(projections, "THIS_MACHINE", Machine(memory=MATRICES_AT_ONCE * 16 * h.n_orbitals**2 * 2.5))
    solved: list = []
    solve = projections.solve_bloch
    monkeypatch.setattr(projections, "solve_bloch", lambda a, k, **o: solved.append(len(k)) or solve(a, k, **o))
    assert np.abs(project_states(sums, kpts, groups)[1] - expected).max() < 1e-12
    assert solved == [2, 2, 2, 2, 1]
    monkeypatch.setattr(projections, "THIS_MACHINE", Machine(memory=1e3))
    with pytest.raises(ProblemTooLargeError, match="coarser mesh"):
        compute_density_matrix(sums, full, 4.0)


def test_graphene_atoms_are_alike():
    h, s = graphene_model()
    groups = group_orbitals(h.layout, ["C", "C"], "atom")
    populations = compute_populations(BlochSum(h, s), make_mesh((6, 6, 1), gamma=True), 2, groups)
    assert populations == pytest.approx([1, 1])


def test_groups_in_words():
    layout = OrbitalLayout(((0, 1, 2, 4),))
    words = [name_group(label) for label in group_orbitals(layout, ["C"], "orbital").labels]
    assert words[:9] == ["C s", "C p_y", "C p_z", "C p_x", "C d_xy", "C d_yz", "C d_z2", "C d_xz", "C d_x2-y2"]
    assert words[9] == "C g_-4"
    assert len(set(words)) == layout.total
    assert [name_group(label) for label in group_orbitals(layout, ["C"], "shell").labels] == ["C s", "C p", "C d", "C g"]
    assert name_group(group_orbitals(layout, ["C"], "atom").labels[0]) == "C 0"


def test_a_list_of_kpts_keeps_its_weights():
    """The irreducible points with their weights, given as a list, hold the same electrons as the mesh."""
    h, s = random_model()
    mesh, sums = make_mesh((4, 4, 1), gamma=True), BlochSum(h, s)
    points, groups = make_list(mesh.kpts, mesh.weights), group_orbitals(h.layout, ["H", "C"], "atom")
    of_mesh, of_list = (compute_populations(sums, kpts, 3.0, groups, width=0.1) for kpts in (mesh, points))
    assert np.abs(of_mesh - of_list).max() < 1e-10
    of_mesh, of_list = (compute_density_matrix(sums, kpts, 3.0, width=0.1) for kpts in (mesh, points))
    assert np.abs(of_mesh.values - of_list.values).max() < 1e-10


def test_progress_is_shown_if_it_is_asked_for(kpts, monkeypatch):
    bars: list = []
    bar = projections.tqdm
    monkeypatch.setattr(projections, "tqdm", lambda **options: bars.append(options) or bar(**options))
    h, s = random_model()
    groups = group_orbitals(h.layout, ["C", "N"])
    for progress in (True, False):
        project_states(BlochSum(h, s), kpts, groups, progress=progress)
    assert [options["disable"] for options in bars] == [None, True], "None: shown on a terminal"
    assert (bars[0]["total"], bars[0]["delay"]) == (len(kpts), 2)
