"""Turn a downloaded benchmark database into the packed file that training reads.

    python training/prepare.py MG FOLDER [--pao FOLDER] [--twisted FOLDER] [--check-bands] [--partial]

FOLDER: the unpacked download, one DeepH folder (legacy or new) per structure at any depth. Everything is checked before and
while it is converted, one structure in memory at a time; interrupted at will, the same command goes on. Writes
training/data/mg/mg.h5 with the literature's splits, and manifest.json with what was found.
--pao: OpenMX's PAO folder; with it the model will predict S(R), and so bands, of new structures without OpenMX.
"""

import argparse
import hashlib
import json
import logging
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from databases import DATABASES, PRIMITIVE, SPLITS, Database, assign_splits, kinds
from tqdm.auto import tqdm

from ase_tracegrad.basis import Basis
from ase_tracegrad.fit.dataset import content_hash
from ase_tracegrad.fit.published import check_overlap, check_shells, read_published
from ase_tracegrad.io import read_basis
from ase_tracegrad.io.convert import check_options
from ase_tracegrad.io.deeph import LEGACY_FILES, NEW_FILES
from ase_tracegrad.io.deeph_summary import read_summary
from ase_tracegrad.io.store import StoreReader, StoreWriter
from ase_tracegrad.labels.campaign import LabelJob, label_path, run_campaign
from ase_tracegrad.replace_file import replace_text

HAMILTONIANS = (LEGACY_FILES["hamiltonian"], NEW_FILES["hamiltonian"])
MARKS = ("info.json", "element.dat", "POSCAR")  # a folder with one of these should be a structure


@dataclass(frozen=True)
class Found:
    """What lies in the download: folder of each structure by name, and folders that lack their Hamiltonian."""

    folders: dict[str, Path]
    incomplete: list[Path]


