"""Writes the results of a finished run: result.json, the model, charts, tables and a text sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from . import charts, classify, export, generate
from .tasks import Figures

if TYPE_CHECKING:
    from .loop import Trainer

_SAMPLE_TOKENS = 200


def build_result(trainer: Trainer, figures: Figures, validated: Figures) -> Figures:
    """Build result.json from the run's figures. Unknown values are null."""
    state, environment, account = trainer.state, trainer.environment, trainer.state.account
    loss, bounds = validated["val_loss"], state.data.text_entropies
    if loss is not None:
        text = f"validation loss {loss:.4f} nats"
        text += "".join(
            f"; {name.replace('_', ' ')} {value:.4f}: {'beaten' if loss < value else 'not beaten'}" for name, value in bounds.items()
        )
        text += f"; accuracy {validated['accuracy']:.4f}" if "accuracy" in validated else ""
        trainer.log(text)
    return {
        "version": 1,
        "run_id": environment.run_id,
        "attempt": environment.attempt,
        "preset": trainer.config.preset,
        "step": trainer.step,
        "steps": trainer.config.steps,
        **validated,
        **bounds,
        "tokens_per_s": None,
        **figures,
        "goodput": account.goodput(),
        "lost_steps": account.lost_steps,
        "restarts": account.restarts,
        "parameters": state.parameters,
        "strategy": trainer.config.strategy,
        "world": trainer.ranks.world,
        "checkpoint_url": f"{environment.checkpoint_url}/{trainer.step}",
        "model_url": f"{trainer.output.url}/model",
    }


def write_artifacts(trainer: Trainer, found: Figures, weights: dict[str, Tensor]) -> None:
    """Write the model, the charts and the sample, on one rank. Raises OSError."""
    output, data = trainer.output, trainer.state.data
    trainer.metrics.flush(wait=True)
    title = " ".join(filter(None, (trainer.config.preset, trainer.environment.run_id)))
    output.write("loss.png", charts.loss_curve(trainer.metrics.lines, data.text_entropies, title))
    if "confusion" in found:
        output.write("confusion.csv", classify.confusion_csv(found["confusion"], data.index.classes))
        output.write("confusion.png", charts.confusion_matrix(found["confusion"], data.index.classes))
    export.write(output, trainer.config, data, found, weights)
    if trainer.config.task == "gpt" and data.train is not None:
        model = generate.LoadedModel(
            export.build(trainer.config, data.index, weights), trainer.config, data.index, generate.load_tokenizer(data.url, data.index)
        )
        sample = generate.generate_text(model, "", _SAMPLE_TOKENS, seed=trainer.config.seed)
        output.write("sample.txt", sample)
        trainer.log(f"sample: {sample[:60]!r}")
