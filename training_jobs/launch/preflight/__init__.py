"""Checks the nodes before the job starts: GPUs, network, storage and clocks (docs/preflight.md)."""
