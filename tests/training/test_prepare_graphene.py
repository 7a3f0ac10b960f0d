"""The data set as a rule, and its packing; CP2K itself is not run."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from ase.build import graphene

from ase_tracegrad.io.store import StoreReader, StoreWriter, content_hash


@pytest.fixture
def structures(script):
    return script("graphene_structures").make_structures()


@pytest.fixture
def prepare(script):
    return script("prepare_graphene")


@pytest.fixture
def label_sets(script):
    return script("label_sets")


def kind(item) -> str:
    return item.name.split("-")[0]


def test_counts_and_splits(structures):
    assert len({item.name for item in structures}) == len(structures)
    counts = Counter((kind(item), item.split) for item in structures)
    assert counts == {
        ("x1", "train"): 6,
        ("x1", "test"): 5,
        ("x2", "train"): 144,
        ("x2", "validation"): 18,
        ("x2", "test"): 18,
        ("x3", "train"): 56,
        ("x3", "validation"): 7,
        ("x3", "test"): 7,
        ("vacuum", "train"): 3,
        ("vacuum", "test"): 1,
        ("x4", "test"): 3,
        ("rect", "test"): 2,
    }


def test_every_structure_follows_from_its_name(script, structures):
    """Asking for fewer gives a subset: the same name is the same structure and the same split."""
    by_name = {item.name: item for item in structures}
    again = script("graphene_structures").make_structures(20, 7)
    assert len(again) == 20 + 7 + 11 + 4 + 5
    for item in again:
        reference = by_name[item.name]
        assert np.array_equal(item.atoms.positions, reference.atoms.positions)
        assert np.array_equal(item.atoms.cell.array, reference.atoms.cell.array)
        assert (item.split, item.kpoints, item.seed) == (reference.split, reference.kpoints, reference.seed)


def test_any_beginning_is_a_mixture(structures):
    """An interrupted campaign has some of everything."""
    assert {kind(item) for item in structures[: len(structures) // 4]} == {"x1", "x2", "x3", "vacuum", "x4", "rect"}


def test_sizes_and_meshes(structures):
    for item in structures:
        atoms, mesh = {"x1": (2, 12), "vacuum": (2, 12), "x2": (8, 6), "x3": (18, 4), "x4": (32, 3), "rect": (16 * 2, 3)}[
            kind(item)
        ]
        assert len(item.atoms) == atoms
        assert item.kpoints == (mesh, mesh, 1)
        assert item.atoms.pbc.all()


def test_atoms_stay_apart_and_layers_do_not_see_each_other(structures):
    for item in structures:
        distances = item.atoms.get_all_distances(mic=True)
        assert distances[~np.eye(len(distances), dtype=bool)].min() > 1.1, item.name
        height = np.ptp(item.atoms.positions[:, 2])
        assert item.atoms.cell[2, 2] - height > 7.2, item.name  # the orbitals end at 7.2 Angstrom


def test_displacements_and_strains_are_as_announced(structures):
    largest, areas, rippled = 0.0, [], 0
    for item in structures:
        if kind(item) not in ("x2", "x3"):
            continue
        n = int(kind(item)[1])
        ideal = graphene(a=2.46, vacuum=None) * (n, n, 1)
        scaled = ideal.get_scaled_positions(wrap=False)[:, :2]
        offset = item.atoms.positions[:, :2] - scaled @ item.atoms.cell.array[:2, :2]
        largest = max(largest, np.abs(offset).max())
        areas.append(np.linalg.det(item.atoms.cell.array[:2, :2]) / (n * n * 2.46**2 * np.sqrt(3) / 2))
        rippled += np.ptp(item.atoms.positions[:, 2]) > 0.25
    assert 0.09 < largest <= 0.1 + 1e-9
    assert 0.85 < min(areas) < 0.95
    assert 1.05 < max(areas) < 1.15
    assert rippled >= 10
    assert 0.35 < np.mean(np.abs(np.array(areas) - 1) < 1e-9) < 0.65


def test_primitive_cells_span_four_percent(structures):
    scales = {round(np.linalg.norm(i.atoms.cell[0]) / 2.46, 6): i.split for i in structures if kind(i) == "x1"}
    assert min(scales) == 0.96
    assert max(scales) == 1.04
    assert {s for s, split in scales.items() if split == "test"} == {0.97, 0.985, 1.0, 1.015, 1.03}


def test_band_path_passes_the_dirac_point(script):
    path = script("label_rules").band_path()
    assert path.shape == (37, 3)
    for corner in ([0, 0, 0], [0.5, 0, 0], [1 / 3, 1 / 3, 0]):
        assert np.abs(path - corner).max(axis=1).min() < 1e-12


@pytest.fixture
def labels(tmp_path, graphene_store):
    """Two finished labels, one file each, as a campaign leaves them."""
    for name in ("displaced", "perfect"):
        sample = graphene_store[name]
        sample.info["split"] = "train"
        with StoreWriter(tmp_path / "labels" / f"{name}.h5") as store:
            store.add(name, sample)
    return tmp_path


def test_pack(label_sets, labels, graphene_store, capsys):
    rows = [{"name": name, "ok": True, "error": None, "seconds": 1.0} for name in ("displaced", "perfect")]
    label_sets.pack(labels / "graphene.h5", ["displaced", "perfect"], rows)
    manifest = json.loads((labels / "manifest.json").read_text())
    with StoreReader(labels / "graphene.h5") as store:
        assert store.names == ["displaced", "perfect"]
        assert store.split("perfect") == "train"
        for name in store.names:
            assert np.array_equal(store[name].hamiltonian.values, graphene_store[name].hamiltonian.values)
            assert np.array_equal(store[name].bands.energies, graphene_store[name].bands.energies)
        assert manifest["content_sha256"] == content_hash(store)
    assert manifest["structures"] == 2
    assert manifest["code"] == "CP2K version 2023.1"
    assert manifest["settings"]["xc"] == "PBE"
    assert manifest["rows"] == rows
    assert set(manifest["versions"]) == {"python", "ase", "numpy"}
    assert "2 structures, content sha256" in capsys.readouterr().out


def test_content_hash_is_of_the_content(label_sets, labels):
    """Packing again gives other bytes perhaps, but the same hash; another label gives another one."""
    hashes = []
    for names in (["displaced", "perfect"], ["displaced", "perfect"], ["displaced"]):
        label_sets.pack(labels / "graphene.h5", names, [])
        hashes.append(json.loads((labels / "manifest.json").read_text())["content_sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_main_runs_the_campaign_and_packs(prepare, label_sets, labels, monkeypatch, capsys):
    """Finished labels are packed, failures are named at the end; a campaign without any success leaves the packed file alone."""
    jobs = []
    outcomes = {}

    def campaign(given, out, *, workers):
        jobs.extend(given)
        for name in ("displaced", "perfect"):
            shutil.copy(labels / "labels" / f"{name}.h5", out)
        return [{"name": n, "ok": ok, "error": None if ok else "LabelError: no", "seconds": 0.0} for n, ok in outcomes.items()]

    monkeypatch.setattr(label_sets, "run_campaign", campaign)
    out = labels / "run"
    (out / "labels").mkdir(parents=True)
    monkeypatch.setattr("sys.argv", ["prepare_graphene.py", "--out", str(out), "--n-2x2", "3", "--n-3x3", "2"])
    outcomes.update(displaced=True, perfect=True)
    prepare.main()
    assert len(jobs) == 3 + 2 + 11 + 4 + 5
    assert {job.facts["split"] for job in jobs} == {"train", "test"}
    assert jobs[0].arguments["settings"].kpoints[2] == 1
    packed = (out / "graphene.h5").read_bytes()
    outcomes.update(perfect=False)
    with pytest.raises(SystemExit, match="1 of 2 structures failed, the first with LabelError: no"):
        prepare.main()
    with StoreReader(out / "graphene.h5") as store:
        assert store.names == ["displaced"]
    (out / "graphene.h5").write_bytes(packed)
    outcomes.update(displaced=False)
    with pytest.raises(SystemExit, match="2 of 2 structures failed"):
        prepare.main()
    assert (out / "graphene.h5").read_bytes() == packed
