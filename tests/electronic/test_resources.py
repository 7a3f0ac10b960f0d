import pytest

from ase_tracegrad.electronic.resources import CARD_LIMIT, Machine, ProblemTooLargeError, plan_chunks


def test_everything_alive_at_once_fits():
    n, memory = 500, 2e9
    for eigenvectors, alive in ((False, 6), (True, 8)):
        machine = Machine(memory=memory, threads=16)
        workers, size = plan_chunks(n, 60, machine, eigenvectors=eigenvectors)
        assert 1 <= workers <= 16
        assert workers * size * alive * 16 * n**2 <= memory
    assert plan_chunks(260, 4, Machine(threads=8), eigenvectors=False) == (4, 1)
    assert plan_chunks(3000, 4, Machine(memory=1.2e9, threads=8), eigenvectors=False) == (1, 1)


def test_threads_are_started_for_enough_work_only():
    eight = Machine(threads=8)
    assert plan_chunks(26, 8, eight, eigenvectors=False) == (1, 8)
    assert plan_chunks(26, 10_000, eight, eigenvectors=False)[0] == 8
    assert plan_chunks(1, 10_000, eight, eigenvectors=False)[0] == 8


def test_a_graphics_card_gets_batches_that_its_indices_can_count():
    machine = Machine(memory=1e15, device="cuda")
    workers, size = plan_chunks(2000, 10**6, machine, eigenvectors=False, card_memory=1e15)
    assert workers == 1
    assert size * 2000**2 <= CARD_LIMIT < (size + 1) * 2000**2
    assert plan_chunks(2000, 10, Machine(device="cuda"), eigenvectors=False, card_memory=1e9)[1] == int(0.5e9 // (6 * 16 * 2000**2))
    with pytest.raises(ProblemTooLargeError, match="GiB may be used"):
        plan_chunks(2000, 10, Machine(device="cuda"), eigenvectors=False, card_memory=1e6)


def test_bad_machines_are_refused():
    with pytest.raises(ValueError, match="at least one thread"):
        Machine(threads=0)
    with pytest.raises(ValueError, match="expected one of the libraries"):
        Machine(library="magma")
    with pytest.raises(ValueError, match="processor only"):
        Machine(library="mkl", device="cuda")
