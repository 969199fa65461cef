"""A run in English, from data to report: nothing of it is Hindi's."""

import json
from pathlib import Path

import pytest

from tests.support.tiny import tiny_corpus
from tests.support.tiny_run import finished_run
from whisperslim.jobs.report.report import report
from whisperslim.jobs.scoring.run_verdict import language_of, run_verdicts

WORDS = ("colour", "don't", "twenty", "water", "house", "morning", "night", "book")


def english_corpus(folder: Path) -> Path:
    """Twelve clips, four for the test, with English texts of their own."""
    corpus = tiny_corpus(folder, clips=12)
    header, *rows = (corpus / "manifest.tsv").read_text("utf-8").splitlines()
    written = [header]
    for index, row in enumerate(rows):
        path, _, *rest = row.split("\t")
        text = f"{WORDS[index % 8]} {WORDS[index * 3 % 8]} {WORDS[index // 8]}"
        written.append("\t".join([path, text, *rest]))
    (corpus / "manifest.tsv").write_text("\n".join(written) + "\n", "utf-8")
    return corpus


def test_a_run_in_english(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    corpus = english_corpus(tmp_path / "english")
    data = {"train": [f"{corpus}#train"], "test": [f"{corpus}#test"]}
    run = finished_run(tmp_path, language="English", data=data)
    examined = json.loads((run.path / "data.json").read_text("utf-8"))
    assert "foreign_characters" not in json.dumps(examined["chosen"])
    for label in ("dense", "slim"):
        record = json.loads(run.eval_path(label).read_text("utf-8"))
        (found,) = record["sets"].values()
        assert found["language"] == "en"
        assert list(found["scores"]) == ["raw", "whisper-basic", "whisper-english"]
    assert language_of(run) == "en"
    assert len(run_verdicts(run)) == 1
    page = report(run)
    assert "whisper-english" in page and "hindi-1" not in page
