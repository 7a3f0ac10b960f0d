"""Time and peak memory of a few states next to the Fermi level against the number of atoms, by the sparse window.

    python benchmarks/scaling.py [--cells 2 3 4 6 8 12 16 24 31] [--states 20] [--out FILE]

H(R) and S(R) are CP2K's of two-atom graphene (tests/data), repeated n x n: 2 n^2 atoms, 26 n^2 orbitals, one k-point.
Each size runs in a process of its own, whose largest resident memory, less that of the smallest matrix, is the
solver's. The exponent p of t ~ N^p is fitted to the sizes from FIT_FROM atoms up. Writes json and a picture beside it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts its threads
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from graphene_cells import read_graphene, repeat
from measure import describe_machine, write_result

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.window import solve_window

ROOT = Path(__file__).resolve().parents[1]
FIT_FROM = 100  # atoms; below, fixed costs and the reach of the orbitals rule
KPT = [[0.137, 0.291, 0.0]]


def load(n: int) -> tuple[BlockMatrix, BlockMatrix, float]:
    """H and S of an n x n cell of graphene, and its Fermi level in eV."""
    sample = read_graphene()
    return repeat(sample.hamiltonian, n, n), repeat(sample.overlap, n, n), sample.info["fermi_level"]


def measure(n: int, n_states: int) -> dict:
    """One size in this process: CPU and wall seconds, largest resident memory before and after, residual of the states."""
    h, s, fermi_level = load(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    window = solve_window(h, s, KPT, fermi_level, n_states)
    return {
        "atoms": h.layout.n_atoms,
        "orbitals": h.n_orbitals,
        "states": n_states,
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "matrices_mib": before / 1024,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "residual_ev": float(window.residuals.max()),
        "nearest_ev": float(np.abs(window.energies - fermi_level).min()),
    }


def measure_apart(n: int, n_states: int) -> dict:
    """The same in a process of its own; a size that fails is a row with the reason, and ends the series."""
    command = [sys.executable, __file__, "--single", str(n), "--states", str(n_states)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if result.returncode:
        return {"atoms": 2 * n * n, "error": (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]}
    return json.loads(result.stdout.splitlines()[-1])


def fit_exponent(atoms, values, start: float = FIT_FROM) -> float | None:
    """p of values ~ atoms^p by least squares of the logarithms, from ``start`` atoms up; None for fewer than two sizes."""
    atoms, values = np.asarray(atoms, dtype=float), np.asarray(values, dtype=float)
    used = (atoms >= start) & (values > 0)
    if used.sum() < 2:
        return None
    return float(np.polyfit(np.log(atoms[used]), np.log(values[used]), 1)[0])


def summarize(rows: list[dict]) -> dict:
    """Exponents of time, and of the memory above that of the smallest size."""
    good = [row for row in rows if "error" not in row]
    atoms = [row["atoms"] for row in good]
    base = min((row["matrices_mib"] for row in good), default=0.0)
    return {
        "fit_from_atoms": FIT_FROM,
        "time_exponent": fit_exponent(atoms, [row["cpu_s"] for row in good]),
        "memory_exponent": fit_exponent(atoms, [row["peak_mib"] - base for row in good]),
        "base_mib": base,
    }


def draw(rows: list[dict], summary: dict, path: Path):
    """Time and memory against atoms on logarithmic axes, exponents in the titles."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    good = [row for row in rows if "error" not in row]
    atoms = [row["atoms"] for row in good]
    figure, panels = plt.subplots(1, 2, figsize=(7.6, 3.4), layout="constrained")
    curves = (("time", "CPU time (s)", [r["cpu_s"] for r in good]), ("memory", "memory (MiB)", [r["peak_mib"] for r in good]))
    for ax, (name, label, values) in zip(panels, curves, strict=True):
        exponent = summary[f"{name}_exponent"]
        ax.loglog(atoms, values, "o-", color="#0072B2")
        ax.set(xlabel="atoms", ylabel=label, title=name if exponent is None else f"{name} ~ N$^{{{exponent:.2f}}}$")
    figure.suptitle(f"{good[0]['states']} states next to the Fermi level of graphene, one k-point, one thread", fontsize=10)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[2, 3, 4, 6, 8, 12, 16, 24, 31], help="n of the n x n cells")
    parser.add_argument("--states", type=int, default=20)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "scaling.json")
    parser.add_argument("--single", type=int, help="measure this n in this process, print json and stop")
    options = parser.parse_args()
    if options.single:
        print(json.dumps(measure(options.single, options.states)))
        return
    rows = []
    for n in sorted(options.cells):
        rows.append(measure_apart(n, options.states))
        print("  ".join(f"{key} {value if isinstance(value, str) else format(value, '.4g')}" for key, value in rows[-1].items()))
        if "error" in rows[-1]:
            break
    if "error" in rows[0]:
        sys.exit(f"scaling.py: {rows[0]['error']}")
    summary = summarize(rows)
    write_result(options.out, describe_machine("numpy", "scipy") | summary | {"cases": rows})
    draw(rows, summary, options.out.with_suffix(".png"))
    print(f"time exponent {summary['time_exponent']}, memory exponent {summary['memory_exponent']}; wrote {options.out}")


if __name__ == "__main__":
    main()