def find_structures(folder: Path, prefix: str = "") -> Found:
    """Every DeepH folder below ``folder``; its name is the path, with dashes."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    folders, incomplete = {}, []
    for path in sorted({file.parent for mark in (*MARKS, *HAMILTONIANS) for file in folder.rglob(mark)}):
        if any((path / name).is_file() for name in HAMILTONIANS):
            folders[prefix + ("-".join(path.relative_to(folder).parts) or path.name)] = path
        else:
            incomplete.append(path)
    if not folders:
        raise FileNotFoundError(f"{folder} holds no {HAMILTONIANS[0]} and no {HAMILTONIANS[1]} at any depth: unpack the download")
    return Found(folders, incomplete)


def check_download(database: Database, basis: Basis, found: Found, twisted: set[str]) -> tuple[list[str], list[str]]:
    """Problems that must be solved, and remarks, from the small files of every structure: nothing is converted yet."""
    problems = [f"{path} lacks {HAMILTONIANS[0]}: the download is not complete" for path in found.incomplete]
    remarks, seen = [], {}
    for name, path in tqdm(found.folders.items(), desc="checking", disable=None, leave=False):
        summary = read_summary(path)
        structure = summary.structure
        check_shells(path, summary.shells, basis)
        if summary.spinful != database.spinful:
            without = [{True: "with", False: "without"}[spinful] for spinful in (summary.spinful, database.spinful)]
            problems.append(f"{path} holds labels {without[0]} spin-orbit coupling, {database.name} is {without[1]}")
        key = hashlib.sha256(b"".join(a.tobytes() for a in (structure.numbers, structure.positions, structure.cell))).hexdigest()
        if key in seen:
            remarks.append(f"{name} and {seen[key]} are the same structure")
        seen[key] = name
        if database.atoms and len(structure.numbers) != database.atoms and name not in twisted:
            problems.append(f"{path} has {len(structure.numbers)} atoms, every structure of {database.name} {database.atoms}")
    count = len(set(found.folders) - twisted - {PRIMITIVE})
    if database.structures not in (None, count):
        problems.append(f"{count} structures found, {database.structures} are published; --partial takes what is there")
    return problems, remarks


def read_splits(path: Path, names: list[str]) -> dict[str, str]:
    """{name: split} of a JSON file {split: [names]}; what it does not name is left out."""
    listed = json.loads(path.read_text())
    unknown = sorted({name for group in listed.values() for name in group} - set(names))
    if unknown:
        raise ValueError(f"{path} names {unknown[:3]}, which are not there; names look like {sorted(names)[:3]}")
    splits = {name: split for split, group in listed.items() for name in group}
    if len(splits) < sum(map(len, listed.values())):
        raise ValueError(f"{path}: a structure stands in two splits")
    return splits


def pack(out: Path, database: Database, rows: list[dict], splits: dict[str, str], remarks: list[str]) -> Path:
    """Join the converted structures into one file, and write manifest.json beside it."""
    packed = out / f"{database.name.lower()}.h5"
    kind = {name: key for key, members in kinds([n for n in splits if n != PRIMITIVE]).items() for name in members}
    kind[PRIMITIVE] = "primitive cell"
    with StoreWriter(packed, {"database": database.name}) as store:
        for name, split in tqdm(sorted(splits.items()), desc="packing", disable=None, leave=False):
            with StoreReader(label_path(out / "pieces", name)) as reader:
                sample = reader[name]
            sample.info.update(split=split, group=f"{database.name} {kind[name]}".strip())
            store.add(name, sample)
    with StoreReader(packed) as reader:
        overlap_error = None
        if all(atom.shells for atom in reader.basis.atoms.values()):
            overlap_error = check_overlap(reader[reader.names[0]])
        facts = [reader.facts(name) for name in reader.names]
        checked = [f["band_check_mev"] for f in facts if "band_check_mev" in f]
        manifest = {
            "database": database.name,
            "source": f"10.5281/zenodo.{database.zenodo}",
            "structures": {split: sum(f["split"] == split for f in facts) for split in dict.fromkeys(splits.values())},
            "basis": reader.basis.name,
            "overlap_error": overlap_error,
            "bands_checked": len(checked),
            "largest_band_difference_mev": max(checked, default=None),
            "content_sha256": content_hash(reader),
            "remarks": remarks,
            "rows": rows,
        }
    replace_text(out / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    shutil.rmtree(out / "pieces")
    print("\n".join(describe(packed, manifest)))
    return packed


def describe(packed: Path, manifest: dict) -> list[str]:
    """What was found and made, for people."""
    counts = ", ".join(f"{manifest['structures'].get(s, 0)} {s}" for s in (*SPLITS, *(set(manifest["structures"]) - set(SPLITS))))
    overlap, bands = manifest["overlap_error"], manifest["largest_band_difference_mev"]
    return [
        f"{packed}: {counts}; {packed.stat().st_size / 1e6:.1f} MB",
        "S from the radial functions: "
        + ("not checked, no --pao: the model will need S(R) from elsewhere" if overlap is None else f"within {overlap:.1e}"),
        "bands printed by the code: "
        + ("not checked" if bands is None else f"reproduced within {bands:.1e} meV in {manifest['bands_checked']} structures"),
        f"content sha256 {manifest['content_sha256']}",
        *(f"remark: {remark}" for remark in manifest["remarks"]),
    ]


def prepare(options) -> Path:
    """All of it; ValueError or OSError with what is wrong."""
    database = DATABASES[options.database.upper()]
    out = options.out or Path(__file__).parent / "data" / database.name.lower()
    packed = out / f"{database.name.lower()}.h5"
    if packed.exists():
        raise ValueError(f"{packed} is there already: delete it to make it anew")
    basis = database.bare_basis()
    if options.pao is not None:
        files = {symbol: options.pao / name for symbol, name in database.pao_files.items()}
        basis = replace(read_basis(files, database.shells), name=basis.name, xc=basis.xc)
    found, twisted = find_structures(options.folder), set()
    if options.twisted is not None:
        more = find_structures(options.twisted, "twisted-")
        found, twisted = Found(found.folders | more.folders, found.incomplete + more.incomplete), set(more.folders)
    problems, remarks = check_download(database, basis, found, twisted)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems and not options.partial:
        raise ValueError(f"{len(problems)} problem(s) with {options.folder}, listed above")
    names = sorted(set(found.folders) - twisted)
    splits = read_splits(options.splits, names) if options.splits else assign_splits(database, names)
    splits |= dict.fromkeys(twisted, "twisted")
    pieces = out / "pieces"
    check_options(pieces, {"pao": options.pao is not None, "check_bands": options.check_bands})
    jobs = [
        LabelJob(name, read_published, {"folder": found.folders[name], "basis": basis, "check_bands": options.check_bands}, {})
        for name in sorted(splits)
    ]
    rows = run_campaign(jobs, pieces, workers=options.workers)
    failed = [row for row in rows if not row["ok"]]
    if failed:
        listed = "; ".join(f"{row['name']}: {row['error']}" for row in failed[:5])
        raise ValueError(f"{len(failed)} of {len(rows)} structures cannot be used: {listed}. Mend them and run the command again")
    return pack(out, database, rows, splits, problems + remarks)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", type=str.upper, choices=list(DATABASES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=None, help="default: training/data/NAME")
    parser.add_argument("--pao", type=Path, default=None, help="folder of OpenMX's .pao files")
    parser.add_argument("--twisted", type=Path, default=None, help="folder of the twisted structures: a test set of their own")
    parser.add_argument("--splits", type=Path, default=None, help="JSON file {split: [names]} instead of the seeded split")
    parser.add_argument("--partial", action="store_true", help="go on although the download is not the published one or incomplete")
    parser.add_argument("--check-bands", action="store_true", help="reproduce the bands that lie beside the labels (bands*.npz)")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        packed = prepare(options)
    except (ValueError, OSError) as error:
        parser.exit(2, f"prepare.py: {error}\n")
    print(f"train with  python training/train.py training/configs/{packed.stem}.yaml")


if __name__ == "__main__":
    main()
