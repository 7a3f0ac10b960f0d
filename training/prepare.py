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

from databases import DATABASES, PRIMITIVE, Database, assign_splits, kinds
from tqdm.auto import tqdm

from ase_tracegrad.basis import Basis
from ase_tracegrad.fit.published import check_overlap, check_shells, read_published
from ase_tracegrad.io import read_basis
from ase_tracegrad.io.convert import check_options
from ase_tracegrad.io.deeph import LEGACY_FILES, NEW_FILES
from ase_tracegrad.io.deeph_summary import FolderSummary, read_summary
from ase_tracegrad.io.sample import FormatError
from ase_tracegrad.io.splits import SPLITS, read_splits
from ase_tracegrad.io.store import StoreReader, StoreWriter, content_hash
from ase_tracegrad.labels.campaign import LabelJob, label_path, run_campaign
from ase_tracegrad.replace_file import replace_text

HERE = Path(__file__).resolve().parent
HAMILTONIANS = (LEGACY_FILES["hamiltonian"], NEW_FILES["hamiltonian"])
MARKS = ("info.json", "element.dat", "POSCAR")  # a folder with one of these should be a structure


@dataclass(frozen=True)
class Found:
    """What lies in a download, by name: folder of each structure and what it is about; and what is wrong with other folders."""

    folders: dict[str, Path]
    summaries: dict[str, FolderSummary]
    incomplete: list[str]


def find_structures(folder: Path, prefix: str = "") -> Found:
    """Every DeepH folder below ``folder``, from its small files; its name is the path, with dashes."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    found = Found({}, {}, [])
    places = sorted({file.parent for mark in (*MARKS, *HAMILTONIANS) for file in folder.rglob(mark)})
    for path in tqdm(places, desc="checking", disable=None, leave=False):
        name = prefix + ("-".join(path.relative_to(folder).parts) or path.name)
        if not any((path / name).is_file() for name in HAMILTONIANS):
            found.incomplete.append(f"{path} lacks {HAMILTONIANS[0]}: the download is not complete")
            continue
        try:
            found.summaries[name] = read_summary(path)
        except FormatError as error:
            found.incomplete.append(f"{error}: the download is not complete")
        else:
            found.folders[name] = path
    if not found.folders:
        reason = found.incomplete[0] if found.incomplete else f"no {HAMILTONIANS[0]} and no {HAMILTONIANS[1]} at any depth"
        raise FileNotFoundError(f"{folder} holds no complete structure ({reason}): unpack the whole download")
    return found


def check_download(database: Database, basis: Basis, found: Found, twisted: set[str]) -> tuple[list[str], list[str]]:
    """Problems that must be solved, and remarks: nothing is converted yet."""
    problems, remarks, seen = list(found.incomplete), [], {}
    for name, summary in found.summaries.items():
        path, structure = found.folders[name], summary.structure
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


def pack(out: Path, database: Database, splits: dict[str, str], facts_of_run: dict) -> Path:
    """Join the converted structures into one file, and write manifest.json beside it; facts_of_run: the end of the manifest."""
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
        facts = [reader.facts(name) for name in reader.names]
        checked = [f["band_check_mev"] for f in facts if "band_check_mev" in f]
        manifest = {
            "database": database.name,
            "source": f"10.5281/zenodo.{database.zenodo}",
            "structures": {split: sum(f["split"] == split for f in facts) for split in dict.fromkeys(splits.values())},
            "basis": reader.basis.name,
            "bands_checked": len(checked),
            "largest_band_difference_mev": max(checked, default=None),
            "content_sha256": content_hash(reader),
            **facts_of_run,
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


def describe_next_step(packed: Path) -> str:
    """The command that trains on this file; from a checkout, where configurations name training/data."""
    at_home = packed.parent.resolve() == HERE / "data" / packed.stem
    return f"train with  tracegrad train training/configs/{packed.stem}.yaml" + ("" if at_home else f" --set data={packed}")


def prepare(options) -> Path:
    """All of it; ValueError or OSError with what is wrong."""
    database = DATABASES[options.database.upper()]
    out = options.out or HERE / "data" / database.name.lower()
    packed = out / f"{database.name.lower()}.h5"
    if packed.exists():
        raise ValueError(f"{packed} is there already: delete it to make it anew")
    basis = database.bare_basis()
    if options.pao is not None:
        if not options.pao.is_dir():
            raise FileNotFoundError(
                f"--pao {options.pao}: expected the folder of OpenMX's .pao files (DFT_DATA19/PAO), found no folder"
            )
        files = {symbol: options.pao / name for symbol, name in database.pao_files.items()}
        basis = replace(read_basis(files, database.shells), name=basis.name, xc=basis.xc)
    found, twisted = find_structures(options.folder), set()
    if options.twisted is not None:
        more = find_structures(options.twisted, "twisted-")
        twisted = set(more.folders)
        found = Found(found.folders | more.folders, found.summaries | more.summaries, found.incomplete + more.incomplete)
    problems, remarks = check_download(database, basis, found, twisted)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems and not options.partial:
        raise ValueError(f"{len(problems)} problem(s) with {options.folder}, listed above")
    names = sorted(set(found.folders) - twisted)
    splits = read_splits(options.splits, names) if options.splits else assign_splits(database, names)
    splits |= dict.fromkeys(twisted, "twisted")
    first = found.folders[min(splits)]
    overlap_error = check_overlap(read_published(first, basis)) if options.pao is not None else None
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
    return pack(out, database, splits, {"overlap_error": overlap_error, "remarks": problems + remarks, "rows": rows})


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
    print(describe_next_step(packed))


if __name__ == "__main__":
    main()
