"""ThermalGap: what gap_vs_temperature returns, its averages with errors, and fits of the gap."""

import json
from dataclasses import dataclass

import numpy as np
from scipy.optimize import curve_fit

from ..replace_file import replace_text

# The gaps as differences of edges, by name.
GAPS = {"gap": ("cbm", "vbm"), "direct gap": ("direct cbm", "direct vbm")}
# Fits of three parameters need more temperatures than that.
FEWEST_TEMPERATURES = 4
FEWEST_PAIRS = 2


@dataclass(frozen=True, eq=False)
class GapFit:
    """A formula fitted to gaps: name; parameters {name: value}, eV and K; errors: their standard errors from leaving out one pair
    of snapshots after the other, nan for a single pair; rmse of the fit, eV; is_determined: whether the gaps say anything about
    each parameter, that is, neither these errors nor those from the scatter about the curve exceed it."""

    name: str
    parameters: dict[str, float]
    errors: dict[str, float]
    rmse: float
    is_determined: bool

    def __call__(self, temperatures) -> np.ndarray:
        """The formula's gap in eV at temperatures in K."""
        return FORMULAS[self.name](np.asarray(temperatures, dtype=float), *self.parameters.values())

    def __str__(self) -> str:
        if not self.is_determined:
            return f"{self.name}: not determined by these gaps; it takes more pairs, or temperatures further apart"
        known = {name: f" +- {error:.1g}" for name, error in self.errors.items() if np.isfinite(error)}
        values = ", ".join(f"{name} = {value:.4g}{known.get(name, '')}" for name, value in self.parameters.items())
        return f"{self.name}: {values} (eV, K; rmse {1000 * self.rmse:.1f} meV)"


