"""A finished run is judged from its own files, and a model's origin is found from its place."""

import json
import shutil
from pathlib import Path

import pytest

from tests.speech.corpus.archives.making import tar
from tests.support.runs.fake_runs import make_run
from whisperslim.errors import UsageError
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.scoring.origin import described, made_from, training_clips
from whisperslim.jobs.scoring.run_verdict import run_verdicts
from whisperslim.speech.corpus.dataset import load_items

DEMO = Path(__file__).parents[3] / "assets" / "demo_hi"
SAID = "मैं मोहन के साथ गेंद खेलने जा रहा हूँ"
URDU = "میں موحن کے ساتھ گیند کھیلنے جارہا ہوں"
WRONG = "कुछ और ही लिखा गया है यहाँ पर"


def scored(run: RunDir, dense: str, slim: str, clips: int = 30) -> None:
    """What stage `evaluate` leaves of one set of equal clips."""
    folder = run.eval_path("slim").parent
    folder.mkdir()
    for label, heard in (("dense", dense), ("slim", slim)):
        record = {"sets": {"corpus#test": {"language": "hi"}}}
        run.eval_path(label).write_text(json.dumps(record), "utf-8")
        rows = [f"corpus#test:{i}\t{SAID}\t{heard}" for i in range(clips)]
        lines = ["key\treference\thypothesis", *rows]
        run.eval_path(label).with_suffix(".tsv").write_text("\n".join(lines) + "\n", "utf-8")
    run.eval_path("difference").write_text(json.dumps({"corpus#test": {}}), "utf-8")


def test_a_dense_model_that_heard_all_in_urdu_script_does_not_lose(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    scored(run, URDU, SAID.replace("साथ", "साट").replace("गेंद", "खेंद"))
    (verdict,) = run_verdicts(run).values()
    assert verdict.winner == ""
    assert any("Arabic" in note for note in verdict.notes)


def test_neither_is_right_where_both_fail(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    scored(run, WRONG, WRONG + " फिर")
    (verdict,) = run_verdicts(run).values()
    assert verdict.winner == "" and verdict.sentence.startswith("Neither is right")


def test_a_plain_difference_has_a_winner(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    scored(run, SAID.replace("गेंद", "चाँद").replace("साथ", "पास"), SAID)
    (verdict,) = run_verdicts(run).values()
    assert verdict.winner == "slim"


def test_a_run_without_scores_has_no_verdict(tmp_path: Path) -> None:
    assert run_verdicts(make_run(tmp_path / "runs")) == {}


def test_the_dense_side_is_the_model_that_the_slim_one_was_made_from(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", model="openai/whisper-base")
    slim = run.path / "slim"
    slim.mkdir()
    export = run.path / "export" / "onnx-int8"
    export.mkdir(parents=True)
    assert made_from(str(slim)) == made_from(str(export)) == "openai/whisper-base"
    prepared = run.path / "prepared"
    prepared.mkdir()
    (prepared / "config.json").write_text("{}")
    assert made_from(str(slim)) == str(prepared)
    (slim / "recipe.yaml").write_text("model: openai/whisper-base\n")  # a copy, as runs leave it
    assert made_from(str(slim)) == str(prepared)
    assert described(str(slim)) == f"{slim}, made by run {run.name}"
    assert described("openai/whisper-base") == "openai/whisper-base, untuned"
    with pytest.raises(UsageError, match="--dense"):
        made_from(str(tmp_path))


def test_a_clip_that_trained_a_model_is_found_by_its_bytes(tmp_path: Path) -> None:
    source = f"{DEMO}#train"
    run = make_run(tmp_path / "runs", **{"data.train": [source]})
    first, second, *_ = load_items(source)
    trained, other = first.path, second.path
    record = {"chosen": {"train": [f"{source}:{first.key}"]}}
    (run.path / "data.json").write_text(json.dumps(record), "utf-8")
    clips = training_clips(str(run.path / "slim"))
    copy = tmp_path / "renamed.ogg"
    shutil.copy(trained, copy)
    assert clips.holds(trained) and clips.holds(copy)
    assert not clips.holds(other)
    assert not training_clips("openai/whisper-base").holds(trained)


def test_of_an_archive_only_the_clip_that_trained_is_found(tmp_path: Path) -> None:
    names = ("0.wav", "0.txt", "1.wav", "1.txt")
    source = str(tar(tmp_path / "x.tar", dict.fromkeys(names, b"text")))
    run = make_run(tmp_path / "runs", **{"data.train": [source]})
    first, second = load_items(source)
    record = {"chosen": {"train": [f"{source}:{first.key}"]}}
    (run.path / "data.json").write_text(json.dumps(record), "utf-8")
    clips = training_clips(str(run.path / "slim"))
    assert clips.holds_clip(first) and not clips.holds_clip(second)
    assert not clips.holds(first.path)


@pytest.mark.parametrize(
    "content", ["no JSON", "[]", '{"chosen": {}}', '{"chosen": {"train": 3}}', None]
)
def test_a_damaged_record_of_the_data_names_no_clip(tmp_path: Path, content: str | None) -> None:
    run = make_run(tmp_path / "runs", **{"data.train": [f"{DEMO}#train", "hub:a/b"]})
    if content is not None:
        (run.path / "data.json").write_text(content, "utf-8")
    assert not training_clips(str(run.path / "slim")).files


def test_a_recipe_that_names_no_sets_names_no_clip(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", **{"data.train": [f"{DEMO}#train"]})
    (run.path / "data.json").write_text('{"chosen": {"train": ["a"]}}', "utf-8")
    for train in ("[{a: null}]", "{a: b}", "3"):
        (run.path / "recipe.yaml").write_text(f"data: {{train: {train}}}\n", "utf-8")
        assert not training_clips(str(run.path / "slim")).files


def test_a_clip_as_long_as_one_that_trained_is_another(tmp_path: Path) -> None:
    source = f"{DEMO}#train"
    run = make_run(tmp_path / "runs", **{"data.train": [source]})
    clip = load_items(source)[0]
    record = {"chosen": {"train": [f"{source}:{clip.key}"]}}
    (run.path / "data.json").write_text(json.dumps(record), "utf-8")
    sound = bytearray(clip.path.read_bytes())
    sound[-1] ^= 1
    (tmp_path / "other.ogg").write_bytes(sound)
    assert not training_clips(str(run.path / "slim")).holds(tmp_path / "other.ogg")
