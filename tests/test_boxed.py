"""Models that come with the project: called by name, pinned by hash, and not to be trained."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.engines.onnx.test_engine import sealed_export
from tests.support.tiny import tiny_model_folder
from whisperslim import boxed, runtime
from whisperslim.boxed import BoxedModel, find_boxed, local_name
from whisperslim.core.disk.storage import file_sha256
from whisperslim.core.loading import load_model
from whisperslim.engines.export.record import EXPORT_FILE, read_export
from whisperslim.engines.export.seal import is_boxed
from whisperslim.engines.foreign.transcriber import ForeignTranscriber
from whisperslim.errors import ExportError, SourceError
from whisperslim.exported.spelling import TOKENIZER_FILE
from whisperslim.jobs.scoring.origin import described, is_untuned, made_from
from whisperslim.speech.audio.audio import SAMPLE_RATE

SLIM, DENSE = "whisperslim/tiny-hi", "whisperslim/tiny-hi-dense"
CLIP = Path(__file__).parents[1] / "assets" / "demo_hi" / "audio" / "demo_000.ogg"


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of another installation."""
    place = tmp_path_factory.mktemp("sent")
    speech = load_model(str(tiny_model_folder(place / "model")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPERSLIM_STATE", str(place / "state"))
        return sealed_export(speech, place / "export")


@pytest.fixture
def box(sent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A box with a slim model, and a dense one whose files are not here."""
    folder = tmp_path / "assets" / "models" / "tiny" / "slim"
    shutil.copytree(sent, folder)
    monkeypatch.setenv("WHISPERSLIM_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(boxed, "ASSETS", tmp_path / "assets")
    models = (
        BoxedModel(SLIM, "tiny/slim", file_sha256(folder / EXPORT_FILE), DENSE, "half removed"),
        BoxedModel(DENSE, "tiny/dense", "0" * 64, "", "its dense twin"),
    )
    monkeypatch.setattr(boxed, "BOXED", models)
    return folder


def test_it_is_opened_by_name_in_this_process(box: Path) -> None:
    by_name, by_path = runtime.load(SLIM), runtime.load(box)
    assert not isinstance(by_name.engine, ForeignTranscriber)
    assert by_name.transcribe(CLIP).text == by_path.transcribe(CLIP).text
    assert local_name(SLIM) == str(box)


def test_a_copy_elsewhere_is_foreign(box: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    box.rename(copy)
    assert not is_boxed(copy, read_export(copy))


@pytest.mark.parametrize("name", [EXPORT_FILE, TOKENIZER_FILE])
def test_a_changed_file_is_refused(box: Path, name: str) -> None:
    text = (box / name).read_text("utf-8")
    # Of the same length, so that only the hash can show it.
    (box / name).write_text(text.replace(" ", "\t", 1), "utf-8")
    with pytest.raises(ExportError, match=r"differs from the published model|not the tokenizer"):
        runtime.load(SLIM)


def test_another_record_with_hashes_of_its_own_is_refused(box: Path) -> None:
    raw = json.loads((box / EXPORT_FILE).read_text("utf-8"))
    (box / EXPORT_FILE).write_text(json.dumps(raw | {"language": "mr"}), "utf-8")
    with pytest.raises(
        ExportError, match=f"{SLIM} differs from the published model: .*{EXPORT_FILE}"
    ):
        runtime.load(SLIM)


def test_one_that_is_not_here_says_how_to_get_it(box: Path) -> None:
    with pytest.raises(SourceError, match=r"not installed here.*assets/models/tiny/dense"):
        runtime.load(DENSE)


def test_an_unknown_one_names_those_there_are(box: Path) -> None:
    with pytest.raises(SourceError, match=f"no model that comes.*{SLIM}, {DENSE}"):
        runtime.load("whisperslim/huge")


def test_it_cannot_be_trained(box: Path) -> None:
    with pytest.raises(SourceError, match=f"{SLIM} is an export.*openai/whisper-base"):
        load_model(SLIM)


def test_where_it_comes_from_is_known(box: Path) -> None:
    for name in (SLIM, str(box)):
        assert made_from(name) == DENSE
        assert not is_untuned(name)
        assert described(name) == f"{SLIM}: half removed"
    assert find_boxed("openai/whisper-base") is None


def test_a_folder_of_that_name_comes_first(
    box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whisperslim" / "tiny-hi").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert local_name(SLIM) == SLIM


def test_the_slim_model_is_given_no_longer_pieces_than_it_was_tuned_on() -> None:
    """In pieces of 28 s, as the dense one hears them, it repeats itself."""
    noise = np.random.default_rng(0).normal(0, 0.1, 60 * SAMPLE_RATE).astype(np.float32)
    longest = {}
    for name in ("whisperslim/base-hi", "whisperslim/base-hi-dense"):
        parts = runtime.load(name).engine.features_for(noise).segments
        assert sum(part.end - part.start for part in parts) == len(noise)
        longest[name] = max(part.seconds for part in parts)
    assert longest["whisperslim/base-hi"] <= 15.0 < longest["whisperslim/base-hi-dense"] <= 28.0
