"""Chemical symbols by atomic number, without importing ASE."""

_SYMBOLS = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr "
    "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu "
    "Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr "
    "Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
).split()


def symbol_of(number: int) -> str:
    """Chemical symbol of an atomic number; ValueError for a number no element has."""
    if not 0 <= number < len(_SYMBOLS):
        raise ValueError(f"there is no element of atomic number {number}")
    return _SYMBOLS[number]


def is_symbol(text) -> bool:
    """Whether this is the symbol of an element."""
    return text in _SYMBOLS[1:]


def number_of(symbol: str) -> int:
    """Atomic number of a chemical symbol; ValueError for another text."""
    if not is_symbol(symbol):
        raise ValueError(f"{symbol!r} is no chemical symbol")
    return _SYMBOLS.index(symbol)
