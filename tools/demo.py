"""`make demo`: create a yard on this machine and run a distributed job that survives a kill -9.

Standard library only: the system's Python starts it. It is safe to interrupt and to run again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started by its path, so the checkout is not on sys.path
from tools import drill, local_env, stack_lock, venv
from tools.engine import bootstrap
from tools.progress import Progress, Speed, clock

__all__ = ["JOB", "RANK", "ROOT", "SHAPE", "DemoError", "main", "step"]

ROOT = local_env.ROOT
JOB = "examples/gpt-local.yaml"
SHAPE = "2 nodes x 2 processes"  # what JOB asks for
RANK = 3  # the second process of node 1
_WIDTH = 86
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")  # not STOPPED: `gpuyard wait` starts its next attempt


class DemoError(Exception):
    """A step failed. The message says what to do."""


def main() -> int:
    """Run the five steps of the demo. Returns the exit code."""
    print("gpuyard demo: no account, no credentials. Writes only ./.venv, ./.yard and the user's cache", flush=True)
    progress = Progress(sys.stdout, "      ")
    begun = time.monotonic()
    try:
        _python(progress)
        env = _engine(progress)
        _up(env)
        run, adopted = _submit(env)
        status = _follow(env, run, with_drill=not adopted)
        _result(run, status, begun)
    except (DemoError, venv.VenvError, bootstrap.NoEngineError, stack_lock.StackBusyError) as error:
        progress.end()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.end()
        print("interrupted; the run continues: `make demo` follows it, `make down` stops and removes everything", file=sys.stderr)
        return 130
    return 0


def step(number: int, name: str, text: str, seconds: float | None = None) -> None:
    """Print one of the five lines."""
    line = f"[{number}/5] {name:<10} {text}"
    print(line if seconds is None else f"{line:<{_WIDTH}} {seconds:4.0f} s", flush=True)


def _python(progress: Progress) -> None:
    begun = time.monotonic()
    made = venv.ensure(ROOT, "demo", progress.say)
    progress.end()
    step(1, "python", f".venv {'' if made else 'is there '}from {venv.LOCKS['demo']}", time.monotonic() - begun)


def _engine(progress: Progress) -> dict[str, str]:
    begun = time.monotonic()
    engine = bootstrap.ensure(ROOT, say=progress.say)
    progress.end()
    step(2, "pulumi", f"{engine.version} {engine.origin}", time.monotonic() - begun)
    return local_env.environment(ROOT, engine.folder, os.environ)


def _up(env: Mapping[str, str]) -> None:
    step(3, "pulumi up", "stack local, state in ./.yard/state        (the engine's output follows)")
    if stack_lock.recover(ROOT, local_env.STACK, env):
        print("      (removed the stack's lock of a killed engine)", flush=True)
    select = ["pulumi", "stack", "select", local_env.STACK, "--create", "--non-interactive"]
    selected = subprocess.run(select, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if selected.returncode:
        raise DemoError(f"the stack cannot be made: {selected.stderr.strip()}")
    up = ["pulumi", "up", "--stack", local_env.STACK, "--yes", "--skip-preview", "--suppress-permalink=true", "--suppress-outputs"]
    if not sys.stdout.isatty():
        up.append("--non-interactive")
    if _run_to_its_end(up, env):
        raise DemoError("pulumi up failed. fix: see its message above, then `make demo` again; `make down` removes everything")


def _run_to_its_end(argv: list[str], env: Mapping[str, str]) -> int:
    """Run a command and show its output. On Ctrl-C wait for it: the engine gets the signal too and finishes its current operations."""
    process = subprocess.Popen(argv, cwd=ROOT, env=env)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def _submit(env: Mapping[str, str]) -> tuple[str, bool]:
    """Submit the demo's job. Return its run id and whether an earlier run was adopted."""
    submit = ["submit", JOB, "--stack", local_env.STACK]  # without a request key, the job's content decides whether it is a new run
    answer = _gpuyard(env, submit)
    if not answer["created"] and answer["status"]["state"] in ("FAILED", "CANCELLED"):
        answer = _gpuyard(env, [*submit, "--retry"])
    state = answer["status"]["state"]
    adopted = not answer["created"]
    how = f"(adopted: it is {state})" if adopted else f"({SHAPE})"
    step(4, "submit", f"{JOB} -> run {answer['run_id']} {how}")
    return answer["run_id"], adopted


def _targets() -> str:
    return str(ROOT / ".yard" / "buckets" / "runs" / "gpuyard" / "targets.json")


def _gpuyard(env: Mapping[str, str], arguments: list[str]) -> Any:
    """Run a `gpuyard` command and return its JSON document. Raises DemoError."""
    argv = [str(ROOT / ".venv" / "bin" / "gpuyard"), *arguments, "--json"]
    ran = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if ran.returncode:
        hint = "`gpuyard doctor` finds missing programs; `make down` removes everything"
        raise DemoError(
            f"gpuyard {' '.join(arguments)} failed with exit code {ran.returncode}:\n{ran.stderr.strip()}\nfix: see above; {hint}"
        )
    return json.loads(ran.stdout)


