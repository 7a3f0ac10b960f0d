"""Electrons and charges of the atoms, with a table for people."""

from dataclasses import dataclass

import numpy as np

from .projections import Population


@dataclass(frozen=True, eq=False)
class Populations:
    """electrons (N,) on each atom; charges (N,) in units of e, positive where electrons are missing; symbols; method."""

    electrons: np.ndarray
    charges: np.ndarray
    symbols: tuple[str, ...]
    method: Population

    def __str__(self) -> str:
        lines = [f"{'atom':<10}{'electrons':>12}{'charge (e)':>12}   ({self.method})"]
        for number, (symbol, n, charge) in enumerate(zip(self.symbols, self.electrons, self.charges, strict=True)):
            lines.append(f"{symbol + ' ' + str(number):<10}{n:>12.4f}{charge:>12.4f}")
        return "\n".join(lines)
