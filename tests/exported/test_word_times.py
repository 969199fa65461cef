"""Word times against transformers' own extraction, and cases by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration

from tests.support.tiny import tiny_config
from whisperslim.exported.word_times import attention, timed_words, token_starts, warped


def test_the_cheapest_way_by_hand() -> None:
    cost = np.array([[-1.0, -1.0, 1.0, 1.0], [1.0, 1.0, -1.0, 1.0], [1.0, 1.0, 1.0, -1.0]])
    tokens, places = warped(cost)
    assert tokens.tolist() == [0, 0, 1, 2]
    assert places.tolist() == [0, 1, 2, 3]


def test_attention_is_softmax_of_scaled_products() -> None:
    queries = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    keys = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]], np.float32)
    e = np.exp([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(
        attention(queries, keys, 0.5), e / e.sum(-1, keepdims=True), rtol=1e-6
    )


@pytest.mark.parametrize(("rows", "positions", "seed"), [(5, 60, 0), (12, 9, 1), (2, 3, 2)])
def test_starts_are_those_of_transformers(rows: int, positions: int, seed: int) -> None:
    model = WhisperForConditionalGeneration(tiny_config())
    layers, heads = model.config.decoder_layers, model.config.decoder_attention_heads
    random = torch.Generator().manual_seed(seed)
    steps = [
        tuple(
            torch.rand(1, heads, 1, positions + 20, generator=random).softmax(-1)
            for _ in range(layers)
        )
        for _ in range(rows)
    ]
    chosen = [(0, 1), (1, 0)]
    outputs: Any = _Outputs(
        cross_attentions=steps, sequences=torch.zeros(1, rows + 1, dtype=torch.long)
    )
    theirs = model._extract_token_timestamps(
        outputs, chosen, num_frames=2 * positions, num_input_ids=0
    )[0, :rows]
    weights = np.stack([
        torch.cat([step[layer][0, head] for step in steps]).numpy() for layer, head in chosen
    ])  # fmt: skip
    ours = token_starts(weights, positions * 0.02)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)
    assert len(set(ours.tolist())) > 1 or rows == 2


class _Outputs(SimpleNamespace):
    """As transformers' results, which can be asked whether they have a field."""

    def __contains__(self, name: str) -> bool:
        return hasattr(self, name)


def test_words_begin_at_spaces_and_end_where_the_next_begins() -> None:
    spelling = {1: "na", 2: "ma", 3: "Ġgha", 4: "r", 5: "Ġ", 6: "!"}
    words = timed_words(
        [1, 2, 3, 4, 5, 6],
        np.array([0.0, 0.1, 0.5, 0.6, 0.9, 0.9, 1.2]),
        [1.0, 0.5, 0.25, 0.75, 1.0, 0.5],
        spelling.__getitem__,
        lambda ids: "".join(spelling[i] for i in ids).replace("Ġ", " ").strip(),
    )
    assert [(w.text, w.start, w.end, w.confidence) for w in words] == [
        ("nama", 0.0, 0.5, 0.75),
        ("ghar", 0.5, 0.9, 0.5),
        ("!", 0.9, 1.2, 0.75),
    ]
    assert timed_words([], np.array([0.0]), [], str, str) == ()


def test_sound_after_the_clip_is_not_heard() -> None:
    weights = np.random.default_rng(0).random((1, 4, 50)).astype(np.float32)
    weights[:, -1, 20:] = 100.0
    assert token_starts(weights, 0.4).max() < 0.4
