"""The encoder on any window, and the teacher-forced loss, each against stock code or by hand."""

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.support.tiny import END
from tests.support.tiny_job import Workshop, one_batch
from whisperslim.core.families.flavours.attention_decoder import Targets, make_targets
from whisperslim.core.families.hearing import StepOutputs
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.trimming import save_trimmed, vocabulary_for
from whisperslim.errors import DataError, UsageError
from whisperslim.train.distill import Teacher
from whisperslim.train.forward import decode_targets, encode_batch
from whisperslim.train.options import DistillOptions

MARGIN = 1e-6


@pytest.fixture
def speech(shop: Workshop) -> SpeechModel:
    return shop.student()


def noise(frames: int, clips: int = 2) -> torch.Tensor:
    return torch.randn(clips, 80, frames, generator=torch.Generator().manual_seed(frames))


def test_a_whole_window_equals_the_stock_encoder(speech: SpeechModel) -> None:
    features = noise(3000)
    with torch.no_grad():
        stock = speech.model.model.encoder(features).last_hidden_state
        assert torch.equal(speech.family.encode(speech.model, features), stock)


def test_a_short_window_equals_the_stock_layers_on_that_window(speech: SpeechModel) -> None:
    """Stock layers do not mind the length; only the stem's check and position table do."""
    features, encoder = noise(400), speech.model.model.encoder
    with torch.no_grad():
        hidden = F.gelu(encoder.conv2(F.gelu(encoder.conv1(features)))).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[:200]
        for layer in encoder.layers:
            attended = layer.self_attn(layer.self_attn_layer_norm(hidden))[0]
            hidden = hidden + attended
            widened = F.gelu(layer.fc1(layer.final_layer_norm(hidden)))
            hidden = hidden + layer.fc2(widened)
        expected = encoder.layer_norm(hidden)
        found = speech.family.encode(speech.model, features)
    assert found.shape == (2, 200, 32)
    assert (found - expected).abs().max() < MARGIN


@pytest.mark.parametrize("frames", [0, 1, 399, 3001, 3002, 6000])
def test_frames_that_make_no_window_are_refused(speech: SpeechModel, frames: int) -> None:
    with pytest.raises(ValueError, match=f"{frames} frames; give an even number up to 3000"):
        speech.family.encode(speech.model, torch.zeros(1, 80, frames))


def test_dropout_reaches_every_layer_and_only_in_training(speech: SpeechModel) -> None:
    features = noise(200)
    speech.family.set_dropout(speech.model, 0.3)
    modules = [speech.model.model.encoder, speech.model.model.decoder]
    layers = [layer for stack in modules for layer in stack.layers]
    assert all(module.dropout == 0.3 for module in [*modules, *layers])
    with torch.no_grad():
        calm = speech.family.encode(speech.model, features)
        assert torch.equal(calm, speech.family.encode(speech.model, features))
        speech.model.train()
        assert not torch.equal(calm, speech.family.encode(speech.model, features))


@pytest.mark.parametrize("encoder", [True, False])
@pytest.mark.parametrize("embeddings", [True, False])
def test_freezing(speech: SpeechModel, encoder: bool, embeddings: bool) -> None:
    speech.family.freeze(speech.model, encoder=encoder, embeddings=embeddings)
    for name, parameter in speech.model.named_parameters():
        frozen = (
            name == "model.encoder.embed_positions.weight"
            or (encoder and name.startswith("model.encoder."))
            or (embeddings and name == "model.decoder.embed_tokens.weight")
        )
        assert parameter.requires_grad is not frozen, name


def test_targets_by_hand(speech: SpeechModel) -> None:
    tokens = speech.tokens
    a, b = tokens.encode("क"), tokens.encode("कख")
    prompt = tokens.prompt("hi")
    targets = make_targets(tokens, ["क", "कख"], ["1", "2"], "hi", 128)
    # Inputs are padded to the next multiple of 16.
    extra, rest = len(b) - len(a), -(len(prompt) + len(b)) % 16
    assert targets.inputs.tolist() == [
        [*prompt, *a, *[END] * (extra + rest)],
        [*prompt, *b, *[END] * rest],
    ]
    assert targets.wanted.tolist() == [
        [*prompt[1:], *a, END, *[END] * (extra + rest)],
        [*prompt[1:], *b, END, *[END] * rest],
    ]
    # Counted: the text and one end token each; neither the prompt nor the padding.
    assert targets.wanted[0][targets.counted[0]].tolist() == [*a, END]
    assert targets.wanted[1][targets.counted[1]].tolist() == [*b, END]
    # Attended to: the prompt as well, and still no padding.
    attended = speech.family.attended_states("decoder", targets.inputs, targets)
    assert attended.tolist() == [*prompt, *a, *prompt, *b]


def test_a_text_may_fill_the_decoder_and_not_overflow_it(speech: SpeechModel) -> None:
    tokens = speech.tokens
    text = "ab" * 4
    length = len(tokens.prompt("hi")) + len(tokens.encode(text))
    make_targets(tokens, [text], ["clip_7"], "hi", length)
    with pytest.raises(DataError, match=rf"clip_7.*{length + 1} tokens.*{length - 1} positions"):
        make_targets(tokens, [text], ["clip_7"], "hi", length - 1)


