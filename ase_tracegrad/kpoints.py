"""From every form of ``kpts`` that ASE users write to one set of k-points, and the default band path.

Fractions of the reciprocal cell throughout.
"""

import difflib
import itertools
import warnings
from dataclasses import dataclass

import numpy as np
from ase.calculators.calculator import InputError, kpts2sizeandoffsets
from ase.cell import Cell
from ase.dft.kpoints import BandPath, monkhorst_pack, parse_path_string

from .electronic.kmesh import KMesh, make_list, make_mesh

FORMS = "(n1, n2, n3), a density in points per 1/Angstrom, an array (K, 3), a dict or a BandPath"
LIST_KEYS = {"kpts", "__ase_objtype__"}
PATH_KEYS = {"path", "npoints", "density", "special_points", "eps"}
MESH_KEYS = {"size", "density", "gamma", "even"}


@dataclass(frozen=True, eq=False)
class KPoints:
    """The points to diagonalise at. ``mesh.size`` is None unless they fill the Brillouin zone; path: if they follow one."""

    mesh: KMesh
    path: BandPath | None = None


def normalise_kpts(kpts, atoms) -> KPoints:
    """KPoints from any form ASE knows, and those its own ``kpts2kpts`` misreads (numpy integers, floats).

    atoms: ase.Atoms, for densities and paths. A mesh is reduced by time reversal. Raises InputError.
    """
    if kpts is None:
        return _mesh((1, 1, 1))
    if isinstance(kpts, KPoints):
        return kpts
    if isinstance(kpts, KMesh):
        return KPoints(kpts)
    if isinstance(kpts, BandPath):
        return KPoints(_list_of_points(kpts.kpts), kpts)
    if hasattr(kpts, "kpts"):
        return KPoints(_list_of_points(kpts.kpts))
    if isinstance(kpts, dict):
        return _from_dict(kpts, atoms)
    if isinstance(kpts, str):
        raise InputError(f"kpts={kpts!r}: expected {FORMS}; a path is written {{'path': {kpts!r}, 'npoints': 50}}")
    if isinstance(kpts, (float, np.floating)):
        return _from_dict({"density": float(kpts), "gamma": True}, atoms)
    array = _as_array(kpts)
    if array.shape == (3,):
        if not np.issubdtype(array.dtype, np.integer):
            raise InputError(f"kpts={kpts!r}: a mesh needs three integers; for one k-point write [[{', '.join(map(str, array))}]]")
        return _mesh(array)
    return KPoints(_list_of_points(array))


def check_kpts_form(kpts):
    """InputError for kpts that are wrong in any cell; normalise_kpts finds the rest, such as paths this lattice has not."""
    if isinstance(kpts, (float, np.floating)):
        kpts = {"density": float(kpts)}
    if isinstance(kpts, dict):
        _check_keys(kpts)
    if not (isinstance(kpts, dict) and {"path", "density"} & set(kpts)):
        normalise_kpts(kpts, None)


def _as_array(kpts) -> np.ndarray:
    try:
        array = np.asarray(kpts)
        if array.dtype.kind not in "iuf":
            raise ValueError(f"of type {array.dtype}")
    except ValueError as error:
        raise InputError(f"kpts={kpts!r}: expected {FORMS}; found something {error}") from None
    return array


def _from_dict(kpts: dict, atoms) -> KPoints:
    """{'kpts'}, {'path', 'npoints' | 'density', 'special_points'} or {'size' | 'density', 'gamma', 'even'}."""
    _check_keys(kpts)
    if "kpts" in kpts:
        return KPoints(_list_of_points(kpts["kpts"]))
    if "path" in kpts:
        return normalise_kpts(_ase_path(atoms.cell, atoms.pbc, **kpts), atoms)
    if "size" in kpts:
        _check_size(kpts["size"])  # ASE would divide by it
    size, offsets = kpts2sizeandoffsets(atoms=atoms, **kpts)
    return _mesh(size, np.asarray(offsets))


