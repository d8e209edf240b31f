"""Attention masked by document: a document's logits do not depend on what else is in its window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from gpuyard.training_jobs.train.attention import attend, document_ids, document_mask
from gpuyard.training_jobs.train.config import Config, ConfigError
from gpuyard.training_jobs.train.data import Dataset, InMemorySplit
from gpuyard.training_jobs.train.llama import Llama
from gpuyard.training_jobs.train.model import Gpt
from gpuyard.training_jobs.train.shards import DataIndex
from gpuyard.training_jobs.train.tasks import LanguageTask

CONFIG = Config(width=32, heads=4, kv_heads=2, layers=2, context=16, vocab=256)


@pytest.mark.parametrize("recompute", ["none", "block"])
@pytest.mark.parametrize("kind", [Gpt, Llama])
def test_a_documents_logits_do_not_depend_on_its_neighbours(kind: Any, recompute: str) -> None:
    torch.manual_seed(0)
    model = kind(replace(CONFIG, recompute=recompute))
    model.end_token = 0
    first, second = torch.tensor([[5, 6, 7, 0]]), torch.tensor([[9, 8, 7, 6, 5, 0]])
    together = model.logits(torch.cat([first, second], 1))[0]
    alone = torch.cat([model.logits(first)[0], model.logits(second)[0]])
    assert (together - alone).abs().max() < 1e-5  # rotary positions are relative
    model.end_token = None
    assert (model.logits(torch.cat([first, second], 1))[0] - alone).abs().max() > 1e-3
    assert document_ids(torch.cat([first, second], 1), 0).tolist() == [[0] * 4 + [1] * 6]


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")  # the blocks are compiled on a GPU
def test_flex_attention_computes_the_same() -> None:
    torch.manual_seed(0)
    documents = document_ids(torch.randint(0, 5, (2, 48)), 0)
    q, k, v = (torch.randn(2, heads, 48, 8) for heads in (4, 2, 2))
    with torch.no_grad():  # a CPU has no backward pass of it
        blocks, booleans = (attend(q, k, v, document_mask(documents, flex)) for flex in (True, False))
    assert (blocks - booleans).abs().max() < 1e-5


def test_data_without_an_end_token_is_refused() -> None:
    config = replace(CONFIG, document_mask="on", data="folder")
    split = InMemorySplit([])
    with pytest.raises(ConfigError, match="document_mask: got on, but folder does not name the token that ends a document"):
        LanguageTask(config, Dataset(DataIndex("tokens", "<u1", 256, {}), None, split)).model()
    model = LanguageTask(config, Dataset(DataIndex("tokens", "<u1", 256, {}, end_token=3), None, split)).model()
    assert model.end_token == 3
