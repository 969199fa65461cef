"""A Hugging Face folder for others: transformers alone loads it, and it computes the same."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from tests.engines.hf.hf_alone import sound
from tests.support.models.decoding import greedy
from tests.support.models.low_rank import made_two, opened_on_noise
from tests.support.models.narrow import narrow_to
from tests.support.tiny import END, START, tiny_corpus, tiny_model_folder
from whisperslim.cli import app
from whisperslim.core.families.factors import factored
from whisperslim.core.families.hf_remote.modeling_whisper_slim import WhisperSlimFeatureExtractor
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.plan import PruningPlan, keep_everything
from whisperslim.core.store.checkpoint import count_parameters, describe_cut, load_dense, save_slim
from whisperslim.core.surgery.shrink import cut, head_widths
from whisperslim.engines.export import export as exporting
from whisperslim.engines.export import parity, parity_child
from whisperslim.engines.export.parity import read_verdict
from whisperslim.engines.export.record import read_export
from whisperslim.engines.hf import export as hf_export
from whisperslim.engines.hf.engine import HfTranscriber
from whisperslim.engines.opening import open_transcriber
from whisperslim.errors import CheckpointError, ExportError
from whisperslim.exported.bounds import DecodingOptions
from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.log_mel import log_mel
from whisperslim.speech.audio.window import WindowPolicy

FIRST = ("self_attn.heads", "encoder_attn.heads", "ffn")
# Units kept, where that is not all of them. Ragged: layers differ, and three blocks are absent.
RAGGED = {"encoder.0.self_attn.heads": 2, "encoder.0.ffn": 10, "encoder.1.ffn": 0,
          "decoder.0.self_attn.heads": 0, "decoder.0.encoder_attn.heads": 3,
          "decoder.1.encoder_attn.heads": 0, "decoder.1.ffn": 7}  # fmt: skip
WIDTHS = (4, 8, 6, 2, 5, 7)  # of heads, in each attention of the dense model
LAYERS = {"encoder.0.self_attn.heads": 0, "encoder.0.ffn": 0,
          **{f"decoder.0.{part}": 0 for part in FIRST}}  # fmt: skip


def slim(folder: Path, kept: dict[str, int], widths: Sequence[int] = ()) -> SpeechModel:
    """A tiny model cut to `kept`, its heads to `widths`, by its folder."""
    dense = tiny_model_folder(folder / "dense")
    speech = load_model(str(dense))
    plan = keep_everything(speech.groups())
    plan = PruningPlan(
        {key: units[: kept.get(key, len(units))] for key, units in plan.keep.items()}
    )
    model = load_dense(dense)
    if widths:
        narrow_to(model, widths)
    cut(model, speech.family.unit_groups(model), plan)
    size = count_parameters(speech.model)
    record = describe_cut("openai/whisper-tiny", speech.groups(), size, plan, "hi")
    record = replace(record, head_widths=head_widths(model))
    save_slim(folder / "slim", model, record, side_files=dense)
    return load_model(str(folder / "slim"))


def of_two(folder: Path) -> SpeechModel:
    """A tiny model most of whose linear layers are two matrices, by its folder."""
    dense = tiny_model_folder(folder / "dense")
    speech, model = load_model(str(dense)), load_dense(dense)
    made_two(model, opened_on_noise(model))
    plan, size = keep_everything(speech.groups()), count_parameters(speech.model)
    record = describe_cut("openai/whisper-tiny", speech.groups(), size, plan, "hi")
    record = replace(record, ranks=factored(model))
    save_slim(folder / "slim", model, record, side_files=dense)
    return load_model(str(folder / "slim"))


def write(speech: SpeechModel, out: Path, quantize: str = "none") -> Path:
    exporting.export(speech, "hf", quantize, out, [sound()], "hi", WindowPolicy())
    return out


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return slim(tmp_path_factory.mktemp("ragged"), RAGGED, WIDTHS)


@pytest.fixture(scope="module")
def exported(ragged: SpeechModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written with the check in its real child process."""
    return write(ragged, tmp_path_factory.mktemp("exported") / "ragged")


@pytest.fixture
def same_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "run_child", lambda exchange, timeout: parity_child.main(exchange))


def test_the_configuration_names_what_is_left_of_each_layer(exported: Path) -> None:
    config = json.loads((exported / "config.json").read_text("utf-8"))
    assert config["model_type"] == "whisper_slim"
    assert config["encoder_heads"] == [2, 4] and config["encoder_ffn"] == [10, 0]
    assert config["decoder_heads"] == [0, 4] and config["decoder_cross_heads"] == [3, 0]
    assert config["decoder_ffn"] == [48, 7]
    assert config["encoder_heads_width"] == [4, 8]
    # Of those that are not there, the stock width.
    assert config["decoder_heads_width"] == [8, 5]
    assert config["decoder_cross_heads_width"] == [2, 8]


