"""Parsl on PBS Pro: tracegrad screen 'cifs/*.cif' --executor parsl:examples/clusters/pbs.py --out results

Up to four nodes, each with 64 one-thread workers; see slurm.py.
"""

from parsl import Config
from parsl.addresses import address_by_hostname
from parsl.executors import HighThroughputExecutor
from parsl.launchers import MpiExecLauncher
from parsl.providers import PBSProProvider

provider = PBSProProvider(
    queue="workq",
    account="my-project",
    walltime="04:00:00",
    nodes_per_block=1,
    cpus_per_node=64,
    init_blocks=1,
    min_blocks=0,
    max_blocks=4,
    worker_init="source $HOME/tracegrad/bin/activate; export OMP_NUM_THREADS=1",
    launcher=MpiExecLauncher(),
)
config = Config(
    executors=[HighThroughputExecutor(label="pbs", address=address_by_hostname(), max_workers_per_node=64, provider=provider)],
    retries=0,
)
