"""Pages that open in any browser without a network: report.html of one structure, strained.html of several; and a picture."""

import matplotlib.pyplot as plt
from ase.build import graphene

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.plot import measure_couplings, plot_couplings, write_numbers
from ase_tracegrad.report import write_screening_report, write_structure_report
from ase_tracegrad.report.structure import ReportOptions

calc = TraceGradCalculator("graphene-pbe", kpts={"size": (12, 12, 1), "gamma": True})
atoms = graphene(a=2.46, vacuum=5.0)
atoms.calc = calc
write_structure_report(atoms, "report.html", name="graphene", options=ReportOptions(path="GMKG", window=(-20, 8)))


def strain_and_compute(percent: float) -> dict:
    """One row of the table: numbers, a flag, and the bands that a click opens."""
    strained = graphene(a=2.46 * (1 + percent / 100), vacuum=5.0)
    bands = calc.band_structure("GMKG", 60, atoms=strained)
    return {
        "name": f"{percent:+.0f} %",
        "formula": str(strained.symbols),
        "gap": calc.band_gap(atoms=strained).gap,
        "fermi_level": bands.reference,
        "strain": percent,
        "flags": calc.predictor.check(calc.sample(strained).structure),
        "bands": bands,
    }


count = write_screening_report(map(strain_and_compute, (-4, -2, 0, 2, 4)), "strained.html", labels={"strain": "strain (%)"})
print(f"wrote report.html, and strained.html with {count} structures")

# How strongly which shells couple, and how far; the numbers go beside the picture.
couplings = measure_couplings(calc.hamiltonian(atoms), calc.sample(atoms).structure)
plot_couplings(couplings)
plt.savefig("couplings.png")
write_numbers("couplings.csv", couplings.tabulate())
