"""Predictor: a loaded model that turns structures into H(R)."""

import copy
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..basis import Basis
from ..blocks import BlockMatrix
from ..graph import NeighborGraph, build_graph
from ..labels.initial_hamiltonian import initial_hamiltonian
from ..models import find_model
from ..overlap import compute_overlap
from ..structure import Structure
from ..symbols import symbol_of
from .assembly import add_references, assemble
from .batch import GraphBatch, make_batch
from .card import ModelCard
from .checkpoint import load_checkpoint
from .checkpoint_header import find_embedded
from .domain import UnsupportedStructureError, check_domain
from .network import HamiltonianNetwork, Prediction
from .rotated import forward_rotated, random_rotation

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Predictor:
    """H(R) of structures with one network.

    card, basis: of the model; device: torch.device; dtype: 'float32' or 'float64'; path: of the model file, or None;
    n_spin: 2 if it predicts spinors, else 1; reference: what the network's H is added to (NetworkConfig); refine, n_rotations: see
    ``with_options``.
    Predictors share nothing that is written to, so threads may use one at the same time.
    """

    def __init__(self, network: HamiltonianNetwork, basis: Basis, card: ModelCard, *, device="cpu", path: Path | None = None):
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.basis, self.card, self.path = basis, card, path
        self.n_spin = 2 if network.config.spinor else 1
        self.refine, self.n_rotations = network.refiner is not None, 0
        self.reference = network.config.reference
        self.dtype = str(next(network.parameters()).dtype).removeprefix("torch.")

    def with_options(self, *, refine: bool | None = None, n_rotations: int | None = None) -> "Predictor":
        """A predictor with the same network; ValueError for a model without a second stage.

        refine: with the second stage of HarmoSE; n_rotations: average H over this many orientations of the structure, which
        lowers the error of equivariance of the second stage at as many times the cost (0: as the structure stands).
        """
        if self.network.refiner is None:
            raise ValueError(f"refine and rotations belong to models with a second stage (HarmoSE); {self.card.name!r} has none")
        if n_rotations is not None and (type(n_rotations) is not int or n_rotations < 0):
            raise ValueError(f"the number of rotations must be a whole number, 0 for none, found {n_rotations!r}")
        other = copy.copy(self)
        if refine is not None:
            other.refine = refine
        if n_rotations is not None:
            other.n_rotations = n_rotations
        return other

    @property
    def of_molecules(self) -> bool:
        """Whether the model takes molecules alone."""
        return self.network.config.of_molecules

    @property
    def equivariance(self) -> str:
        """How exactly the H of a turned structure is the turned H, in words."""
        if not self.refine and self.reference != "none":
            return "exact but for PySCF's integration grid, which does not turn with the molecule"
        if not self.refine:
            return "exact"
        measured = self.card.rotations or "not measured: tracegrad evaluate --write-card does"
        return measured + (f"; less here, the mean over {self.n_rotations} orientations" if self.n_rotations else "")

    def graph(self, structure: Structure) -> NeighborGraph:
        """The pairs the model predicts blocks for; refuses unknown elements and atoms on top of each other."""
        unknown = sorted(set(structure.numbers.tolist()) - set(self.network.elements))
        if unknown:
            others = find_embedded(structure.numbers.tolist())
            advice = f"choose {' or '.join(others)}" if others else "choose or train another model"
            raise UnsupportedStructureError(
                f"model {self.card.name!r} knows {' '.join(symbol_of(z) for z in self.network.elements)}, "
                f"not {' '.join(symbol_of(z) for z in unknown)}: {advice}"
            )
        if self.of_molecules and structure.pbc.any():
            raise UnsupportedStructureError(f"model {self.card.name!r} is one of molecules: set atoms.pbc = False")
        return build_graph(structure, self.network.reach)

    def check(self, structure: Structure) -> list[str]:
        """Reasons to distrust a prediction for this structure (see domain.py); raises UnsupportedStructureError."""
        reasons = check_domain(self.graph(structure), self.network.elements, self.network.config.cutoff, self.card.domain)
        if reasons and not structure.pbc.any() and not self.of_molecules:
            reasons.insert(0, "the structure is not periodic: the file has no cell or pbc, or it is a molecule")
        return reasons

    def predict(
        self,
        structures: Sequence[Structure],
        overlaps: Sequence[BlockMatrix] | None = None,
        references: Sequence[BlockMatrix] | None = None,
        *,
        rotation=None,
    ) -> list[BlockMatrix]:
        """H(R) in eV of each structure, all in one forward pass.

        overlaps, references: their S(R) and their Hamiltonians of the initial density; what the model needs is computed.
        rotation (3, 3): what the turned structures give, turned back; for an equivariant network the same.
        """
        return self.predict_described(structures, overlaps, references, rotation=rotation)[0]

    def predict_described(
        self,
        structures: Sequence[Structure],
        overlaps: Sequence[BlockMatrix] | None = None,
        references: Sequence[BlockMatrix] | None = None,
        *,
        rotation=None,
    ) -> tuple[list[BlockMatrix], list[np.ndarray]]:
        """What ``predict`` gives, and of each structure the scalars (N, n) its atoms end with in the network (see trust.py)."""
        if not structures:
            return [], []
        graphs = [self.graph(structure) for structure in structures]
        network = self.network
        batch = make_batch(
            graphs, network.elements, message_cutoff=network.config.message_cutoff, lmax=network.lmax, dtype=DTYPES[self.dtype]
        )
        if references is None and network.config.reference != "none":
            references = [initial_hamiltonian(structure, self.basis) for structure in structures]
        if references is not None and network.config.sees_reference:
            batch = add_references(batch, graphs, references, network.shells)
        with torch.inference_mode():
            prediction = self._forward(batch.to(self.device), rotation)
        if overlaps is None and (network.energy_zero is not None or network.config.overlap_floor):
            overlaps = [compute_overlap(structure, self.basis) for structure in structures]
        assert prediction.scalars is not None
        scalars = np.split(prediction.scalars.double().cpu().numpy(), np.cumsum([len(structure) for structure in structures])[:-1])
        return assemble(network, graphs, batch, prediction, self.basis, overlaps, references), scalars

    def _forward(self, batch: GraphBatch, rotation) -> Prediction:
        if rotation is None and not (self.n_rotations and self.refine):
            return self.network(batch, refine=self.refine)
        turns = [np.eye(3) if rotation is None else np.asarray(rotation)]
        if self.n_rotations and self.refine:
            generator = np.random.default_rng(0)  # the same orientations for every structure
            turns = [turn @ turns[0] for turn in (random_rotation(generator) for _ in range(self.n_rotations))]
        parts = [forward_rotated(self.network, batch, turn, refine=self.refine) for turn in turns]
        offsite, onsite = (sum(getattr(part, name) for part in parts) / len(parts) for name in ("offsite", "onsite"))
        offsite, onsite = self.network.readout.hermitian_part(offsite, onsite, batch)  # turning costs the last digits
        return replace(parts[0], offsite=offsite, onsite=onsite)

    def __repr__(self) -> str:
        return f"Predictor({self.card.line}, device={self.device}, dtype={self.dtype})"


