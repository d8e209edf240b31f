"""The trainer's settings: parsing, presets, every wrong setting reported, and what a resumed run may change."""

from __future__ import annotations

import pytest

from gpuyard.training_jobs.train.config import Config, ConfigError, differences, digest, parse_config
from gpuyard.training_jobs.train.presets import PRESETS


def test_settings_from_arguments() -> None:
    assert parse_config(["steps=20", "lr=1e-3", "out=file:///x"]) == Config(steps=20, lr=1e-3, out="file:///x")
    assert parse_config(["heads=12", "preset=gpt_124m"]).width == 768


def test_every_preset_is_a_valid_config() -> None:
    for name in PRESETS:
        config = parse_config([f"preset={name}"])
        assert config.preset == name
        assert config.task != "gpt" or name == "gpt_tiny" or config.width // config.heads == 128


def test_all_invalid_settings_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(
            ["stpes=20", "lr=fast", "--width", "heads=5", "schedule=linear", "attention=cudnn,best", "preset=gpt_tny", "profile=3"]
        )
    text = str(refused.value)
    for says in (
        *("did you mean steps=?", "lr: got 'fast', allowed: a number", "'--width'", "multiples of 2 x heads", "allowed: cosine, wsd"),
        *("attention: got 'best'", "did you mean gpt_tiny?"),
    ):
        assert says in text
    with pytest.raises(ConfigError, match="layers: got 0, allowed: 1 or more"):
        parse_config(["layers=0"])


@pytest.mark.parametrize("window", ["5", "5:", "9:5", "5:x"])
def test_a_profile_needs_a_first_and_a_last_step(window: str) -> None:
    with pytest.raises(ConfigError, match=f"profile: got '{window}', allowed: first:last"):
        parse_config([f"profile={window}"])
    assert parse_config(["profile=5:9"]).profile == "5:9"


def test_a_resumed_run_may_change_these_settings() -> None:
    one, faster, other = Config(), Config(steps=9, micro=2, strategy="fsdp", out="file:///y"), Config(lr=1.0, width=64)
    assert digest(one) == digest(faster)
    assert digest(one) != digest(other)
    assert differences(one, {**one.__dict__, "lr": 1.0, "steps": 7}) == ["lr: 1.0 in the checkpoint, 0.006 now"]
