"""Many predictions in one process: does the memory stay flat?

    python benchmarks/long_run.py [--calls 2000] [--out FILE]

Each call is what a screening does: new displacements of a graphene cell, H, S, bands at a few k-points and the gap, with the
embedded model. Memory is what lies in RAM for the process, read from /proc after every twentieth part of the calls. Writes json.
"""

import argparse
import gc
import os
from pathlib import Path

import numpy as np
from ase.build import graphene
from measure import describe_machine, write_result

from ase_tracegrad import TraceGradCalculator

RESULT = Path(__file__).parent / "results" / "long_run.json"
MODEL = "graphene-pbe"


def resident_bytes() -> int:
    """Memory of this process that lies in RAM, without what only waits to be collected."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(calls: int, model=MODEL) -> dict:
    """{'calls', 'megabytes': [[calls done, MB], ...], 'growth_mb': after the first tenth}."""
    atoms = graphene(vacuum=8)
    atoms.pbc = True
    rest, rng = atoms.positions.copy(), np.random.default_rng(0)
    atoms.calc = TraceGradCalculator(model)
    rows = []
    for call in range(1, calls + 1):
        atoms.positions = rest + rng.normal(scale=0.02, size=rest.shape)
        atoms.calc.band_gap(kpts=(3, 3, 1), refine=False, progress=False)
        if call % max(1, calls // 20) == 0:
            rows.append([call, round(resident_bytes() / 1e6, 1)])
    start = next(megabytes for call, megabytes in rows if call >= calls / 10)
    return {"calls": calls, "megabytes": rows, "growth_mb": round(rows[-1][1] - start, 1)}


def main():
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    result = measure(options.calls) | describe_machine("torch", "numpy", "scipy", "ase")
    write_result(options.out, result)
    print(f"{options.calls} calls: {result['megabytes'][0][1]} MB at first, {result['megabytes'][-1][1]} MB at the end")


if __name__ == "__main__":
    main()
