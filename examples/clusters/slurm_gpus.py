"""Parsl on Slurm nodes with four graphics cards: one worker for each card, which sees no other card.

tracegrad screen structures.extxyz --executor parsl:examples/clusters/slurm_gpus.py --device cuda --out results
"""

from parsl import Config
from parsl.addresses import address_by_hostname
from parsl.executors import HighThroughputExecutor
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

provider = SlurmProvider(
    partition="gpu",
    account="my-project",
    walltime="04:00:00",
    nodes_per_block=1,
    max_blocks=2,
    scheduler_options="#SBATCH --gpus-per-node=4",
    worker_init="source $HOME/tracegrad/bin/activate; export OMP_NUM_THREADS=8",
    launcher=SrunLauncher(overrides="--gpus-per-node=4"),
)
executor = HighThroughputExecutor(
    label="cards",
    address=address_by_hostname(),
    available_accelerators=4,  # Parsl pins worker n to card n by CUDA_VISIBLE_DEVICES
    max_workers_per_node=4,
    cpu_affinity="block",
    provider=provider,
)
config = Config(executors=[executor], retries=0)
