"""Pins in the text of a stack file: inserted or replaced in place, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.stacks.pinning.stack_file import with_pins
from gpuyard.training_jobs.errors import UsageError

ROOT = Path(__file__).resolve().parents[4]
IMAGE = "ami-0123456789abcdef0"
JOB = "pytorch@sha256:" + "0" * 64
BLOCK = """\
  gpuyard:pins: # written by `gpuyard pin`; review it like a lock file
    machine_images:
      a: ami-0123456789abcdef0
    job_image: {job}
""".replace("{job}", JOB)


def test_new_pins_come_last_and_before_a_closing_comment() -> None:
    text = "# head\nconfig:\n  a:b: 1   # one\n  c:d:\n    e: [1, 2] # last\n  # end\nencryptionsalt: v1\n"
    expected = text.replace("# last\n", "# last\n" + BLOCK)
    assert with_pins(text, "gpuyard", {"a": IMAGE}, JOB) == expected


@pytest.mark.parametrize(
    "old", ["  gpuyard:pins: {machine_images: {old: ami-01234567}} # x\n", BLOCK, BLOCK.replace("gpuyard:pins", "pins")]
)
@pytest.mark.parametrize("rest", ["", "  z:y: 1 # z\n", "  # a comment\n\n  z:y: |\n    text\n"])
def test_new_pins_replace_old_pins(old: str, rest: str) -> None:
    head = "config:\n  # before\n  a:b: 1\n"
    assert with_pins(head + old + rest, "gpuyard", {"a": IMAGE}, JOB) == head + BLOCK + rest
    assert with_pins(head + old + rest, "gpuyard", {}, None) == head + rest


def test_the_key_pins_of_another_project_stays() -> None:
    text = "config:\n  pins: 7\n"
    assert with_pins(text, "acme", {"a": IMAGE}, JOB) == text + BLOCK


@pytest.mark.parametrize("text", ["", "encryptionsalt: v1", "encryptionsalt: v1\n"])
def test_a_file_without_config(text: str) -> None:
    after = with_pins(text, "gpuyard", {"a": IMAGE}, JOB)
    assert yaml.safe_load(after)["config"] == yaml.safe_load("config:\n" + BLOCK)["config"]
    assert after.startswith(text)
    assert with_pins(text, "gpuyard", {}, None) == text


def test_line_breaks_and_a_missing_last_one_stay() -> None:
    assert with_pins("config:\r\n  a:b: 1 # x\r\n", "p", {"a": IMAGE}, JOB) == "config:\r\n  a:b: 1 # x\r\n" + BLOCK.replace("\n", "\r\n")
    assert with_pins("config:\n  a:b: 1", "p", {"a": IMAGE}, JOB) == "config:\n  a:b: 1\n" + BLOCK.rstrip("\n")


@pytest.mark.parametrize("text", ["config: {a:b: 1}\n", "config: 7\n"])
def test_a_config_that_is_no_block_mapping_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="one key per line"):
        with_pins(text, "gpuyard", {"a": IMAGE}, None)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab:#'\"{}- \n", max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc:", min_size=1, max_size=4), inner, max_size=3),
    max_leaves=6,
)
pools = st.dictionaries(st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z]", fullmatch=True), st.just(IMAGE), max_size=3)


@given(
    st.dictionaries(st.text("abc", min_size=1), values, min_size=1, max_size=4), st.booleans(), pools, pools, st.sampled_from([None, JOB])
)
def test_any_file(config: dict[str, Any], flow: bool, first: dict[str, str], second: dict[str, str], job: str | None) -> None:
    """Parsed as YAML, only the pins differ. A second change with the same pins changes nothing."""
    entries = [f"{key}: {json.dumps(value)}\n" if flow else yaml.safe_dump({key: value}) for key, value in config.items()]
    text = "config:\n" + "".join(f"  {line}\n" for entry in entries for line in entry.splitlines())
    once = with_pins(text, "gpuyard", first, None)
    after = with_pins(once, "gpuyard", second, job)
    pins = {**({"machine_images": second} if second else {}), **({"job_image": job} if job else {})}
    assert yaml.safe_load(after)["config"] == {**yaml.safe_load(text)["config"], **({"gpuyard:pins": pins} if pins else {})}
    assert with_pins(after, "gpuyard", second, job) == after


@pytest.mark.parametrize("stack", ["dev-aws", "prod-aws"])
def test_the_stacks_of_this_checkout(stack: str) -> None:
    text = (ROOT / f"stacks/Pulumi.{stack}.yaml").read_text()
    after = with_pins(text, "gpuyard", {"a": IMAGE}, JOB)
    assert [line for line in after.splitlines() if line not in BLOCK.splitlines()] == [
        line for line in text.splitlines() if line not in BLOCK.splitlines()
    ]
    assert yaml.safe_load(after)["config"]["gpuyard:pins"] == {"machine_images": {"a": IMAGE}, "job_image": JOB}
