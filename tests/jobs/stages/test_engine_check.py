"""A model that the recipe's engine can hold no cut of is refused before any training."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.models.tiny_ctc import KINDS, samples_folder
from tests.support.tiny import tiny_corpus
from tests.support.tiny_run import tiny_recipe
from whisperslim.errors import ExportError
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.stages.order import work


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("refused")
    tiny_corpus(place / "corpus", clips=8)
    for name in ("wav2vec2 post-norm", "conformer relative"):
        samples_folder(place / name, KINDS[name], place / "corpus")
    return place


PIECES = {
    "head": {"kind": "ctc", "writes": "tokens"},
    "vocabulary": {"languages": ["hi"]},
    "prepare": {"steps": 1},
}


@pytest.mark.parametrize(
    ("name", "engine", "sections", "words"),
    [
        ("wav2vec2 post-norm", "ctranslate2", {}, "norms behind sub-layers"),
        ("conformer relative", "ctranslate2", {}, "which can be written for: onnx, hf, sherpa"),
        ("", "ctranslate2", PIECES, "does not support models of type whisper_ctc"),
        ("", "hf", PIECES, "no tokenizer that reads pieces of words off frames"),
    ],
)
def test_it_is_refused_before_training(
    folder: Path, tmp_path: Path, name: str, engine: str, sections: dict[str, Any], words: str
) -> None:
    changes = {**sections, "export": {"engine": engine, "quantize": "none"}}
    if name:
        changes["model"] = str(folder / name)
    run = RunDir.create(tmp_path / "runs", from_mapping(tiny_recipe(tmp_path, **changes)))
    with pytest.raises(ExportError, match=words):
        work(run, lambda event: None)
    assert run.stage_done("vocabulary") and not run.stage_done("prepare")
    assert not (run.path / "prepared").exists() and not (run.path / "tuned").exists()
