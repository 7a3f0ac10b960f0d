"""A model without training, and sheets to screen with it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from ase.build import graphene

from ase_tracegrad.screen import RunOptions, screen
from tests.calculator_cases import write_untrained_model

MESH = {"size": (3, 3, 1), "gamma": True}


@pytest.fixture(scope="session")
def model(tmp_path_factory, graphene_store):
    """File of a network with random weights."""
    path = tmp_path_factory.mktemp("models") / "untrained.safetensors"
    write_untrained_model(path, graphene_store.basis)
    return path


@pytest.fixture(scope="session")
def other_model(tmp_path_factory, graphene_store):
    """Another one, with other weights."""
    path = tmp_path_factory.mktemp("models") / "other.safetensors"
    write_untrained_model(path, graphene_store.basis, seed=1)
    return path


@pytest.fixture
def sheets():
    """sheets(n): strained sheets of graphene."""

    def make(n: int, first: int = 0) -> list:
        found = []
        for number in range(first, first + n):
            atoms = graphene(a=2.46 * (1 + 0.002 * number), vacuum=5.0)
            atoms.info.update(name=f"sheet {number}", strain=0.002 * number)
            found.append(atoms)
        return found

    return make


@pytest.fixture
def run_here():
    """screen(...) in a thread of this process, without a bar."""

    def run(structures, model, properties=("gap",), *, chunk=2, retry_failed=False, **settings):
        options = RunOptions(chunk, retry_failed, progress=False)
        with ThreadPoolExecutor(1) as pool:
            return screen(structures, model, properties, executor=pool, run=options, **{"kpts": MESH} | settings)

    return run
