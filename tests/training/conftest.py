"""The scripts of training/ as modules: they import each other by bare name, as when they are run."""

import importlib
import sys
from pathlib import Path

import pytest

TRAINING = Path(__file__).resolve().parents[2] / "training"


@pytest.fixture
def script(monkeypatch):
    """script(name) imports training/name.py."""
    monkeypatch.syspath_prepend(TRAINING)

    def load(name: str):
        return importlib.import_module(name)

    yield load
    for path in TRAINING.glob("*.py"):
        sys.modules.pop(path.stem, None)
