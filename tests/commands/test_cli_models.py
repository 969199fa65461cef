"""The commands about models, through the real parts, on a tiny model."""

import json
from concurrent.futures import Future
from contextlib import chdir
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.tiny import tiny_corpus, tiny_model_folder
from whisperslim.cli import app
from whisperslim.commands import models
from whisperslim.errors import DataError, UsageError
from whisperslim.text.printable import printable


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    return tiny_model_folder(tmp_path / "model"), tiny_corpus(tmp_path / "corpus")


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_evaluate_writes_a_record_that_says_what_it_depends_on(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    model, corpus = folders
    out = tmp_path / "record.json"
    text = run("evaluate", "--model", str(model), "--data", str(corpus), "--json", str(out))
    record = json.loads(out.read_text("utf-8"))
    # Two of the eight clips of the tiny corpus are its test split.
    assert record["n"] == 2 and record["language"] == "hi" and record["window"].startswith("fit")
    assert set(record["scores"]) == {"raw", "whisper-basic", "hindi-1"}
    for score in record["scores"].values():
        low, high = score["wer_interval_95"]
        assert low <= score["wer"] <= high
    assert "hindi-1" in text and len(out.with_suffix(".tsv").read_text("utf-8").splitlines()) == 3


def test_evaluate_takes_the_test_split_where_there_is_one_and_all_clips_elsewhere(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    model, corpus = folders
    out = tmp_path / "record.json"

    def scored(data: str, *more: str) -> tuple[str, int]:
        text = run("evaluate", "--model", str(model), "--data", data, "--json", str(out), *more)
        record = json.loads(out.read_text("utf-8"))
        assert record["split"] in text
        return record["split"], record["n"]

    # Of eight clips two are for the test.
    assert scored(str(corpus)) == ("test", 2)
    assert scored(f"{corpus}#train") == ("train", 6)
    assert scored(str(corpus), "--split", "train") == ("train", 6)
    assert scored(str(corpus), "--split", "") == ("all clips", 8)
    file = corpus / "manifest.tsv"
    rows = [row.rpartition("\t")[0] for row in file.read_text("utf-8").splitlines()]
    (corpus / "manifest.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    assert scored(str(corpus)) == ("all clips", 8)


def test_evaluate_scores_by_named_normalizers_and_over_accepted_forms(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    model, corpus = folders
    file = corpus / "manifest.tsv"
    header, *rows = file.read_text("utf-8").splitlines()
    forms = json.dumps([["नमस्ते", "नमस्कार"], ["घर"]], ensure_ascii=False)
    lines = [f"{header}\tvariations", *(f"{row}\t{forms}" for row in rows)]
    file.write_text("\n".join(lines) + "\n", "utf-8")
    out = tmp_path / "record.json"
    more = ("--normalizer", "vistaar", "--normalizer", "hindi-1+glides")
    text = run("evaluate", "--model", str(model), "--data", str(corpus), "--json", str(out), *more)
    record = json.loads(out.read_text("utf-8"))
    names = ["raw", "whisper-basic", "vistaar", "hindi-1+glides", "hindi-1"]
    assert list(record["scores"]) == names and record["normalizer"] == "hindi-1"
    assert "OIWER" in text
    assert all(score["oiwer"]["with_variants"] == 2 for score in record["scores"].values())
    # Two clips, of two places with one word each.
    assert record["scores"]["hindi-1"]["oiwer"]["reference_words"] == 4
    with pytest.raises(UsageError, match="'vistaar-2'"):
        run("evaluate", "--model", "none", "--data", str(corpus), "--normalizer", "vistaar-2")


def test_evaluate_in_shards_writes_one_record(folders: tuple[Path, Path], tmp_path: Path) -> None:
    model, corpus = folders
    out, whole = tmp_path / "shards", tmp_path / "whole.json"
    asked = ("evaluate", "--model", str(model), "--data", str(corpus))
    run(*asked, "--json", str(whole))
    parts = (*asked, "--shards", "2", "--out", str(out))
    assert not run(*parts, "--shard", "2").strip()
    assert [file.name for file in out.iterdir()] == ["shard-002-of-002.jsonl"]
    text = run(*parts)
    record, expected = (json.loads(f.read_text("utf-8")) for f in (out / "record.json", whole))
    assert record["scores"] == expected["scores"]
    assert record["manifest_sha256"] == expected["manifest_sha256"]
    assert "hindi-1" in text
    assert (out / "record.tsv").read_text("utf-8") == whole.with_suffix(".tsv").read_text("utf-8")


def test_evaluate_gives_shards_to_nodes_as_commands_for_any_folder(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, corpus = folders
    monkeypatch.chdir(tmp_path)

    class Nodes:
        """Carries a command out here, from another folder."""

        def begin_commands(self, commands: list[list[str]], mark: Path) -> "list[Future[str]]":
            ended = []
            for words in commands:
                with chdir(tmp_path / "corpus"):
                    run(*words)
                ended.append(Future[str]())
                ended[-1].set_result("")
            return ended

        def close(self) -> None:
            pass

    asked = ("evaluate", "--model", model.name, "--data", f"{corpus.name}#test",
             "--normalizer", "vistaar", "--script", "own", "--window", "30s")  # fmt: skip
    run(*asked, "--json", "whole.json")
    monkeypatch.setattr(models, "_ray", lambda address: Nodes())
    run(*asked, "--shards", "2", "--out", "shards", "--ray", "local")
    found, whole = (json.loads(Path(f).read_text()) for f in ("shards/record.json", "whole.json"))
    assert found["scores"] == whole["scores"]
    assert (found["window"], found["decoding"]) == (whole["window"], whole["decoding"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ray", "local"], "given together"),
        (["--ray", "local", "--shards", "2", "--out", "x", "--shard", "1"], "leave --shard away"),
        (["--shards", "2"], "given together"),
        (["--shard", "1", "--out", "x"], "given together"),
        (["--shards", "2", "--out", "x", "--limit", "1"], "leave --limit"),
        (["--shards", "2", "--out", "x", "--shard", "3"], "no shard 3 of 2"),
    ],
)
def test_options_of_shards_that_do_not_fit_are_refused(
    folders: tuple[Path, Path], options: list[str], said: str
) -> None:
    model, corpus = folders
    with pytest.raises(UsageError, match=said):
        run("evaluate", "--model", str(model), "--data", str(corpus), *options)


def test_evaluate_refuses_a_split_that_is_not_there(folders: tuple[Path, Path]) -> None:
    model, corpus = folders
    file = corpus / "manifest.tsv"
    text = file.read_text("utf-8")

    def refused(*more: str) -> str:
        done = CliRunner().invoke(
            app, ["evaluate", "--model", str(model), "--data", str(corpus), *more]
        )
        assert isinstance(done.exception, DataError)
        return str(done.exception)

    file.write_text(text.replace("\ttest", "\tdev"), "utf-8")
    assert "no split 'test'; known: dev, train" in refused()
    file.write_text("\n".join(row.rpartition("\t")[0] for row in text.splitlines()), "utf-8")
    assert "no column `split`, and 'test' was requested" in refused("--split", "test")


def test_data_counts_the_tokens_of_a_named_model(folders: tuple[Path, Path]) -> None:
    model, corpus = folders
    file = corpus / "manifest.tsv"
    rows = file.read_text("utf-8").splitlines()
    key, _, *others = rows[1].split("\t")
    # The tiny model has 128 positions and writes a token for each byte.
    file.write_text("\n".join([rows[0], "\t".join([key, "क" * 50, *others]), *rows[2:]]), "utf-8")
    named = run("data", str(corpus), "--model", str(model))
    assert f"  {key}: its text takes 155 of the model's 128 positions" in named
    assert "text_too_long" not in run("data", str(corpus))
    reported = CliRunner().invoke(app, ["data", str(corpus)])
    assert "--model names one to check with" in reported.stderr
    scored = run("evaluate", "--model", str(model), "--data", str(corpus), "--split", "train")
    assert "the loss is without 1 of 6 clips" in scored


def test_inspect_sums_to_the_total(folders: tuple[Path, Path]) -> None:
    model, _ = folders
    record = json.loads(run("inspect", str(model), "--json"))
    assert sum(row["parameters"] for row in record["rows"]) == record["parameters"]
    text = run("inspect", str(model))
    assert "0 removed (0.00% of prunable" in text and "GFLOPs" in text


def test_compare_of_a_model_with_itself_finds_no_difference(folders: tuple[Path, Path]) -> None:
    model, corpus = folders
    clip = str(corpus / "audio" / "clip_00.wav")
    sides = ("compare", "--dense", str(model), "--slim", str(model), clip)
    text = run(*sides, "--reference", "नमस्ते पानी")
    assert "words that differ, dense → slim: none" in text and "hindi-1" in text
    (record,) = json.loads(run(*sides, "--json"))
    assert record["scores"] is None and record["winner"] == ""
    assert record["runs_in"]["dense"] == record["runs_in"]["slim"]
    assert f"dense: {model}, untuned" in text
    assert CliRunner().invoke(app, ["compare", "--slim", str(model), clip]).exit_code != 0
    assert record["dense"]["transcript"]["text"] == record["slim"]["transcript"]["text"]


def test_transcribe_of_a_folder_in_shards_has_the_texts_of_its_files(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    model, corpus = folders
    out = tmp_path / "texts"
    asked = ("transcribe", "--model", str(model), str(corpus), "--shards", "2", "--out", str(out))
    said = run(*asked)
    assert "8 recordings, 0 could not be read" in said
    rows = [json.loads(row) for row in (out / "transcripts.jsonl").read_text("utf-8").splitlines()]
    clips = [str(corpus / row["file"]) for row in rows]
    lines = run("transcribe", "--model", str(model), *clips).splitlines()
    texts = [f"{clip}: {row['text']}" for clip, row in zip(clips, rows, strict=True)]
    assert lines == printable("\n".join(texts)).splitlines() and len(rows) == 8
    with pytest.raises(UsageError, match="one FOLDER"):
        run(*asked, "--format", "srt")


def test_transcribe_gives_each_file_a_line(folders: tuple[Path, Path]) -> None:
    model, corpus = folders
    clips = [str(corpus / "audio" / f"clip_0{i}.wav") for i in range(2)]
    lines = run("transcribe", "--model", str(model), *clips).splitlines()
    assert [line.split(": ")[0] for line in lines] == clips
