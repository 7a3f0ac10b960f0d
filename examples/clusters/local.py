"""Parsl on this machine, two workers: tracegrad screen sheets.extxyz --executor parsl:examples/clusters/local.py"""

from ase_tracegrad.screen.workers import local_parsl

config = local_parsl(2)
