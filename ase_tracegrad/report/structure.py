"""Report of one structure: what it looks like, its bands, density of states and gap, and how far to trust them."""

import warnings
from dataclasses import dataclass, replace

import numpy as np

from .. import __version__
from ..electronic.gap import BandGap
from ..electronic.kmesh import describe_kpt
from ..electronic.symmetry import SymmetryReport
from ..kpoints import dos_mesh
from ..nn.trust import read_trust
from ..plot.labels import find_zero
from ..screen.uncertainty import Uncertainty
from ..structure import Structure
from ..warn import warn_caller
from .atoms import describe_atoms
from .bands import describe_bands, describe_dos
from .brillouin_zone import describe_zone
from .page import make_page, write_page

SCRIPTS = ("dom.js", "chart.js", "bands.js", "scene.js", "structure_report.js")
BEYOND = 10.0  # eV; how far the density of states and the bands go on beyond the window, for those who zoom out
# Columns of the errors on test sets; the second is the one that the page names in its text.
CRYSTAL_ERRORS = {"H MAE": "mae_all", "bands RMSE": "band_rmse", "largest": "band_max"}
MOLECULE_ERRORS = {"H MAE": "mae_all", "HOMO MAE": "homo", "LUMO MAE": "lumo"}
LEVEL_WIDTH = 0.1  # eV; Gaussian sigma of the density of states of a molecule, which has no tetrahedra


@dataclass(frozen=True)
class ReportOptions:
    """path, npoints: of the bands, as for calc.band_structure; kpts: mesh of the DOS, None: one that holds special points;
    by: 'element', 'shell' ..., whose shares are shown; window: first shown energies, eV from the energy zero;
    symmetry: whether to compare H and S with the symmetry of the structure."""

    path: object = None
    npoints: int = 200
    kpts: object = None
    by: str = "shell"
    window: tuple[float, float] = (-10.0, 6.0)
    symmetry: bool = True


def write_structure_report(atoms, out, *, name: str | None = None, options: ReportOptions | None = None) -> BandGap:
    """Write the report of ``atoms``, which carry a TraceGradCalculator, to the HTML file ``out``; returns the gap.

    name: in the title, e.g. the file of the structure. Warnings of the calculation stand in the report and are given again.
    Raises what the calculator raises.
    """
    options = options or ReportOptions()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data, gap = collect_structure_report(atoms, options)
    for warning in caught:
        warn_caller(str(warning.message), warning.category)
    told = dict.fromkeys(str(warning.message) for warning in caught if issubclass(warning.category, UserWarning))
    reasons = data["trust"]["reasons"]
    data["trust"]["warnings"] = [text for text in told if not any(reason in text for reason in reasons)]
    formula = atoms.get_chemical_formula(mode="hill")
    title = f"{formula}: {name}" if name else formula
    description = f"Electronic structure predicted by {data['card']['name']}, ase_tracegrad {__version__}"
    write_page(out, make_page(title, description, SCRIPTS, data))
    return gap


def collect_structure_report(atoms, options: ReportOptions) -> tuple[dict, BandGap]:
    """The data of the page, and the gap."""
    calc = atoms.calc
    structure = calc.electronic_structure(atoms)
    # The whole zone is solved once here with vectors: Loewdin's shares, which lie between 0 and 1, everywhere.
    bands, shares = calc.fat_bands(options.path, options.npoints, by=options.by, atoms=atoms)
    gap = calc.band_gap(atoms=atoms)
    zero = find_zero(bands, gap)[0]
    # A gap wider than the window would show no empty states.
    window = options.window[0], max(options.window[1], 0.0 if gap.is_metal else gap.gap + 2.0)
    wide = (window[0] - BEYOND, window[1] + BEYOND)
    grid = np.arange(wide[0] + zero - bands.reference, wide[1] + zero - bands.reference, 0.02)
    width, mesh = (0.0 if atoms.pbc.any() else LEVEL_WIDTH), options.kpts if options.kpts is not None else dos_mesh(atoms)
    parts = calc.projected_dos(grid, by=options.by, method="loewdin", width=width, kpts=mesh, atoms=atoms)
    symmetry = calc.symmetry_report(atoms=atoms) if options.symmetry else None
    card, estimate = calc.predictor.card, _estimate_error(calc.predictor, structure)
    data = {
        "atoms": describe_atoms(atoms, structure.dispersive),
        "zone": describe_zone(bands.path, structure.dispersive),
        "bands": describe_bands(bands, wide, gap=gap, shares=shares) | {"window": window},
        "dos": describe_dos(parts, bands.reference - zero, wide),
        "facts": _list_facts(atoms, structure, gap, bands.reference, symmetry),
        "gap": {"kind": gap.kind, "rows": _list_gap(gap)},
        "symmetry": None if symmetry is None else _describe_symmetry(symmetry),
        "trust": {
            "reasons": calc.predictor.check(Structure.from_atoms(atoms)) + estimate.pop("reasons", []),
            "estimate": estimate,
            "warnings": [],
            "described": bool(card.domain.get("pairs")),
        },
        "card": _describe_card(card),
        "settings": _list_settings(calc, options, mesh, width, len(bands.path.kpts)),
    }
    return data, gap


