"""Exports for sherpa-onnx: the same tokens as PyTorch, and what its own loader makes of them."""

import base64
from dataclasses import replace
from pathlib import Path

import jiwer
import numpy as np
import onnx
import pytest
import torch

from tests.engines.onnx.test_engine import LONG, exported, greedy_ids, tone
from tests.engines.onnx.test_export import KEEPS, model_with
from tests.support.models.tiny_ctc import KINDS, samples_folder
from tests.support.tiny import tiny_corpus
from whisperslim.core.families.whisper.sherpa import token_lines
from whisperslim.core.families.whisper.tokens import whisper_tokens
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.engines.export.record import read_export
from whisperslim.engines.sherpa.engine import SherpaTranscriber, open_export
from whisperslim.engines.sherpa.export import TOKENS_FILE, check, write
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.errors import ExportError, UsageError
from whisperslim.exported.names import DECODER_FILE, ENCODER_FILE, FRAMES_FILE, STACKED
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.window import WindowPolicy, parse_window

DEMO = Path(__file__).parents[3] / "assets" / "demo_hi" / "audio"


def opened(folder: Path) -> SherpaTranscriber:
    engine = open_export(folder, read_export(folder), WindowPolicy(), 1)
    assert isinstance(engine, SherpaTranscriber)
    return replace(engine, decoding=LONG)


