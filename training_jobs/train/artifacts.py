"""What a finished run leaves: result.json, the model, its curves and tables, and a sample of what it learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from . import charts, classify, export, generate

if TYPE_CHECKING:
    from .loop import Trainer

_SAMPLE_TOKENS = 200


def result(trainer: Trainer, figures: dict[str, Any], validated: dict[str, Any]) -> dict[str, Any]:
    """The run's figures under their lasting names; what is not known is null."""
    run, around, account = trainer.run, trainer.around, trainer.run.account
    loss, facts = validated["val_loss"], run.data.facts
    if loss is not None:
        says = f"validation loss {loss:.4f} nats"
        says += "".join(
            f"; {name.replace('_', ' ')} {value:.4f}: {'beaten' if loss < value else 'not beaten'}" for name, value in facts.items()
        )
        says += f"; accuracy {validated['accuracy']:.4f}" if "accuracy" in validated else ""
        trainer.say(says)
    return {
        "version": 1,
        "run_id": around.run_id,
        "attempt": around.attempt,
        "preset": trainer.config.preset,
        "step": trainer.step,
        "steps": trainer.config.steps,
        **validated,
        **facts,
        "tokens_per_s": None,
        **figures,
        "goodput": account.goodput(),
        "lost_steps": account.lost_steps,
        "restarts": account.restarts,
        "parameters": run.parameters,
        "strategy": trainer.config.strategy,
        "world": trainer.place.world,
        "checkpoint_url": f"{around.checkpoint_url}/{trainer.step}",
        "model_url": f"{trainer.output.url}/model",
    }


def leave_artifacts(trainer: Trainer, found: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """The export, the charts and the sample, on one rank. Raises OSError."""
    output, data = trainer.output, trainer.run.data
    trainer.metrics.flush()
    output.leave("loss.png", charts.curve(trainer.metrics.lines, data.facts))
    if "confusion" in found:
        output.leave("confusion.csv", classify.csv(found["confusion"], data.index.classes))
        output.leave("confusion.png", charts.confusion(found["confusion"], data.index.classes))
    export.leave(output, trainer.config, data, found, weights)
    if trainer.config.task == "gpt" and data.train is not None:
        model = generate.open_model(f"{output.url}/model")
        text = generate.sample(model, "", _SAMPLE_TOKENS, seed=trainer.config.seed)
        output.leave("sample.txt", text)
        trainer.say(f"it writes: {text[:60]!r}")
