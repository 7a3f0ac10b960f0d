import numpy as np
import pytest

from ase_tracegrad.io.cp2k import read_atomic_basis, read_bands, read_real_space_matrix
from ase_tracegrad.io.sample import FormatError
from ase_tracegrad.units import BOHR, HARTREE

BASIS_FILE = """# a comment
He OTHER-q2
 1
 1 0 0 1 1
  1.0 1.0

C  TOY-q4 TOY
 2
 2 0 1 2 2 1   # s, s and p share their exponents
  2.0  0.5 -0.3  0.8
  0.5  0.6  0.4  0.3
 3 2 2 1 1
  0.9  1.0
"""


@pytest.fixture
def basis_file(tmp_path):
    path = tmp_path / "BASIS"
    path.write_text(BASIS_FILE)
    return path


def test_basis_sets(basis_file):
    atom = read_atomic_basis(basis_file, "C", "TOY-q4")
    assert (atom.number, atom.angular_momenta, atom.valence) == (6, (0, 0, 1, 2), 4.0)
    assert atom.shells[0].radial.exponents == pytest.approx(np.array([2.0, 0.5]) / BOHR**2)
    assert read_atomic_basis(basis_file, "C", "TOY").valence is None


def test_contractions_are_pyscfs(basis_file):
    """PySCF parses the same text with the same meaning of the coefficients."""
    gto = pytest.importorskip("pyscf.gto")
    parsed = pytest.importorskip("pyscf.gto.basis.parse_cp2k").parse("\n".join(BASIS_FILE.splitlines()[6:]))
    atom = gto.M(atom="C 0 0 0", basis={"C": parsed}, verbose=0)
    z = np.linspace(0.1, 3, 9)
    theirs = atom.eval_gto("GTOval_sph", z[:, None] * [0, 0, 1.0])[:, [0, 1, 4]]  # s, s, pz in Bohr^(-3/2)
    shells = read_atomic_basis(basis_file, "C", "TOY").shells[:3]
    angular = np.sqrt(np.array([1, 1, 3]) / (4 * np.pi))
    ours = np.stack([s.radial(z * BOHR) for s in shells], axis=1) * angular * BOHR**1.5
    assert np.abs(ours - theirs).max() < 1e-10


@pytest.mark.parametrize(("symbol", "name"), [("C", "UNKNOWN"), ("N", "TOY-q4")])
def test_an_absent_basis_is_named(basis_file, symbol, name):
    with pytest.raises(FormatError, match=f"no basis set '{name}' for {symbol}"):
        read_atomic_basis(basis_file, symbol, name)


@pytest.mark.parametrize(
    ("old", "new"), [("  0.5  0.6  0.4  0.3\n", ""), ("0.9  1.0", "0.9  one"), (" 3 2 2 1 1\n  0.9  1.0\n", "")]
)
def test_a_damaged_basis_is_named(basis_file, old, new):
    basis_file.write_text(BASIS_FILE.replace(old, new))
    with pytest.raises(FormatError, match="C TOY-q4 is damaged"):
        read_atomic_basis(basis_file, "C", "TOY-q4")


OUTPUT = """ KS CSR write|       2 periodic images
      Number    X      Y      Z
           1    0      0      0
           2    1      0     -1
"""


def test_real_space_matrices(tmp_path):
    (tmp_path / "label-KS_SPIN_1_R_1-1_0.csr").write_text("  1  1  -0.5\n  2  1   0.25\n")
    (tmp_path / "label-KS_SPIN_1_R_2-1_0.csr").write_text("")
    cells, matrices = read_real_space_matrix(tmp_path, OUTPUT, "KS", 2)
    assert cells.tolist() == [[0, 0, 0], [1, 0, -1]]
    assert matrices.tolist() == [[[-0.5, 0], [0.25, 0]], [[0, 0], [0, 0]]]


def test_missing_matrices_are_named(tmp_path):
    with pytest.raises(FormatError, match="lists no real-space S matrix"):
        read_real_space_matrix(tmp_path, OUTPUT, "S", 2)
    with pytest.raises(FormatError, match="KS matrix of image 1 was not written"):
        read_real_space_matrix(tmp_path, OUTPUT, "KS", 2)


BANDS = """# Set 1: 1 special points, 2 k-points, 2 bands
#  Special point 1   0.0  0.0  0.0  not specified
#  Point 1  Spin 1:   0.00000000   0.00000000   0.00000000   0.5
#   Band    Energy [eV]     Occupation
       1    -20.0    2.0
       2      1.5    0.0
#  Point 2  Spin 1:   0.50000000   0.00000000  -0.25000000   0.5
       1    -19.0    2.0
       2      2.5    0.0
"""


def test_bands(tmp_path):
    (tmp_path / "x.bs").write_text(BANDS)
    kpts, energies = read_bands(tmp_path / "x.bs")
    assert kpts.tolist() == [[0, 0, 0], [0.5, 0, -0.25]]
    # CP2K prints eV of CODATA 2006; inside the package 1 Hartree has one value only.
    assert energies == pytest.approx(np.array([[-20.0, 1.5], [-19.0, 2.5]]) / 27.21138386 * HARTREE)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("label-KS_SPIN_1_R_1-1_0.csr", "  1  3  -0.5\n", "whole numbers from 1 to 2"),
        ("label-KS_SPIN_1_R_1-1_0.csr", "  1  1  nan\n", "not finite"),
        ("label-KS_SPIN_1_R_1-1_0.csr", "  1  one  1.0\n", "row, column and element"),
        ("output", OUTPUT.replace("2 periodic", "2000000000 periodic"), "list of cells .* is damaged: 2000000000 rows"),
        ("output", OUTPUT.replace("-1\n", "x\n"), "list of cells .* is damaged"),
    ],
)
def test_damaged_matrices_are_named(tmp_path, name, content, message):
    for number in (1, 2):
        (tmp_path / f"label-KS_SPIN_1_R_{number}-1_0.csr").write_text("  1  1  -0.5\n")
    (tmp_path / name).write_text(content)
    with pytest.raises(FormatError, match=message):
        read_real_space_matrix(tmp_path, content if name == "output" else OUTPUT, "KS", 2)


@pytest.mark.parametrize("text", [BANDS.replace("1.5", "nan"), "       1    -20.0    2.0\n" + BANDS, BANDS.replace("1.5", "\xff")])
def test_damaged_bands_are_named(tmp_path, text):
    (tmp_path / "x.bs").write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=r"x\.bs: (some k-points|expected k-points)"):
        read_bands(tmp_path / "x.bs")


@pytest.mark.parametrize("text", ["", BANDS.rsplit("\n", 2)[0]])
def test_incomplete_bands_are_refused(tmp_path, text):
    (tmp_path / "x.bs").write_text(text)
    with pytest.raises(FormatError, match="same number of bands"):
        read_bands(tmp_path / "x.bs")
