"""How many k-points to solve at a time: memory and cores of this machine."""

import os
from dataclasses import dataclass
from pathlib import Path

# Matrices of N x N complex numbers alive per k-point in the dense solver: H, S, factor, two stages
# of the reduction and LAPACK's work space; two more for vectors.
MATRICES_VALUES, MATRICES_VECTORS = 6, 8
# Enough small problems per batch that Python costs nothing, and no more, so that progress is seen.
ORBITALS_PER_BATCH = 2048
# Operations, N^3 and a constant for each k-point, that are worth a thread of their own: with less to do, to start it costs more.
WORTH_A_THREAD, PER_KPT = 2_000_000, 5_000
# Numbers per batch that the 32-bit indices of a graphics card's solvers can count.
CARD_LIMIT = 2**31 - 1
LIBRARIES = ("auto", "mkl", "torch")


class ProblemTooLargeError(MemoryError):
    """A problem that does not fit into memory; the message gives the numbers and what to do."""


@dataclass(frozen=True)
class Machine:
    """What a solver may use.

    memory: bytes, half of what is free if None; threads: all cores if None; library: "auto" is MKL where it is
    installed and pays, "mkl" and "torch" (with SuperLU) insist; device: of torch, "cpu" or a graphics card such
    as "cuda", where ``memory`` is that of the card.
    """

    memory: float | None = None
    threads: int | None = None
    library: str = "auto"
    device: str = "cpu"

    def __post_init__(self):
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"expected at least one thread, found {self.threads}")
        if self.library not in LIBRARIES:
            raise ValueError(f"expected one of the libraries {', '.join(LIBRARIES)}, found {self.library!r}")
        if self.library == "mkl" and self.device != "cpu":
            raise ValueError(f"MKL runs on the processor only, found device {self.device!r}: leave out one of the two")

    @property
    def cores(self) -> int:
        """Threads to use."""
        return self.threads or available_cores()

    @property
    def budget(self) -> float:
        """Bytes to use on the processor's side."""
        return available_memory() / 2 if self.memory is None else float(self.memory)


THIS_MACHINE = Machine()


def plan_chunks(
    n_orbitals: int, n_kpts: int, machine: Machine, *, eigenvectors: bool, card_memory: float | None = None
) -> tuple[int, int]:
    """Threads and k-points per chunk such that everything alive at once fits into the memory.

    card_memory: free bytes of the graphics card, None on the processor. Raises ProblemTooLargeError if not
    even one k-point fits.
    """
    budget = machine.budget
    matrix = 16.0 * n_orbitals**2
    result = n_kpts * (8 * n_orbitals + (matrix if eigenvectors else 0))
    per_kpt = (MATRICES_VECTORS if eigenvectors else MATRICES_VALUES) * matrix
    fitting = int((budget - result) // per_kpt)
    if card_memory is not None:
        budget = card_memory / 2 if machine.memory is None else machine.memory
        fitting = min(fitting, int(budget // per_kpt), CARD_LIMIT // n_orbitals**2)
    if fitting < 1:
        needed = result + per_kpt
        advice = "ask for fewer k-points, " if result > per_kpt else ""
        advice += "for energies without eigenvectors, " if eigenvectors else ""
        advice += "for a few states by solve_states"
        raise ProblemTooLargeError(
            f"{n_kpts} k-points of {n_orbitals} orbitals need {needed / 2**30:.2f} GiB, "
            f"{budget / 2**30:.2f} GiB may be used: {advice}, or raise memory="
        )
    if card_memory is not None:
        return 1, min(fitting, n_kpts)
    worth = 1 + n_kpts * (n_orbitals**3 + PER_KPT) // WORTH_A_THREAD
    workers = min(machine.cores, n_kpts, fitting, worth)
    chunk = min(fitting // workers, max(1, ORBITALS_PER_BATCH // n_orbitals), -(-n_kpts // workers))
    return workers, max(1, chunk)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> float:
    """Bytes that can be allocated without swapping, as far as the system tells."""
    information = Path("/proc/meminfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return 0.5 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 4.0 * 2**30
