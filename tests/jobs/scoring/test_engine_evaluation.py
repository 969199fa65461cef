"""Scoring an export in its engine, and one model against another's stored texts."""

from pathlib import Path

import pytest

from tests.support.tiny import tiny_corpus, tiny_model_folder
from whisperslim.core.loading import load_model
from whisperslim.engines.export.export import export
from whisperslim.errors import UsageError
from whisperslim.jobs.scoring.evaluation import evaluate_model
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.window import parse_window
from whisperslim.speech.scoring.wer import score_all_ways


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str, Path]:
    """A model, its ONNX export, a corpus and a cache."""
    folder = tmp_path_factory.mktemp("engine-evaluation")
    model = tiny_model_folder(folder / "model")
    corpus = tiny_corpus(folder / "corpus")
    clips = [decode(corpus / "audio" / "clip_00.wav")]
    export(
        load_model(str(model)), "onnx", "none", folder / "onnx", clips, "hi", parse_window("fit")
    )
    return str(model), str(folder / "onnx"), f"{corpus}#test", folder / "cache"


def test_a_float_export_scores_as_its_model(places: tuple[str, str, str, Path]) -> None:
    model, exported, data, cache = places
    dense = evaluate_model(model, data, cache_folder=cache)
    there = evaluate_model(exported, data, cache_folder=cache)
    assert there.result.hypotheses == dense.result.hypotheses
    record = there.to_record()
    assert (record["engine"], record["quantize"], record["loss"]) == ("onnx", "none", None)
    stored = [Path(exported) / name for name in ("encoder.onnx", "decoder.onnx")]
    assert record["bytes_on_disk"] >= sum(file.stat().st_size for file in stored)


@pytest.mark.parametrize("which", [0, 1])
def test_no_text_depends_on_how_many_clips_are_heard_together(
    places: tuple[str, str, str, Path], which: int
) -> None:
    data, cache = places[2:]
    found = {
        size: evaluate_model(places[which], data, batch_size=size, cache_folder=cache)
        for size in (None, 1, 3)
    }
    records = {size: each.to_record() for size, each in found.items()}
    assert len({each.result.hypotheses for each in found.values()}) == 1
    # An export is scored clip by clip unless more are asked for.
    assert [each["batch_size"] for each in records.values()] == [(16, 1)[which], 1, 3]
    assert records[None].keys() == records[3].keys()


def test_a_difference_is_taken_from_stored_texts(
    places: tuple[str, str, str, Path], tmp_path: Path
) -> None:
    model, _, data, cache = places
    done = evaluate_model(model, data, cache_folder=cache)
    done.write_record(tmp_path / "first.json")
    same = done.against(tmp_path / "first.json")
    assert same.winner == ""
    rows = [row.split("\t") for row in (tmp_path / "first.tsv").read_text("utf-8").splitlines()]
    right = ["\t".join((key, said, said)) for key, said, _ in rows[1:]]
    (tmp_path / "right.tsv").write_text("\n".join(["\t".join(rows[0]), *right]) + "\n", "utf-8")
    verdict = done.against(tmp_path / "right.json")
    written = score_all_ways([r[1] for r in rows[1:]], [r[2] for r in rows[1:]])["hindi-1"]
    assert verdict.winner != "this"
    assert f"{100 * written.wer:+.2f} points of WER" in verdict.sentence


def test_other_clips_and_other_devices_are_refused(
    places: tuple[str, str, str, Path], tmp_path: Path
) -> None:
    model, exported, data, cache = places
    evaluate_model(model, data, limit=1, cache_folder=cache).write_record(tmp_path / "one.json")
    done = evaluate_model(model, data, cache_folder=cache)
    with pytest.raises(UsageError, match="other clips"):
        done.against(tmp_path / "one.json")
    with pytest.raises(UsageError, match="has no texts of an earlier evaluation"):
        done.against(tmp_path / "none.json")
    with pytest.raises(UsageError, match="device cpu"):
        evaluate_model(exported, data, cache_folder=cache, device="cuda")
