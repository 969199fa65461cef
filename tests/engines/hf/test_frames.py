"""Hugging Face folders of CTC models given samples: stock where nothing was cut, else with code."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.models.low_rank import made_two, open_on
from tests.support.models.tiny_ctc import KINDS, parakeet_folder, samples_folder
from tests.support.tiny import tiny_corpus
from tests.support.tiny_job import drop_some, supply
from whisperslim.core.families.factors import factored
from whisperslim.core.families.hf_remote.forms import form_of
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.core.surgery.shrink import cut
from whisperslim.engines.export import parity, parity_child
from whisperslim.engines.export.export import export
from whisperslim.engines.export.parity import read_verdict
from whisperslim.engines.hf.export import write
from whisperslim.engines.hf.loading import load_strictly
from whisperslim.engines.opening import open_transcriber
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.errors import CheckpointError, ExportError
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.train.calibration import CleanClips

PARAKEET, OPENED = "parakeet", ("wav2vec2 pre-norm", "hubert post-norm")
NAMES = (*KINDS, PARAKEET)
every_kind = pytest.mark.parametrize("name", NAMES)
REMOTE = "modeling_ctc_slim.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("frames")
    tiny_corpus(place / "corpus", clips=4)
    for name, kind in KINDS.items():
        samples_folder(place / name, kind, place / "corpus")
    parakeet_folder(place / PARAKEET, place / "corpus")
    return place


def talkative(folder: Path, name: str) -> SpeechModel:
    """Random models write blanks alone; this one does not."""
    speech = load_model(str(folder / name))
    with torch.no_grad():
        speech.family.head(speech.model).bias[speech.tokens.blank] -= 4.0
    return speech


def ragged(speech: SpeechModel) -> PruningPlan:
    """Another number of units everywhere, and sub-layers gone; of a layer of two, both."""
    plan = drop_some(speech)
    keys = sorted(key for key in plan.keep if key.startswith("encoder.1."))
    gone = keys if len(keys) == 2 else keys[::2]
    return replace(plan, keep={**plan.keep, **{key: () for key in gone}})


def cut_model(folder: Path, name: str) -> SpeechModel:
    speech = talkative(folder, name)
    cut(speech.model, speech.groups(), ragged(speech))
    return speech


def model_of_two(folder: Path, name: str) -> SpeechModel:
    """Most of its linear layers are two matrices."""
    speech = talkative(folder, name)
    clips = CleanClips(speech, lambda: supply(folder, speech.input_spec), "hi")
    made_two(speech.model, open_on(speech, clips))
    assert factored(speech.model)
    return speech


def recordings(folder: Path) -> list[np.ndarray]:
    items = load_items(str(folder / "corpus"))
    return [AudioCache(folder / "cache").load(item) for item in items]


def written(speech: SpeechModel, place: Path, quantize: str = "none") -> Path:
    place.mkdir()
    write(speech, place, quantize)
    return place


@every_kind
@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
def test_what_is_loaded_is_what_was_saved(
    folder: Path, tmp_path: Path, name: str, is_cut: bool
) -> None:
    """To the bit, statistics of norms among it; and it computes the same."""
    speech = cut_model(folder, name) if is_cut else talkative(folder, name)
    place = written(speech, tmp_path / "out")
    assert (place / REMOTE).is_file() == is_cut
    found = load_strictly(form_of(speech.family.model_type), place)
    ours, theirs = speech.model.state_dict(), found.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    sound = torch.from_numpy(recordings(folder)[0])[None]
    with torch.no_grad():
        assert torch.equal(
            speech.family.encode(speech.model, sound), speech.family.encode(found, sound)
        )


@pytest.mark.parametrize("name", ["wav2vec2 post-norm", PARAKEET])
def test_the_check_hears_the_folder(
    folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "run_child", lambda exchange, timeout: parity_child.main(exchange))
    speech, clips = cut_model(folder, name), recordings(folder)
    out = tmp_path / "out"
    export(speech, "hf", "none", out, clips, "hi", WindowPolicy())
    verdict = read_verdict(out)
    assert verdict.ok and verdict.same_text == len(clips)
    assert verdict.encoder_error is not None and verdict.encoder_error < 1e-6
    own = TorchTranscriber(speech, WindowPolicy())
    opened = open_transcriber(str(out), WindowPolicy())
    texts = [opened.transcribe(clip).text for clip in clips]
    assert texts == [own.transcribe(clip).text for clip in clips] and any(texts)
    card = (out / "README.md").read_text("utf-8")
    kind = "wav2vec 2.0" if name != PARAKEET else "Parakeet"
    assert f"A {kind} model" in card and f"runs `{REMOTE}`" in card
    assert "Whisper weights" not in card and str(folder) not in card


def test_transformers_alone_gives_the_same(folder: Path, tmp_path: Path) -> None:
    """Scores, text and the stock pipeline, of whole and cut models of every kind."""
    sound = recordings(folder)[0]
    np.save(tmp_path / "sound.npy", sound)
    models = {f"{name} cut": cut_model(folder, name) for name in NAMES}
    models |= {f"{name} cut in two": model_of_two(folder, name) for name in OPENED}
    whole = ("wav2vec2 pre-norm", "hubert post-norm", "conformer relative", PARAKEET)
    models |= {name: talkative(folder, name) for name in whole}
    places = {name: written(each, tmp_path / name) for name, each in models.items()}
    found = alone(tmp_path, *places.values())
    for (name, speech), entry in zip(models.items(), found, strict=True):
        with torch.no_grad():
            states = speech.family.encode(speech.model, torch.from_numpy(sound)[None])
            wanted = speech.family.project(speech.model, states)[0]
        seconds = len(sound) / 16_000
        heard = speech.family.timing(speech.model).frames(seconds)
        given = torch.tensor(entry["logits"])
        # Parakeet's processor puts one frame behind the sound, which the pipeline reads, too.
        assert len(given) == heard or (PARAKEET in name and len(given) == heard + 1)
        difference = (given[:heard] - wanted[:heard]).abs().max()
        assert difference <= 2e-4 * wanted.abs().max(), name
        assert ("Slim" in entry["class"]) == ("cut" in name)
        (path,) = speech.family.decode(speech.model, speech.tokens, states, [seconds], "hi")
        text = speech.tokens.decode(path.ids)
        assert entry["text"] == entry["pipeline"] and text, name
        assert entry["text"] == text or (PARAKEET in name and entry["text"].startswith(text))


def alone(home: Path, *folders: Path) -> list[dict[str, Any]]:
    script = Path(__file__).with_name("frames_alone.py")
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, str(script), str(home / "sound.npy"), *map(str, folders)],
        capture_output=True, text=True, cwd=home, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def changed(place: Path, values: Mapping[str, object]) -> None:
    file = place / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **values}), "utf-8")


def test_the_configuration_names_what_is_left_of_each_layer(folder: Path, tmp_path: Path) -> None:
    speech = cut_model(folder, "conformer relative")
    config = json.loads((written(speech, tmp_path / "out") / "config.json").read_text("utf-8"))
    left = {group.key: group.count for group in speech.groups()}
    assert config["layer_units"] == {
        kind: [left.get(f"encoder.{layer}.{kind}", 0) for layer in range(2)]
        for kind in ("ffn1", "self_attn.heads", "conv.channels", "ffn2")
    }
    assert config["model_type"] == "wav2vec2_conformer_slim"


@pytest.mark.parametrize("name", ["wav2vec2 pre-norm", PARAKEET])
def test_sizes_that_the_model_never_had_are_refused(
    folder: Path, tmp_path: Path, name: str
) -> None:
    speech = cut_model(folder, name)
    place, form = written(speech, tmp_path / "out"), form_of(speech.family.model_type)
    units = json.loads((place / "config.json").read_text("utf-8"))["layer_units"]
    heads = "self_attn.heads"
    wrong = ({heads: [10**9, 1]}, {heads: [-1, 1]}, {heads: [1]}, {heads: [1, "1"]}, {heads: 1},
             {"wings": [1, 1]})  # fmt: skip
    for listed in (*({**units, **each} for each in wrong), "all of them", None):
        changed(place, {"layer_units": listed})
        with pytest.raises(CheckpointError, match="a list of 2 numbers of units"):
            load_strictly(form, place)


@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
def test_a_missing_tensor_is_an_error_and_not_random(
    folder: Path, tmp_path: Path, is_cut: bool
) -> None:
    name = "hubert pre-norm"
    speech = cut_model(folder, name) if is_cut else talkative(folder, name)
    place = written(speech, tmp_path / "out")
    tensors = load_file(place / "model.safetensors")
    del tensors["lm_head.bias"]
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"missing_keys.*lm_head\.bias"):
        load_strictly(form_of("hubert"), place)


def test_half_precision_keeps_statistics_whole(folder: Path, tmp_path: Path) -> None:
    place = written(cut_model(folder, PARAKEET), tmp_path / "half", "float16")
    for key, tensor in load_file(place / "model.safetensors").items():
        statistic = "running" in key or "num_batches" in key
        assert (tensor.dtype == torch.float16) != statistic, key


def test_a_family_without_a_form_is_named() -> None:
    with pytest.raises(ExportError, match=r"type toy have no Hugging Face folder.*wav2vec2"):
        form_of("toy")
