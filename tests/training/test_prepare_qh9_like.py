"""The QH9-like set: the rule of molecules and geometries, RDKit's part, and the script from structures to database."""

import json
from collections import Counter

import numpy as np
import pytest
from ase.build import molecule
from ase.io import write

from ase_tracegrad.io.qh9 import QH9Reader
from ase_tracegrad.io.store import StoreReader


@pytest.fixture
def rule(script):
    return script("qh9_structures")


@pytest.fixture
def geometry(script):
    return script("molecule_geometries")


def test_g2_part(rule):
    """73 closed-shell molecules of H, C, N, O, F; all geometries of a molecule in one split; any beginning is a mixture."""
    structures = rule.make_structures({})
    assert len(structures) == len({item.name for item in structures}) == 595
    assert len({item.source for item in structures}) == 73
    assert len({(item.source, item.split) for item in structures}) == 73
    assert not {"g2 O2", "g2 CH3", "g2 NO2", "g2 SO2"} & {item.source for item in structures}
    assert Counter(item.split for item in structures).keys() == {"train", "validation", "test", "larger"}
    assert {item.heavy for item in structures if item.split == "larger"} == {6}
    shares = [Counter(item.heavy for item in part)[3] / len(part) for part in (structures, structures[:60], structures[:200])]
    assert shares[1:] == pytest.approx([shares[0]] * 2, abs=0.05)
    assert Counter(item.split for item in structures[:100])["train"] == pytest.approx(80, abs=8)
    again = rule.make_structures({})
    assert all(np.array_equal(a.atoms.positions, b.atoms.positions) for a, b in zip(structures, again, strict=True))


def test_the_whole_rule_is_large_enough(rule):
    """Counted without making the geometries: at least 1500, of up to 9 heavy atoms, most of them small."""
    g2 = Counter(rule.count_heavy(atoms) for _, atoms in rule.g2_molecules())
    # Fewer molecules of up to 4 heavy atoms than asked for may exist beside those of g2.
    grown = {heavy: count for heavy, count in rule.GROWN.items() if heavy > 4} | {4: 70}
    counts = {heavy: (g2[heavy] + grown.get(heavy, 0)) * rule.GEOMETRIES[heavy] for heavy in rule.GEOMETRIES}
    assert sum(counts.values()) >= rule.DEEP
    assert sum(count for heavy, count in counts.items() if heavy <= 4) > 0.55 * sum(counts.values())
    assert rule.DEEP + 2 * sum(rule.BROAD.values()) >= 1500
    assert counts[9] >= 16


def test_broad_molecules(rule):
    """Beyond the count of a size: the minimum and one thermal geometry each, which do not change those before them."""
    pytest.importorskip("rdkit")
    before = {item.name: item for item in rule.make_structures({5: 2}) if item.name.startswith("s5")}
    deep = {name for name in before if int(name[3:6]) < 2}
    broad = Counter(name[:6] for name in before.keys() - deep)
    assert len(broad) == rule.BROAD[5]
    assert set(broad.values()) == {2}
    assert {item.temperature for name, item in before.items() if name not in deep} == {0.0, 300.0, 800.0}


def test_thermal_geometries(geometry):
    """Internal displacements only, of the size that the springs ask for, and the same for the same seed."""
    atoms = molecule("CH3OH")
    stiffness, modes = springs = geometry.spring_modes(atoms)
    assert modes.shape == (18, 12)
    assert geometry.spring_modes(molecule("CO2"))[1].shape == (9, 4)
    drawn = [geometry.draw_thermal(atoms, springs, 300.0, [5, k]).positions - atoms.positions for k in range(300)]
    amplitudes = np.array([modes.T @ displacement.ravel() for displacement in drawn])
    expected = 8.617e-5 * 300 / np.maximum(stiffness, geometry.SOFTEST)
    assert np.mean(amplitudes**2 / expected) == pytest.approx(1.0, abs=0.1)
    assert np.abs(np.mean(drawn[0], axis=0)).max() < 1e-12
    assert np.array_equal(drawn[7], geometry.draw_thermal(atoms, springs, 300.0, [5, 7]).positions - atoms.positions)


def test_constitution_key(geometry):
    """Equal for one molecule with its atoms in another order and shape, different for isomers."""
    keys = {}
    for name in ("CH3CH2OH", "CH3OCH3", "trans-butane", "isobutane"):
        atoms = molecule(name)
        keys[name] = geometry.constitution_key(atoms.numbers, geometry.bonds_of(atoms))
        shuffled = atoms[np.random.default_rng(1).permutation(len(atoms))]
        shuffled.rattle(0.05, seed=1)
        assert geometry.constitution_key(shuffled.numbers, geometry.bonds_of(shuffled)) == keys[name]
    assert len(set(keys.values())) == 4


