"""Scoring a model by name: what is recorded, what is refused, and that the figures add up."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.support.tiny import tiny_corpus, tiny_model_folder
from whisperslim import __version__
from whisperslim.errors import DataError, UsageError
from whisperslim.jobs.scoring.evaluation import choose, evaluate_model
from whisperslim.speech.corpus.dataset import load_items, manifest_hash
from whisperslim.speech.scoring.wer import score_all_ways


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("evaluation") / "model")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return tiny_corpus(tmp_path / "corpus")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_scores_are_those_of_the_written_rows(
    model: Path, corpus: Path, cache: Path, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    done = evaluate_model(
        str(model), str(corpus), split="test", cache_folder=cache,
        progress=lambda n, total: seen.append((n, total)),
    )  # fmt: skip
    done.write_record(tmp_path / "out" / "tiny.json")
    record = json.loads((tmp_path / "out" / "tiny.json").read_text("utf-8"))
    lines = (tmp_path / "out" / "tiny.tsv").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    assert lines[0] == "key\treference\thypothesis"
    assert [row[0] for row in rows] == ["audio/clip_03.wav", "audio/clip_07.wav"]
    assert seen[-1] == (2, 2)
    expected = score_all_ways([row[1] for row in rows], [row[2] for row in rows])
    assert {name: s["wer"] for name, s in record["scores"].items()} == {
        name: score.wer for name, score in expected.items()
    }
    assert (record["wer"], record["cer"]) == (expected["hindi-1"].wer, expected["hindi-1"].cer)
    assert record["normalizer"] == "hindi-1"


def test_record_says_where_the_figures_come_from(model: Path, corpus: Path, cache: Path) -> None:
    record = evaluate_model(str(model), f"{corpus}#test", seed=5, cache_folder=cache).to_record()
    weights = (model / "model.safetensors").read_bytes()
    assert record["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert record["model"] == str(model)
    assert record["parameters"] == 109_952  # added up by hand in test_cost.py
    assert record["bytes_on_disk"] == len(weights)
    assert record["manifest_sha256"] == manifest_hash(load_items(f"{corpus}#test"))
    assert (record["n"], record["seed"], record["limit"]) == (2, 5, 0)
    assert record["split"] == "test"
    assert (record["device"], record["precision"]) == ("cpu", "float32")
    assert record["threads"] >= 1
    assert record["window"].startswith("fit")
    assert record["decoding"].startswith("greedy")
    assert record["environment"]["whisperslim"] == __version__
    assert {"torch", "transformers"} <= set(record["environment"]["packages"])
    assert record["environment"]["python"]
    assert record["skipped"] == {}
    assert record["time"].endswith("+00:00")


def test_an_untuned_model_is_held_to_its_script_and_the_record_says_so(
    model: Path, corpus: Path, cache: Path
) -> None:
    held = "held to the language's own script"
    found = {
        script: evaluate_model(
            str(model), f"{corpus}#test", limit=1, cache_folder=cache, script=script
        ).to_record()["decoding"]
        for script in ("auto", "own", "any")
    }
    assert [held in found[script] for script in ("auto", "own", "any")] == [True, True, False]
    with pytest.raises(UsageError, match="auto, own, any"):
        evaluate_model(str(model), f"{corpus}#test", cache_folder=cache, script="latin")


def test_a_clips_text_does_not_depend_on_batch_or_subset(
    model: Path, corpus: Path, cache: Path
) -> None:
    whole = evaluate_model(str(model), str(corpus), batch_size=4, cache_folder=cache).result
    some = evaluate_model(
        str(model), str(corpus), limit=3, batch_size=1, seed=1, cache_folder=cache
    ).result
    texts = dict(zip(whole.keys, whole.hypotheses, strict=True))
    assert some.n == 3
    assert dict(zip(some.keys, some.hypotheses, strict=True)) == {k: texts[k] for k in some.keys}


def test_subset_is_drawn_with_the_seed_and_keeps_the_order(corpus: Path) -> None:
    items = load_items(str(corpus))
    chosen = choose(items, 4, seed=3)
    assert chosen == choose(items, 4, seed=3)
    assert [item for item in items if item in chosen] == chosen
    assert len({tuple(i.key for i in choose(items, 4, seed)) for seed in range(8)}) > 1
    assert choose(items, 0, seed=0) == choose(items, 99, seed=0) == items
    with pytest.raises(UsageError, match="limit"):
        choose(items, -1, seed=0)


def test_unusable_clips_are_refused_or_skipped_and_recorded(
    model: Path, corpus: Path, cache: Path
) -> None:
    (corpus / "audio" / "clip_03.wav").unlink()
    with pytest.raises(DataError, match=r"1 of 8 clips(.|\n)*clip_03.wav: missing"):
        evaluate_model(str(model), str(corpus), cache_folder=cache)
    done = evaluate_model(str(model), str(corpus), cache_folder=cache, skip_problems=True)
    assert done.result.n == 7
    assert list(done.to_record()["skipped"]) == ["audio/clip_03.wav"]


def test_nothing_usable_is_refused_even_when_skipping(
    model: Path, corpus: Path, cache: Path
) -> None:
    for file in (corpus / "audio").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="none of its 8 clips"):
        evaluate_model(str(model), str(corpus), cache_folder=cache, skip_problems=True)


def test_two_splits_and_unknown_window_are_refused(model: Path, corpus: Path) -> None:
    with pytest.raises(UsageError, match="'test'"):
        evaluate_model(str(model), f"{corpus}#test", split="train")
    with pytest.raises(UsageError, match="window"):
        evaluate_model(str(model), str(corpus), window="45s")