@pytest.mark.parametrize("keeps", KEEPS.values(), ids=KEEPS)
def test_same_tokens_as_torch_for_every_cut(
    speech: SpeechModel, keeps: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    smaller = replace(speech, model=model_with(keeps))
    engine = opened(exported(smaller, tmp_path / "export", engine="sherpa"))
    dense = TorchTranscriber(smaller, WindowPolicy())
    for seconds, pitch in ((1.0, 250.0), (4.2, 700.0)):
        mel = dense.features_for(tone(seconds, pitch)).inputs[0]
        assert mel is not None
        assert engine.hear(mel, seconds, "hi").ids == tuple(greedy_ids(smaller, mel, seconds))
        with torch.no_grad():
            wanted = smaller.family.encode(smaller.model, torch.from_numpy(mel)[None])[0].numpy()
        assert np.abs(engine.encoder_states(mel) - wanted).max() < 1e-4
    with pytest.raises(UsageError, match="word times"):
        engine.telling_words()


def test_an_odd_number_of_frames_is_padded_as_the_convolution_pads(
    speech: SpeechModel, tmp_path: Path
) -> None:
    """sherpa-onnx cuts at any frame. transformers' convolutions take any number as well."""
    engine = opened(exported(speech, tmp_path / "export", engine="sherpa"))
    mel = torch.randn(speech.input_spec.bands, 131, generator=torch.Generator().manual_seed(0))
    encoder = speech.model.model.encoder
    with torch.no_grad():
        x = torch.nn.functional.gelu(encoder.conv1(mel[None]))
        x = torch.nn.functional.gelu(encoder.conv2(x)).transpose(1, 2)
        x = x + encoder.embed_positions.weight[: x.shape[1]]
        for layer in encoder.layers:
            x = layer(x, None)
        wanted = encoder.layer_norm(x)[0].numpy()
    found = engine.encoder_states(mel.numpy())
    assert found.shape == wanted.shape == (66, speech.family.width(speech.model))
    assert np.abs(found - wanted).max() < 1e-4


def test_what_the_loader_reads(speech: SpeechModel, tmp_path: Path) -> None:
    folder = exported(speech, tmp_path / "export", engine="sherpa")
    graphs = [onnx.load(folder / name) for name in (ENCODER_FILE, DECODER_FILE)]
    told = {entry.key: entry.value for entry in graphs[0].metadata_props}
    tokens = whisper_tokens(speech.tokens)
    start, language, task, no_times = tokens.prompt("hi")
    assert [told[name] for name in ("sot", "transcribe", "no_timestamps", "eot")] == [
        str(value) for value in (start, task, no_times, tokens.end)
    ]
    codes = told["all_language_codes"].split(",")
    ids = told["all_language_tokens"].split(",")
    assert ids[codes.index("hi")] == str(language)
    assert told["sot_sequence"].split(",")[::2] == [str(start), str(task)]
    # It goes by the order of inputs and outputs.
    decoder = graphs[1].graph
    names = [[value.name for value in side] for side in (decoder.input, decoder.output)]
    assert names == [
        ["tokens", *STACKED.past, *STACKED.heard, "offset"], ["logits", *STACKED.present],
    ]  # fmt: skip
    assert [value.name for value in graphs[0].graph.output][:2] == list(STACKED.heard)
    cache = [axis.dim_value for axis in graphs[1].graph.input[1].type.tensor_type.shape.dim]
    assert cache == [int(told[n]) for n in ("n_text_layer",)] + [1] + [
        int(told[name]) for name in ("n_text_ctx", "n_text_state")
    ]
    assert (folder / TOKENS_FILE).is_file()


def test_token_lines_spell_the_text(speech: SpeechModel) -> None:
    spelled = {}
    for line in token_lines(whisper_tokens(speech.tokens)).splitlines():
        word, number = line.split()
        spelled[int(number)] = base64.b64decode(word)
    text = "नमस्ते दुनिया"
    ids = speech.tokens.encode(text)
    assert b"".join(spelled[number] for number in ids).decode() == f" {text}"
    assert not set(whisper_tokens(speech.tokens).prompt("hi")) & set(spelled)


@pytest.mark.real
def test_sherpa_onnx_itself_hears_what_whisper_hears(tmp_path: Path) -> None:
    """In the window that both share, 30 s; its own log-mel differs in the last digits."""
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    speech = load_model("openai/whisper-base")
    folder = exported(speech, tmp_path / "export", engine="sherpa")
    listener = sherpa_onnx.OfflineRecognizer.from_whisper(
        encoder=str(folder / ENCODER_FILE), decoder=str(folder / DECODER_FILE),
        tokens=str(folder / TOKENS_FILE), language="hi", tail_paddings=3000,
    )  # fmt: skip
    own = TorchTranscriber(speech, parse_window("30s"))
    wanted, found = [], []
    for path in sorted(DEMO.glob("*"))[:2]:
        audio = decode(path)
        stream = listener.create_stream()
        # It writes six tokens a second at most, silence included.
        stream.accept_waveform(16000, np.concatenate([audio, np.zeros_like(audio)]))
        listener.decode_stream(stream)
        found.append(stream.result.text)
        wanted.append(own.transcribe(audio).text)
    assert all(text.strip() for text in wanted)
    assert jiwer.cer(wanted, found) < 0.1


@pytest.mark.parametrize("kind", ["wav2vec2 post-norm", "hubert pre-norm", "conformer relative"])
def test_sherpa_onnx_itself_reads_a_ctc_model_as_torch_does(tmp_path: Path, kind: str) -> None:
    """Its whole recording without padding, normalized there; letters, blank and space by name."""
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    tiny_corpus(tmp_path / "corpus", clips=4)
    samples_folder(tmp_path / "model", KINDS[kind], tmp_path / "corpus")
    speech = load_model(str(tmp_path / "model"))
    (tmp_path / "export").mkdir()
    check(speech, "none")
    write(speech, tmp_path / "export", "none")
    listener = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(
        model=str(tmp_path / "export" / FRAMES_FILE), tokens=str(tmp_path / "export" / TOKENS_FILE)
    )
    read = set()
    for seconds, pitch in ((1.0, 250.0), (2.3, 700.0), (1.7, 90.0)):
        audio = tone(seconds, pitch)
        with torch.no_grad():
            states = speech.family.encode(speech.model, torch.from_numpy(audio)[None])
            (wanted,) = speech.family.decode(speech.model, speech.tokens, states, [seconds], "hi")
        stream = listener.create_stream()
        stream.accept_waveform(16000, audio)
        listener.decode_stream(stream)
        text = speech.tokens.decode(wanted.ids)
        assert " ".join(stream.result.text.split()) == text
        read.add(text)
    assert len(read) > 1 and any(read), "always the same would prove little"


def test_a_model_of_samples_as_they_are_is_refused(tmp_path: Path) -> None:
    tiny_corpus(tmp_path / "corpus", clips=4)
    samples_folder(tmp_path / "model", KINDS["wav2vec2 pre-norm"], tmp_path / "corpus")
    speech = load_model(str(tmp_path / "model"))
    speech.model.config.do_normalize = False
    with pytest.raises(ExportError, match="do_normalize false"):
        check(speech, "none")
