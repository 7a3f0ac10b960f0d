"""What several test files share: where the real data lie, and random crystals and matrices."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from ase_tracegrad.basis import OrbitalLayout
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.io.store import StoreReader

settings.register_profile("reproducible", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("reproducible")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of third-party data; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("ASE_TRACEGRAD_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}; set ASE_TRACEGRAD_SHARED to the folder that holds data/")
    return folder


@pytest.fixture(scope="session")
def graphene_store():
    """CP2K labels of a displaced, the same rotated, and a perfect two-atom graphene cell."""
    with StoreReader(ROOT / "tests" / "data" / "graphene_cp2k.h5") as store:
        yield store


@pytest.fixture(scope="session")
def tidy_pyscf():
    """PySCF without its temporary files, which it leaves open for the garbage collector; skips where PySCF is absent."""
    hf = pytest.importorskip("pyscf.scf.hf", reason="PySCF is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hf, "MUTE_CHKFILE", True)
        yield


@pytest.fixture
def make_matrix():
    """Factory of random Hermitian matrices: make_matrix(shells, spin, seed) -> BlockMatrix."""

    def make(shells=((0, 1), (0, 0, 2)), spin="none", seed=0, n_pairs=12) -> BlockMatrix:
        rng = np.random.default_rng(seed)
        layout = OrbitalLayout(tuple(tuple(atom) for atom in shells))
        spins = 2 if spin == "spinor" else 1
        blocks = {}
        keys = [(i, i, (0, 0, 0)) for i in range(layout.n_atoms)]
        keys += [
            (*rng.integers(layout.n_atoms, size=2).tolist(), tuple(rng.integers(-2, 3, size=3).tolist())) for _ in range(n_pairs)
        ]
        for i, j, shift in keys:
            shape = (spins * layout.sizes[i], spins * layout.sizes[j])
            block = rng.normal(size=shape) + (1j * rng.normal(size=shape) if spin == "spinor" else 0)
            backward = (j, i, tuple(-x for x in shift))
            if backward == (i, j, shift):
                block = (block + block.conj().T) / 2
            blocks[i, j, shift] = block
            blocks[backward] = block.conj().T
        return BlockMatrix.from_blocks(layout, blocks, spin)

    return make


@pytest.fixture
def tracegrad(capsys):
    """tracegrad(*arguments) -> (exit code, stdout, stderr)."""
    from ase_tracegrad.cli import main

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        return (left.value.code, *capsys.readouterr())

    return run
