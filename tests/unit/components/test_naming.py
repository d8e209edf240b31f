"""Directory names are legal on every system and unique."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from gpuyard.components.naming import NAME_LIMIT, directory_name

LEGAL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


names = st.text(min_size=1, max_size=120)


@given(names)
def test_directory_names_are_legal_everywhere(name: str) -> None:
    made = directory_name(name)
    assert LEGAL.fullmatch(made)
    assert len(made) <= 63
    assert directory_name(name) == made


@given(names, names)
def test_different_names_get_different_directories(one: str, other: str) -> None:
    assert one == other or directory_name(one) != directory_name(other)


@given(st.from_regex(rf"[a-z][a-z0-9]{{0,{NAME_LIMIT - 1}}}", fullmatch=True))
def test_a_legal_name_is_its_directory(name: str) -> None:
    assert directory_name(name) == name
