"""`gpuyard doctor`: what is installed, which engine, which credentials, and what to do."""

from __future__ import annotations

from . import options


def command(json: options.Json = False) -> None:
    """Look at this machine and say what is missing and what to do about it. Asks no cloud."""
    from .checks import all_checks
    from .documents import DoctorDocument, emit

    checks = all_checks()
    if json:
        emit(DoctorDocument(checks=checks))
        return
    for check in checks:
        print(f"{'ok ' if check.ok else '-- '} {check.name:<12} {check.detail}" + (f"; {check.fix}" if check.fix else ""))
