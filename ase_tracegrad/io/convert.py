"""From one data format to another: one structure in memory at a time, and a second run does what is missing.

Each finished structure is complete or not there at all. A packed file is put together at the end from one file per
structure, which lie in a folder beside it until then.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..blocks import BlockKey, BlockMatrix
from ..lock import lock_output
from ..replace_file import replace_folder, replace_text
from .deeph import write_deeph, write_deeph_legacy
from .folders import FolderReader, find_reader, open_samples
from .qh9 import QH9Reader
from .qh9_splits import RULES
from .sample import FormatError, Sample
from .splits import make_splits
from .store import NotHermitianError, StoreReader, StoreWriter

PACKED = "packed"
FOLDER_WRITERS = {"deeph": write_deeph, "deeph-legacy": write_deeph_legacy}
FORMATS = (PACKED, *FOLDER_WRITERS)


@dataclass(frozen=True)
class Conversion:
    """What a run did: names of the structures written, found finished from an earlier run, and left out with the reason."""

    written: list[str]
    finished: list[str]
    broken: dict[str, str]


def convert(
    source,
    out,
    form: str,
    *,
    prepare: Callable[[Sample], Sample] = lambda sample: sample,
    exact: bool = True,
    options: dict | None = None,
    splits: str = "",
    skip_broken: bool = False,
) -> Conversion:
    """Convert every structure below ``source`` (a folder or a packed file) to ``form``, one of FORMATS.

    out: the packed file, or the folder that gets a folder per structure (is one, if the source is one structure's folder).
    prepare: what is done to each sample in between, such as attaching a basis; options: JSON-able facts that
    decide its result, so that a resumed run cannot mix two ways. exact: packed matrices keep every bit, or else are
    rounded and halved (see store.py). splits: for training, see splits.make_splits, or a published one of QH9
    (qh9_splits.RULES); structures in none are left out, with '' they keep what they have. Structures that cannot be read are
    FormatError at the end, when all others are done, or left out with ``skip_broken``. ValueError for places that cannot be
    written to, or splits that do not fit; OutputInUseError if another process is at work on ``out``.
    """
    source, out = Path(source), Path(out)
    if splits and form != PACKED:
        raise ValueError(f"splits are for packed files; the format {form} has no place for them")
    _check_places(source, out, form)
    with lock_output(out), open_samples(source) as samples:
        write, target = _choose_writer(out, form, source, exact)
        split_of = _deal(splits, samples, source)
        places = {name: target(name) for name in sorted(split_of)}
        _check_names(places)
        if form == PACKED:
            facts = {"source": str(source.resolve()), "exact": exact, "splits": splits and split_of}
            check_options(_parts(out), facts | (options or {}))
        result = Conversion([], [], {})
        for name in tqdm(places, desc="converting", unit="structure", disable=None):
            if _is_finished(places[name], form):
                result.finished.append(name)
                continue
            try:
                sample = prepare(samples[name])
                if splits:
                    sample = replace(sample, info=sample.info | {"split": split_of[name]})
                write(places[name], sample)
            except (FormatError, NotHermitianError) as error:
                result.broken[name] = str(error)
            else:
                result.written.append(name)
        if result.broken and not skip_broken:
            name, reason = next(iter(result.broken.items()))
            raise FormatError(
                f"{len(result.broken)} of {len(places)} structures cannot be converted, first {name}: {reason}; "
                "the others are kept: repair these and run again, or leave them out (--skip-broken)"
            )
        if form == PACKED:
            _merge([place for name, place in places.items() if name not in result.broken], out, {"source": source.name}, exact)
    return result


def put_on_common_pairs(sample: Sample) -> Sample:
    """H and S on the union of their pairs, in one order, as DeepH's tools expect; blocks that one lacked are zero."""
    h, s = sample.hamiltonian, sample.overlap
    keys = list(h.index) + [key for key in s.index if key not in h.index]
    return replace(sample, hamiltonian=_arrange(h, keys), overlap=_arrange(s, keys))


def _arrange(matrix: BlockMatrix, keys: list[BlockKey]) -> BlockMatrix:
    if list(matrix.index) == keys:
        return matrix
    sizes = matrix.n_spin**2 * np.outer(matrix.layout.sizes, matrix.layout.sizes)
    blocks = [matrix.block(*key).ravel() if key in matrix.index else np.zeros(sizes[key[:2]]) for key in keys]
    values = np.concatenate(blocks).astype(matrix.values.dtype)
    return BlockMatrix(matrix.layout, np.array([key[:2] for key in keys]), np.array([key[2] for key in keys]), values, matrix.spin)


def _deal(splits: str, samples: FolderReader | StoreReader | QH9Reader, source: Path) -> Mapping[str, str | None]:
    """{name: split} of the structures to convert; with '' each keeps what it has."""
    if not splits:
        return dict.fromkeys(samples.names)
    if splits not in RULES:
        return make_splits(splits, samples.names)
    if not isinstance(samples, QH9Reader):
        raise ValueError(f"{splits} is a published split of QH9 databases; {source} is none: give shares such as 0.8,0.1,0.1")
    with QH9Reader(source, split=splits) as published:
        dealt = {name: published.split(name) for name in published.names}
    return {name: split for name, split in dealt.items() if split}


def _check_places(source: Path, out: Path, form: str):
    if form not in FORMATS:
        raise ValueError(f"unknown format {form!r}; expected one of {', '.join(FORMATS)}")
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{out} lies in {source}, so a second run would convert its own output: choose another place")
    if form == PACKED and out.exists():
        raise ValueError(f"{out} is there already: delete it or choose another name")
    if form != PACKED and out.is_file():
        raise ValueError(f"{out} is a file; the format {form} needs a folder")


def _choose_writer(out: Path, form: str, source: Path, exact: bool):
    """(function that writes a sample to its place, function from the name of a structure to its place)."""
    if form == PACKED:

        def write_part(place: Path, sample: Sample):
            with StoreWriter(place, exact=exact) as store:
                store.add(place.stem, sample)

        return write_part, lambda name: _parts(out) / f"{(source.name if name == '.' else name).replace('/', '__')}.h5"

    def write_folder(place: Path, sample: Sample):
        with replace_folder(place) as part:
            FOLDER_WRITERS[form](part, put_on_common_pairs(sample))

    return write_folder, lambda name: out / name


def _parts(out: Path) -> Path:
    return out.with_name(out.name + ".parts")


def _check_names(places: dict[str, Path]):
    owners: dict[Path, str] = {}
    for name, place in places.items():
        if owners.setdefault(place, name) != name:
            raise ValueError(f"the structures {owners[place]} and {name} would both be called {place.stem}: rename one of them")


def check_options(parts: Path, options: dict):
    """ValueError unless the folder ``parts`` of finished pieces is new, or was begun with these JSON-able options."""
    parts.mkdir(parents=True, exist_ok=True)
    file, text = parts / "options.json", json.dumps(options, sort_keys=True)
    if file.exists() and file.read_text() != text:
        raise ValueError(
            f"{parts} was begun with other options: delete the folder, or repeat the command with those in {file.name}"
        )
    replace_text(file, text)


def _is_finished(place: Path, form: str) -> bool:
    return place.exists() if form == PACKED else find_reader(place) is not None


def _merge(places: list[Path], out: Path, info: dict, exact: bool):
    with StoreWriter(out, info, exact=exact) as store:
        for place in tqdm(places, desc="packing", unit="structure", disable=None):
            with StoreReader(place) as part:
                store.append(part)
    shutil.rmtree(_parts(out))
