"""What is fuzzed: how each reader's small valid file is written, how it is read, and which errors it may raise."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ase_tracegrad.io import FormatError, Sample
from ase_tracegrad.io.deeph import read_deeph, read_deeph_legacy, write_deeph, write_deeph_legacy
from ase_tracegrad.io.poscar import read_poscar
from ase_tracegrad.io.splits import read_splits
from ase_tracegrad.io.store import StoreReader, StoreWriter
from tests.io.samples import make_sample

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("ASE_TRACEGRAD_SHARED", ROOT.parent / "shared"))


@dataclass(frozen=True)
class Target:
    """write(folder) makes the valid files, read(folder) reads them all; errors: what read may raise instead.

    whole: False where the valid files lack what would be slow to make, so that they are refused too, in the end.
    """

    write: Callable[[Path], object]
    read: Callable[[Path], object]
    errors: tuple[type[Exception], ...] = (FormatError,)
    files: str = "*"  # which of them are damaged
    whole: bool = True


def check_sample(sample: Sample) -> Sample:
    """What comes out is whole: every number finite, every orbital with a place."""
    for matrix in (sample.hamiltonian, sample.overlap, sample.reference):
        assert matrix is None or np.isfinite(matrix.values).all()
    assert sample.hamiltonian.layout.n_atoms == len(sample.structure)
    return sample


def check_basis(basis):
    """Radial functions are finite where they are asked for."""
    for atom in getattr(basis, "atoms", {0: basis}).values():
        for shell in atom.shells:
            assert np.isfinite(shell.radial(np.linspace(0, 2, 5))).all()
            assert np.isfinite(shell.reach)
    return basis


# -- matrices --------------------------------------------------------------------------------------


def _write_store(folder: Path, *, exact: bool = False):
    with StoreWriter(folder / "data.h5", exact=exact) as store:
        for name, seed in (("a", 1), ("b", 2)):
            store.add(name, make_sample((6, 1), seed=seed))


def _read_store(folder: Path):
    with StoreReader(folder / "data.h5") as store:
        for name in store.names:
            store.split(name)
        return [check_sample(store[name]) for name in store.names]


def _write_qh9(folder: Path):
    from ase_tracegrad.io.qh9_writer import QH9Writer
    from tests.io.test_qh9 import random_sample

    with QH9Writer(folder / "QH9Stable.db") as writer:
        for number, name in enumerate(("H2O", "HF")):
            writer.add(number, random_sample(name, number))


def _read_qh9(name: str):
    def read(folder: Path):
        from ase_tracegrad.io.qh9 import QH9Reader

        with QH9Reader(folder / name) as reader:
            return [check_sample(sample) for sample in reader]

    return read


def _write_lmdb(folder: Path):
    import pickle

    import lmdb

    from tests.io.test_qh9 import pickled_row

    _write_qh9(folder)
    environment = lmdb.open(str(folder / "lmdb"), map_size=2**22)
    for row in range(2):
        with environment.begin(write=True) as transaction:
            transaction.put(row.to_bytes(4, "big"), pickle.dumps(pickled_row(folder / "QH9Stable.db", row)))
    environment.close()
    (folder / "QH9Stable.db").unlink()
    (folder / "lmdb" / "lock.mdb").unlink()


def _write_hsx(folder: Path):
    path = SHARED / "data" / "reference" / "siesta" / "Si" / "Si.HSX"
    (folder / "x.HSX").write_bytes(path.read_bytes())


def _read_hsx(folder: Path):
    from ase_tracegrad.io.hsx import read_hsx

    return check_sample(read_hsx(folder / "x.HSX"))


# -- orbitals, CP2K --------------------------------------------------------------------------------


def _write_basis(writer: str, name: str):
    def write(folder: Path):
        from tests.io import test_abacus, test_basis_files

        if writer == "pao":
            test_basis_files.write_pao(folder / name)
        elif writer == "orb":
            test_abacus.write_orb(folder / name)
        else:
            test_basis_files.write_ion(folder / name, writer)

    return write


def _read_basis(symbol: str, name: str, shells: str | None = None):
    def read(folder: Path):
        from ase_tracegrad.io import read_basis

        return check_basis(read_basis({symbol: folder / name}, {symbol: shells} if shells else None))

    return read


def _write_cp2k(folder: Path):
    from tests.io.test_cp2k_files import BANDS, BASIS_FILE, OUTPUT

    (folder / "BASIS").write_text(BASIS_FILE)
    (folder / "x.bs").write_text(BANDS)
    (folder / "x.out").write_text(OUTPUT)
    (folder / "label-KS_SPIN_1_R_1-1_0.csr").write_text("  1  1  -0.5\n  2  1   0.25\n")
    (folder / "label-KS_SPIN_1_R_2-1_0.csr").write_text("  1  1  -0.5\n")


def _read_cp2k(folder: Path):
    from ase_tracegrad.io.cp2k import read_atomic_basis, read_bands, read_real_space_matrix

    check_basis(read_atomic_basis(folder / "BASIS", "C", "TOY-q4"))
    assert all(np.isfinite(x).all() for x in read_bands(folder / "x.bs"))
    output = (folder / "x.out").read_text(errors="replace")
    assert np.isfinite(read_real_space_matrix(folder, output, "KS", 2)[1]).all()


# -- what screening and temperature leave on disk -------------------------------------------------


def _write_trust(folder: Path):
    from ase_tracegrad.nn.trust import Trust, fit_scalars, hash_model, trust_file

    model = folder / "m.safetensors"
    model.write_bytes(b"a model")
    rows = np.random.default_rng(0).normal(size=(40, 3))
    factors = {"distance": {"hamiltonian": 2.0}, "spread": {"hamiltonian": 1.0, "gap": 0.5}}
    Trust(hash_model(model), *fit_scalars(np.repeat([1, 6], 20), rows), 2.0, ("a",), factors, {"n_train": 20}).write(
        trust_file(model)
    )


def _read_trust(folder: Path):
    from ase_tracegrad.nn.trust import read_trust

    trust = read_trust(folder / "m.safetensors")
    if trust is not None:
        assert not np.isnan(trust.distances(np.array([1, 6]), np.ones((2, 3)))).any()
        assert all(np.isfinite(list(rows.values())).all() for rows in trust.factors.values())


def _write_screening(folder: Path):
    from ase_tracegrad.screen.settings import ScreenSettings
    from ase_tracegrad.screen.shards import SHARDS, prepare_folder, write_shard

    prepare_folder(folder, ScreenSettings("graphene-pbe"))
    for number in range(2):
        rows = [
            {"id": f"{number}{row}" * 16, "source": "a", "status": "ok", "positions": [0.0] * 3, "gap": 1.0} for row in range(3)
        ]
        write_shard(folder, number, rows, ("gap",))
    assert (folder / SHARDS).is_dir()


def _read_screening(folder: Path):
    from ase_tracegrad.screen.settings import ScreenSettings
    from ase_tracegrad.screen.shards import iterate_rows, prepare_folder

    prepare_folder(folder, ScreenSettings("graphene-pbe"))
    return list(iterate_rows(folder))


def _write_snapshots(folder: Path):
    from ase_tracegrad.thermal.edges import EdgeEnergies
    from ase_tracegrad.thermal.snapshots import SnapshotFolder

    snapshots = SnapshotFolder(folder, {"seed": 1, "edges": {"vbm": [0, 0, 0]}})
    snapshots.keep_displacements(300.0, np.ones((4, 2, 3)))
    for number in range(4):
        snapshots.write(300.0, number, EdgeEnergies(np.arange(4.0), np.ones(4)))


def _read_snapshots(folder: Path):
    from ase_tracegrad.thermal.snapshots import SnapshotFolder

    snapshots = SnapshotFolder(folder, {"seed": 1, "edges": {"vbm": [0, 0, 0]}})
    assert np.allclose(snapshots.keep_displacements(300.0, np.ones((4, 2, 3))), 1.0)
    for number in range(4):
        found = snapshots.read(300.0, number)
        assert found is not None
        assert found.energies.shape == found.spreads.shape == (4,)
        assert np.isfinite([found.energies, found.spreads]).all()


def _write_phonons(folder: Path):
    from ase.build import bulk
    from ase.calculators.emt import EMT

    from ase_tracegrad.thermal.phonons import compute_force_constants, save_phonons

    save_phonons(compute_force_constants(bulk("Al", a=3.995), EMT(), (2, 2, 2)), folder / "p.yaml")


def _read_phonons(folder: Path):
    from ase_tracegrad.thermal.harmonic import HarmonicCrystal
    from ase_tracegrad.thermal.phonons import load_phonons

    crystal = HarmonicCrystal.from_phonons(load_phonons(folder / "p.yaml"), (2, 2, 2))
    assert np.isfinite(crystal.amplitudes(300.0)).all()


# -- settings and models ---------------------------------------------------------------------------


def _write_config(folder: Path):
    (folder / "c.yaml").write_text((ROOT / "training" / "configs" / "own.yaml").read_text())


def _read_config(folder: Path):
    from ase_tracegrad.fit.config import load_config

    return load_config(folder / "c.yaml")


def _write_model(folder: Path):
    import torch

    from ase_tracegrad.nn.checkpoint import save_checkpoint
    from tests.nn.synthetic import make_predictor
    from tests.nn.test_checkpoint import CARD, make_gaussian_basis

    network = make_predictor((1, 6), dtype=torch.float32, n_blocks=1, hidden="4x0e+1x1o", edge_last="4x0e+1x1o+1x2e").network
    save_checkpoint(folder / "m.safetensors", network, make_gaussian_basis(), CARD)


def _read_model(folder: Path):
    import torch

    from ase_tracegrad.nn.checkpoint import load_checkpoint

    network, _, card = load_checkpoint(folder / "m.safetensors", torch.float32)
    str(card)
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())


def _write_state(folder: Path):
    import torch

    from ase_tracegrad.fit.state import write_state
    from tests.fit.cases import make_training_config

    state = {"network": {"a": torch.zeros(3), "b": torch.ones(2, 2)}, "epoch": 3, "schedule": {"factor": 0.5}}
    write_state(folder, state, make_training_config("data.h5", folder), "hash")


def _read_state(folder: Path):
    from ase_tracegrad.fit.state import read_state
    from tests.fit.cases import make_training_config

    read_state(folder, make_training_config("data.h5", folder), "hash")


def _write_deeph_e3(folder: Path):
    import torch

    from tests.nn.test_deeph_e3_checkpoint import find_targets, make_settings, write_folder

    targets = find_targets((1, 6))
    state = {"embedding.weight": torch.zeros(2, 6), "basis.offsets": torch.linspace(0, 4, 12)}
    write_folder(folder, make_settings((1, 6), targets, hidden="2x0e+1x1o"), state, (1, 6), targets)


def _read_deeph_e3(folder: Path):
    from ase_tracegrad.nn.deeph_e3_checkpoint import load_deeph_e3
    from tests.nn.synthetic import make_basis

    return load_deeph_e3(folder, make_basis((1, 6)), reach={1: 1.4, 6: 1.9})


def _write_splits(folder: Path):
    (folder / "s.json").write_text(json.dumps({"train": ["a", "b"], "validation": ["c"], "test": ["d"]}))


def _write_poscar(folder: Path):
    write_deeph(folder, make_sample())


TARGETS: dict[str, Target] = {
    "deeph": Target(lambda folder: write_deeph(folder, make_sample((6, 1))), lambda folder: check_sample(read_deeph(folder))),
    "deeph-legacy": Target(
        lambda folder: write_deeph_legacy(folder, make_sample((6, 1))), lambda folder: check_sample(read_deeph_legacy(folder))
    ),
    "packed": Target(_write_store, _read_store),
    "packed-exact": Target(lambda folder: _write_store(folder, exact=True), _read_store),
    "qh9-sqlite": Target(_write_qh9, _read_qh9("QH9Stable.db")),
    "qh9-lmdb": Target(_write_lmdb, _read_qh9("lmdb")),
    "hsx": Target(_write_hsx, _read_hsx),
    "pao": Target(_write_basis("pao", "C.pao"), _read_basis("C", "C.pao", "s2p1")),
    "ion": Target(_write_basis("text", "Si.ion"), _read_basis("Si", "Si.ion")),
    "ion-xml": Target(_write_basis("xml", "Si.xml"), _read_basis("Si", "Si.xml")),
    "orb": Target(_write_basis("orb", "C.orb"), _read_basis("C", "C.orb")),
    "cp2k": Target(_write_cp2k, _read_cp2k),
    "poscar": Target(_write_poscar, lambda folder: read_poscar(folder / "POSCAR"), files="POSCAR"),
    "splits": Target(_write_splits, lambda folder: read_splits(folder / "s.json", "abcd"), (ValueError,)),
    "config": Target(_write_config, _read_config, (ValueError, OSError)),
    "trust": Target(_write_trust, _read_trust, (ValueError,), files="*.json"),
    "screening": Target(_write_screening, _read_screening, (ValueError,)),
    "snapshots": Target(_write_snapshots, _read_snapshots, (ValueError,)),
    "phonons": Target(_write_phonons, _read_phonons, (ValueError,)),
    "model": Target(_write_model, _read_model, ()),
    "state": Target(_write_state, _read_state, (ValueError,)),
    "deeph-e3": Target(_write_deeph_e3, _read_deeph_e3, (), whole=False),
}
