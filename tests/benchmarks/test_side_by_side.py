"""What the comparison of systems computes, writes and shows; no system is opened."""

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration

from benchmarks.systems import measuring
from benchmarks.systems.dense_systems import BOTH_WAYS, peers
from benchmarks.systems.ggml_weights import MAGIC, write_ggml
from benchmarks.systems.measuring import class_records, measure, ratio, without_folders
from benchmarks.systems.openai_weights import openai_name, openai_tensors
from benchmarks.systems.opening import use_library
from benchmarks.systems.process import SystemFailedError
from benchmarks.systems.recordings import ALL_SHORT, LONG, Clip
from benchmarks.tables.systems import ablation, headline, side_by_side
from tests.engines.onnx.test_engine import sealed_export
from tests.support.tiny import tiny_model_folder
from whisperslim.core import matmul
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.matmul import ONEDNN, STOCK
from whisperslim.errors import UsageError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return load_model(str(tiny_model_folder(tmp_path_factory.mktemp("tiny") / "model")))


class Fake:
    """A system that takes so many seconds for every recording, and writes down who was asked."""

    def __init__(self, label: str, seconds: float, text: str, asked: list[str]) -> None:
        self.label, self.seconds, self.text, self.asked = label, seconds, text, asked
        self.opened = {"describe": "", "bytes_on_disk": 4, "seconds": 1.0, "resident": 5}

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(self.label)
        if not self.text:
            raise SystemFailedError("no text")
        return {
            "seconds": self.seconds, "text": self.text, "tokens": 3, "first_token_seconds": None,
            "resident": 6, "peak": 7,
        }  # fmt: skip


def clips(*lengths: str) -> list[Clip]:
    return [Clip(f"c{i}", name, 2.0, "एक दो", Path(f"{i}.npy")) for i, name in enumerate(lengths)]


def measured(*systems: Fake, of: list[Clip], repeats: int = 1) -> tuple[Any, dict[str, str]]:
    missing: dict[str, str] = {}
    running: Any = {system.label: system for system in systems}
    return measure(running, missing, of, repeats, pause=0.0), missing


def test_the_system_that_begins_rotates() -> None:
    asked: list[str] = []
    measured(*(Fake(name, 1.0, "x", asked) for name in "abc"), of=clips(*["up to 3 s"] * 3))
    assert "".join(asked) == "abc" + "abc" + "bca" + "cab"  # the first three are the warm-up


def test_a_system_that_breaks_is_listed_and_the_others_go_on() -> None:
    asked: list[str] = []
    systems = Fake("a", 1.0, "x", asked), Fake("b", 1.0, "", asked)
    answers, missing = measured(*systems, of=clips("up to 3 s", "3 to 7 s"))
    assert missing == {"b": "no text"}
    assert list(answers) == ["a"] and all(len(each) == 1 for each in answers["a"])


