"""What the benchmarks of models that score frames are run on, and what their shapes come to."""

from argparse import Namespace
from pathlib import Path

import pytest
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from benchmarks.method_table import _cell
from benchmarks.methods import frames, shapes
from tests.support.models.tiny_ctc import SMALL
from tests.support.tiny import write_tone
from whisperslim.core.loading import load_model
from whisperslim.speech.corpus.dataset import load_items


def test_closed_text_parts_speakers_and_keeps_sentences(tmp_path: Path) -> None:
    lines = ["path\ttext\tspeaker\tsplit"]
    for number in range(36):
        speaker, split = f"s{number % 3}", "train"
        if speaker == "s2":
            split = "test" if number < 12 else "other"
        write_tone(tmp_path / f"{number}.wav", seconds=0.4, pitch=200 + number)
        lines.append(f"{number}.wav\tपानी {number // 3}\t{speaker}\t{split}")
    (tmp_path / "manifest.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    asked = Namespace(corpus=str(tmp_path), runs=tmp_path / "runs")
    frames._by_speaker(asked)
    parts = {n: load_items(*getattr(asked, n)) for n in ("train", "dev", "data")}
    assert {name: len(part) for name, part in parts.items()} == {"train": 21, "dev": 3, "data": 12}
    assert {item.speaker for item in parts["data"]} == {"s2"}
    assert not {"s2"} & {item.speaker for name in ("train", "dev") for item in parts[name]}
    assert "closed text" in frames.NOTES["closed"]
    made = frames._conformer(tmp_path / "conformer", asked.train)
    speech = load_model(str(made))
    assert speech.tokens.decode(speech.tokens.encode("पानी")) == "पानी"
    assert len({group.layer for group in speech.groups()}) == 6


def test_cells_are_read_and_rows_that_are_none_refused() -> None:
    assert _cell(("SGL", "0.5", "1")) == ("SGL", 0.5, 1)
    with pytest.raises(SystemExit, match="is no row"):
        _cell(("nothing", "0.5", "1"))
    assert all(_cell(list(map(str, cell))) == cell for own in frames.CELLS.values() for cell in own)


def test_shapes_before_and_after_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = shapes.Shape("Wav2Vec2Config", "Wav2Vec2ForCTC", 0.5, SMALL)
    monkeypatch.setitem(shapes.ROWS, "tiny", tiny)
    found = shapes.measured("tiny", threads=1, times=0)
    whole = Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL))
    before, after = found["before"], found["after"]
    assert before["parameters"] == sum(p.numel() for p in whole.parameters())
    assert before["float32_bytes"] == 4 * before["parameters"]
    # Two layers of four projections and two matrices of 16 x 24: half of the weights, and of the
    # biases those that units own.
    lost = before["parameters"] - after["parameters"]
    weights = 2 * (4 * 16 * 16 + 2 * 16 * 24)
    assert found["removed"] * weights <= lost <= found["removed"] * weights + 2 * (3 * 16 + 24)
    assert after["flops"] < before["flops"] and before["seconds"] is None
    assert set(shapes.ROWS) == {"wav2vec2-base", "HuBERT-large", "Parakeet 0.6B", "tiny"}
