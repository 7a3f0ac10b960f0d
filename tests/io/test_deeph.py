import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from scipy.linalg import eigh

from ase_tracegrad.basis import AtomicBasis, Basis
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.io import FormatError, Sample, read
from ase_tracegrad.io.deeph import write_deeph, write_deeph_legacy
from ase_tracegrad.io.deeph_summary import read_summary
from ase_tracegrad.io.store import StoreWriter
from ase_tracegrad.structure import Structure
from tests.io.samples import SHELLS, identity_overlap, make_sample

WRITERS = {"legacy": write_deeph_legacy, "new": write_deeph}


@pytest.fixture(params=["legacy", "new"])
def folder(request, tmp_path):
    WRITERS[request.param](tmp_path / "x", make_sample())
    return tmp_path / "x"


@pytest.mark.parametrize("spin", ["none", "spinor"])
@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("numbers", [(6, 6, 1), (6, 1, 6), (1,)])
def test_round_trip_is_exact(tmp_path, form, spin, numbers):
    sample = make_sample(numbers, spin)
    WRITERS[form](tmp_path / "x", sample)
    again = read(tmp_path / "x")
    # The new format groups the atoms of one element.
    order = (
        np.array(sorted(range(len(numbers)), key=lambda a: numbers.index(numbers[a]))) if form == "new" else np.arange(len(numbers))
    )
    assert np.array_equal(again.structure.numbers, np.array(numbers)[order])
    assert np.array_equal(again.structure.positions, sample.structure.positions[order])
    assert np.array_equal(again.structure.cell, sample.structure.cell)
    assert again.info["fermi_level"] == -4.25
    assert {z: a.angular_momenta for z, a in again.basis.atoms.items()} == {z: SHELLS[z] for z in set(numbers)}
    for key in ("hamiltonian", "overlap"):
        written, found = getattr(sample, key), getattr(again, key)
        assert (len(found), found.spin) == (len(written), written.spin)
        for (i, j, r), block in found.items():
            assert np.array_equal(block, written.block(order[i], order[j], r))


@pytest.mark.parametrize("form", WRITERS)
def test_the_electron_count_is_kept(tmp_path, form):
    WRITERS[form](tmp_path / "x", make_sample())
    assert read(tmp_path / "x").info["n_electrons"] == 9.0


def test_orbitals_are_written_in_openmx_order(tmp_path):
    basis = Basis({6: AtomicBasis(6, (1,))})
    onsite = BlockMatrix.from_blocks(basis.layout([6]), {(0, 0, (0, 0, 0)): np.diag([1.0, 2.0, 3.0])})  # y, z, x
    structure = Structure([6], np.zeros((1, 3)), np.diag([4.0, 5, 6]), [True] * 3)
    write_deeph_legacy(tmp_path, Sample(structure, basis, onsite, identity_overlap(onsite.layout)))
    with h5py.File(tmp_path / "hamiltonians.h5") as file:
        assert np.diag(file["[0, 0, 0, 1, 1]"][()]).tolist() == [3.0, 1.0, 2.0]  # x, y, z
    assert np.loadtxt(tmp_path / "lat.dat").T @ np.loadtxt(tmp_path / "rlat.dat") == pytest.approx(2 * np.pi * np.eye(3))


def test_pairs_without_an_overlap_are_allowed(tmp_path):
    """OpenMX's H reaches farther than S, through the projectors."""
    sample = make_sample()
    bare = Sample(sample.structure, sample.basis, sample.hamiltonian, identity_overlap(sample.hamiltonian.layout))
    for form, write in WRITERS.items():
        write(tmp_path / form, bare)
        again = read(tmp_path / form)
        assert len(again.overlap) == 3 < len(again.hamiltonian)
        assert "fermi_level" not in again.info


@pytest.mark.parametrize(("form", "key"), [("legacy", "isorthogonal"), ("new", "orthogonal_basis")])
def test_an_orthogonal_basis_needs_no_overlap_file(tmp_path, form, key):
    WRITERS[form](tmp_path, make_sample())
    change_info(tmp_path, **{key: True})
    (tmp_path / ("overlaps.h5" if form == "legacy" else "overlap.h5")).unlink()
    assert np.array_equal(read(tmp_path).overlap.bloch([0.1, 0.2, 0.3])[0], np.eye(9 + 12 + 9))


def change_info(folder, **changes):
    facts = json.loads((folder / "info.json").read_text()) | changes
    (folder / "info.json").write_text(json.dumps({k: v for k, v in facts.items() if v != "delete"}))