def _check_keys(kpts: dict):
    keys = set(kpts)
    for unknown in sorted(keys - LIST_KEYS - PATH_KEYS - MESH_KEYS, key=str):
        near = difflib.get_close_matches(str(unknown), PATH_KEYS | MESH_KEYS | {"kpts"}, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"kpts: unknown key {unknown!r}: {hint}A mesh has {sorted(MESH_KEYS)}, a path {sorted(PATH_KEYS)}")
    allowed = PATH_KEYS if "path" in keys else LIST_KEYS if "kpts" in keys else MESH_KEYS
    if keys - allowed:
        raise InputError(
            f"kpts: {sorted(keys - allowed)} cannot stand beside {sorted(keys & allowed)}; allowed there: {sorted(allowed)}"
        )
    if {"size", "density"} <= keys:
        raise InputError("kpts: give either 'size' or 'density', not both")
    density = kpts.get("density", 1.0)
    if not (isinstance(density, (int, float, np.number)) and 0 < density < np.inf):
        raise InputError(f"kpts: a density must be a positive number, found {density!r}")


def _check_size(size) -> tuple[int, int, int]:
    size = np.asarray(size)
    if size.shape != (3,) or not np.issubdtype(size.dtype, np.integer) or (size < 1).any():
        raise InputError(f"kpts: a mesh needs three positive integers, found {size.tolist()}")
    return int(size[0]), int(size[1]), int(size[2])


def _mesh(size, offsets=None) -> KPoints:
    size = _check_size(size)
    points = monkhorst_pack(size) + (0 if offsets is None else offsets)
    for gamma in (False, True):
        mesh = make_mesh(size, gamma=gamma)
        if np.allclose(mesh.full_kpts, points, atol=1e-12):
            return KPoints(mesh)
    # ASE's gamma=False on an odd mesh and mixed shifts: the points as asked for, not reduced.
    n = len(points)
    return KPoints(KMesh(points, np.full(n, 1 / n), size, points, np.arange(n)))


def _list_of_points(points) -> KMesh:
    points = np.array(points, dtype=float)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.isfinite(points).all():
        raise InputError(f"kpts: expected {FORMS}; found an array of shape {points.shape}")
    return make_list(points)


# -- paths and special points ----------------------------------------------------------------------


def make_band_path(atoms, path=None, npoints: int | None = None, *, dispersive=None) -> BandPath:
    """A BandPath in the cell of ``atoms``.

    path: special points such as 'GMKG', a BandPath, None for the whole standard path of the lattice
    (Setyawan, Curtarolo, Comput. Mater. Sci. 49, 299 (2010)), or 'seekpath' for that of the crystal, which sees the
    atoms as well (needs the package seekpath; see find_seekpath); npoints: about how many points.
    dispersive (3,) bool: the axes along which bands can disperse, pbc by default.
    """
    if isinstance(path, BandPath):
        if npoints is not None and npoints != len(path.kpts):
            raise InputError(f"npoints={npoints} contradicts the path, which has {len(path.kpts)} points")
        return path
    if npoints is not None and npoints < 1:
        raise InputError(f"npoints must be positive, found {npoints}")
    periodic = np.asarray(atoms.pbc if dispersive is None else dispersive, dtype=bool)
    if path == "seekpath":
        names, points = find_seekpath(atoms, periodic)
        return _ase_path(atoms.cell, periodic, path=names, npoints=npoints, special_points=points)
    if path is not None:
        # A point the reduced lattice does not know may exist in the full one.
        try:
            return _ase_path(atoms.cell, periodic, path=path, npoints=npoints)
        except InputError:
            return _ase_path(atoms.cell, atoms.pbc, path=path, npoints=npoints)
    return _ase_path(atoms.cell, periodic, path=None, npoints=npoints)


def find_seekpath(atoms, dispersive) -> tuple[str, dict[str, np.ndarray]]:
    """The path of Hinuma et al. (Comput. Mater. Sci. 128, 140 (2017)) in the cell of ``atoms``: its names, and its points.

    seekpath standardizes the cell; the points come back as fractions of the reciprocal vectors of the given one. Kept
    are the pieces in which k has no component along axes that are not ``dispersive``. A supercell gets the path of
    its primitive cell, and seekpath's SupercellWarning. Names as ASE writes them: G, X1, Sigma0.
    """
    try:
        import seekpath
    except ImportError:
        raise InputError("path 'seekpath' needs the package seekpath: pip install seekpath; or leave the path out") from None
    cell = np.array(atoms.cell)
    missing = ~cell.any(axis=1)
    # A vector that is not there becomes so long that no symmetry can mix it with the others.
    cell[missing] = (10 * (1 + np.abs(cell).max()) + np.ptp(atoms.positions)) * np.array(Cell(cell).complete())[missing]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # spglib's, about its future error handling
        found = seekpath.get_path_orig_cell((cell, atoms.positions @ np.linalg.inv(cell), atoms.numbers))
    flat = ~np.asarray(dispersive, dtype=bool)
    points = {_ase_name(name): np.array(k, dtype=float) for name, k in found["point_coords"].items()}
    points = {name: k for name, k in points.items() if np.abs(k[flat]).max(initial=0.0) < 1e-9}
    text, last = "", None
    for first, second in ((_ase_name(a), _ase_name(b)) for a, b in found["path"]):
        if first in points and second in points:
            text += second if first == last else ("," if text else "") + first + second
            last = second
    return text or "G", points