def test_generation_is_what_our_decoding_is(exported: Path) -> None:
    settings = json.loads((exported / "generation_config.json").read_text("utf-8"))
    assert settings["lang_to_id"] == {"<|en|>": START + 1, "<|hi|>": START + 2}
    assert settings["task_to_id"] == {"translate": START + 3, "transcribe": START + 4}
    assert settings["no_timestamps_token_id"] == START + 8
    assert settings["language"] == "hi" and settings["task"] == "transcribe"
    assert settings["suppress_tokens"] == list(range(END + 1, START + 9))


def test_the_check_heard_the_written_folder(exported: Path, ragged: SpeechModel) -> None:
    verdict = read_verdict(exported)
    assert verdict.ok and verdict.same_text == verdict.parts == 1
    assert verdict.encoder_error is not None and verdict.encoder_error < 1e-6
    opened = open_transcriber(str(exported), WindowPolicy())
    assert opened.size().parameters == count_parameters(ragged.model)
    own = open_transcriber(str(ragged.path), WindowPolicy())
    assert opened.transcribe(sound()).text == own.transcribe(sound()).text != ""


def test_a_configuration_loads_no_code(exported: Path, tmp_path: Path) -> None:
    folder = Path(copytree(exported, tmp_path / "sent"))
    file = folder / "config.json"
    asked = {"_attn_implementation": "somebody/kernels", "attn_implementation": "somebody/kernels",
             "quantization_config": {"quant_method": "bitsandbytes"}}  # fmt: skip
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **asked}), "utf-8")
    found = HfTranscriber.load(folder, read_export(exported), WindowPolicy())
    wanted = HfTranscriber.load(exported, read_export(exported), WindowPolicy())
    assert found.model.config._attn_implementation == wanted.model.config._attn_implementation
    assert found.transcribe(sound()).text == wanted.transcribe(sound()).text != ""


def test_sizes_of_no_whisper_are_refused(exported: Path, tmp_path: Path) -> None:
    folder = Path(copytree(exported, tmp_path / "sent"))
    file = folder / "config.json"
    file.write_text(
        json.dumps({**json.loads(file.read_text("utf-8")), "encoder_layers": 10**6}), "utf-8"
    )
    with pytest.raises(CheckpointError, match="encoder_layers 1000000; accepted"):
        HfTranscriber.load(folder, read_export(exported), WindowPolicy())


def alone(home: Path, *folders: Path) -> list[dict[str, Any]]:
    script = Path(__file__).with_name("hf_alone.py")
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, str(script), *map(str, folders)],
        capture_output=True, text=True, cwd=home, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_transformers_alone_gives_the_same(
    exported: Path, ragged: SpeechModel, tmp_path: Path, same_process: None
) -> None:
    layers = slim(tmp_path / "layers", LAYERS)
    two = of_two(tmp_path / "two")
    half = write(ragged, tmp_path / "half", "float16")
    folders = [exported, write(layers, tmp_path / "whole"), write(two, tmp_path / "low"), half]
    reported = alone(tmp_path, *folders)
    assert [entry["dtype"] for entry in reported] == [
        "torch.float32",
        "torch.float32",
        "torch.float32",
        "torch.float16",
    ]
    for speech, entry in zip((ragged, layers, two), reported[:3], strict=True):
        # 1.3 s and 0.4 s of margin, in steps of 0.5 s.
        for window, frames in (("fit", 200), ("30s", 3000)):
            check_window(speech, entry[window], frames)
        assert entry["pipeline"] == entry["fit"]["text"] != ""
        assert entry["pipeline_30s"] == entry["30s"]["text"]
        assert entry["pieces"] > 0
        assert "chunk_length_s=28" in entry["too_long"]


def check_window(speech: SpeechModel, reported: dict[str, Any], frames: int) -> None:
    assert reported["frames"] == frames
    mel = torch.from_numpy(log_mel(sound(), frames, 80))[None]
    states = speech.family.encode(speech.model, mel)[0, ::25].detach().numpy()
    np.testing.assert_allclose(reported["states"], states, atol=2e-4)
    bound = DecodingOptions(0.0, 20)
    assert reported["ids"] == greedy(speech.model, speech.tokens, mel, [1.3], "hi", bound)[0]


@pytest.mark.parametrize(
    ("ranks", "wrong"),
    [
        ({"model.encoder.layers.0.fc1": 10**9}, "whole numbers up to 32"),
        ({"model.encoder.layers.0.fc1": True}, "whole numbers up to 32"),
        ({"model.encoder.layers.7.fc1": 3}, "no linear layer of this model's layers"),
        ({"proj_out": 3}, "no linear layer of this model's layers"),
    ],
)
def test_ranks_of_no_such_model_are_refused(
    ranks: dict[str, int], wrong: str, tmp_path: Path, same_process: None
) -> None:
    out = write(of_two(tmp_path / "two"), tmp_path / "out")
    file = out / "config.json"
    config = json.loads(file.read_text("utf-8"))
    assert config["ranks"] == factored(load_model(str(tmp_path / "two" / "slim")).model)
    file.write_text(json.dumps({**config, "ranks": ranks}), "utf-8")
    with pytest.raises(ExportError, match=wrong):
        hf_export.open_export(out, read_export_loosely(out), WindowPolicy(), 0)


