"""How the containers of a fake job end, whenever their exit codes are read."""

from __future__ import annotations

import pytest

from tests.fakes.containers import EqualContainers

Codes = list[int | None]


class _Exiting(EqualContainers):
    """Containers whose codes change between two reads, as those of processes do."""

    def __init__(self, *looks: Codes) -> None:
        super().__init__()
        self._looks = list(looks)

    @property
    def codes(self) -> Codes:
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]


@pytest.mark.parametrize(
    ("looks", "failed"),
    [
        ([[None], [75]], 75),
        ([[None, 0], [7, 0]], 7),
        ([[None, None], [None, 75], [143, 75]], 75),
        ([[None, None], [0, None], [0, 0]], None),
    ],
)
def test_a_container_that_fails_between_two_reads_has_failed(looks: list[Codes], failed: int | None) -> None:
    containers = _Exiting(*looks)
    while not containers.ended:
        pass
    assert containers.failed == failed
