"""Parsl on Slurm: tracegrad screen 'cifs/*.cif' --executor parsl:examples/clusters/slurm.py --out results

Up to four nodes, each with 64 one-thread workers. Run it on a login node, or in a small job of its own, in a folder that the
nodes see; killed or out of time, the same command goes on where it ended. Change partition, account, walltime, worker_init.
"""

from parsl import Config
from parsl.addresses import address_by_hostname
from parsl.executors import HighThroughputExecutor
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

provider = SlurmProvider(
    partition="compute",
    account="my-project",
    walltime="04:00:00",
    nodes_per_block=1,
    init_blocks=1,
    min_blocks=0,
    max_blocks=4,
    exclusive=True,
    # What makes `python` find ase_tracegrad on a node. One thread for each worker: there are as many workers as cores.
    worker_init="source $HOME/tracegrad/bin/activate; export OMP_NUM_THREADS=1",
    launcher=SrunLauncher(),
)
config = Config(
    executors=[HighThroughputExecutor(label="slurm", address=address_by_hostname(), max_workers_per_node=64, provider=provider)],
    retries=0,  # the screening itself brings back what was lost
)