def test_stock_transformers_does_not_load_it_by_accident(exported: Path) -> None:
    from transformers import WhisperForConditionalGeneration

    with pytest.raises((ValueError, RuntimeError), match=r"mismatch|size|shape"):
        WhisperForConditionalGeneration.from_pretrained(exported)


def test_a_missing_tensor_is_an_error_and_not_random(
    ragged: SpeechModel, tmp_path: Path, same_process: None
) -> None:
    out = write(ragged, tmp_path / "out")
    file = out / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.encoder.conv1.bias"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"missing_keys.*conv1\.bias"):
        hf_export.open_export(out, read_export_loosely(out), WindowPolicy(), 0)


def read_export_loosely(folder: Path) -> Any:
    """The record, without the look at sizes that would notice first."""
    from whisperslim.engines.export.record import ExportRecord

    raw = json.loads((folder / "export.json").read_text("utf-8"))
    return ExportRecord(**{**raw, "input_spec": InputSpec(**raw["input_spec"])})


def test_half_precision_is_half_the_bytes(
    exported: Path, ragged: SpeechModel, tmp_path: Path, same_process: None
) -> None:
    half = write(ragged, tmp_path / "half", "float16")
    parameters = count_parameters(ragged.model)
    whole_size, half_size = (
        read_export(folder).files["model.safetensors"] for folder in (exported, half)
    )
    assert whole_size - half_size == pytest.approx(2 * parameters, rel=0.01)


def test_integers_are_refused(ragged: SpeechModel, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="choose one of: none, float16"):
        write(ragged, tmp_path / "out", "int8")


@pytest.mark.parametrize("seconds", [0.01, 0.6, 1.1, 5.6, 5.61, 29.5, 29.7, 30.0])
def test_its_window_is_the_one_the_model_was_tuned_on(seconds: float) -> None:
    samples = round(seconds * 16_000)
    extractor = WhisperSlimFeatureExtractor(feature_size=80)
    silence = np.zeros(samples, np.float32)
    found = extractor(silence, sampling_rate=16_000, return_tensors="np").input_features
    assert found.shape == (1, 80, WindowPolicy().frames_for(seconds, 3000))


def test_features_are_ours() -> None:
    extractor = WhisperSlimFeatureExtractor(feature_size=80)
    found = extractor(sound(), sampling_rate=16_000, return_tensors="np").input_features[0]
    np.testing.assert_allclose(found, log_mel(sound(), 200, 80), atol=1e-4)


def test_the_card_has_the_run_s_figures_and_no_path(
    ragged: SpeechModel, tmp_path: Path, same_process: None
) -> None:
    store_evaluation(ragged.path.parent, ragged.info.weights_sha256)
    (ragged.path / "recipe.yaml").write_text(f"data:\n  train: ['{tmp_path}/news#train']\n")
    card = (write(ragged, tmp_path / "out") / "README.md").read_text("utf-8")
    assert "| slim | stories | 7 | 1.5 | hindi-1 | 25.0 | 20.0 to 30.0 | 10.0 |" in card
    assert "fit(margin" in card and "greedy" in card
    assert "news#train" in card and "base_model: openai/whisper-tiny" in card
    assert "language: hi" in card and "## License" in card
    assert str(tmp_path) not in card and str(ragged.path) not in card
    store_evaluation(ragged.path.parent, "of other weights")
    card = (write(ragged, tmp_path / "again") / "README.md").read_text("utf-8")
    assert "None is stored with this model" in card


def store_evaluation(run: Path, sha256: str) -> None:
    score = {"wer": 0.25, "cer": 0.1, "n": 7, "wer_interval_95": [0.2, 0.3]}
    result = {"scores": {"hindi-1": score}, "audio_seconds": 90.0, "window": "fit(margin 0.4 s)",
              "decoding": "greedy", "language": "hi"}  # fmt: skip
    record = {"weights_sha256": sha256, "sets": {"/data/stories": result}}
    (run / "eval").mkdir(exist_ok=True)
    (run / "eval" / "slim.json").write_text(json.dumps(record))


def test_the_command_shows_size_verdict_and_what_is_next(
    ragged: SpeechModel, tmp_path: Path, same_process: None
) -> None:
    corpus, out = tiny_corpus(tmp_path / "corpus"), tmp_path / "out"
    arguments = ["export", str(ragged.path), str(out), "--engine", "hf", "--data", f"{corpus}#test"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "the same text for 2 of 2 parts" in done.stdout and " MB, from " in done.stdout
    assert f"whisperslim transcribe --model {out}" in done.stdout
    assert f"whisperslim push {out} OWNER/NAME --yes" in done.stdout
    clip = str(corpus / "audio" / "clip_00.wav")
    heard = CliRunner().invoke(app, ["transcribe", "--model", str(out), clip])
    assert heard.exit_code == 0 and heard.stdout.startswith(clip)
    with pytest.raises(ExportError, match="--force"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