def rewrite(folder, name, change):
    (folder / name).write_text(change((folder / name).read_text()))


def change_h5(folder, name, change):
    with h5py.File(folder / name, "r+") as file:
        change(file)


def replace_dataset(file, key, value):
    del file[key]
    file[key] = value


def sigma_y(n):
    """A Hermitian matrix of imaginary numbers."""
    matrix = np.zeros((n, n), dtype=complex)
    matrix[0, 1], matrix[1, 0] = -1j, 1j
    return matrix


def first_block(file):
    return next(key for key in file if key.startswith("[") and not key.startswith("[0, 0, 0"))


def nearest_pair(file):
    """The keys of an off-site block and of its adjoint, the first that is stored."""
    r1, r2, r3, i, j = json.loads(next(key for key in file if key.startswith("[0, 0, 0") and key[-5] != key[-2]))
    return json.dumps([r1, r2, r3, i, j]), json.dumps([-r1, -r2, -r3, j, i])


def transpose_cell(text):
    lines = text.splitlines()
    lines[2:5] = (" ".join(row) for row in zip(*(line.split() for line in lines[2:5]), strict=True))
    return "\n".join(lines)


def drop_a_pair(file):
    """The nearest pair and its adjoint vanish from the flat arrays."""
    pairs, shapes, edges, entries = (file[key][()] for key in ("atom_pairs", "chunk_shapes", "chunk_boundaries", "entries"))
    first = next(b for b, row in enumerate(pairs.tolist()) if row[3] != row[4])
    partner = [*(-pairs[first, :3]), pairs[first, 4], pairs[first, 3]]
    keep = [b for b, row in enumerate(pairs.tolist()) if b != first and row != partner]
    blocks = [entries[edges[b] : edges[b + 1]] for b in keep]
    replace_dataset(file, "atom_pairs", pairs[keep])
    replace_dataset(file, "chunk_shapes", shapes[keep])
    replace_dataset(file, "chunk_boundaries", np.cumsum([0, *map(len, blocks)]))
    replace_dataset(file, "entries", np.concatenate(blocks))


