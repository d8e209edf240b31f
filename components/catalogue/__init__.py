"""GPU machines of the clouds and the services that run jobs on them: dated tables with the source of each figure."""

from __future__ import annotations

from .machines import Machine, Quota, Rate, Table, UnknownMachineError, clouds, machine, table, with_accelerator

__all__ = ["Machine", "Quota", "Rate", "Table", "UnknownMachineError", "clouds", "machine", "table", "with_accelerator"]
