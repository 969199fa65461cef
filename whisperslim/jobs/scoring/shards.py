"""A large set scored in shards, on one machine or on many, and merged into one record.

Which shard a clip belongs to follows from its key alone. A shard is one file of JSON lines, renamed
into place when it is whole: what its figures depend on, then a line for each clip, in the order of
the data, with its texts and its edits under every normalizer. Merging takes the clips of all files
in that order, so that scores, intervals and texts do not depend on how many shards there are; it
holds a few numbers of each clip, and the texts of none.
"""

import hashlib
import heapq
import json
import math
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from whisperslim.core.disk.files import written_atomically
from whisperslim.core.disk.untrusted import open_plain
from whisperslim.errors import DataError, UsageError
from whisperslim.jobs.run.disk import disk_errors, require_writable, write_text_checked
from whisperslim.jobs.scoring.evaluation import Prepared, circumstances, score_notes
from whisperslim.jobs.scoring.shard import Shard, missing
from whisperslim.speech.corpus.dataset import Item, item_record, load_items, manifest_line
from whisperslim.speech.scoring.normalizer import Normalizer, by_name, for_language
from whisperslim.speech.scoring.significance import bootstrap_interval
from whisperslim.speech.scoring.transliteration import to_devanagari
from whisperslim.speech.scoring.variants import variant_score
from whisperslim.speech.scoring.verdict import (
    FAILED,
    TRANSLITERATED_BY,
    ClipJudgement,
    SetCounts,
    judge_clip,
)
from whisperslim.speech.scoring.wer import (
    Edits,
    EmptyReferenceScore,
    Tally,
    all_ways,
    edits,
    warning_of,
)
from whisperslim.speech.scoring.writing import own_scripts
from whisperslim.train.evaluate import Heard, accepted_forms

RECORD = "record.json"
_BLOCK = 1000  # clips aligned at once: their alignments take some 10 KB each
_VERSION = 1
# What must be equal for shards to be one score. Names of models and data are paths, which differ
# from machine to machine.
_SAME = ("version", "weights_sha256", "engine", "quantize", "precision", "split", "language",
         "window", "decoding", "normalizers", "clips")  # fmt: skip