def test_grown_molecules(rule, script):
    """Distinct, of the size asked for, none that g2 holds already; larger ones are never trained."""
    pytest.importorskip("rdkit")
    structures = rule.make_structures({4: 3, 9: 2})
    grown = {item.source: item for item in structures if not item.source.startswith("g2 ")}
    assert sorted(item.heavy for item in grown.values()) == [4, 4, 4, 9, 9]
    assert {item.split for item in structures if item.heavy == 9} == {"larger"}
    bonds = script("molecule_geometries")
    minima = [item for item in structures if item.temperature == 0]
    assert len({bonds.constitution_key(item.atoms.numbers, bonds.bonds_of(item.atoms)) for item in minima}) == len(minima)
    assert all(set(item.atoms.numbers) <= {1, 6, 7, 8, 9} and item.atoms.numbers.sum() % 2 == 0 for item in structures)


@pytest.mark.parametrize(
    ("smiles", "message"), [("C(", "no SMILES"), ("CS", "one molecule of H, C"), ("C.C", "one molecule"), ("[CH3]", "unpaired")]
)
def test_bad_smiles(script, smiles, message):
    pytest.importorskip("rdkit")
    with pytest.raises(ValueError, match=message):
        script("smiles_molecules").make_molecule(smiles, set())


def test_anyones_molecules(rule, tmp_path):
    pytest.importorskip("rdkit")
    (tmp_path / "mine.smi").write_text("# mine\nCCO ethanol\n\nOCC again\nC=O\n")
    write(tmp_path / "two.xyz", [molecule("H2O"), molecule("NH3")])
    structures = rule.structures_of_files([tmp_path / "mine.smi", tmp_path / "two.xyz"])
    assert list(dict.fromkeys(item.source for item in structures)) == ["CCO", "C=O", "two.xyz 0", "two.xyz 1"]
    write(tmp_path / "sulfur.xyz", molecule("SH2"))
    with pytest.raises(ValueError, match=r"sulfur\.xyz 0: expected a molecule of H, C, N, O, F, found H2S"):
        rule.structures_of_files([tmp_path / "sulfur.xyz"])


def test_from_structures_to_database(rule, script, tmp_path):
    """H2, HF and a radical through the script; a second run computes nothing and gives the same hashes."""
    pytest.importorskip("pyscf")
    prepare = script("prepare_qh9_like")
    good = [rule.geometries(name, f"g2 {name}", molecule(name), [3, k])[k] for k, name in enumerate(("HF", "H2"))]
    radical = rule.MoleculeStructure("OH", "train", molecule("OH"), "g2 OH", 0.0, [3, 9])
    with pytest.raises(SystemExit, match=r"1 of 3 structures failed, the first, OH, with OpenShellError: HO with charge 0"):
        prepare.make_qh9_like(tmp_path, [good[0], radical, good[1]], workers=1)
    assert json.loads((tmp_path / "labels" / "OH.failed.json").read_text())["error"].startswith("OpenShellError")
    first = json.loads((tmp_path / "manifest.json").read_text())
    assert first["ids"] == {"HF-0": 0, "H2-1": 1}
    assert [row["ok"] for row in first["rows"]] == [True, False, True]
    with QH9Reader(tmp_path / "qh9-like.db") as database, StoreReader(tmp_path / "qh9-like.h5") as store:
        for name, number in first["ids"].items():
            label, read = store[name], database[f"{number:06d}"]
            assert np.array_equal(read.structure.positions, label.structure.positions)
            assert np.abs((read.hamiltonian - label.hamiltonian).values).max() < 1e-12
            assert label.info["source"] == f"g2 {name[:2]}"
            assert label.info["split"] == "train"

    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "labels").glob("*.h5")}
    prepare.make_qh9_like(tmp_path, good, workers=1)
    second = json.loads((tmp_path / "manifest.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert [second[key] == first[key] for key in ("ids", "database_sha256", "content_sha256")] == [True] * 3


def test_dry_run(script, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["prepare_qh9_like.py", "--dry-run", "--no-smiles", "--heavy", "2"])
    script("prepare_qh9_like").main()
    printed = capsys.readouterr().out
    assert "heavy atoms: 0: 8, 1: 40, 2: 120" in printed
    assert "168 structures, about 0.1 CPU hours" in printed
