"""The packed file: many samples in one HDF5 file, for training and for label sets.

Only one of each pair of adjoint blocks is written, rounded to 2^-28 eV (H) and 2^-34 (S),
far below any DFT noise, so that compression works; on request every block is written as it is.
Written as ``.part`` and renamed when complete.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

import h5py
import numpy as np

from ..basis import Basis
from ..basis_json import basis_from_json, basis_to_json
from ..blocks import BlockMatrix
from ..damage import DAMAGE
from ..replace_file import replace_file, require_space
from ..structure import Structure
from .hdf5 import HDF5_DAMAGE, read_array
from .sample import FormatError, ReferenceBands, Sample

FORMAT = "ase_tracegrad-store"
VERSION = 1
ROUNDING = {"hamiltonian": 2.0**28, "overlap": 2.0**34, "reference": 2.0**28}
LARGEST_RESIDUAL = 1e-6  # eV or 1; one of two adjoint blocks is dropped, so they must agree


class NotHermitianError(ValueError):
    """A matrix that cannot be packed, because only one of each pair of adjoint blocks is written."""


class StoreWriter:
    """``with StoreWriter(path) as store: store.add(name, sample)``; the file appears only on success.

    exact: keep every block to the last bit, at about three times the size.
    """

    def __init__(self, path, info: dict | None = None, *, exact: bool = False):
        self.path = Path(path)
        self.info = info or {}
        self.exact = exact
        self._basis: dict | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self._file = stack.enter_context(h5py.File(stack.enter_context(replace_file(self.path)), "w"))
            self._open = stack.pop_all()
        self._file.attrs.update(format=FORMAT, version=VERSION, info=json.dumps(self.info))
        return self

    def add(self, name: str, sample: Sample):
        """Append one sample under a name that is not taken yet. Raises NotHermitianError, ValueError, OSError on a full disk."""
        if not name or "/" in name:
            raise ValueError(f"a sample's name must be a text without '/', found {name!r}: HDF5 would make groups of it")
        matrices = (sample.hamiltonian, sample.overlap, sample.reference)
        require_space(self.path, sum(matrix.values.nbytes + 20 * len(matrix) for matrix in matrices if matrix is not None))
        self._extend_basis(name, basis_to_json(sample.basis))
        group = self._file.create_group(f"samples/{name}")
        for key in ("numbers", "positions", "cell", "pbc"):
            group[key] = getattr(sample.structure, key)
        group.attrs["info"] = json.dumps(sample.info)
        for key in ROUNDING:
            matrix: BlockMatrix | None = getattr(sample, key)
            if matrix is None:
                continue
            if self.exact:
                _write_blocks(group.create_group(key), matrix, "all")
            else:
                _write_matrix(group.create_group(key), matrix, ROUNDING[key])
        if sample.bands is not None:
            group.create_dataset("bands/kpts", data=sample.bands.kpts)
            group.create_dataset("bands/energies", data=sample.bands.energies)
            group["bands"].attrs["fermi_level"] = sample.bands.fermi_level

    def append(self, store: "StoreReader"):
        """Copy all samples of another packed file, as they are stored there."""
        require_space(self.path, store.path.stat().st_size)
        for name in store.names:
            self._extend_basis(name, basis_to_json(store.basis))
            store.copy_sample(name, self._file)

    def _extend_basis(self, name: str, basis: dict):
        """A file holds one basis; a sample may bring elements that those before it lack."""
        if self._basis is None:
            self._basis = basis
        else:
            known, new = self._basis["atoms"], basis["atoms"]
            if any(self._basis[key] != basis[key] for key in ("name", "code", "xc")) or any(
                known[z] != new[z] for z in known.keys() & new.keys()
            ):
                raise ValueError(f"{name}: a packed file holds one basis; this sample has another one")
            if new.keys() <= known.keys():
                return
            self._basis = self._basis | {"atoms": known | new}
        self._file.attrs["basis"] = json.dumps(self._basis)

    def __exit__(self, *error):
        self._open.__exit__(*error)


class StoreReader:
    """Samples of a packed file by name, read one at a time."""

    def __init__(self, path):
        self.path = Path(path)
        if self.path.is_dir():
            raise FormatError(
                f"{self.path} is a folder, expected a packed data file: tracegrad convert {self.path} NAME.h5 makes one"
            )
        if not self.path.is_file():
            raise FileNotFoundError(f"no packed data file at {self.path}")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise FormatError(f"{self.path} is not a readable HDF5 file (truncated or damaged): {error}") from error
        try:
            found = (self._file.attrs.get("format"), self._file.attrs.get("version"))
            if list(found) != [FORMAT, VERSION]:
                raise FormatError(f"{self.path}: expected a packed data file {FORMAT} version {VERSION}, found {found}")
            self.info = json.loads(self._file.attrs["info"])
            # A file without samples has no basis yet.
            self.basis = basis_from_json(json.loads(self._file.attrs["basis"])) if self.names else Basis({})
        except BaseException as error:
            self._file.close()
            if isinstance(error, (*DAMAGE, *HDF5_DAMAGE)) and not isinstance(error, FormatError):
                raise FormatError(f"{self.path}: the header is damaged or incomplete: {error}") from error
            raise

    @property
    def names(self) -> list[str]:
        """Names of the samples, sorted."""
        if "samples" not in self._file:
            return []
        samples = self._file["samples"]
        if not isinstance(samples, h5py.Group):
            raise FormatError(f"{self.path}: 'samples' must be a group, found {type(samples).__name__}")
        return sorted(samples)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> Sample:
        try:
            group = self._file["samples"][name]
        except KeyError:
            raise KeyError(f"{self.path} holds no sample {name!r}; it holds {self.names[:5]} ...") from None
        try:
            kinds = {"numbers": "iu", "positions": "f", "cell": "f", "pbc": "b"}
            structure = Structure(*(read_array(group, key, kind) for key, kind in kinds.items()))
            layout = self.basis.layout(structure.numbers)
            hamiltonian, overlap = (_read_matrix(group[key], layout) for key in ("hamiltonian", "overlap"))
            bands = None
            if "bands" in group:
                stored = group["bands"]
                fermi_level = float(stored.attrs["fermi_level"])
                bands = ReferenceBands(read_array(stored, "kpts", "f"), read_array(stored, "energies", "f"), fermi_level)
            reference = _read_matrix(group["reference"], layout) if "reference" in group else None
            return Sample(structure, self.basis, hamiltonian, overlap, self.facts(name), bands, reference)
        except FormatError:
            raise
        except (*DAMAGE, *HDF5_DAMAGE) as error:
            raise FormatError(f"{self.path}: sample {name!r} is damaged or incomplete: {error}") from error

    def copy_sample(self, name: str, target: h5py.File):
        """Copy one sample into another packed file without unpacking it."""
        self._file.copy(f"samples/{name}", target, f"samples/{name}")

    def split(self, name: str) -> str | None:
        """The split a sample was put in (train, validation, test), without reading its matrices."""
        return self.facts(name).get("split")

    def facts(self, name: str) -> dict:
        """The info of a sample, without reading its matrices."""
        try:
            facts = json.loads(self._file["samples"][name].attrs["info"])
        except (*DAMAGE, *HDF5_DAMAGE) as error:
            raise FormatError(f"{self.path}: the facts of sample {name!r} are damaged or missing: {error}") from error
        if not isinstance(facts, dict):
            raise FormatError(f"{self.path}: the facts of sample {name!r} must be a JSON object, found {type(facts).__name__}")
        return facts

    def __iter__(self) -> Iterator[Sample]:
        return (self[name] for name in self.names)

    def close(self):
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_):
        self.close()


def content_hash(store: StoreReader) -> str:
    """SHA-256 of names, structures and matrices: equal labels give an equal hash, whatever the file's bytes."""
    digest = hashlib.sha256()
    for name in store.names:
        sample = store[name]
        digest.update(name.encode())
        for array in (sample.structure.numbers, sample.structure.positions, sample.structure.cell):
            digest.update(np.ascontiguousarray(array).tobytes())
        for matrix in (sample.hamiltonian, sample.overlap):
            for array in (matrix.pairs, matrix.shifts, matrix.values):
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _write_matrix(group: h5py.Group, matrix: BlockMatrix, rounding: float):
    residual = matrix.hermiticity_residual()
    if residual > LARGEST_RESIDUAL:
        raise NotHermitianError(
            f"{group.name}: only Hermitian matrices can be packed; |M_ij(R) - M_ji(-R)^dagger| reaches {residual:.1e}; "
            "if that is noise, pack matrix.symmetrized(), else look for missing or permuted blocks"
        )
    keys = np.hstack([matrix.pairs, matrix.shifts])
    partner = np.hstack([matrix.pairs[:, ::-1], -matrix.shifts])
    first_difference = (keys != partner).argmax(axis=1)
    rows = np.arange(len(keys))
    kept = matrix.cut(keys[rows, first_difference] <= partner[rows, first_difference])
    _write_blocks(group, replace(kept, values=np.round(kept.values * rounding) / rounding), "half")