def test_ratio_by_hand() -> None:
    same = ratio(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert same == {"ratio": 2.0, "low": 2.0, "high": 2.0, "n": 3}
    found = ratio(np.array([1.0, 9.0]), np.array([1.0, 1.0]))
    # Of two recordings the same one is drawn twice a quarter of the time.
    assert (found["ratio"], found["low"], found["high"]) == (5.0, 1.0, 9.0)


def test_class_records_by_hand() -> None:
    asked: list[str] = []
    systems = Fake("slow", 4.0, "एक दो", asked), Fake("fast", 1.0, "एक तीन", asked)
    of = clips("up to 3 s", "3 to 7 s", LONG)
    answers, _ = measured(*systems, of=of, repeats=2)
    classes = class_records(of, answers, "slow", ("slow",), "hi")
    assert {name: values["n"] for name, values in classes.items()} == {
        ALL_SHORT: 2, "up to 3 s": 1, "3 to 7 s": 1, LONG: 1,
    }  # fmt: skip
    row = classes[ALL_SHORT]["rows"]["fast"]
    assert row["real_time_factor"] == 0.5 and row["tokens_per_second"] == 3.0
    assert (row["wer"], row["faster_than"]["slow"]["ratio"]) == (0.5, 4.0)
    assert row["first_token_seconds"] is None
    assert classes[ALL_SHORT]["repeats"] == 2


def a_record() -> dict[str, Any]:
    asked: list[str] = []
    systems = Fake("slow", 4.0, "एक दो", asked), Fake("fast", 1.0, "एक तीन", asked)
    of = clips("up to 3 s", "3 to 7 s", LONG)
    answers, _ = measured(*systems, of=of)
    return {
        "baseline": "slow", "faster_than": ["slow", "fast"], "decoding": "greedy", "note": "",
        "systems": measuring.system_records({s.label: s for s in systems}, answers),  # type: ignore[dict-item, misc]
        "missing": {"peer": "not installed"}, "peers": {"x": "1"}, "threads": 2, "cores": 2,
        "classes": class_records(of, answers, "slow", ("slow", "fast"), "hi"),
        "packages": {"torch": "1", "transformers": "2", "ctranslate2": "3"}, "processor": "p",
        "command": "c",
    }  # fmt: skip


def test_tables_show_ratios_intervals_and_what_is_missing() -> None:
    text = side_by_side(a_record())
    assert text.count("| fast |") == 4
    assert "4.0 (4.0 to 4.0)" in text and "not reported" in text
    assert "Not run: peer (not installed)." in text
    long = text[text.index(LONG) :]
    assert "4.0 (" not in long and "50.0 (" not in long  # one recording has no interval


def test_the_headline_is_beside_the_fastest_dense_system_without_the_long_recording() -> None:
    asked: list[str] = []
    names = {"slow": 4.0, "faster-whisper int8, dense": 2.0, "ONNX int4, slim": 0.5, "other": 1.0}
    systems = [Fake(name, seconds, "एक दो", asked) for name, seconds in names.items()]
    of = clips("up to 3 s", "3 to 7 s", LONG)
    answers, _ = measured(*systems, of=of)
    record = {
        **a_record(),
        "systems": measuring.system_records({s.label: s for s in systems}, answers),  # type: ignore[misc]
        "classes": class_records(of, answers, "slow", ("slow",), "hi"),
        "clips": measuring.clip_records(of, answers),
    }
    text = headline(record)
    assert "| × faster-whisper int8, dense (95 %) |" in text and "n = 2," in text
    factors = {line.split(" | ")[0]: line.split(" | ")[4] for line in text.splitlines()[2:5]}
    assert factors == {
        "| slow": "0.5 (0.5 to 0.5)",
        "| faster-whisper int8, dense": "",
        "| ONNX int4, slim": "4.0 (4.0 to 4.0)",
    }


def test_factors_are_against_the_faster_of_both_ways() -> None:
    record = {**a_record(), "both_ways": ["slow", "fast"]}
    text = side_by_side(record)
    assert "| × fast (the faster of two, 95 %) |" in text and "× slow" not in text
    row = next(line for line in text.splitlines() if line.startswith("| slow |"))
    assert "| 0.2 (0.2 to 0.2) |" in row  # 1 s over 4 s
    record["classes"][ALL_SHORT]["rows"]["slow"]["real_time_factor"] = 0.1
    assert "| × slow (the faster of two, 95 %) |" in side_by_side(record)


def test_a_record_of_one_way_says_so() -> None:
    assert "| × slow (stock only, 95 %) | × fast (95 %) |" in side_by_side(a_record())
    left_out = {**a_record(), "both_ways": ["slow", "slow by another"]}
    assert "| × slow (stock only, 95 %) | × fast (95 %) |" in side_by_side(left_out)


def test_transformers_is_given_both_ways(tiny: SpeechModel, tmp_path: Path) -> None:
    made = [peers(tiny, tmp_path)[label]() for label in BOTH_WAYS]
    assert [system.options for system in made] == [{}, {"matmul": ONEDNN}]
    assert len({(system.kind, system.path) for system in made}) == 1


def test_a_library_that_is_not_float32_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "refusal", lambda: "in bfloat16")
    with pytest.raises(UsageError, match="in bfloat16"):
        use_library(ONEDNN)
    assert matmul.current() == STOCK
    monkeypatch.setattr(matmul, "refusal", lambda: "")
    with matmul.pinned(STOCK):
        assert "oneDNN" in use_library(ONEDNN) and matmul.current() == ONEDNN


