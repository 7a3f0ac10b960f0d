"""The one table of physical constants (CODATA 2014, the values of ``ase.units``).

Inside the package every energy is in eV and every length in Angstrom. These factors
are used only where data enter or leave.
"""

HARTREE = 27.211386024367243  # eV
RYDBERG = HARTREE / 2  # eV
BOHR = 0.5291772105638411  # Angstrom
BOLTZMANN = 8.617330337217213e-05  # eV / K
DEBYE = 0.20819433442462576  # e Angstrom
