"""The first Brillouin zone of a crystal, slab or chain, as faces, and the band path in it."""

import numpy as np
from ase.dft.kpoints import BandPath, parse_path_string
from ase.geometry.minkowski_reduction import minkowski_reduce
from scipy.spatial import Voronoi

from ..plot.labels import join_labels

REACH = 2  # reciprocal vectors in each direction; enough around a reduced cell
SAME = 1e-6  # of the length of a reciprocal vector: corners that are one


def find_zone_faces(reciprocal) -> list[np.ndarray]:
    """Corners (V, 3) of each face in order, 1/Angstrom; of a slab its polygon, of a chain its segment.

    reciprocal (D, 3): 1 to 3 reciprocal vectors as rows. The zone is the Voronoi cell of the origin in their lattice.
    """
    reciprocal = np.atleast_2d(np.asarray(reciprocal, dtype=float))
    dimension = len(reciprocal)
    if dimension == 1:
        return [np.array([-0.5 * reciprocal[0], 0.5 * reciprocal[0]])]
    # Orthonormal axes of the space they span: Voronoi needs as many coordinates as dimensions.
    axes = np.linalg.svd(reciprocal)[2][:dimension]
    padded = np.zeros((3, 3))
    padded[:dimension] = reciprocal
    reduced = minkowski_reduce(padded, pbc=np.arange(3) < dimension)[0][:dimension] @ axes.T
    steps = np.stack(np.meshgrid(*[np.arange(-REACH, REACH + 1)] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)
    voronoi = Voronoi(steps @ reduced)
    origin = int(np.nonzero(~steps.any(axis=1))[0][0])
    if dimension == 2:
        corners = voronoi.vertices[voronoi.regions[voronoi.point_region[origin]]]
        corners = corners[np.argsort(np.arctan2(corners[:, 1], corners[:, 0]))]
        return [_merge_corners(corners, reduced) @ axes]
    ridges = [
        vertices for pair, vertices in zip(voronoi.ridge_points, voronoi.ridge_vertices, strict=True) if origin in pair.tolist()
    ]
    faces = [_merge_corners(voronoi.vertices[vertices], reduced) for vertices in ridges]
    return [face @ axes for face in faces if len(face) > 2]


def describe_zone(path: BandPath, dispersive) -> dict | None:
    """The zone, its reciprocal vectors and the path, for a report; None for a molecule. 1/Angstrom.

    dispersive (3,) bool: the axes that the zone spans; k-points are drawn in the space of these axes.
    """
    axes = np.asarray(dispersive, dtype=bool)
    if not axes.any():
        return None
    reciprocal = 2 * np.pi * np.linalg.pinv(np.asarray(path.cell)[axes]).T
    names = list(dict.fromkeys(name for piece in parse_path_string(path.path) for name in piece))
    points = [{"name": join_labels([name]), "at": path.special_points[name][axes] @ reciprocal} for name in names]
    segments = [
        [names.index(a), names.index(b)] for piece in parse_path_string(path.path) for a, b in zip(piece, piece[1:], strict=False)
    ]
    vectors = [
        {"name": f"b{axis + 1}", "to": vector} for axis, vector in zip(np.nonzero(axes)[0].tolist(), reciprocal, strict=True)
    ]
    return {"faces": find_zone_faces(reciprocal), "points": points, "segments": segments, "vectors": vectors}


def _merge_corners(corners: np.ndarray, reduced: np.ndarray) -> np.ndarray:
    """Without corners that rounding made two of one; corners in order around the face."""
    gap = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
    return corners[gap > SAME * np.linalg.norm(reduced, axis=1).max()]