def _follow(env: Mapping[str, str], run: str, *, with_drill: bool) -> Any:
    """Show the run until it ends and kill one worker in the middle. `gpuyard wait` starts new attempts meanwhile."""
    argv = [str(ROOT / ".venv" / "bin" / "gpuyard"), "wait", run, "--targets", _targets(), "--json"]
    waiter = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    progress, speed, shown = Progress(sys.stdout, "      ", timed=False), Speed(), False
    try:
        while True:
            over = waiter.poll() is not None
            status = _gpuyard(env, ["status", run, "--targets", _targets()])
            if over or status["state"] in _ENDED:
                break
            progress.say(_line(status, speed), status["state"])
            # if the run already has a restart, an interrupted demo has done the drill
            if not shown and drill.due(status) and not drill.restarts(status) and (killed := drill.kill(run, RANK, status)):
                progress.end()
                print(f"      {_line(status, speed)}", flush=True)
                shown = _drill(env, run, killed)
            time.sleep(1.0)
    finally:
        waiter.terminate()
        waiter.wait()
    progress.end()
    print(f"      {_line(status, speed)}", flush=True)
    return _succeeded(run, status, missed=with_drill and not shown)


def _drill(env: Mapping[str, str], run: str, killed: drill.Kill) -> bool:
    """Wait until the run trains again after the kill. Return False if it ended instead."""
    print(f"      drill: kill -9 rank {RANK} on node 1 ... ", end="", flush=True)
    while (status := _gpuyard(env, ["status", run, "--targets", _targets()]))["state"] not in _ENDED:
        if message := drill.recovered(killed, status):
            print(message, flush=True)
            return True
        time.sleep(0.5)  # each poll starts a process, and more of them would slow down the run
    print(f"the run is {status['state']}", flush=True)
    return False


def _succeeded(run: str, status: Any, *, missed: bool) -> Any:
    if status["state"] != "SUCCEEDED":
        tail = "\n".join(f"  {line}" for line in status["attempts"][-1]["tail"][-8:])
        how = f"{status['state']} ({status['reason']}, exit code {status['exit_code']})"
        raise DemoError(f"run {run} is {how}\n{tail}\nfix: gpuyard logs {run} --targets {_targets()}; then `make demo` again")
    if missed:
        raise DemoError(f"run {run} ended before the drill could be shown. fix: `make down`, then `make demo`")
    return status


def _line(status: Mapping[str, Any], speed: Speed) -> str:
    """Return the run's state in one line."""
    metrics = status["metrics"]
    if not metrics["step"]:
        state, phase = status["state"], status["phase"]
        return state if phase in (None, state.lower()) else f"{state} {phase}"
    parts = [f"step {metrics['step']}/{metrics['steps']}"]
    parts += [f"loss {metrics['loss']:.2f}"] if metrics["loss"] is not None else []
    parts += [f"{metrics['tokens_per_s'] / 1000:.1f}k tok/s"] if metrics["tokens_per_s"] else []
    left = speed.left(metrics["step"], metrics["steps"]) if status["state"] == "RUNNING" else None
    parts += [f"{clock(left)} left"] if left else []
    parts += [status["state"]] if status["state"] not in ("RUNNING", "SUCCEEDED") else []
    return "  ".join(parts)


def _result(run: str, status: Mapping[str, Any], begun: float) -> None:
    output = _path(status["output_url"])
    try:
        result = json.loads((output / "result.json").read_text(encoding="utf-8"))
        loss, bigram = float(result["val_loss"]), float(result["bigram_entropy"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DemoError(f"run {run} left no result in {output} ({error}). fix: `make down`, then `make demo`") from error
    beaten = loss < bigram
    word = "beaten" if beaten else "not beaten"
    step(5, "result", f"validation loss {loss:.2f} nats/byte; the corpus's bigram entropy is {bigram:.2f}: {word}")
    print(f"      checkpoint {_newest(_path(status['checkpoint_url']))}")
    took = time.monotonic() - begun
    print(f"      took {int(took) // 60} min {int(took) % 60} s. Again: `make demo` (adopts this run). Clean up: `make down`.")
    print(f'      Next: eval "$(make -s env)"; .venv/bin/gpuyard status {run}', flush=True)
    if not beaten:
        raise DemoError("the model did not learn more than the bigram statistics of its corpus")


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path)) if "%" in url else Path(url.removeprefix("file://"))


def _newest(folder: Path) -> str:
    """Return the newest checkpoint's path, relative to the checkout."""
    numbered = (
        sorted((entry for entry in folder.iterdir() if entry.name.isdigit()), key=lambda entry: int(entry.name)) if folder.is_dir() else []
    )
    newest = numbered[-1] if numbered else folder
    return f"./{newest.relative_to(ROOT)}" if newest.is_relative_to(ROOT) else str(newest)


if __name__ == "__main__":
    sys.exit(main())
