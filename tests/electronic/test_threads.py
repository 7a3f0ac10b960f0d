import time

import pytest
import torch

from ase_tracegrad.electronic.threads import run_in_threads


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_ends_the_work_and_restores_the_threads(workers):
    before, begun = torch.get_num_threads(), []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise KeyboardInterrupt
        time.sleep(1e-3)  # gives way
        return item

    with pytest.raises(KeyboardInterrupt):
        list(run_in_threads(work, list(range(1000)), workers, 1))
    assert len(begun) < 1000, "what had not begun is left out"
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order(workers):
    def work(item: int) -> int:
        time.sleep(1e-3 * (item % 3))
        return -item

    assert list(run_in_threads(work, list(range(12)), workers, 1)) == [-item for item in range(12)]
