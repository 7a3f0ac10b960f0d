"""A Basis as plain JSON data: what checkpoints and packed files carry, read back without running code."""

import numpy as np

from .basis import AtomicBasis, Basis, GaussianRadial, Shell, TabulatedRadial
from .damage import DAMAGE


def basis_to_json(basis: Basis) -> dict:
    """A dictionary of strings, numbers and lists that ``basis_from_json`` turns into an equal Basis."""
    atoms = {}
    for number, atom in sorted(basis.atoms.items()):
        atoms[str(number)] = {
            "angular_momenta": list(atom.angular_momenta),
            "valence": atom.valence,
            "shells": [_radial_to_json(shell.radial) for shell in atom.shells],
        }
    return {"name": basis.name, "code": basis.code, "xc": basis.xc, "atoms": atoms}


def basis_from_json(data: dict) -> Basis:
    """The Basis written by ``basis_to_json``; ValueError that names the faulty entry otherwise."""
    try:
        atoms = {}
        for number, entry in data["atoms"].items():
            momenta = tuple(int(l) for l in entry["angular_momenta"])
            shells = tuple(
                Shell(l, _radial_from_json(l, radial)) for l, radial in zip(momenta, entry["shells"], strict=bool(entry["shells"]))
            )
            valence = None if entry["valence"] is None else float(entry["valence"])
            atoms[int(number)] = AtomicBasis(int(number), momenta, shells, valence)
        return Basis(atoms, str(data["name"]), str(data["code"]), str(data["xc"]))
    except DAMAGE as error:
        raise ValueError(f"the stored basis is incomplete or damaged ({type(error).__name__}: {error})") from error


def _radial_to_json(radial: GaussianRadial | TabulatedRadial) -> dict:
    if isinstance(radial, GaussianRadial):
        return {
            "kind": "gaussian",
            "exponents": radial.exponents.tolist(),
            "coefficients": radial.coefficients.tolist(),
            "tolerance": radial.tolerance,
        }
    data = {"kind": "tabulated", "radii": radial.radii.tolist(), "values": radial.values.tolist()}
    return data if radial.normalise and radial.cutoff is None else data | {"normalise": radial.normalise, "cutoff": radial.cutoff}


def _radial_from_json(l: int, data: dict) -> GaussianRadial | TabulatedRadial:
    if data["kind"] == "gaussian":
        return GaussianRadial(l, np.array(data["exponents"]), np.array(data["coefficients"]), float(data["tolerance"]))
    if data["kind"] == "tabulated":
        cutoff = data.get("cutoff")
        return TabulatedRadial(
            l,
            np.array(data["radii"]),
            np.array(data["values"]),
            bool(data.get("normalise", True)),
            None if cutoff is None else float(cutoff),
        )
    raise ValueError(f"unknown kind of radial function {data['kind']!r}; expected 'gaussian' or 'tabulated'")
