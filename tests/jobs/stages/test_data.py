"""Clips that later stages could not use are found before any training: in train, dev and test."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.speech.corpus.archives.making import tar
from tests.support.models.tiny_tokens import many_tongued_folder
from tests.support.tiny import WORDS, tiny_config, write_tone
from tests.support.tiny_run import finished_run, tiny_recipe
from whisperslim.core.loading import load_model
from whisperslim.core.tokens.options import VocabularyOptions
from whisperslim.core.trimming import save_trimmed, vocabulary_for
from whisperslim.errors import DataError
from whisperslim.events import Event, Notice
from whisperslim.exported.bounds import DecodingOptions
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.scoring.evaluation import evaluate_model
from whisperslim.jobs.scoring.stored import stored_results
from whisperslim.jobs.scoring.texts import texts_of
from whisperslim.jobs.sizes.measure import latency_clips
from whisperslim.jobs.stages import context as stage_context
from whisperslim.jobs.stages.context import StageContext
from whisperslim.jobs.stages.data import prepare_data, text_limit
from whisperslim.jobs.stages.order import work
from whisperslim.speech.corpus.dataset import Item, load_items
from whisperslim.speech.scoring.wer import score_all_ways

POSITIONS = tiny_config().max_target_positions
PROMPT = 4  # start, language, task, no timestamps
LONG = "नमस्ते " * 20  # 18 bytes of letters a word: more than the positions, at a token a byte
TRAIN, TEST, BROKEN = "audio/clip_00.wav", "audio/clip_03.wav", "audio/clip_07.wav"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def give_text(corpus: Path, key: str, text: str) -> None:
    """Another text for one clip of the manifest."""
    rows = [line.split("\t") for line in (corpus / "manifest.tsv").read_text("utf-8").splitlines()]
    changed = [[row[0], text, *row[2:]] if row[0] == key else row for row in rows]
    (corpus / "manifest.tsv").write_text("\n".join(map("\t".join, changed)) + "\n", "utf-8")


def spoil(corpus: Path, key: str) -> None:
    (corpus / key).write_bytes(b"this is no recording at all" * 50)


def a_context(folder: Path, seen: list[Event], **sections: Any) -> StageContext:
    """A run in which nothing is done; `tiny_recipe` writes its corpus again."""
    recipe = from_mapping(tiny_recipe(folder, **sections))
    run = RunDir.create(folder / "runs", recipe)
    return StageContext(run, recipe, seen.append)


def notices(seen: list[Event]) -> str:
    return "\n".join(event.message for event in seen if isinstance(event, Notice))


def test_clips_that_cannot_be_used_are_skipped_and_the_run_finishes(tmp_path: Path) -> None:
    seen: list[Event] = []
    context = a_context(tmp_path, seen, data={"on_problem": "skip"})
    corpus, run = tmp_path / "corpus", context.run
    give_text(corpus, TRAIN, LONG)
    give_text(corpus, TEST, LONG)
    spoil(corpus, BROKEN)
    work(run, seen.append)
    assert run.stage_done("evaluate")
    source = f"{corpus}#test"
    chosen = json.loads((run.path / "data.json").read_text("utf-8"))["chosen"]
    # Of twelve clips every fourth is for the test: nine to train with, three to score.
    assert len(chosen["train"]) + len(chosen["dev"]) == 8
    assert not any(key.endswith(TRAIN) for key in [*chosen["train"], *chosen["dev"]])
    assert chosen["test"] == [f"{source}:{TEST}", f"{source}:audio/clip_11.wav"]
    assert "1 of 9 training clips cannot be used" in notices(seen)
    assert "1 of 3 test clips cannot be used" in notices(seen)
    check_scores(run, source, seen)
    check_later_uses(context, chosen["test"])


def test_with_listed_lengths_nothing_is_decoded_before_training(tmp_path: Path) -> None:
    seen: list[Event] = []
    context = a_context(tmp_path, seen, data={"lengths": "listed"})
    corpus = tmp_path / "corpus"
    header, *rows = (corpus / "manifest.tsv").read_text("utf-8").splitlines()
    with_lengths = [f"{header}\tduration", *(f"{row}\t1.5" for row in rows)]
    (corpus / "manifest.tsv").write_text("\n".join(with_lengths) + "\n", "utf-8")
    spoil(corpus, TRAIN)  # found when it is heard
    assert prepare_data(context)
    record = json.loads((context.run.path / "data.json").read_text("utf-8"))
    assert record["report"]["seconds"] == 9 * 1.5
    assert any(key.endswith(TRAIN) for part in ("train", "dev") for key in record["chosen"][part])
    spoil(corpus, BROKEN)  # of the test set, which is always heard
    with pytest.raises(DataError, match="test clips cannot be used"):
        prepare_data(context)


def test_a_run_trains_and_is_scored_on_recordings_in_archives(tmp_path: Path) -> None:
    source, seen = str(tmp_path / "shards" / "x-*.tar"), list[Event]()
    tiny_recipe(tmp_path)  # writes the corpus
    corpus = tmp_path / "corpus"
    (tmp_path / "shards").mkdir()
    for number, part in enumerate(("train", "test")):
        files: dict[str, bytes] = {}
        for item in load_items(f"{corpus}#{part}"):
            key = Path(item.key).stem
            files[f"{key}.wav"] = item.path.read_bytes()
            files[f"{key}.json"] = json.dumps({"text": item.text, "split": part}).encode()
        tar(tmp_path / "shards" / f"x-{number}.tar", files)
    context = a_context(tmp_path, seen, data={"train": [source], "test": [f"{source}#test"]})
    (corpus / "manifest.tsv").unlink()
    work(context.run, seen.append)
    record = json.loads(context.run.eval_path("slim").read_text("utf-8"))["sets"]
    assert record[f"{source}#test"]["n"] == 3
    chosen = json.loads((context.run.path / "data.json").read_text("utf-8"))["chosen"]
    # Without a split, all of the shards: of twelve clips, a third is held out.
    assert len(chosen["train"]) + len(chosen["dev"]) == 12


def check_scores(run: RunDir, source: str, seen: list[Event]) -> None:
    """Both models on both clips, the long one left out of the loss alone."""
    for label in ("dense", "slim"):
        record = json.loads(run.eval_path(label).read_text("utf-8"))["sets"][source]
        rows = texts_of(run.eval_path(label).with_suffix(".tsv"))
        assert record["n"] == len(rows) == 2
        expected = score_all_ways([row[1] for row in rows], [row[2] for row in rows])
        assert record["scores"]["hindi-1"]["wer"] == expected["hindi-1"].wer
        assert record["left_out_of_loss"] == [f"{source}:{TEST}"]
        assert record["loss"] > 0
        assert f"{label} on {source}: the loss is without 1 of 2 clips" in notices(seen)


def check_later_uses(context: StageContext, keys: list[str]) -> None:
    """Whatever reads test clips afterwards reads these; of older runs, all of them."""
    sets = context.test_sets()
    assert [item.key for items in sets.values() for item in items] == keys
    sha = load_model(context.recipe.model).info.weights_sha256
    stored = stored_results(
        context, "dense", sha, DecodingOptions(own_script=True).describe(), sets
    )
    assert stored is not None
    assert [result.left_out_of_loss for result in stored.values()] == [(keys[0],)]
    path = context.run.path / "data.json"
    record = json.loads(path.read_text("utf-8"))
    record["chosen"]["dev"] = []
    path.write_text(json.dumps(record), "utf-8")
    assert [item.key for item in latency_clips(context)] == keys
    del record["chosen"]["test"]
    path.write_text(json.dumps(record), "utf-8")
    everything = [keys[0], keys[0].replace(TEST, BROKEN), keys[1]]
    assert [item.key for item in context.chosen("test")] == everything
    assert [item.key for item in latency_clips(context)] == everything


@pytest.mark.parametrize("part", ["train", "test"])
def test_the_run_is_refused_before_training(tmp_path: Path, part: str) -> None:
    context = a_context(tmp_path, [], data={"on_problem": "stop"})
    if part == "train":
        give_text(tmp_path / "corpus", TRAIN, LONG)
    else:
        spoil(tmp_path / "corpus", BROKEN)
    reported = {
        "train": rf"1 of 9 training clips(.|\n)*{TRAIN}: .* of the model's {POSITIONS} positions",
        "test": rf"1 of 3 test clips(.|\n)*{BROKEN}",
    }
    with pytest.raises(DataError, match=reported[part]):
        work(context.run, lambda event: None)
    assert not context.run.stage_done("data") and not context.run.checkpoints("tune").exists()


def test_a_dev_text_that_does_not_fit_is_found_too(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    # The tiny corpus has two splits; the test split serves as dev set here.
    data = {"dev": [f"{corpus}#test"], "test": [], "on_problem": "skip"}
    context = a_context(tmp_path, [], data=data)
    give_text(corpus, TEST, LONG)
    prepare_data(context)
    assert [item.key for item in context.chosen("dev")] == [
        f"{corpus}#test:{key}" for key in (BROKEN, "audio/clip_11.wav")
    ]
    assert context.chosen("test") == []


@pytest.mark.parametrize(
    ("clips", "limit", "places"),
    [
        (10, 4, [0, 2, 5, 7]),  # 0, 2.5, 5 and 7.5, rounded down
        (5, 3, [0, 1, 3]),  # 0, 1.67 and 3.33
        (3, 3, [0, 1, 2]),
        (3, 5, [0, 1, 2]),
        (3, 0, [0, 1, 2]),
        (0, 4, []),
    ],
)
def test_dev_clips_are_taken_at_equal_distances(
    clips: int, limit: int, places: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = [Item(str(place), "x", "") for place in range(clips)]
    monkeypatch.setattr(StageContext, "chosen", lambda self, part: dev)
    recipe = SimpleNamespace(evaluate=SimpleNamespace(dev_limit=limit))
    context = StageContext(cast(Any, None), cast(Any, recipe), lambda event: None)
    assert [int(item.key) for item in context.dev_subset()] == places


def test_of_a_hundred_dev_clips_the_last_are_heard_too(monkeypatch: pytest.MonkeyPatch) -> None:
    dev = [Item(str(place), "x", "") for place in range(100)]
    monkeypatch.setattr(StageContext, "chosen", lambda self, part: dev)
    recipe = SimpleNamespace(evaluate=SimpleNamespace(dev_limit=64))
    found = StageContext(cast(Any, None), cast(Any, recipe), lambda event: None).dev_subset()
    # The last is the 63rd step of 100/64: 98.4.
    assert len(set(found)) == 64 and found[0].key == "0" and found[-1].key == "98"


def test_each_source_is_read_once_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(
        stage_context, "load_items", lambda source: read.append(source) or load_items(source)
    )
    context = a_context(tmp_path, [])
    prepare_data(context)
    for _ in range(2):
        for part in ("train", "dev", "test"):
            context.chosen(part)
        context.test_sets()
        context.dev_subset()
    sources = {*context.recipe.data.train, *context.recipe.data.dev, *context.recipe.data.test}
    assert sorted(read) == sorted(sources)


def test_a_test_set_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    context = a_context(tmp_path, [], data={"on_problem": "skip"})
    for key in (TEST, BROKEN, "audio/clip_11.wav"):
        (tmp_path / "corpus" / key).unlink()
    with pytest.raises(DataError, match=r"#test: none of its 3 clips can be used"):
        prepare_data(context)


def test_only_clips_that_will_be_scored_are_examined(tmp_path: Path) -> None:
    limited = {"evaluate": {"limit": 1}, "data": {"on_problem": "stop"}}
    context = a_context(tmp_path, [], **limited)
    prepare_data(context)
    (drawn,) = context.chosen("test")
    again = a_context(tmp_path, [], **limited)
    for key in (TEST, BROKEN, "audio/clip_11.wav"):
        if not drawn.key.endswith(key):
            spoil(tmp_path / "corpus", key)
    prepare_data(again)
    assert again.chosen("test") == [drawn]


def test_the_longest_clip_to_train_on_does_not_bound_the_test_set(tmp_path: Path) -> None:
    context = a_context(tmp_path, [], data={"max_seconds": 1.0})
    write_tone(tmp_path / "corpus" / BROKEN, seconds=1.5, pitch=220)
    prepare_data(context)
    assert len(context.chosen("test")) == 3


def test_evaluation_scores_a_text_that_does_not_fit(tmp_path: Path, cache: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    corpus = tmp_path / "corpus"
    give_text(corpus, TEST, LONG)
    model = recipe["model"]
    done = evaluate_model(model, f"{corpus}#test", cache_folder=cache)
    record = done.to_record()
    assert record["n"] == 3 and done.result.keys[0] == TEST
    expected = score_all_ways(done.result.references, done.result.hypotheses)
    assert record["wer"] == expected["hindi-1"].wer
    assert record["left_out_of_loss"] == [TEST]
    assert "1 of 3 clips" in done.result.loss_note
    # The loss is that of the other two alone.
    lines = (corpus / "manifest.tsv").read_text("utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(TEST)]
    (corpus / "manifest.tsv").write_text("\n".join(kept) + "\n", "utf-8")
    others = evaluate_model(model, f"{corpus}#test", cache_folder=cache)
    assert others.result.loss == pytest.approx(done.result.loss, rel=1e-6)
    assert "left_out_of_loss" not in others.to_record() and others.result.loss_note == ""


def test_a_set_of_long_texts_alone_has_error_rates_and_no_loss(tmp_path: Path, cache: Path) -> None:
    model, corpus = tiny_recipe(tmp_path)["model"], tmp_path / "corpus"
    for key in (TEST, BROKEN, "audio/clip_11.wav"):
        give_text(corpus, key, LONG)
    done = evaluate_model(model, f"{corpus}#test", cache_folder=cache)
    done.write_record(tmp_path / "record.json")
    record = json.loads((tmp_path / "record.json").read_text("utf-8"))
    assert record["loss"] is None and record["wer"] > 0
    assert json.loads(done.result.event("evaluate", "slim").to_json())["loss"] is None


def test_the_limit_is_that_of_the_model(tmp_path: Path) -> None:
    model = Path(tiny_recipe(tmp_path)["model"])
    limit = text_limit(model, "hi")
    assert limit.positions == POSITIONS
    for text in ("क", LONG.strip(), "ab 12"):
        # A token for each byte, and one for the space Whisper writes first.
        assert limit.count(text) == PROMPT + 1 + len(text.encode())
    # What is not counted fits, even at a token a byte.
    assert limit.short > 0
    assert limit.count("a" * limit.short) <= POSITIONS < limit.count("a" * (limit.short + 3))


@pytest.mark.parametrize("text", [" ".join(WORDS), "the cat in the rain", "مرحبا بالعالم، هذا نص"])
def test_the_limit_counts_the_tokens_a_trimmed_model_writes(tmp_path: Path, text: str) -> None:
    folder = many_tongued_folder(tmp_path / "model")
    speech = load_model(str(folder))
    save_trimmed(tmp_path / "trimmed", speech, vocabulary_for(speech, ["hi"]), "hi")
    trimmed = load_model(str(tmp_path / "trimmed")).tokens
    limit = text_limit(folder, "hi", VocabularyOptions(languages=("hi",)))
    assert limit.count(text) == PROMPT + len(trimmed.encode(text))
    assert text_limit(folder, "hi").count(text) <= limit.count(text)
    assert limit.count(text) <= PROMPT + 1 + len(text.encode())


def test_a_text_that_fits_until_the_vocabulary_is_trimmed_is_left_out(tmp_path: Path) -> None:
    model = str(many_tongued_folder(tmp_path / "many"))
    arabic = " ".join(["مرحبا بالعالم، هذا نص قصير"] * 3)
    whole = text_limit(Path(model), "hi")
    # Else this shows nothing.
    assert whole.count(arabic) <= POSITIONS < PROMPT + len(arabic.encode())
    for kept, left in (([], 9), (["hi"], 8)):
        sections = {"model": model, "data": {"on_problem": "skip"}}
        context = a_context(tmp_path, [], **sections, vocabulary={"languages": kept})
        give_text(tmp_path / "corpus", TRAIN, arabic)
        prepare_data(context)
        assert len(context.chosen("train")) + len(context.chosen("dev")) == left


def test_a_clip_too_short_for_its_text_is_left_out_where_frames_are_scored(
    tmp_path: Path,
) -> None:
    """A clip of 0.6 s has 30 frames of 20 ms: 30 letters fit, and equal neighbors take one more."""
    for kept, text in ((9, "नम" * 15), (8, "नम" * 15 + "न"), (8, "नन" * 11)):
        seen: list[Event] = []
        context = a_context(tmp_path, seen, head={"kind": "ctc"}, data={"on_problem": "skip"})
        give_text(tmp_path / "corpus", TRAIN, text)
        prepare_data(context)
        assert len(context.chosen("train")) + len(context.chosen("dev")) == kept, text
        assert ("skipped" in notices(seen)) == (kept == 8)
    context = a_context(tmp_path, [], head={"kind": "ctc"})
    give_text(tmp_path / "corpus", TRAIN, "नम" * 60)
    with pytest.raises(DataError, match="clip_00"):
        prepare_data(context)


def test_a_run_with_nothing_wrong_takes_every_clip(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    record = json.loads((run.path / "data.json").read_text("utf-8"))
    assert record["test_clips"] == len(record["chosen"]["test"]) == 3
    assert len(record["chosen"]["train"]) + len(record["chosen"]["dev"]) == 9
    assert record["report"]["positions"] == POSITIONS
    scored = json.loads(run.eval_path("slim").read_text("utf-8"))["sets"].values()
    assert all("left_out_of_loss" not in found for found in scored)