def _ase_name(name: str) -> str:
    """'GAMMA' -> 'G', 'X_1' -> 'X1', 'SIGMA_0' -> 'Sigma0'."""
    return "G" if name == "GAMMA" else name.replace("_", "").capitalize()


def _ase_path(cell, pbc, *, path, **choices) -> BandPath:
    cell, npoints = Cell.ascell(cell), choices.get("npoints")
    if path == "":
        raise InputError("path '': expected special points such as 'GMKG'; None means the standard path of the lattice")
    if not (np.any(pbc) and cell.any(1)[np.asarray(pbc, dtype=bool)].all()):
        if path not in (None, "G"):
            raise InputError(f"path {path!r}: a molecule has the one k-point G")
        return BandPath(cell, kpts=np.zeros((1, 3)), special_points={"G": np.zeros(3)}, path="G")
    try:
        found = cell.bandpath(path, pbc=pbc, **choices)
    except (KeyError, ValueError) as error:
        known = sorted(cell.bandpath(npoints=0, pbc=pbc).special_points)
        raise InputError(f"path {path!r}: {error} is none of the special points {', '.join(known)} of this lattice") from None
    ends = sum(len(piece) for piece in parse_path_string(found.path))
    if npoints and npoints < ends:
        raise InputError(f"npoints={npoints} is too few for the path {found.path}, which alone names {ends} special points")
    return found


def special_points(atoms) -> np.ndarray:
    """(K, 3): where band edges like to be: the time-reversal-invariant points and the special points of the lattice."""
    periodic = np.asarray(atoms.pbc, dtype=bool)
    halves = [(0.0, 0.5) if p else (0.0,) for p in periodic]
    named = _ase_path(atoms.cell, periodic, path=None, npoints=0).special_points
    return np.unique(np.round([*itertools.product(*halves), *named.values()], 12), axis=0)


def dos_mesh(atoms, density: float = 7.0) -> dict:
    """A Gamma-centred mesh of at least this density (points per 1/Angstrom) that holds special points of the lattice.

    Linear tetrahedra of a mesh that misses the point where bands touch (K of graphene) show a gap that is not there. So each
    size is raised, by a third at most, to the first one with the most special points.
    """
    sizes, _ = kpts2sizeandoffsets(atoms=atoms, density=density, gamma=True)
    raised = [1, 1, 1]
    for axis in np.flatnonzero(atoms.pbc):
        choices = np.arange(sizes[axis], sizes[axis] + sizes[axis] // 3 + 1)
        steps = np.outer(choices, special_points(atoms)[:, axis])
        raised[axis] = int(choices[np.argmax((abs(steps - np.round(steps)) < 1e-6).sum(1))])
    return {"size": tuple(raised), "gamma": True}


def named_points(atoms) -> dict[str, np.ndarray]:
    """{name: (P, 3)}: the special points of the lattice, each with its images under the lattice's rotations."""
    periodic = np.asarray(atoms.pbc, dtype=bool)
    metric = Cell.ascell(atoms.cell).complete() @ Cell.ascell(atoms.cell).complete().T
    matrices = np.array(list(itertools.product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    turned = matrices @ metric @ matrices.transpose(0, 2, 1)
    # Coordinates of k along the reciprocal vectors turn as the lattice vectors do.
    rotations = matrices[np.abs(turned - metric).max(axis=(1, 2)) < 1e-4 * np.abs(metric).max()]
    named = _ase_path(atoms.cell, periodic, path=None, npoints=0).special_points
    return {"Gamma" if name == "G" else name: rotations @ point for name, point in named.items()}
