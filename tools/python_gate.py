"""Refuse a Python that is too old, with one line. Runs on any Python: `python3 tools/python_gate.py`."""

import sys

__all__ = ["NEEDED", "complaint"]

NEEDED = (3, 11)


def complaint(have: "tuple[object, ...]") -> "str | None":  # quoted: older Pythons cannot read it
    """Return the error message for this version, None if it is new enough."""
    if have[:2] >= NEEDED:
        return None
    return "error: Python {}.{} is too old, allowed: {}.{} or newer. fix: install one and name it: `make demo PYTHON=python3.12`".format(
        have[0], have[1], *NEEDED
    )


if __name__ == "__main__":
    sys.exit(complaint(sys.version_info))
