"""GPU machines of the clouds and the services that run jobs on them: dated tables with the source of each figure."""

from __future__ import annotations

from .machines import DiskRate, Machine, Quota, Rate, Table, UnknownMachineError, clouds, machine, table, with_accelerator

__all__ = ["DiskRate", "Machine", "Quota", "Rate", "Table", "UnknownMachineError", "clouds", "machine", "table", "with_accelerator"]