class _Places:
    """Chooses the clips of a shard while the data is read, and notes where each of them is."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self.of: dict[str, int] = {}
        self.seen = 0

    def __call__(self, key: str) -> bool:
        mine = self._shard.holds(key)
        if mine:
            self.of.setdefault(key, self.seen)
        self.seen += 1
        return mine


def count_clips(source: str) -> int:
    """How many clips there are, without keeping any."""
    seen = 0

    def left_out(key: str) -> bool:
        nonlocal seen
        seen += 1
        return False

    load_items(source, left_out)
    return seen


def score_shard(prepared: Prepared, shard: Shard, folder: Path, clips: int | None = None) -> bool:
    """Score one shard into `folder`; False when it is there already.

    `clips` is how many there are in all shards, where that is known.

    Raises:
        UsageError: its file is there and depends on other things, such as another model.
        DataError: as `Prepared.usable`, or a file that is there cannot be read.
        RunError: the file cannot be written.
    """
    path = folder / shard.name
    if path.exists():
        known = count_clips(prepared.source) if clips is None else clips
        with _Reader(path) as there:
            _check_same(there, _conditions(prepared, known), "this evaluation")
        return False
    places = _Places(shard)
    items = load_items(prepared.source, places)
    conditions = _conditions(prepared, places.seen)
    used, skipped = prepared.usable(items) if items else ([], {})
    silent = Heard((), 0.0, 0, 0.0, 0.0, prepared.opened.decoding, 0)
    heard = prepared.hear(used) if used else silent
    head = {
        **conditions,
        "shard": shard.number,
        "shards": shard.of,
        "data": prepared.source,
        "lost": heard.lost if math.isfinite(heard.lost) else None,
        "tokens": heard.tokens,
        "seconds": heard.seconds,
        "audio_seconds": heard.audio_seconds,
        "batch_size": heard.batch_size,
        "skipped": [[places.of[key], key, why] for key, why in skipped.items()],
        "left_out_of_loss": [[places.of[key], key] for key in heard.left_out_of_loss],
        "trained_on": [[places.of[key], key] for key in prepared.trained_on(used)],
    }
    with disk_errors(folder), written_atomically(path) as file:
        _write(file, head)
        for row in shard_rows(used, heard.texts, prepared.language, prepared.normalizers):
            _write(file, {"place": places.of[row["item"][0]], **row})
    return True


def _conditions(prepared: Prepared, clips: int) -> dict[str, Any]:
    ways = all_ways(prepared.language, prepared.normalizers)
    return {
        **prepared.provenance(),
        "version": _VERSION,
        "language": prepared.language,
        "window": prepared.policy.describe(),
        "decoding": prepared.opened.decoding,
        "normalizers": [[each.name, each.version] for each in ways],
        "clips": clips,
    }


def shard_rows(
    items: Sequence[Item], texts: Sequence[str], language: str, more: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """What is kept of each clip, as plain values: its line, its text, and what is wrong in it.

    `edits` has the numbers of `Edits` under each normalizer, or how many words were written where
    none was said; `oiwer` errors, and words, of the choice of accepted forms, where there are some.
    """
    for start in range(0, len(items), _BLOCK):
        part = slice(start, start + _BLOCK)
        yield from _rows(items[part], texts[part], language, more)


def _rows(
    items: Sequence[Item], texts: Sequence[str], language: str, more: Sequence[str]
) -> Iterator[dict[str, Any]]:
    ways, judge = all_ways(language, more), for_language(language)
    references = [item.text for item in items]
    found = {each.name: edits(references, texts, each) for each in ways}
    clips = [
        judge_clip(said, heard, language) if isinstance(each, Edits) else None
        for said, heard, each in zip(references, texts, found[judge.name], strict=True)
    ]
    respelt = _respelt_edits(references, texts, clips) if _may_be_respelt(language) else []
    for place, (item, forms) in enumerate(zip(items, accepted_forms(items), strict=True)):
        row: dict[str, Any] = {"item": item_record(item), "heard": texts[place]}
        row["edits"] = {name: _plain(each[place]) for name, each in found.items()}
        if forms is not None:
            row["oiwer"] = {
                each.name: _oiwer(item.text, forms, texts[place], each) for each in ways
            }
        if judged := clips[place]:
            row["judged"] = {
                "script": judged.script,
                "other": judged.in_other_script,
                "loop": judged.loop is not None,
                "most": judged.most,
                "words": judged.words,
                "respelt": judged.transliterated is not None,
            }
            if respelt:
                row["judged"]["edits"] = _plain(respelt[place])
        yield row


def _may_be_respelt(language: str) -> bool:
    return own_scripts(language) == ("Devanagari",)


def _respelt_edits(
    references: Sequence[str], texts: Sequence[str], clips: Sequence[ClipJudgement | None]
) -> list[Edits | int]:
    """Under `TRANSLITERATED_BY`, those in another script respelt."""
    respelt = [
        to_devanagari(heard) if clip and clip.transliterated is not None else heard
        for heard, clip in zip(texts, clips, strict=True)
    ]
    return edits(references, respelt, by_name(TRANSLITERATED_BY))


def _plain(each: Edits | int) -> list[int] | int:
    return each if isinstance(each, int) else list(astuple(each))


def _oiwer(said: str, forms: Any, heard: str, normalizer: Normalizer) -> list[int] | None:
    try:
        found = variant_score([said], [forms], [heard], normalizer)
    except DataError:  # nothing is left of the forms
        return None
    return [found.hits, found.substitutions, found.deletions, found.insertions,
            found.reference_words]  # fmt: skip


def _write(file: BinaryIO, value: Any) -> None:
    file.write(json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n")


class _Reader:
    """The file of a shard: its head, and its rows one at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = open_plain(path)
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error
        self.head: dict[str, Any] = self._next() or {}
        if "clips" not in self.head:
            raise self._damaged("it does not begin with what a shard depends on")

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *rest: object) -> None:
        self._file.close()

    def rows(self) -> Iterator[dict[str, Any]]:
        """In the order of the data."""
        while row := self._next():
            yield row

    def _next(self) -> dict[str, Any] | None:
        try:
            line = self._file.readline()
            value = json.loads(line) if line else None
        except (OSError, ValueError, RecursionError) as error:
            raise self._damaged(error) from error
        if value is not None and not isinstance(value, dict):
            raise self._damaged("a line is not an object")
        return value

    def _damaged(self, why: object) -> DataError:
        return DataError(
            f"{self.path} cannot be read as a shard ({why}); delete it and score that shard again"
        )


def _check_same(there: _Reader, conditions: dict[str, Any], what: str) -> None:
    differing = [name for name in _SAME if there.head.get(name) != conditions.get(name)]
    if differing:
        shown = "; ".join(
            f"{name}: {there.head.get(name)} there, {conditions.get(name)} in {what}"
            for name in differing
        )
        raise UsageError(
            f"{there.path} was scored otherwise ({shown}); give another --out, or delete that file"
        )