LEGACY_DAMAGE = {
    "info.json is missing": lambda f: (f / "info.json").unlink(),
    "info.json is not readable": lambda f: rewrite(f, "info.json", lambda t: t[:10]),
    "expected a JSON object, found list": lambda f: (f / "info.json").write_text("[]"),
    r"key\(s\) \['isspinful'\] are missing": lambda f: change_info(f, isspinful="delete"),
    "element.dat: expected atomic numbers, found 999": lambda f: (f / "element.dat").write_text("6\n999\n6\n"),
    "element.dat: expected atomic numbers, found 1.7": lambda f: (f / "element.dat").write_text("6\n1.7\n6\n"),
    "element.dat: .*some are not finite": lambda f: (f / "element.dat").write_text("6\nnan\n6\n"),
    "element.dat is missing": lambda f: (f / "element.dat").unlink(),
    "element.dat: expected a table of numbers": lambda f: rewrite(f, "element.dat", lambda t: "C\n"),
    "give no structure: .*positions": lambda f: rewrite(f, "element.dat", lambda t: t + "6\n"),
    "is one of them transposed": lambda f: np.savetxt(f / "lat.dat", np.loadtxt(f / "lat.dat").T),
    "give no structure: .*found .3, 3., .3, 2.": lambda f: rewrite(f, "lat.dat", lambda t: "".join(t.splitlines(True)[:2])),
    "do not belong together": lambda f: rewrite(f, "rlat.dat", lambda t: "".join(t.splitlines(True)[:2])),
    "a shell of negative l": lambda f: rewrite(f, "orbital_types.dat", lambda t: t.replace("0  0  1  3", "0  0  -1  3")),
    "a shell of l = 999999999999": lambda f: rewrite(f, "orbital_types.dat", lambda t: t.replace("1  3", "1  999999999999")),
    "info.json is not readable: .*recursion": lambda f: (f / "info.json").write_text("[" * 100_000),
    "occupation must be numbers": lambda f: change_info(f, occupation=10**400),
    "one atom a line: invalid literal": lambda f: (f / "orbital_types.dat").write_bytes(b"0 \xe9\n0 0 1 3\n0 1 2\n"),
    "a line for each of 3 atoms, found 2": lambda f: rewrite(f, "orbital_types.dat", lambda t: "".join(t.splitlines(True)[:2])),
    "two sets of shells": lambda f: rewrite(f, "orbital_types.dat", lambda t: "0 1\n" + "".join(t.splitlines(True)[1:])),
    "expected the l of each shell": lambda f: rewrite(f, "orbital_types.dat", lambda t: "s p\n" + "".join(t.splitlines(True)[1:])),
    "overlaps.h5 is missing; the folder holds": lambda f: (f / "overlaps.h5").unlink(),
    "hamiltonians.h5 is not a readable HDF5 file": lambda f: (f / "hamiltonians.h5").write_bytes(b"nothing"),
    "must have shape .* found": lambda f: change_h5(
        f, "hamiltonians.h5", lambda h: replace_dataset(h, first_block(h), np.zeros((2, 2)))
    ),
    r"isspinful = True\), found": lambda f: change_info(f, isspinful=True),
    "expected keys": lambda f: change_h5(f, "overlaps.h5", lambda h: h.__setitem__("0_0_0_1_1", np.eye(9))),
    "of whole numbers, found '.0.5, ": lambda f: change_h5(
        f, "overlaps.h5", lambda h: h.__setitem__("[0.5, 0, 0, 1, 1]", np.eye(9))
    ),
    "Python int too large": lambda f: change_h5(f, "overlaps.h5", lambda h: h.__setitem__(f"[{10**20}, 0, 0, 1, 1]", np.eye(9))),
    "is there twice": lambda f: change_h5(f, "overlaps.h5", lambda h: h.__setitem__("[0,0,0,1,1]", np.eye(9))),
    r"\(orbital_types.dat, overlaps have no spin\)": lambda f: change_h5(
        f, "overlaps.h5", lambda h: replace_dataset(h, "[0, 0, 0, 1, 1]", np.eye(18))
    ),
    "overlap of real orbitals is real, found imaginary parts up to 5.0e-01": lambda f: change_h5(
        f, "overlaps.h5", lambda h: replace_dataset(h, "[0, 0, 0, 1, 1]", np.eye(9) + 0.5 * sigma_y(9))
    ),
    "atoms are counted from 1 to 3": lambda f: change_h5(f, "overlaps.h5", lambda h: h.__setitem__("[0, 0, 0, 0, 1]", np.eye(9))),
    "must be a dataset": lambda f: change_h5(f, "overlaps.h5", lambda h: h.create_group("[5, 0, 0, 1, 1]")),
    "1 matrix elements are not finite": lambda f: change_h5(
        f, "hamiltonians.h5", lambda h: h["[0, 0, 0, 1, 1]"].__setitem__((0, 0), np.nan)
    ),
    "not Hermitian": lambda f: change_h5(f, "hamiltonians.h5", lambda h: h.__delitem__(first_block(h))),
    r"on-site blocks of atoms \[0\]": lambda f: change_h5(f, "overlaps.h5", lambda h: h.__delitem__("[0, 0, 0, 1, 1]")),
    "lat.dat: the lattice vectors seem to be transposed": lambda f: (
        (f / "rlat.dat").unlink(),
        np.savetxt(f / "lat.dat", np.loadtxt(f / "lat.dat").T),
    ),
    "overlaps.h5: 2 pairs of the Hamiltonian have no overlap although": lambda f: change_h5(
        f, "overlaps.h5", lambda h: [h.__delitem__(key) for key in nearest_pair(h)]
    ),
    "hamiltonians.h5 is not a readable HDF5 file .truncated": lambda f: (f / "hamiltonians.h5").write_bytes(
        (f / "hamiltonians.h5").read_bytes()[:-500]
    ),
    "fermi_level and occupation must be numbers": lambda f: change_info(f, fermi_level="unknown"),
    "must be finite, or null": lambda f: change_info(f, fermi_level=float("nan")),
    "holds no blocks": lambda f: change_h5(f, "overlaps.h5", lambda h: h.clear()),
}
NEW_DAMAGE = {
    "POSCAR is missing": lambda f: (f / "POSCAR").unlink(),
    "not a POSCAR of version 5": lambda f: rewrite(f, "POSCAR", lambda t: t.replace("C H", "")),
    "POSCAR: .*expected positions": lambda f: rewrite(f, "POSCAR", lambda t: "\n".join(t.splitlines()[:-1])),
    "elements_orbital_map does not fit POSCAR": lambda f: change_info(f, elements_orbital_map={"C": [0]}),
    "a shell of negative l": lambda f: change_info(f, elements_orbital_map={"C": [0, 1, 2], "H": [0, 0, -1, 3]}),
    "invalid literal for int.*'2.5'": lambda f: change_info(f, elements_orbital_map={"C": [0, 1, 2.5], "H": [0, 0, 1, 3]}),
    "2147483649 atoms are announced, the file has": lambda f: rewrite(f, "POSCAR", lambda t: t.replace("2 1", "2147483648 1")),
    r"found \[2, -1\] as the numbers": lambda f: rewrite(f, "POSCAR", lambda t: t.replace("2 1", "2 -1")),
    "atoms_quantity is 7, but .* give 3": lambda f: change_info(f, atoms_quantity=7),
    "orbits_quantity is 7, but .* give 30": lambda f: change_info(f, orbits_quantity=7),
    r"dataset\(s\) \['entries'\] are missing": lambda f: change_h5(f, "hamiltonian.h5", lambda h: h.__delitem__("entries")),
    "atom_pairs must be a dataset, found a group": lambda f: change_h5(
        f, "overlap.h5", lambda h: (h.__delitem__("atom_pairs"), h.create_group("atom_pairs"))
    ),
    "of whole numbers, found float64": lambda f: change_h5(
        f, "overlap.h5", lambda h: replace_dataset(h, "atom_pairs", h["atom_pairs"][()] + 0.1)
    ),
    "rows R1 R2 R3 i j": lambda f: change_h5(f, "overlap.h5", lambda h: replace_dataset(h, "atom_pairs", np.zeros((2, 4), int))),
    "these pairs hold": lambda f: change_h5(f, "overlap.h5", lambda h: replace_dataset(h, "entries", h["entries"][:-1])),
    "chunk_shapes or chunk_boundaries contradict": lambda f: change_h5(
        f, "overlap.h5", lambda h: h["chunk_shapes"].__setitem__((0, 0), 77)
    ),
    "the layout has 3": lambda f: change_h5(f, "overlap.h5", lambda h: h["atom_pairs"].__setitem__((0, 3), 9)),
    "POSCAR: the lattice vectors seem to be transposed": lambda f: rewrite(f, "POSCAR", transpose_cell),
    "overlap.h5: 2 pairs of the Hamiltonian have no overlap although": lambda f: change_h5(f, "overlap.h5", drop_a_pair),
    "truncated or damaged": lambda f: (f / "overlap.h5").write_bytes((f / "overlap.h5").read_bytes()[:900]),
}