def test_the_loss_is_transformers_own(shop: Workshop, speech: SpeechModel) -> None:
    batch = one_batch(shop)
    features = torch.zeros(len(batch.texts), 80, 3000)
    targets = make_targets(speech.tokens, batch.texts, batch.keys, "hi", 128)
    labels = targets.wanted.masked_fill(~targets.counted, -100)
    with torch.no_grad():
        stock = speech.model(features, decoder_input_ids=targets.inputs, labels=labels)
        outputs = decode_targets(speech, speech.family.encode(speech.model, features), targets)
    assert outputs.cross_entropy == pytest.approx(float(stock.loss), abs=1e-5)
    assert (outputs.logits - stock.logits[targets.counted]).abs().max() < 1e-5
    assert torch.equal(outputs.targets, targets.wanted[targets.counted])


def test_label_smoothing_by_hand(shop: Workshop, speech: SpeechModel) -> None:
    batch = one_batch(shop)
    targets = make_targets(speech.tokens, batch.texts, batch.keys, "hi", 128)
    with torch.no_grad():
        states = encode_batch(speech, batch)
        plain = decode_targets(speech, states, targets)
        smooth = decode_targets(speech, states, targets, smoothing=0.1)
    uniform = -F.log_softmax(plain.logits, -1).mean()
    expected = 0.9 * plain.cross_entropy + 0.1 * uniform
    assert float(smooth.cross_entropy) == pytest.approx(float(expected), rel=1e-5)


def test_padding_does_not_reach_the_loss(shop: Workshop, speech: SpeechModel) -> None:
    batch = one_batch(shop)
    targets = make_targets(speech.tokens, batch.texts, batch.keys, "hi", 128)
    more = [
        torch.cat([t, torch.full((len(t), 5), END)], 1) for t in (targets.inputs, targets.wanted)
    ]
    counted = torch.cat([targets.counted, torch.zeros(len(batch.texts), 5, dtype=torch.bool)], 1)
    with torch.no_grad():
        states = encode_batch(speech, batch)
        short = decode_targets(speech, states, targets).cross_entropy
        padded = decode_targets(speech, states, Targets(*more, counted)).cross_entropy
    assert float(short) == pytest.approx(float(padded), abs=1e-6)


def outputs_of(logits: torch.Tensor) -> StepOutputs:
    return StepOutputs(torch.zeros(()), logits, torch.zeros(len(logits), dtype=torch.long))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_teacher_term_by_hand(shop: Workshop, temperature: float) -> None:
    teacher = Teacher(
        shop.student(), shop.student(), DistillOptions(weight=0.5, temperature=temperature)
    )
    ours, theirs = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    total = 0.0
    for mine, wanted in zip(ours.tolist(), theirs.tolist(), strict=True):
        p, q = (
            [math.exp(v / temperature) / sum(math.exp(w / temperature) for w in row) for v in row]
            for row in (wanted, mine)
        )
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    expected = 0.5 * temperature**2 * total / 2
    assert float(teacher.loss(outputs_of(ours), theirs)) == pytest.approx(expected, rel=1e-5)
    assert float(teacher.loss(outputs_of(theirs), theirs)) == pytest.approx(0.0, abs=1e-6)


def test_a_teacher_with_the_students_frozen_encoder_reuses_its_states(shop: Workshop) -> None:
    batch = one_batch(shop)
    student, dense = shop.student(), shop.student()
    targets = make_targets(student.tokens, batch.texts, batch.keys, "hi", 128)
    student.family.freeze(student.model, encoder=True, embeddings=True)
    sharing = Teacher(dense, student, DistillOptions())
    dense.model.model.encoder.forward = None  # would fail if it were asked
    states = encode_batch(student, batch)
    whole = decode_targets(shop.student(), states, targets).logits
    assert torch.equal(sharing.logits(batch, targets, states), whole)
    # A trainable encoder is another one after a step: the teacher must listen for itself.
    separate = Teacher(shop.student(), shop.student(), DistillOptions())
    assert torch.equal(separate.logits(batch, targets, torch.zeros_like(states)), whole)


def test_a_teacher_learns_nothing(shop: Workshop) -> None:
    dense = shop.student()
    Teacher(dense, shop.student(), DistillOptions())
    assert not any(p.requires_grad for p in dense.model.parameters())
    assert not dense.model.training


def test_a_teacher_that_lacks_tokens_is_refused(shop: Workshop, tmp_path: Path) -> None:
    dense = shop.student()
    save_trimmed(tmp_path / "hi", dense, vocabulary_for(dense, ["hi"]), "hi")
    with pytest.raises(UsageError, match=r"does not know 1 tokens of .* 266.*<\|en\|>"):
        Teacher(load_model(str(tmp_path / "hi")), shop.student(), DistillOptions())
