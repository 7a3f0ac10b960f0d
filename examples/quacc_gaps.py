"""A quacc recipe: the gap of each structure as a job of a workflow (pip install quacc).

Run as a script, the jobs run here, one after the other. After `quacc set WORKFLOW_ENGINE jobflow` (or parsl, dask, prefect,
redun) the functions make jobs of that engine, and it runs them: `jobflow.run_locally(strained_gaps_flow(atoms, strains))`.
"""

from ase import Atoms
from ase.build import graphene
from quacc import flow, job
from quacc.schemas.ase import Summarize

from ase_tracegrad import TraceGradCalculator


@job
def gap_job(atoms: Atoms, model: str = "graphene-pbe", **parameters) -> dict:
    """What quacc's recipes return of a calculation, and the gap in eV; parameters: of the calculator, such as kpts."""
    atoms.calc = TraceGradCalculator(model, **parameters)
    # quacc's Runner would ask for the total energy, which a Hamiltonian does not have.
    atoms.calc.calculate(atoms)
    gap = atoms.calc.band_gap(progress=False)
    facts = {"name": "TraceGrad gap", "kind": gap.kind, "gap": float(gap.gap), "direct_gap": float(gap.direct_gap)}
    return Summarize(additional_fields=facts).run(atoms, atoms)


@job
def strain_job(atoms: Atoms, strain: float) -> Atoms:
    """The structure stretched along its first cell vector."""
    stretched = atoms.copy()
    stretched.set_cell(atoms.cell * [[1 + strain], [1], [1]], scale_atoms=True)
    return stretched


@flow
def strained_gaps_flow(atoms: Atoms, strains: list[float], **parameters) -> list[dict]:
    """Gaps of stretched copies of a structure; each needs nothing but its own stretched copy."""
    return [gap_job(strain_job(atoms, strain), **parameters) for strain in strains]


if __name__ == "__main__":
    strains = [-0.02, 0.0, 0.02]
    results = strained_gaps_flow(graphene(a=2.46, vacuum=5.0), strains)
    for strain, result in zip(strains, results, strict=True):
        print(f"strain {strain:+.2f}   {result['kind']:<12} direct gap {1000 * result['direct_gap']:7.2f} meV")
