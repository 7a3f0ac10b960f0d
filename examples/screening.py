"""Screening: many structures in two processes, results in the folder sheets/; run it twice, and nothing is computed again."""

import numpy as np
from ase.build import graphene

from ase_tracegrad.screen import RunOptions, collect, iterate_rows, screen


def strained_sheets(n: int):
    """Two-atom cells of graphene, stretched along x; a generator: only those under way are in memory."""
    for strain in np.linspace(-0.02, 0.02, n):
        atoms = graphene(a=2.46, vacuum=5.0)
        atoms.set_cell(atoms.cell * [1 + strain, 1, 1], scale_atoms=True)
        atoms.info.update(name=f"strain {strain:+.3f}", strain=float(strain))
        yield atoms
    atoms.numbers[0] = 5  # what the model does not know is a row with the reason, not the end
    yield atoms


# Worker processes import this file: what starts them must stand below this line.
if __name__ == "__main__":
    done = screen(strained_sheets(6), "graphene-pbe", ("gap", "bands"), out="sheets", workers=2, run=RunOptions(chunk=3))
    print(done)
    for row in iterate_rows("sheets", ["source", "status", "error", "direct_gap", "out_of_domain"]):
        answer = f"direct gap {1000 * row['direct_gap']:7.2f} meV" if row["status"] == "ok" else row["error"]
        print(f"{row['source']:<16}{answer}{'  (out of domain)' if row['out_of_domain'] else ''}")
    print(collect("sheets"))
