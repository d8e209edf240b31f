"""CPU time of a dev stack's program against the same resources with the plain Pulumi SDK, and how it grows with the number of pools.

Both run under the recording monitor. The plain program registers the same components (bare ComponentResources) and resources, with the
same names, parents, options and inputs, and passes outputs on as a hand-written program does. The ratio is therefore the cost of our
specs, catalogue, planners and policies, without Pulumi's own.

python benchmarks/plan_program.py --max 100
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))
from benchmarks.baselines import plain_pulumi  # noqa: E402 after the path: this file is started as a script
from benchmarks.fakes.pulumi_outputs import TracedOutputs  # noqa: E402
from gpuyard.components.planning.recorder import Recording, record  # noqa: E402
from gpuyard.stacks.program import declare  # noqa: E402
from gpuyard.stacks.settings import load  # noqa: E402

RATIO, GROWTH = 1.05, 0.05
_STACKS = ["dev-aws", "dev-gcp", "dev-azure"]
Program = Callable[[], None]


def main() -> int:
    """Print each stack's ratio, a row per number of pools of dev-aws, and the growth exponents.

    Exits with 1 if a ratio or an exponent exceeds its limit.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max", type=int, default=1000, help="largest number of pools: 1, 10, 100, ... up to this (default 1000)")
    parser.add_argument("--stacks", nargs="+", default=_STACKS, help=f"yards to measure (default {' '.join(_STACKS)})")
    parser.add_argument("--repeats", type=int, default=20, help="runs of the yard of each kind, in turns (default 20)")
    arguments = parser.parse_args()
    ratio = max(_yard(stack, arguments.repeats) for stack in arguments.stacks)
    sizes = [10**power for power in range(int(math.log10(arguments.max)) + 1)]
    excess = _growth(sizes)
    return 0 if ratio <= RATIO and (excess is None or excess <= GROWTH) else 1


def _yard(stack: str, repeats: int) -> float:
    ours, plain = _programs(stack, 1)
    seconds: dict[str, list[float]] = {"gpuyard": [], "plain": []}
    for _ in range(repeats):
        for name, program in (("gpuyard", ours), ("plain", plain)):  # in turns, so that other load on the machine affects both
            seconds[name].append(_time(program, stack))
    ratio = statistics.median(one / other for one, other in zip(seconds["gpuyard"], seconds["plain"], strict=True))
    for name, values in seconds.items():
        print(f"{stack} {name:>8}: fastest {min(values) * 1000:.0f} ms, median {statistics.median(values) * 1000:.0f} ms of {repeats}")
    print(f"{stack} gpuyard / plain (median of the turns): {ratio:.3f} (at most {RATIO})", flush=True)
    return ratio


def _growth(sizes: list[int]) -> float | None:
    best: dict[tuple[str, int], float] = {}
    print(f"{'pools':>6} {'gpuyard s':>10} {'plain s':>10} {'ratio':>6}")
    for size in sizes:
        ours, plain = _programs("dev-aws", size)
        for _ in range(3 if size < 1000 else 1):
            for name, program in (("gpuyard", ours), ("plain", plain)):
                best[name, size] = min(best.get((name, size), math.inf), _time(program, "dev-aws"))
        one, other = best["gpuyard", size], best["plain", size]
        print(f"{size:>6} {one:>10.3f} {other:>10.3f} {one / other:>6.2f}", flush=True)
    if len(sizes) < 3:
        return None
    exponents = {name: _exponent([best[name, size] for size in sizes], sizes) for name in ("gpuyard", "plain")}
    excess = exponents["gpuyard"] - exponents["plain"]
    print(f"growth exponent: gpuyard {exponents['gpuyard']:.3f}, plain {exponents['plain']:.3f}, excess {excess:+.3f} (at most +{GROWTH})")
    return excess


def _programs(stack: str, pools: int) -> tuple[Program, Program]:
    """Return our program and the plain program of a stack. `pools` above 1: with that many copies of its first pool. Runs both once."""
    settings = load(_config(stack), stack=stack)
    if pools > 1:
        first = next(iter(settings.pools.values()))
        settings = settings.model_copy(update={"pools": {f"pool-{index}": first for index in range(pools)}})

    def ours() -> None:
        declare(settings)

    answers = TracedOutputs()
    _freeze()
    recording = _record(ours, answers, stack)
    program = plain_pulumi.program(recording, answers.origins)  # verified below to register the same
    plain_pulumi.check_same(recording, _record(program, TracedOutputs(), stack))
    return ours, program


def _config(stack: str) -> dict[str, str]:
    """Return the configuration of a stack file as the engine gives it to the program."""
    document = yaml.safe_load((CHECKOUT / "stacks" / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in document["config"].items()}


def _record(program: Program, answers: TracedOutputs, stack: str) -> Recording:
    return record(program, answers, project="gpuyard", stack=stack, config=_config(stack), root=CHECKOUT)


def _time(program: Program, stack: str) -> float:
    """Return the CPU seconds of one run."""
    answers, config = TracedOutputs(), _config(stack)
    _freeze()
    begun = time.process_time()
    record(program, answers, project="gpuyard", stack=stack, config=config, root=CHECKOUT)
    return time.process_time() - begun


def _freeze() -> None:
    """Exclude existing objects from garbage collection: walking the SDK's million objects costs as much as a whole run."""
    gc.collect()
    gc.freeze()


def _exponent(seconds: list[float], sizes: list[int]) -> float:
    """Return the slope between the two largest sizes on log scales.

    The fixed cost is subtracted first: the time of the smallest size, minus the time of one pool.
    """
    fixed = max(0.0, seconds[0] - (seconds[1] - seconds[0]) / (sizes[1] - sizes[0]))
    return math.log((seconds[-1] - fixed) / (seconds[-2] - fixed)) / math.log(sizes[-1] / sizes[-2])


if __name__ == "__main__":
    sys.exit(main())