@pytest.mark.parametrize(
    ("form", "message", "damage"),
    [("legacy", *item) for item in LEGACY_DAMAGE.items()] + [("new", *item) for item in NEW_DAMAGE.items()],
    ids=[*LEGACY_DAMAGE, *NEW_DAMAGE],
)
def test_every_fault_has_its_own_message(tmp_path, form, message, damage):
    folder = tmp_path / "x"
    WRITERS[form](folder, make_sample())
    damage(folder)
    with pytest.raises(FormatError, match=message) as caught:
        read(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("form", WRITERS)
def test_an_overlap_stored_as_complex_numbers_is_real(tmp_path, form):
    sample = make_sample()
    overlap = sample.overlap
    WRITERS[form](tmp_path, replace(sample, overlap=replace(overlap, values=overlap.values.astype(complex))))
    assert read(tmp_path).overlap.values.dtype == np.float64


def test_comments_in_another_encoding_do_no_harm(tmp_path):
    write_deeph(tmp_path, make_sample())
    (tmp_path / "POSCAR").write_bytes(b"d\xe9form\xe9\n" + (tmp_path / "POSCAR").read_bytes().partition(b"\n")[2])
    assert np.array_equal(read(tmp_path).structure.positions, make_sample().structure.positions[[0, 2, 1]])


@pytest.mark.parametrize("form", WRITERS)
def test_the_summary_is_that_of_the_whole(tmp_path, form):
    """And it needs no matrix."""
    WRITERS[form](tmp_path, make_sample(spin="spinor"))
    sample = read(tmp_path)
    for file in tmp_path.glob("*.h5"):
        file.unlink()
    summary = read_summary(tmp_path)
    assert (summary.spinful, summary.shells) == (True, SHELLS)
    assert np.array_equal(summary.structure.positions, sample.structure.positions)
    change_info(tmp_path, **{"spinful" if form == "new" else "isspinful": "delete"})
    with pytest.raises(FormatError, match="are missing; it holds"):
        read_summary(tmp_path)


def test_a_folder_of_something_else_is_named(tmp_path):
    (tmp_path / "OUTCAR").touch()
    with pytest.raises(FormatError, match=r"expected DeepH folders .* found \['OUTCAR'\]"):
        read(tmp_path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing")


def test_a_packed_file_of_one_sample_is_read(tmp_path):
    sample = make_sample()
    with StoreWriter(tmp_path / "one.h5") as store:
        store.add("a", sample)
    assert read(tmp_path / "one.h5").info == sample.info
    with StoreWriter(tmp_path / "two.h5") as store:
        store.add("a", sample)
        store.add("b", sample)
    with pytest.raises(FormatError, match="holds 2 structures"):
        read(tmp_path / "two.h5")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("x\n2.0\n1 0 0\n0 2 0\n0 0 3\nC\n1\nDirect\n.5 .5 .5\n", [2, 4, 6]),
        ("x\n-48\n1 0 0\n0 2 0\n0 0 3\nC\n1\nSelective dynamics\nCartesian\n.5 1 1.5 T T F\n", [2, 4, 6]),
    ],
)
def test_poscar_variants(tmp_path, text, cell):
    from ase_tracegrad.io.poscar import read_poscar

    (tmp_path / "POSCAR").write_text(text)
    structure = read_poscar(tmp_path / "POSCAR")
    assert structure.cell == pytest.approx(np.diag(cell))
    assert structure.positions[0] == pytest.approx(np.array(cell) / 2)


