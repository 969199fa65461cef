"""Text held to its script: against a search through all tokens, and the same in every engine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engines.ctranslate2.tiny_ct2 import exported as exported_ct2
from tests.engines.onnx.test_engine import exported as exported_onnx
from tests.engines.onnx.test_engine import opened as opened_onnx
from tests.support.models.tiny_tokens import many_tongued_folder
from whisperslim.core.families.whisper.decoder import suppression
from whisperslim.core.families.whisper.tokens import whisper_tokens
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.engines.hf.engine import HfTranscriber
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.exported.bounds import DecodingOptions
from whisperslim.exported.own_script import allowed_characters
from whisperslim.exported.symbols import bytes_of
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.scoring.writing import text_script

DEMO = Path(__file__).parents[2] / "assets" / "demo_hi" / "audio"
SECONDS = 1.0
LIMIT = 35  # tokens: 10, and 25 a second


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return load_model(str(many_tongued_folder(tmp_path_factory.mktemp("script") / "model", seed=2)))


def features(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 1.0, (80, 100)).astype(np.float32)


def can_become_text(raw: bytes, alphabet: frozenset[str]) -> bool:
    """Whether UTF-8 of the alphabet begins like this, by Python's own decoder."""
    for held_back in range(4):
        whole, rest = raw[: len(raw) - held_back], raw[len(raw) - held_back :]
        try:
            text = whole.decode()
        except UnicodeDecodeError:
            continue
        if set(text) <= alphabet:
            return not rest or any(each.encode().startswith(rest) for each in alphabet)
    return False


@torch.no_grad()
def searched(speech: SpeechModel, mel: np.ndarray) -> list[int]:
    """Greedy text, each token the best of those that leave the text Devanagari: no state kept."""
    codec, alphabet = whisper_tokens(speech.tokens), allowed_characters("hi")
    rules = suppression(speech.model, speech.tokens)
    spelling = {i: bytes_of(token) for token, i in codec.vocabulary().items() if i < codec.end}
    states = speech.family.encode(speech.model, torch.from_numpy(mel)[None])
    prompt, ids = codec.prompt("hi"), list[int]()
    while len(ids) < LIMIT:
        hidden = speech.model.model.decoder(
            input_ids=torch.tensor([[*prompt, *ids]]), encoder_hidden_states=states
        ).last_hidden_state
        logits = speech.model.proj_out(hidden[0, -1])
        logits[list(rules.always)] = -torch.inf
        if not ids:
            logits[list(rules.at_start)] = -torch.inf
        written = b"".join(spelling[i] for i in ids)
        for token in logits.argsort(descending=True).tolist():
            if token == codec.end and can_become_text(written + b" ", alphabet):
                return ids
            if token in spelling and can_become_text(written + spelling[token], alphabet):
                ids.append(token)
                break
    return ids


def text_of(speech: SpeechModel, ids: tuple[int, ...]) -> bytes:
    by_id = {i: token for token, i in speech.tokens.vocabulary().items()}
    return b"".join(bytes_of(by_id[i]) for i in ids)


@pytest.mark.parametrize("seed", range(4))
def test_every_engine_writes_what_a_search_finds(
    speech: SpeechModel, tmp_path: Path, seed: int
) -> None:
    mel, window = features(seed), WindowPolicy()
    wanted = tuple(searched(speech, mel))
    free = TorchTranscriber(speech, window)
    held = free.in_own_script()
    assert held.hear(mel, SECONDS, "hi").ids == wanted
    assert free.hear(mel, SECONDS, "hi").ids != wanted, "a random model writes in all scripts"
    onnx = opened_onnx(exported_onnx(speech, tmp_path / "onnx"), DecodingOptions())
    assert onnx.in_own_script().hear(mel, SECONDS, "hi").ids == wanted
    ct2 = exported_ct2(speech, tmp_path / "ct2")
    assert ct2.in_own_script().hear(mel, SECONDS, "hi").ids == wanted
    assert can_become_text(text_of(speech, wanted), allowed_characters("hi"))


def test_an_export_for_transformers_is_held_as_well(speech: SpeechModel, tmp_path: Path) -> None:
    mel, window = np.pad(features(0), ((0, 0), (0, 2900))), WindowPolicy()  # it takes 30 s
    hf = HfTranscriber(tmp_path, speech.model, whisper_tokens(speech.tokens), window)
    wanted = TorchTranscriber(speech, window).in_own_script().hear(mel, SECONDS, "hi")
    assert hf.in_own_script().hear(mel, SECONDS, "hi").ids == wanted.ids


def test_each_clip_of_a_batch_has_a_state_of_its_own(speech: SpeechModel) -> None:
    mels = [features(seed) for seed in range(3)]
    states = speech.family.encode(speech.model, torch.from_numpy(np.stack(mels)))
    family = speech.family.in_own_script()
    found = family.decode(speech.model, speech.tokens, states, [SECONDS] * 3, "hi")
    assert [list(row.ids) for row in found] == [searched(speech, mel) for mel in mels]


def test_the_description_says_so(speech: SpeechModel) -> None:
    said = "held to the language's own script"
    assert said in speech.family.in_own_script().describe_decoding()
    assert said not in speech.family.describe_decoding(), "the family itself stays as it was"
    assert said in replace(DecodingOptions(), own_script=True).describe()


@pytest.mark.real
def test_a_clip_in_urdu_script_becomes_devanagari() -> None:
    free = TorchTranscriber(load_model("openai/whisper-base"), WindowPolicy())
    clip = decode(DEMO / "demo_049.ogg")
    assert text_script(free.transcribe(clip, "hi").text) == "Arabic"
    held = free.in_own_script().transcribe(clip, "hi").text
    assert text_script(held) == "Devanagari" and set(held) <= allowed_characters("hi")
