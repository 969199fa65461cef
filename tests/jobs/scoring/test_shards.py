"""A set scored in shards: one record however many there are, and the one of scoring it whole."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.tiny import tiny_corpus, tiny_model_folder
from whisperslim.errors import DataError, UsageError
from whisperslim.jobs.scoring.evaluation import Evaluation, Prepared, evaluate_model, prepare
from whisperslim.jobs.scoring.shard import Shard, missing
from whisperslim.jobs.scoring.shards import merge, score_in_shards
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.dataset import Item, load_items
from whisperslim.train.evaluate import Heard, scored

CLIPS = 20
# When and where it was made, how long it took, and what is summed in another order.
OF_A_RUN = ("time", "environment", "seconds", "loss", "shards")


@dataclass
class Echo:
    """A model that hears what is said but for some words, and counts the clips it was given."""

    weights: str = "a"
    heard: int = 0
    decoding: str = "echo"
    input_spec: Any = field(default_factory=lambda: SimpleNamespace(max_seconds=30.0))

    def provenance(self) -> dict[str, Any]:
        return {"model": "echo", "weights_sha256": self.weights}

    def hear(self, items: Sequence[Item], **asked: Any) -> Heard:
        self.heard += len(items)
        texts = tuple(self._text(item) for item in items)
        lost = sum(len(item.text) for item in items)
        return Heard(texts, 0.5 * lost, lost, 1.0, 2.0 * len(items), self.decoding, 4)

    def _text(self, item: Item) -> str:
        number = int(item.key[-6:-4])
        words = item.text.split()
        if number % 7 == 3:
            return "یہ ہے پانی"
        if number % 7 == 5:
            return "हाँ " * 9
        return " ".join(words[: len(words) - number % 2])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twenty clips with accepted forms for some; one is missing, and one has no word."""
    folder = tiny_corpus(tmp_path / "corpus", clips=CLIPS)
    (folder / "audio" / "clip_04.wav").unlink()
    header, *rows = (folder / "manifest.tsv").read_text("utf-8").splitlines()
    written = [f"{header}\tvariations"]
    for number, row in enumerate(rows):
        cells = row.split("\t")
        if number == 9:
            cells[1] = "।"
        words = [[word, f"{word} {word}"] for word in cells[1].split()]
        forms = json.dumps(words) if number % 3 == 0 else ""
        written.append("\t".join([*cells, forms]))
    (folder / "manifest.tsv").write_text("\n".join(written) + "\n", "utf-8")
    return folder


@pytest.fixture
def prepared(corpus: Path, tmp_path: Path) -> Prepared:
    opened: Any = Echo()
    return Prepared(
        "echo", opened, str(corpus), "hi", WindowPolicy(), tmp_path / "cache",
        progress=lambda done, total: None, announce=lambda message: None, skip_problems=True,
        normalizers=("vistaar",),
    )  # fmt: skip


def the_same(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in OF_A_RUN}


def test_the_record_does_not_depend_on_the_number_of_shards(
    prepared: Prepared, tmp_path: Path
) -> None:
    records, texts = {}, {}
    for shards in (1, 3, 7, 25):  # of 20 clips some shards of 25 are empty
        folder = tmp_path / f"of-{shards}"
        done = score_in_shards(prepared, shards, folder)
        assert done is not None
        records[shards] = json.loads((folder / "record.json").read_text("utf-8"))
        texts[shards] = (folder / "record.tsv").read_text("utf-8")
        assert records[shards] == json.loads(json.dumps(done.record))
        assert records[shards]["shards"] == shards
    for shards in (3, 7, 25):
        assert the_same(records[shards]) == the_same(records[1])
        assert texts[shards] == texts[1]
        assert records[shards]["loss"] == pytest.approx(records[1]["loss"])