@dataclass
class _Merging:
    """What is kept of clips under one normalizer while shards are merged."""

    tally: Tally = field(default_factory=Tally)
    errors: "array[int]" = field(default_factory=lambda: array("i"))
    words: "array[int]" = field(default_factory=lambda: array("i"))

    def add(self, values: list[int] | int) -> None:
        each = values if isinstance(values, int) else Edits(*values)
        self.tally.add(each)
        if isinstance(each, Edits):
            self.errors.append(each.errors)
            self.words.append(each.words)

    def interval(self) -> list[float]:
        found = bootstrap_interval(np.array(self.errors), np.array(self.words))
        return [found.low, found.high]


class _Forms:
    """Likewise for accepted forms."""

    def __init__(self) -> None:
        self._sums = [0] * 5
        self._errors, self._words = array("i"), array("i")
        self._given = 0

    def add(self, row: dict[str, Any], name: str) -> None:
        given = row.get("oiwer")
        plain = row["edits"][name]
        if given is None and isinstance(plain, list):
            counts = [*plain[:4], sum(plain[:3])]
        elif given is not None and given[name] is not None:
            counts = given[name]
            self._given += 1
        else:
            return
        self._sums = [before + count for before, count in zip(self._sums, counts, strict=True)]
        self._errors.append(sum(counts[1:4]))
        self._words.append(counts[4])

    def record(self, normalizer: Normalizer) -> dict[str, Any] | None:
        """As `VariantScore.to_record`, with the interval; None when no clip has forms."""
        if not self._given:
            return None
        hits, substituted, deleted, inserted, longest = self._sums
        interval = bootstrap_interval(np.array(self._errors), np.array(self._words))
        return {
            "wer": (substituted + deleted + inserted) / longest,
            "hits": hits,
            "substitutions": substituted,
            "deletions": deleted,
            "insertions": inserted,
            "reference_words": longest,
            "chosen_words": hits + substituted + deleted,
            "n": len(self._errors),
            "with_variants": self._given,
            "normalizer": normalizer.name,
            "version": normalizer.version,
            "wer_interval_95": [interval.low, interval.high],
        }


class _Judged:
    """Scripts and loops of all clips, and their score after transliteration."""

    def __init__(self) -> None:
        self._scripts = Counter[str]()
        self._counts = Counter[str]()
        self._respelt = _Merging()

    def add(self, judged: dict[str, Any]) -> None:
        self._scripts[judged["script"]] += 1
        for name in ("other", "loop", "respelt", "most", "words"):
            self._counts[name] += judged[name]
        if "edits" in judged:
            self._respelt.add(judged["edits"])

    def counts(self) -> SetCounts:
        some, by = self._counts, by_name(TRANSLITERATED_BY)
        return SetCounts(
            self._scripts.total(),
            dict(sorted(self._scripts.items(), key=lambda pair: (-pair[1], pair[0]))),
            some["other"],
            some["loop"],
            _score_record(self._respelt.tally, by) if some["respelt"] else None,
            some["most"] > FAILED * some["words"],
        )


def _score_record(tally: Tally, normalizer: Normalizer) -> dict[str, Any]:
    """As `Score.to_record`."""
    rates = tally.rates(normalizer.name)
    silent: EmptyReferenceScore = rates.pop("hallucinated")
    return {
        **rates,
        "normalizer": normalizer.name,
        "version": normalizer.version,
        "warning": warning_of(normalizer),
        "hallucinated": dict(vars(silent)),
    }


def score_in_shards(
    prepared: Prepared, shards: int, folder: Path, only: int = 0
) -> "Merged | None":
    """Score all shards that are not there yet, and merge them; with `only`, that one alone.

    Args:
        prepared: The model and its data.
        shards: How many.
        folder: Of their files; on many machines, one that all of them see, or gathered later.
        only: A shard's number, from 1. Then nothing is merged, and None comes back.

    Raises as `score_shard` and `merge`, `RunError` before the work when the folder cannot be
    written to.
    """
    numbers = [only] if only else range(1, shards + 1)
    wanted = [Shard(number, shards) for number in numbers]
    require_writable(folder / RECORD)
    clips = count_clips(prepared.source)
    for shard in wanted:
        new = score_shard(prepared, shard, folder, clips)
        state = "scored" if new else "there already"
        prepared.announce(f"shard {shard.number} of {shards}: {state}")
    return None if only else merge(shards, folder)


@dataclass(frozen=True)
class Merged:
    """The record of all shards, as `Evaluation.to_record`, and the notes to it."""

    record: dict[str, Any]
    notes: list[str]


