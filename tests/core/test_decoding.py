"""Greedy decoding against transformers' own `generate`, and its bounds."""

from copy import deepcopy

import pytest
import torch

from tests.support.models.decoding import greedy, greedy_from_states
from tests.support.tiny import END, START, VOCABULARY
from tests.support.tiny_job import Workshop
from whisperslim.core.loading import SpeechModel
from whisperslim.exported.bounds import DecodingOptions

CONTROL = list(range(END + 1, VOCABULARY))


@pytest.fixture
def speech(shop: Workshop) -> SpeechModel:
    return shop.student()


def noise(clips: int, frames: int, seed: int = 0) -> torch.Tensor:
    values = torch.randn(clips, 80, frames, generator=torch.Generator().manual_seed(seed))
    # Clips of different loudness, so that a random model does not write the same for all.
    return values * torch.linspace(0.2, 3.0, clips)[:, None, None]


def by_transformers(speech: SpeechModel, features: torch.Tensor, most: int) -> list[list[int]]:
    """Text ids of stock `generate`, asked to leave out the control tokens as ours always does."""
    prompt = speech.tokens.prompt("hi")
    model = deepcopy(speech.model)
    model.generation_config.suppress_tokens = sorted(
        {*CONTROL, *(speech.model.generation_config.suppress_tokens or ())}
    )
    found = model.generate(
        features,
        decoder_input_ids=torch.tensor([prompt] * len(features)),
        do_sample=False,
        num_beams=1,
        max_new_tokens=most,
    )
    rows = [row[len(prompt) :] if row[: len(prompt)] == prompt else row for row in found.tolist()]
    return [row[: row.index(END)] if END in row else row for row in rows]


def test_greedy_equals_transformers_token_for_token(speech: SpeechModel) -> None:
    features = noise(3, 3000)
    # 10 + 25 * 2 = 60 tokens.
    ours = greedy(speech.model, speech.tokens, features, [2.0] * 3, "hi")
    assert ours == by_transformers(speech, features, 60)
    assert len({tuple(row) for row in ours}) == 3, "clips should differ for the test to say much"


def test_a_clip_that_ends_ends_as_in_transformers(speech: SpeechModel) -> None:
    """The end token is made to win where another token won: rows stop at different places."""
    features = noise(4, 3000, seed=2)
    free = greedy(speech.model, speech.tokens, features, [2.0] * 4, "hi")
    later = {token for row in free for token in row} - {row[0] for row in free}
    places = {t: [row.index(t) if t in row else len(row) for row in free] for t in later}
    chosen = max(places, key=lambda token: len(set(places[token])))
    with torch.no_grad():
        embedding = speech.model.model.decoder.embed_tokens.weight
        embedding[END] = 1.0001 * embedding[chosen]
    ours = greedy(speech.model, speech.tokens, features, [2.0] * 4, "hi")
    assert ours == by_transformers(speech, features, 60)
    assert ours == [row[:place] for row, place in zip(free, places[chosen], strict=True)]
    assert len({len(row) for row in ours}) > 1


def test_suppressed_tokens_are_never_written(speech: SpeechModel) -> None:
    features = noise(2, 3000)
    free = greedy(speech.model, speech.tokens, features, [2.0] * 2, "hi")
    banned = sorted({row[0] for row in free})
    speech.model.generation_config.suppress_tokens = banned
    held = greedy(speech.model, speech.tokens, features, [2.0] * 2, "hi")
    assert not set(banned) & {token for row in held for token in row}
    assert held == by_transformers(speech, features, 60)


def test_control_tokens_are_never_written(speech: SpeechModel) -> None:
    with torch.no_grad():
        speech.model.model.decoder.embed_tokens.weight[CONTROL] *= 50
    found = greedy(speech.model, speech.tokens, noise(2, 300), [1.0] * 2, "hi")
    assert max(token for row in found for token in row) <= END
    assert START not in {token for row in found for token in row}


def test_a_batch_gives_what_clips_give_one_by_one(speech: SpeechModel) -> None:
    features, seconds = noise(5, 400), [0.2, 4.0, 1.0, 0.0, 2.5]
    together = greedy(speech.model, speech.tokens, features, seconds, "hi")
    alone = [
        greedy(speech.model, speech.tokens, features[i : i + 1], seconds[i : i + 1], "hi")[0]
        for i in range(5)
    ]
    assert together == alone


def test_the_cache_changes_nothing(speech: SpeechModel) -> None:
    """Against the whole prefix run again for every token."""
    features = noise(2, 200)
    found = greedy(speech.model, speech.tokens, features, [1.0, 1.0], "hi")
    states = speech.family.encode(speech.model, features)
    for clip, row in enumerate(found):
        prefix = [*speech.tokens.prompt("hi"), *row]
        with torch.no_grad():
            hidden = speech.model.model.decoder(
                input_ids=torch.tensor([prefix]), encoder_hidden_states=states[clip : clip + 1]
            ).last_hidden_state
            scores = speech.model.proj_out(hidden)[0, 3:-1]
        scores[:, CONTROL] = -torch.inf
        scores[0, END] = -torch.inf
        assert scores.argmax(-1).tolist() == row


@pytest.mark.parametrize(
    ("seconds", "most"), [(0.0, 10), (0.5, 22), (1.0, 35), (2.0, 60), (30.0, 124)]
)
def test_the_token_bound_by_hand(speech: SpeechModel, seconds: float, most: int) -> None:
    # 10 + 25 a second, within 128 positions less a prompt of 4.
    assert DecodingOptions().limit(seconds, 128, 4) == most
    states = speech.family.encode(speech.model, noise(1, 100))
    with torch.no_grad():
        speech.model.model.decoder.embed_tokens.weight[END] = 0.0
    found = greedy_from_states(speech.model, speech.tokens, states, [seconds], "hi")
    # An end token that scores nothing is never the best: the row runs into its bound.
    assert len(found[0]) == most


def test_each_clip_has_its_own_bound(speech: SpeechModel) -> None:
    options = DecodingOptions(tokens_per_second=2.0, tokens_always=1)
    found = greedy(speech.model, speech.tokens, noise(3, 100), [0.0, 1.0, 3.0], "hi", options)
    assert all(len(row) <= most for row, most in zip(found, (1, 3, 7), strict=True))


def test_the_description_names_the_bound() -> None:
    assert DecodingOptions().describe() == (
        "greedy, KV cache, at most 10 + 25 tokens per second of audio"
    )


def test_text_survives_the_tokenizer(speech: SpeechModel) -> None:
    text = "नमस्ते, क्या हाल है? ज़िंदगी 42"
    ids = speech.tokens.encode(text)
    assert speech.tokens.decode(ids) == text
    assert speech.tokens.decode([*speech.tokens.prompt("hi"), *ids, speech.tokens.end]) == text
