"""Damage a reader's valid files again and again, case by case from seeds, and see what the reader makes of them."""

import shutil
import warnings
from pathlib import Path

import numpy as np

from ase_tracegrad.nn.checkpoint_header import CheckpointError
from tests.fuzz.mutations import damage_file
from tests.fuzz.targets import TARGETS


class Victim:
    """The valid files of a target in ``folder``/valid, and damaged copies of them in ``folder``/damaged."""

    def __init__(self, name: str, folder: Path):
        self.target, self.valid, self.damaged = TARGETS[name], folder / "valid", folder / "damaged"
        self.name, self.errors = name, TARGETS[name].errors or (CheckpointError,)
        if not self.valid.exists():
            self.valid.mkdir(parents=True)
            self.target.write(self.valid)

    def damage(self, seed: int):
        """Fresh files, one of them (rarely two) damaged as the seed says."""
        shutil.rmtree(self.damaged, ignore_errors=True)
        shutil.copytree(self.valid, self.damaged)
        rng = np.random.default_rng([seed, *self.name.encode()])
        files = sorted(path for path in self.damaged.rglob(self.target.files) if path.is_file())
        for _ in range(1 + (rng.random() < 0.1)):
            damage_file(files[rng.integers(len(files))], rng)

    def read_valid(self):
        """Read the files as they should be; whatever goes wrong here is no find."""
        if self.target.whole:
            self.target.read(self.valid)

    def read(self) -> str | None:
        """The message of the clear error, None if the files could be read; any other error goes on."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numbers near 1e308 overflow before they are refused
            try:
                self.target.read(self.damaged)
            except self.errors as error:
                return str(error)
        return None