# (path, device, dtype): time of the file's last change, and the model; a changed file takes the place of the old one.
_cache: dict[tuple[str, str, str], tuple[int, Predictor]] = {}
_lock = threading.Lock()


def load_model(model, *, device=None, dtype: str = "float32") -> Predictor:
    """A Predictor from the name of an embedded model or the path of a model file.

    device: None (CUDA if available, else CPU), a name or torch.device. Loaded once per process and file version.
    A Predictor is returned as it is. Raises UnknownModelError, CheckpointError, FileNotFoundError, ValueError (device or dtype).
    """
    if isinstance(model, Predictor):
        if device is not None or dtype != "float32":
            raise ValueError("device and dtype belong to loading a model; this Predictor is already loaded, pass neither")
        return model
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, found {dtype!r}")
    path, chosen = find_model(model).resolve(), choose_device(device)
    key, changed_at = (str(path), str(chosen), dtype), path.stat().st_mtime_ns
    with _lock:
        if key not in _cache or _cache[key][0] != changed_at:
            _cache[key] = changed_at, Predictor(*load_checkpoint(path, DTYPES[dtype]), device=chosen, path=path)
        return _cache[key][1]


def choose_device(device) -> torch.device:
    """A device that can be used here; None: CUDA if available, else the CPU. ValueError names what there is."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as error:
        available = "cpu" + (f", cuda:0..{torch.cuda.device_count() - 1}" if torch.cuda.is_available() else " (no CUDA here)")
        raise ValueError(f"device {device!r} cannot be used; available: {available}") from error
    return chosen


def count_devices() -> int:
    """Graphics cards that can be used here."""
    return torch.cuda.device_count()