def test_both_mote2_folders_are_one_matrix(shared_data):
    legacy, new = (read(shared_data / "reference" / form / "MoTe2") for form in ("deeph_legacy", "deeph_new"))
    assert np.array_equal(legacy.structure.numbers, new.structure.numbers)
    for key in ("hamiltonian", "overlap"):
        a, b = getattr(legacy, key), getattr(new, key)
        assert a.index.keys() == b.index.keys()
        assert np.abs((a - b).values).max() <= 1e-12


def test_the_shifted_mote2_differs_by_a_multiple_of_s(shared_data):
    plain, shifted = (read(shared_data / "reference" / "deeph_new" / name) for name in ("MoTe2", "MoTe2_shifted"))
    difference = shifted.hamiltonian - plain.hamiltonian
    mu = difference.inner(plain.overlap) / plain.overlap.inner(plain.overlap)
    assert mu == pytest.approx(13.088161748833187, abs=1e-9)
    assert np.abs((difference - mu * plain.overlap).values).max() < 1e-12
    assert shifted.info["n_electrons"] == 46


@pytest.mark.parametrize("material", ["MG", "MM", "BB", "BT", "BS"])
def test_openmx_folders_reproduce_openmx_bands(shared_data, material):
    """The tolerance is OpenMX's own: highly excited bands amplify the rounding of its files."""
    folder = min(path for path in (shared_data / "openmx" / material).iterdir() if (path / "bands_check.npz").exists())
    sample = read(folder)
    with np.load(folder / "bands_check.npz") as stored:
        kpts, reference = stored["kpts"], stored["energies"]
    unit = np.eye(sample.hamiltonian.n_spin)
    matrices = zip(sample.hamiltonian.bloch(kpts), sample.overlap.bloch(kpts), strict=True)
    energies = np.array([eigh(h, np.kron(unit, s), eigvals_only=True) for h, s in matrices])[:, : reference.shape[1]]
    window = reference < sample.info["fermi_level"] + 5
    assert np.abs(energies - reference)[window].max() < 1e-7


def test_water_in_four_orientations_rotates_with_wigner_d(shared_data):
    """PySCF labels of the same molecule turned in space, cc-pVDZ."""
    samples = [read(shared_data / "reference" / "water_orientations_deeph_new" / str(n)) for n in range(4)]
    first = samples[0]
    for other in samples[1:]:
        a, b = (s.structure.positions - s.structure.positions[0] for s in (first, other))
        u, _, vh = np.linalg.svd(b.T @ a)
        rotation = u @ np.diag([1, 1, np.linalg.det(u @ vh)]) @ vh
        assert np.abs(a @ rotation.T - b).max() < 1e-9
        matrices = [first.hamiltonian.layout.rotation(i, rotation) for i in range(3)]
        for key, tolerance in (("overlap", 1e-5), ("hamiltonian", 1e-3)):
            for (i, j, r), block in getattr(first, key).items():
                assert np.abs(matrices[i] @ block @ matrices[j].T - getattr(other, key).block(i, j, r)).max() < tolerance


@pytest.mark.parametrize("form", WRITERS)
def test_a_structure_without_a_cell_is_refused(tmp_path, form):
    sample = make_sample()
    bare = Structure(sample.structure.numbers, sample.structure.positions, np.diag([9.0, 9.0, 0.0]), np.zeros(3, dtype=bool))
    with pytest.raises(ValueError, match="none along axis 2: put it in a box"):
        WRITERS[form](tmp_path / "x", replace(sample, structure=bare))
    assert not (tmp_path / "x").exists()
