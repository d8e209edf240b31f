"""How the containers of a fake job end, whenever somebody looks."""

from __future__ import annotations

import pytest

from tests.fakes.containers import EqualContainers

Codes = list[int | None]


class _Exiting(EqualContainers):
    """Containers whose codes change from one look to the next, as those of processes do."""

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
def test_whoever_fails_has_failed_however_it_falls_between_two_looks(looks: list[Codes], failed: int | None) -> None:
    containers = _Exiting(*looks)
    while not containers.ended:
        pass
    assert containers.failed == failed