def test_it_is_the_record_of_scoring_the_set_whole(prepared: Prepared, tmp_path: Path) -> None:
    done = score_in_shards(prepared, 3, tmp_path / "shards")
    assert done is not None
    items, skipped = prepared.usable(load_items(prepared.source))
    heard = prepared.hear(items)
    result = scored(
        heard, items, data=prepared.source, language="hi", policy=prepared.policy,
        normalizers=prepared.normalizers,
    )  # fmt: skip
    whole = Evaluation(result, prepared.provenance(), skipped)
    expected = json.loads(json.dumps(whole.to_record()))
    found = json.loads(json.dumps(done.record))
    assert set(expected) <= set(found)
    assert {name: found[name] for name in expected if name not in OF_A_RUN} == the_same(expected)
    assert list(found["scores"]) == ["raw", "whisper-basic", "vistaar", "hindi-1"]
    assert found["scores"]["hindi-1"]["oiwer"]["with_variants"] > 0
    assert found["judged"]["in_other_script"] and found["judged"]["transliterated"]
    assert (found["n"], len(found["skipped"])) == (CLIPS - 2, 2)
    assert done.notes == whole.notes()
    assert (tmp_path / "shards" / "record.tsv").read_text("utf-8") == result.rows()


def test_shards_that_are_there_are_kept_and_the_missing_one_is_scored(
    prepared: Prepared, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    for number in (2, 3):
        assert score_in_shards(prepared, 3, folder, only=number) is None
    assert missing(3, folder) == [Shard(1, 3)]
    with pytest.raises(UsageError, match="lacks 1 of 3 shards; score each with --shard: 1"):
        merge(3, folder)
    opened: Any = prepared.opened
    before, opened.heard = opened.heard, 0
    done = score_in_shards(prepared, 3, folder)
    assert done is not None and done.record["n"] == before + opened.heard == CLIPS - 2
    assert 0 < opened.heard < before


def test_shards_of_another_model_are_not_mixed(prepared: Prepared, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    score_in_shards(prepared, 2, folder, only=1)
    other: Any = Echo(weights="b")
    with pytest.raises(UsageError, match=r"shard-001-of-002.*weights_sha256: a there, b in"):
        score_in_shards(replace(prepared, opened=other), 2, folder)
    score_in_shards(replace(prepared, opened=other), 2, folder, only=2)
    with pytest.raises(UsageError, match=r"shard-002-of-002.*weights_sha256: b there, a in"):
        merge(2, folder)


def test_a_damaged_shard_and_changed_data_are_said(
    prepared: Prepared, corpus: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    score_in_shards(prepared, 2, folder)
    second = folder / Shard(2, 2).name
    lines = second.read_text("utf-8").splitlines(keepends=True)
    second.write_text("".join(lines[:-1]), "utf-8")
    with pytest.raises(DataError, match="its shards have 19 clips of 20"):
        merge(2, folder)
    second.write_text(lines[0] + lines[1][:40], "utf-8")
    with pytest.raises(DataError, match=r"shard-002-of-002\.jsonl cannot be read.*delete it"):
        merge(2, folder)
    second.unlink()
    manifest = corpus / "manifest.tsv"
    manifest.write_text(manifest.read_text("utf-8").rpartition("\naudio")[0] + "\n", "utf-8")
    with pytest.raises(UsageError, match="clips: 20 there, 19 in this evaluation"):
        score_in_shards(prepared, 2, folder)


def test_unusable_clips_are_refused_unless_they_are_to_be_skipped(
    prepared: Prepared, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"clip_04\.wav: missing"):
        score_in_shards(replace(prepared, skip_problems=False), 1, tmp_path / "shards")
    assert not list((tmp_path / "shards").glob("*.jsonl"))


def test_a_real_model_scores_alike_in_shards_and_whole(tmp_path: Path) -> None:
    model, corpus = tiny_model_folder(tmp_path / "model"), tiny_corpus(tmp_path / "corpus")
    whole = evaluate_model(str(model), str(corpus), cache_folder=tmp_path / "cache").to_record()
    ready = prepare(str(model), str(corpus), cache_folder=tmp_path / "cache")
    done = score_in_shards(ready, 3, tmp_path / "shards")
    assert done is not None
    again = json.loads(json.dumps(done.record))
    expected = the_same(json.loads(json.dumps(whole)))
    assert {name: again[name] for name in expected} == expected
    assert again["loss"] == pytest.approx(whole["loss"], rel=1e-5)