def test_the_ablation_compares_with_the_row_before() -> None:
    text = ablation(a_record())
    assert "| slow |" in text and "| + fast | 1.000" in text and "| 4.00 | 4.0 (" in text


def test_messages_lose_their_folders() -> None:
    assert without_folders("Error: /a/b-c/d.bin is gone") == "Error: d.bin is gone"
    assert without_folders("see https://x.y/z") == "see https://x.y/z"


def test_names_are_those_of_openai() -> None:
    theirs = pytest.importorskip("whisper.model")
    dims = theirs.ModelDimensions(80, 30, 32, 4, 2, 51865, 20, 32, 4, 2)
    wanted = set(theirs.Whisper(dims).state_dict())
    config = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "vocab_size": 51865,
              "encoder_attention_heads": 4, "decoder_attention_heads": 4}  # fmt: skip
    from transformers import WhisperConfig

    with torch.device("meta"):
        model = WhisperForConditionalGeneration(WhisperConfig(**config))
    assert {name for name, _ in openai_tensors(model)} == wanted


def test_a_name_by_hand() -> None:
    name = "model.decoder.layers.3.encoder_attn.out_proj.weight"
    assert openai_name(name) == "decoder.blocks.3.cross_attn.out.weight"


def test_ggml_file_read_back(tiny: SpeechModel, tmp_path: Path) -> None:
    write_ggml(tiny, tmp_path / "ggml.bin")
    data = (tmp_path / "ggml.bin").read_bytes()
    config = tiny.model.config
    head = struct.unpack_from("<12i", data)
    assert head[0] == MAGIC and head[1] == config.vocab_size and head[-1] == 1
    assert head[2:4] == (config.max_source_positions, config.d_model)
    bands, bins = struct.unpack_from("<2i", data, 48)
    assert (bands, bins) == (tiny.input_spec.bands, 201)
    place = 56 + 4 * bands * bins
    (tokens,) = struct.unpack_from("<i", data, place)
    place += 4
    words = []
    for _ in range(tokens):
        (length,) = struct.unpack_from("<i", data, place)
        words.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    vocabulary = tiny.tokens.tokenizer.get_vocab()
    space = tiny.tokens.tokenizer.convert_ids_to_tokens(words.index(b" "))
    assert tokens == tiny.tokens.end and vocabulary[space] == words.index(b" ")
    found = _tensors(data, place)
    assert found.keys() == {name for name, _ in openai_tensors(tiny.model)}
    for name, tensor in openai_tensors(tiny.model):
        values = tensor.numpy()
        assert np.allclose(found[name].reshape(values.shape), values, atol=1e-3), name


def _tensors(data: bytes, place: int) -> dict[str, np.ndarray]:
    found = {}
    while place < len(data):
        dims, length, kind = struct.unpack_from("<3i", data, place)
        shape = struct.unpack_from(f"<{dims}i", data, place + 12)[::-1]
        place += 12 + 4 * dims
        name = data[place : place + length].decode()
        place += length
        dtype = np.dtype("<f2" if kind else "<f4")
        count = int(np.prod(shape))
        found[name] = np.frombuffer(data, dtype, count, place).reshape(shape).astype(np.float32)
        place += count * dtype.itemsize
    return found


@pytest.mark.parametrize("name", ["export", "model"])
def test_the_memory_of_an_export_is_that_of_the_light_runtime(
    tiny: SpeechModel, tmp_path: Path, name: str
) -> None:
    """What is imported beside it would count; a model in PyTorch says who multiplies."""
    sealed_export(tiny, tmp_path / "export")
    tiny_model_folder(tmp_path / "model")
    code = (
        "import sys\n"
        "import numpy as np\n"
        "from benchmarks.systems import process\n"
        "system = process.System('whisperslim', sys.argv[1], {'window': 'fit'})\n"
        "opened = process.open_system(system, 'hi', 1)\n"
        "opened.listen(np.sin(np.arange(32_000) / 9).astype(np.float32))\n"
        "print(opened.describe)\n"
        "print(*{'torch', 'transformers', 'librosa', 'av', 'regex'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / name)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    description, heavy = done.stdout.split("\n")[:2]
    light = name == "export"
    assert ("torch" in heavy.split()) is not light
    assert (heavy == "") is light
    assert ("; " in description) is not light