def merge(shards: int, folder: Path) -> Merged:
    """Merge the shards of a folder into its `record.json`, with the texts beside it as .tsv.

    Raises:
        UsageError: a shard is missing, or was scored otherwise than the first.
        DataError: a file is damaged, no reference has a word, or clips are missing or twice there,
            as when the data changed between shards.
        RunError: the record cannot be written.
    """
    if absent := missing(shards, folder):
        numbers = ", ".join(str(shard.number) for shard in absent)
        raise UsageError(
            f"{folder} lacks {len(absent)} of {shards} shards; score each with --shard: {numbers}"
        )
    names = [Shard(number, shards).name for number in range(1, shards + 1)]
    texts = (folder / RECORD).with_suffix(".tsv")
    with ExitStack() as open_files:
        readers = [open_files.enter_context(_Reader(folder / name)) for name in names]
        for reader in readers[1:]:
            _check_same(reader, readers[0].head, names[0])
        rows = heapq.merge(*(each.rows() for each in readers), key=lambda row: row["place"])
        with disk_errors(folder), written_atomically(texts) as file:
            merged = _merged([each.head for each in readers], rows, file, folder)
    text = json.dumps(merged.record, ensure_ascii=False, indent=1, allow_nan=False)
    write_text_checked(folder / RECORD, text + "\n")
    return merged


def _merged(
    heads: Sequence[dict[str, Any]], rows: Iterator[dict[str, Any]], texts: BinaryIO, folder: Path
) -> Merged:
    first = heads[0]
    ways = [by_name(name, first["language"]) for name, _ in first["normalizers"]]
    plain = {each.name: _Merging() for each in ways}
    forms = {each.name: _Forms() for each in ways}
    judged, digest, n, last = _Judged(), hashlib.sha256(), 0, -1
    texts.write(b"key\treference\thypothesis\n")
    for row in rows:
        if row["place"] <= last:
            raise DataError(f"{folder}: shards have clip {row['item'][0]} twice")
        last, n = row["place"], n + 1
        digest.update(manifest_line(row["item"]))
        cells = (row["item"][0], row["item"][1], row["heard"])
        texts.write("\t".join(" ".join(cell.split()) for cell in cells).encode() + b"\n")
        for each in ways:
            plain[each.name].add(row["edits"][each.name])
            forms[each.name].add(row, each.name)
        if "judged" in row:
            judged.add(row["judged"])
    skipped = sorted(each for head in heads for each in head["skipped"])
    if n + len(skipped) != first["clips"]:
        raise DataError(
            f"{folder}: its shards have {n + len(skipped)} clips of {first['clips']}; the data "
            "changed between them: delete them and score it again"
        )
    scores = {}
    for each in ways:
        kept = plain[each.name]
        scores[each.name] = {
            **_score_record(kept.tally, each),
            "wer_interval_95": kept.interval(),
        }
        if oiwer := forms[each.name].record(each):
            scores[each.name]["oiwer"] = oiwer
    return _of_all(heads, scores, judged.counts(), digest.hexdigest(), n)


def _of_all(
    heads: Sequence[dict[str, Any]],
    scores: dict[str, dict[str, Any]],
    judged: SetCounts,
    manifest_sha256: str,
    n: int,
) -> Merged:
    first, own = heads[0], list(scores.values())[-1]
    listed = {
        name: [key for _, key in sorted(each for head in heads for each in head[name])]
        for name in ("trained_on", "left_out_of_loss")
    }
    skipped = sorted(each for head in heads for each in head["skipped"])
    apart = ("version", "normalizers", "clips", "shard", "lost", "tokens", "skipped", *listed)
    record = {
        **{name: value for name, value in first.items() if name not in apart},
        **circumstances(),
        "shards": len(heads),
        "n": n,
        "seconds": math.fsum(head["seconds"] for head in heads),
        "audio_seconds": round(math.fsum(head["audio_seconds"] for head in heads), 6),
        "batch_size": max(head["batch_size"] for head in heads),
        "manifest_sha256": manifest_sha256,
        "loss": _loss(heads),
        "scores": scores,
        "judged": judged.to_record(),
        "wer": own["wer"],
        "cer": own["cer"],
        "normalizer": own["normalizer"],
        "skipped": {key: why for _, key, why in skipped},
        "trained_on": listed["trained_on"],
    }
    if listed["left_out_of_loss"]:
        record["left_out_of_loss"] = listed["left_out_of_loss"]
    left_out, trained = len(listed["left_out_of_loss"]), len(listed["trained_on"])
    return Merged(record, score_notes(judged.notes(), trained, left_out, n))


def _loss(heads: Sequence[dict[str, Any]]) -> float | None:
    """Per target token; None when there is none, or a model's logits are NaN."""
    tokens, lost = sum(head["tokens"] for head in heads), [head["lost"] for head in heads]
    return math.fsum(lost) / tokens if tokens and None not in lost else None
