"""Screening: structures per minute against the loop people write, over one and two processes, and memory over many rows.

    python benchmarks/screening.py speed OUT.json [--structures 40]
    python benchmarks/screening.py soak OUT.json [--structures 100000] [--workers 2]

speed: gap and Fermi level of strained, displaced graphene cells with the embedded model, on the same k-points; the loop takes
one calculator and attaches it to one structure after the other. Both run in this process with one thread, in turns; CPU
seconds. Scaling is measured on the wall clock between the first and the last shard, so that the start of the processes
does not count: it means something on an idle machine only.
soak: molecules of two atoms through a network of a few weights, so that 10^5 rows take minutes; resident memory of the
driver and of its workers, after every hundredth of the rows.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import graphene
from measure import describe_machine, fastest_in_turns, write_result

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.models import find_model
from ase_tracegrad.nn.card import ModelCard
from ase_tracegrad.nn.checkpoint import save_checkpoint
from ase_tracegrad.nn.checkpoint_header import read_header
from ase_tracegrad.nn.config import NetworkConfig, TraceGradConfig
from ase_tracegrad.nn.network import HamiltonianNetwork
from ase_tracegrad.screen import RunOptions, iterate_rows, screen
from ase_tracegrad.screen.shards import list_shards

MODEL = "graphene-pbe"
KPTS = {"density": 5.0, "gamma": True}
READINGS = 100


def make_sheets(n: int) -> list[Atoms]:
    """Strained two-atom cells of graphene, displaced by up to 0.05 Angstrom."""
    found = []
    for number in range(n):
        rng = np.random.default_rng(number)
        atoms = graphene(a=2.46 * (1 + rng.uniform(-0.03, 0.03)), vacuum=5.0)
        atoms.positions += rng.uniform(-0.05, 0.05, atoms.positions.shape)
        found.append(atoms)
    return found


def compare_with_loop(n: int) -> dict:
    """CPU seconds per structure of both, and the largest difference of their gaps (eV)."""
    torch.set_num_threads(1)
    sheets, gaps = make_sheets(n), {}

    def loop():
        calc = TraceGradCalculator(MODEL, kpts=KPTS, fermi_kpts=KPTS)
        found = []
        for atoms in sheets:
            atoms.calc = calc
            found.append((calc.band_gap(progress=False).gap, calc.get_fermi_level()))
        gaps["loop"] = np.array(found)

    def screened():
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
            screen(sheets, MODEL, executor=pool, out=folder, kpts=KPTS, run=RunOptions(progress=False))
            gaps["screen"] = np.array([(row["gap"] - row["overlap"], row["fermi_level"]) for row in iterate_rows(folder)])

    seconds = fastest_in_turns({"loop": loop, "screen": screened}, repeats=2, warm_up=1)
    return {
        "structures": n,
        "cpu_seconds_per_structure": {name: value / n for name, value in seconds.items()},
        "structures_per_cpu_minute": {name: 60 * n / value for name, value in seconds.items()},
        "speed_up": seconds["loop"] / seconds["screen"],
        "largest_difference_eV": float(np.abs(gaps["loop"] - gaps["screen"]).max()),
    }


def measure_scaling(n: int, workers: int, chunk: int = 5) -> float:
    """Structures per minute of the wall clock, from the end of the first chunk to that of the last."""
    with tempfile.TemporaryDirectory() as folder:
        screen(make_sheets(n), MODEL, out=folder, workers=workers, kpts=KPTS, run=RunOptions(chunk, progress=False))
        ends = sorted(path.stat().st_mtime for path in list_shards(folder))
    return 60 * (n - chunk) / (ends[-1] - ends[0])


def soak(n: int, workers: int) -> dict:
    """Resident memory (MB) of the driver and of each worker over ``n`` rows, and the rate."""
    readings: list[dict] = []

    def molecules() -> Iterator[Atoms]:
        for number in range(n):
            if number % max(1, n // READINGS) == 0:
                children = [memory(child.pid) for child in multiprocessing.active_children()]
                readings.append({"rows": number, "driver": memory("self"), "workers": sorted(children)})
            yield Atoms("C2", positions=[[0, 0, 0], [0, 0, 1.2 + 0.3 * number / n]])

    with tempfile.TemporaryDirectory() as folder:
        model, start = write_small_model(Path(folder) / "small.safetensors"), time.perf_counter()
        done = screen(molecules(), model, out=Path(folder) / "out", workers=workers, run=RunOptions(progress=False))
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in list_shards(Path(folder) / "out"))
        counted = sum(1 for _ in iterate_rows(Path(folder) / "out", ["id"]))
    late = [reading for reading in readings if reading["rows"] >= n / 10 and reading["workers"]]
    growth = {
        "driver": late[-1]["driver"] - late[0]["driver"],
        "workers": sum(late[-1]["workers"]) - sum(late[0]["workers"]),
    }
    return {
        "rows": done.ok + done.failed,
        "rows_read_back": counted,
        "workers": workers,
        "seconds": seconds,
        "rows_per_minute": 60 * n / seconds,
        "bytes_per_row": size / n,
        "growth_MB_after_a_tenth": growth,
        "memory_MB": readings,
    }


def memory(process) -> float:
    """Resident memory of a process, MB; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


def write_small_model(path: Path) -> Path:
    """A network of random weights and the smallest size, with the orbitals of the embedded model."""
    torch.manual_seed(0)
    _, basis, _ = read_header(find_model(MODEL))
    last = "4x0e+4x1o+4x2e"
    sizes = {"n_blocks": 1, "embedding": 4, "n_radial": 8, "radial_hidden": 8, "hidden": "4x0e", "edge_last": last}
    config = NetworkConfig(
        cutoff=4.0, message_cutoff=3.0, node_last=last, tracegrad=TraceGradConfig(hidden=4, invariants=4), **sizes
    )
    card = ModelCard("small", "random weights, for benchmarks", [6], basis.name, basis.code, basis.xc, config.cutoff)
    card.domain.update(pairs={"C-C": {"shortest": 1.0}})
    network = HamiltonianNetwork(config, basis, card.elements)
    network.readout.spread.fill_(0.01)
    save_checkpoint(path, network, basis, card)
    return path


def main(arguments: list[str] | None = None):
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "soak"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--structures", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args(arguments)
    if chosen.what == "soak":
        result = soak(chosen.structures or 100_000, chosen.workers)
    else:
        n = chosen.structures or 40
        result = compare_with_loop(n)
        result["scaling"] = {str(workers): measure_scaling(2 * n, workers) for workers in (1, 2)}
    write_result(chosen.out, result | describe_machine("torch", "numpy", "pyarrow", "ase"))
    print({key: value for key, value in result.items() if key != "memory_MB"})


if __name__ == "__main__":
    main()