def _write_blocks(group: h5py.Group, matrix: BlockMatrix, blocks: str):
    """blocks: 'all', or 'half' where the adjoint of each block is left out."""
    group.attrs.update(spin=matrix.spin, blocks=blocks)
    data = {"pairs": matrix.pairs.astype(np.int32), "shifts": matrix.shifts.astype(np.int16), "values": matrix.values}
    for key, array in data.items():
        group.create_dataset(key, data=array, compression="gzip", shuffle=True, fletcher32=True)


def _read_matrix(group: h5py.Group, layout) -> BlockMatrix:
    pairs, shifts, values = (read_array(group, key, kinds) for key, kinds in (("pairs", "iu"), ("shifts", "iu"), ("values", "fc")))
    if not np.isfinite(values).all():
        raise ValueError(f"{group.name}: {np.count_nonzero(~np.isfinite(values))} matrix elements are not finite")
    stored = BlockMatrix(layout, pairs, shifts, values, group.attrs["spin"])
    if group.attrs.get("blocks", "half") == "all":
        return stored
    blocks = dict(stored.items())
    for (i, j, r), block in stored.items():
        blocks[j, i, (-r[0], -r[1], -r[2])] = block.conj().T
    return BlockMatrix.from_blocks(layout, blocks, stored.spin)