def _estimate_error(predictor, structure) -> dict:
    """Columns of a screening on the distance from the training in the network's features; empty if the model does not tell it."""
    path, sample = getattr(predictor, "path", None), structure.sample
    trust = None if path is None else read_trust(path)
    if trust is None:
        return {}
    _, (scalars,) = predictor.predict_described([sample.structure], [sample.overlap])
    described = replace(sample, info={**sample.info, "scalars": scalars})
    return Uncertainty(predictor, [], trust).estimate(sample.structure, described, {}) | {"farthest": trust.farthest}


def _list_facts(atoms, structure, gap: BandGap, fermi_level: float, symmetry: SymmetryReport | None) -> list[list[str]]:
    periodic = [axis for axis, p in zip("abc", atoms.pbc, strict=True) if p]
    return [
        ["Gap", str(gap)],
        ["Fermi level", f"{fermi_level:.4f} eV".replace("-", "−")],
        ["Atoms", f"{len(atoms)} ({atoms.get_chemical_formula(mode='hill')})"],
        ["Periodic along", ", ".join(periodic) or "nothing (a molecule)"],
        ["Valence electrons", f"{structure.n_electrons:g}"],
        ["Orbitals", str(structure.sample.hamiltonian.n_orbitals)],
        *([] if symmetry is None else [["Symmetry", f"{symmetry.group.name}, {len(symmetry.group)} operations"]]),
    ]


def _list_gap(gap: BandGap) -> list[list]:
    """Rows of quantity, energy in eV and place."""
    top, bottom = ("valence-band top", "conduction-band bottom") if gap.periodic else ("highest filled", "lowest empty")

    def at(k):
        return [describe_kpt(k, gap.names)] if gap.periodic else []

    if gap.n_filled is None:
        return [["top of the highest band with electrons", gap.vbm, *at(gap.k_vbm)]]
    return [
        ["overlap of the bands, negative" if gap.gap < 0 else "gap", gap.gap, *([""] if gap.periodic else [])],
        *([["smallest direct gap", gap.direct_gap, *at(gap.k_direct)]] if gap.periodic else []),
        [top, gap.vbm, *at(gap.k_vbm)],
        [bottom, gap.cbm, *at(gap.k_cbm)],
    ]


def _describe_symmetry(report: SymmetryReport) -> dict:
    """Tables of the residuals (meV; S has no unit) and of the levels at the special points."""
    rows = [
        ["largest residual of H over the operations", f"{1e3 * report.hamiltonian.max():.2e} meV"],
        ["mean of it over the operations", f"{1e3 * report.hamiltonian.mean():.2e} meV"],
        ["largest residual of S", f"{report.overlap.max():.2e}"],
        ["hermiticity of H", f"{1e3 * report.hermiticity:.2e} meV"],
        ["time reversal of H", f"{1e3 * report.time_reversal:.2e} meV"],
    ]
    if report.expected_error is not None:
        rows.append(["for comparison: largest H MAE over the model's test sets", f"{1e3 * report.expected_error:.2e} meV"])
    levels = [
        [describe_kpt(k, report.names), f"{1e3 * split:.2e}", " ".join(str(n) for n in degeneracies)]
        for k, split, degeneracies in zip(report.kpts, report.splitting, report.degeneracies, strict=True)
    ]
    return {"group": report.group.name, "residuals": rows, "levels": levels}


def _describe_card(card) -> dict:
    rows = [
        ["what", card.description],
        ["labels", f"{card.code}, {card.xc}, {card.basis}"],
        ["pair cut-off", f"{card.cutoff:.2f} Angstrom"],
        ["training data", card.training_set],
        ["label noise", f"{card.label_noise_mev:g} meV in the bands" if card.label_noise_mev else ""],
        ["made with", ", ".join(f"{name} {version}" for name, version in card.versions.items())],
    ]
    columns = MOLECULE_ERRORS if any("homo" in figures for figures in card.errors.values()) else CRYSTAL_ERRORS
    errors = [[test, *(figures.get(key) for key in columns.values())] for test, figures in card.errors.items()]
    return {"name": card.name, "rows": [row for row in rows if row[1]], "columns": list(columns), "errors": errors}


def _list_settings(calc, options: ReportOptions, mesh, width: float, n_kpts: int) -> list[list[str]]:
    return [
        ["model", str(calc.todict()["model"])],
        ["precision of the network", calc.predictor.dtype],
        ["k-points of the gap", _describe_kpts(calc.parameters["kpts"])],
        ["k-points of the Fermi level", _describe_kpts(calc.parameters["fermi_kpts"])],
        ["k-points on the path", str(n_kpts)],
        ["k-points of the DOS", _describe_kpts(mesh)],
        ["broadening of the DOS", f"Gaussian, sigma {width:g} eV" if width else "none (linear tetrahedra)"],
        ["shares of orbitals", f"Loewdin, by {options.by}"],
        ["program", f"ase_tracegrad {__version__}"],
    ]


def _describe_kpts(kpts) -> str:
    """A mesh in words; other forms as they are written."""
    if isinstance(kpts, dict) and set(kpts) == {"size", "gamma"}:
        return " x ".join(map(str, kpts["size"])) + (", with Gamma" if kpts["gamma"] else "")
    if isinstance(kpts, dict) and set(kpts) == {"density", "gamma"}:
        return f"{kpts['density']:g} points per 1/Angstrom" + (", with Gamma" if kpts["gamma"] else "")
    return str(kpts)