@dataclass(frozen=True, eq=False)
class ThermalGap:
    """Edges of T temperatures, S snapshots each (pairs u, -u one after the other), and E edges.

    temperatures (T,) K; edges: names; static (E,) eV: of the undisplaced crystal; energies (T, S, E) eV; spreads (T, S, E) eV:
    over which each edge's states are spread in a snapshot; method: of the displacements.
    """

    temperatures: np.ndarray
    edges: tuple[str, ...]
    static: np.ndarray
    energies: np.ndarray
    spreads: np.ndarray
    method: str

    def select(self, name: str) -> tuple[np.ndarray, float]:
        """(T, S) eV of 'gap', 'direct gap' or an edge in every snapshot, and its static value."""
        if name in GAPS:
            upper, lower = (self.edges.index(edge) for edge in GAPS[name])
            return self.energies[:, :, upper] - self.energies[:, :, lower], float(self.static[upper] - self.static[lower])
        if name not in self.edges:
            raise ValueError(f"expected one of {', '.join([*GAPS, *self.edges])}, found {name!r}")
        return self.energies[:, :, self.edges.index(name)], float(self.static[self.edges.index(name)])

    def mean(self, name: str = "gap") -> np.ndarray:
        """(T,) eV."""
        return self.select(name)[0].mean(axis=1)

    def error(self, name: str = "gap") -> np.ndarray:
        """(T,) eV: standard error of the mean over pairs, whose two members are not independent; nan for a single pair.

        For special displacements the pairs are chosen to complement each other: their spread is an upper estimate.
        """
        pairs = self._pairs(name)
        if pairs.shape[1] < FEWEST_PAIRS:
            return np.full(len(pairs), np.nan)
        return pairs.std(axis=1, ddof=1) / np.sqrt(pairs.shape[1])

    def shift(self, name: str = "gap") -> np.ndarray:
        """(T,) eV: what temperature and zero-point motion change; at 0 K the zero-point renormalization."""
        values, static = self.select(name)
        return values.mean(axis=1) - static

    def converge(self, name: str = "gap") -> tuple[np.ndarray, np.ndarray]:
        """Means (T, P) over the first 1, 2, ... pairs, and their standard errors (nan for one), eV."""
        pairs = self._pairs(name)
        counts = np.arange(1, pairs.shape[1] + 1)
        means = np.cumsum(pairs, axis=1) / counts
        squares = np.cumsum(pairs**2, axis=1) - counts * means**2
        with np.errstate(divide="ignore", invalid="ignore"):
            return means, np.sqrt(np.maximum(squares, 0.0) / (counts - 1) / counts)

    def fit_varshni(self, name: str = "gap") -> GapFit:
        """E(T) = E_0 - alpha T^2 / (T + beta) (Y. P. Varshni, Physica 34, 149 (1967)); a linear law at high temperature."""
        gaps = self.mean(name)
        slope = max((gaps[0] - gaps[-1]) / max(np.ptp(self.temperatures), 1.0), 1e-5)
        return self._fit("Varshni", name, (gaps[0], slope, 300.0))

    def fit_bose_einstein(self, name: str = "gap") -> GapFit:
        """E(T) = E_s - a (1 + 2 / (exp(theta / T) - 1)): one mean phonon; E_s the static gap, -a the zero-point renormalization.

        L. Vina, S. Logothetidis, M. Cardona, Phys. Rev. B 30, 1979 (1984).
        """
        gaps, static = self.mean(name), self.select(name)[1]
        return self._fit("Bose-Einstein", name, (static, static - gaps[0], 300.0))

    def write(self, path):
        """All numbers as json: docs/temperature.md lists the keys."""
        names = [*GAPS, *self.edges]
        numbers = {
            "units": "eV, K",
            "method": self.method,
            "n_pairs": self.energies.shape[1] // 2,
            "temperatures": self.temperatures.tolist(),
            "static": {name: self.select(name)[1] for name in names},
            "mean": {name: self.mean(name).tolist() for name in names},
            "standard_error": {name: [None if np.isnan(x) else float(x) for x in self.error(name)] for name in names},
            "spread": {name: self.spreads[:, :, e].mean(axis=1).tolist() for e, name in enumerate(self.edges)},
            "fits": {fit.name: fit.parameters for fit in self.fits()},
        }
        replace_text(path, json.dumps(numbers, indent=1) + "\n")

    def fits(self, name: str = "gap") -> list[GapFit]:
        """Both fits, as far as the gaps determine them; none for fewer than FEWEST_TEMPERATURES temperatures."""
        return [fit for fit in self._try_fits(name) if fit.is_determined]

    def __str__(self) -> str:
        lines = [f"{'T (K)':>7}{'gap (eV)':>20}{'direct gap (eV)':>20}{'shift (meV)':>13}{'spread (meV)':>15}"]
        for t, temperature in enumerate(self.temperatures):
            cells = [f"{self.mean(name)[t]:.4f} +- {self.error(name)[t]:.4f}" for name in GAPS]
            spread = 1000 * self.spreads[t].mean(axis=0).max()
            lines.append(f"{temperature:>7g}{cells[0]:>20}{cells[1]:>20}{1000 * self.shift()[t]:>13.1f}{spread:>15.0f}")
        static = [f"{self.select(name)[1]:.4f}" for name in GAPS]
        lines.append(f"{'static':>7}{static[0]:>20}{static[1]:>20}")
        if self.temperatures[0] == 0:
            lines.append(f"zero-point renormalization of the gap: {1000 * self.shift()[0]:.1f} +- {1000 * self.error()[0]:.1f} meV")
        return "\n".join([*lines, *(str(fit) for fit in self._try_fits("gap"))])

    def _pairs(self, name: str) -> np.ndarray:
        """(T, P): means of each two opposite displacements; what is linear in them cancels."""
        values = self.select(name)[0]
        return values.reshape(len(values), -1, 2).mean(axis=2)

    def _try_fits(self, name: str) -> list[GapFit]:
        if len(self.temperatures) < FEWEST_TEMPERATURES:
            return []
        return [self.fit_varshni(name), self.fit_bose_einstein(name)]

    def _fit(self, formula: str, name: str, start: tuple[float, ...]) -> GapFit:
        if len(self.temperatures) < FEWEST_TEMPERATURES:
            raise ValueError(f"a {formula} fit needs {FEWEST_TEMPERATURES} temperatures or more, found {len(self.temperatures)}")
        pairs, weights = self._pairs(name), self.error(name)
        known = np.isfinite(weights).all() and (weights > 0).all()
        bounds = ([-np.inf, -np.inf, 1.0], [np.inf, np.inf, 5000.0])

        def fit(gaps, start) -> tuple[np.ndarray, np.ndarray]:
            sigma = weights if known else None
            return curve_fit(FORMULAS[formula], self.temperatures, gaps, start, sigma=sigma, bounds=bounds, max_nfev=20_000)

        gaps, count = pairs.mean(axis=1), pairs.shape[1]
        found, covariance = fit(gaps, start)
        errors, scatter = np.full(len(start), np.nan), np.sqrt(np.diag(covariance))
        if count >= FEWEST_PAIRS:
            # Jackknife: all temperatures share their random numbers, so scatter about the curve says too little of its errors.
            others = np.array([fit((count * gaps - pair) / (count - 1), found)[0] for pair in pairs.T])
            errors = np.sqrt((count - 1) * others.var(axis=0))
        rmse = float(np.sqrt(np.mean((FORMULAS[formula](self.temperatures, *found) - gaps) ** 2)))
        parameters, uncertain = (dict(zip(PARAMETERS[formula], values.tolist(), strict=True)) for values in (found, errors))
        return GapFit(formula, parameters, uncertain, rmse, bool((np.abs(found) > np.fmax(errors, scatter)).all()))


def _varshni(t, e0, alpha, beta):
    return e0 - alpha * t**2 / (t + beta)


def _bose_einstein(t, static, a, theta):
    with np.errstate(divide="ignore", over="ignore"):
        return static - a * (1 + 2 / np.expm1(theta / t))


FORMULAS = {"Varshni": _varshni, "Bose-Einstein": _bose_einstein}
PARAMETERS = {"Varshni": ("E_0", "alpha", "beta"), "Bose-Einstein": ("E_static", "a", "theta")}
