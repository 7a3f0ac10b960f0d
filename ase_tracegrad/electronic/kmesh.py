"""KMesh: regular k-point meshes in the order of ase.dft.kpoints.monkhorst_pack, and their reduction by symmetry."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .bloch import check_kpts

# k-points whose coordinates differ by less have one name.
SAME_KPT = 1e-3


@dataclass(frozen=True, eq=False)
class KMesh:
    """The k-points to solve and the full mesh they stand for.

    kpts (K, 3) fractional, weights (K,) with sum 1; size (3,) of the mesh, None for a list;
    full_kpts (F, 3); full_to_irreducible (F,): full_kpts[f] is equivalent to kpts[full_to_irreducible[f]].
    """

    kpts: np.ndarray
    weights: np.ndarray
    size: tuple[int, int, int] | None
    full_kpts: np.ndarray
    full_to_irreducible: np.ndarray

    def __len__(self) -> int:
        return len(self.kpts)

    def unfold(self, energies) -> np.ndarray:
        """Values per irreducible k, (K, ...), on the full mesh: (n1, n2, n3, ...), or (F, ...) for a list."""
        full = np.asarray(energies)[self.full_to_irreducible]
        return full if self.size is None else full.reshape(*self.size, *full.shape[1:])

    def unreduced(self) -> "KMesh":
        """All points of the full mesh, equally weighted."""
        count = len(self.full_kpts)
        return replace(self, kpts=self.full_kpts, weights=np.full(count, 1 / count), full_to_irreducible=np.arange(count))

    def reduced_by(self, rotations) -> "KMesh":
        """This mesh reduced further by operations k -> W k, W (G, 3, 3) integers, a group.

        Operations that do not map the mesh onto itself are not used. Whether E(W k) = E(k) holds
        for a Hamiltonian is the caller's to know (irreducible.reduce_mesh checks it).
        """
        if self.size is None:
            raise ValueError("only a regular mesh can be reduced by rotations, not a list of k-points")
        representative = np.arange(len(self.full_kpts))
        # Twice the position of the first point in units of the mesh step: integers, so no tolerance is needed.
        origin = np.rint(2 * self.full_kpts[0] * self.size).astype(int)
        for matrix, step in _maps_of_mesh(np.asarray(rotations, dtype=int), origin, np.array(self.size)):
            image = (np.indices(self.size).reshape(3, -1).T @ matrix.T + step) % self.size
            representative = np.minimum(representative, np.ravel_multi_index(tuple(image.T), self.size))
        # Under a group the smallest image is the same for every member of an orbit; joining with the
        # present reduction needs the transitive closure.
        merged = _join(representative, self.full_to_irreducible)
        first, full_to_irreducible, counts = np.unique(merged, return_inverse=True, return_counts=True)
        return replace(
            self,
            kpts=self.full_kpts[first],
            weights=counts / len(merged),
            full_to_irreducible=full_to_irreducible.ravel(),
        )


def make_mesh(size, *, gamma: bool = False, time_reversal: bool = True) -> KMesh:
    """Monkhorst-Pack mesh of size (n1, n2, n3) (Phys. Rev. B 13, 5188 (1976)).

    gamma=False: k = (2 g + 1 - n) / (2 n), which for even n avoids Gamma; gamma=True moves even
    axes by half a step so that Gamma is on the mesh. time_reversal: keep one of k and -k.
    """
    size = check_mesh_size(size)
    indices = np.indices(size).transpose(1, 2, 3, 0).reshape(-1, 3)
    full = (indices + 0.5) / size - 0.5
    if gamma:
        full = full + np.where(np.array(size) % 2 == 0, 0.5 / np.array(size), 0.0)
    count = len(full)
    mesh = KMesh(full, np.full(count, 1 / count), size, full, np.arange(count))
    return mesh.reduced_by([-np.eye(3, dtype=int)]) if time_reversal else mesh


def make_list(kpts, weights=None) -> KMesh:
    """An explicit list of k-points (K, 3), equally weighted unless weights (K,) are given."""
    kpts = check_kpts(kpts)
    weights = np.ones(len(kpts)) if weights is None else np.asarray(weights, dtype=float)
    if weights.shape != (len(kpts),) or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
        raise ValueError(f"expected {len(kpts)} weights, not negative, with a positive sum; found {weights}")
    return KMesh(kpts, weights / weights.sum(), None, kpts, np.arange(len(kpts)))


def name_kpt(kpt, names: dict[str, np.ndarray]) -> str | None:
    """The name of a k-point (3,), up to a reciprocal vector, among {name: (P, 3) k-points}, if it has one."""
    for name, points in names.items():
        difference = kpt - points
        if (np.abs(difference - np.rint(difference)) < SAME_KPT).all(axis=1).any():
            return name
    return None


def describe_kpt(kpt, names: dict[str, np.ndarray]) -> str:
    """'K = (0.3333, 0.3333, 0)', or 'k = ...' without a name; names: see name_kpt."""
    return f"{name_kpt(kpt, names) or 'k'} = (" + ", ".join(f"{x:.4g}" for x in np.round(kpt, 6) + 0.0) + ")"


def check_mesh_size(size) -> tuple[int, int, int]:
    """size as three positive ints; ValueError otherwise."""
    values = np.asarray(size)
    if values.shape != (3,) or (values != np.rint(values)).any() or (values < 1).any():
        raise ValueError(f"expected a mesh of three positive whole numbers such as (6, 6, 1), found {size!r}")
    first, second, third = (int(n) for n in values)
    return first, second, third


def _maps_of_mesh(rotations: np.ndarray, origin: np.ndarray, size: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The different maps g -> M g + m of mesh indices that the rotations k -> W k are, without those that leave the mesh.

    k_a = (origin_a + 2 g_a) / (2 n_a), so M_ab = n_a W_ab / n_b and m = (M origin - origin) / 2, which have to be integers.
    """
    maps = {}
    for rotation in rotations:
        # Axes with one point have g = 0 and k = 0.
        numerator = size[:, None] * rotation * (size > 1)
        matrix, rest = np.divmod(numerator, size)
        step, odd = np.divmod(matrix @ origin - origin, 2)
        if not rest.any() and not odd.any():
            key = matrix % size[:, None], step % size
            maps[b"".join(part.tobytes() for part in key)] = key
    return list(maps.values())


def _join(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Smallest member of the joint classes of two partitions of the same points."""
    count = len(first)
    anchors = np.unique(second, return_index=True)[1][np.unique(second, return_inverse=True)[1].ravel()]
    links = coo_array((np.ones(2 * count), (np.tile(np.arange(count), 2), np.concatenate([first, anchors]))), shape=(count, count))
    labels = connected_components(links, directed=False)[1]
    return np.unique(labels, return_index=True)[1][labels]
