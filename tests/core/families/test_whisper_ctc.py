"""Whisper's encoder with a CTC head: made of a Whisper, trained, cut, saved, heard."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import pipeline

from tests.support.models.tiny_ctc import one_batch
from tests.support.surgery import checked_cut, reloaded
from tests.support.tiny import D_MODEL, FFN, HEADS, LAYERS, tiny_corpus, tiny_model_folder
from tests.support.tiny_job import TARGET, build, drop_some, quick, steps_of, supply
from tests.support.tiny_run import tiny_recipe
from whisperslim.core.cost.cost import cost_of
from whisperslim.core.cost.flops import Workload
from whisperslim.core.heads.ctc import save_with_ctc_head
from whisperslim.core.heads.options import HeadOptions
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.surgery.shrink import cut
from whisperslim.core.tokens.letters import load_letters
from whisperslim.engines.export.export import export
from whisperslim.engines.export.parity import read_verdict
from whisperslim.engines.opening import open_transcriber
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.errors import CheckpointError, ExportError, RecipeError, UsageError
from whisperslim.events import Event, Notice
from whisperslim.exported.search import Search
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.scoring.evaluation import evaluate_model
from whisperslim.jobs.stages.order import work
from whisperslim.methods.plain import PlainOptions
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.train.distill import Teacher
from whisperslim.train.evaluate import evaluate
from whisperslim.train.loop import Job, fit
from whisperslim.train.options import DistillOptions

# What four frames a position and 16 kHz come to: a position is 20 ms.
HEADS_OF = {"one": HeadOptions(kind="ctc"), "two": HeadOptions(kind="ctc", pool=2)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ctc")
    tiny_corpus(place / "corpus", clips=8)
    whisper = load_model(str(tiny_model_folder(place / "whisper")))
    texts = [item.text for item in load_items(str(place / "corpus"))]
    for name, options in HEADS_OF.items():
        torch.manual_seed(1)
        save_with_ctc_head(place / name, whisper, options, texts, "hi")
    return place


def learn(folder: Path, checkpoints: Path, speech: SpeechModel, steps: int) -> list[float]:
    torch.manual_seed(11)
    with supply(folder, speech.input_spec) as batches:
        job = Job(
            stage="tune", student=speech, method=build("none", PlainOptions(), TARGET),
            batches=batches, options=quick(steps=steps), checkpoints=checkpoints, language="hi",
        )  # fmt: skip
        return [step.losses["cross_entropy"] for step in steps_of(list(fit(job)))]


@pytest.mark.parametrize("name", HEADS_OF)
def test_the_encoder_is_whispers_and_the_letters_are_those_of_the_texts(
    folder: Path, name: str
) -> None:
    whisper, speech = load_model(str(folder / "whisper")), load_model(str(folder / name))
    mel = one_batch(folder, speech).features
    with torch.no_grad():
        states = [each.family.encode(each.model, mel) for each in (whisper, speech)]
        logits = speech.family.outputs(
            speech.model, states[1], speech.family.targets(
                speech.model, speech.tokens, ["पानी"] * 4, ["a"] * 4, [1.0] * 4, "hi"
            )
        ).logits  # fmt: skip
    assert torch.equal(*states)
    texts = "".join(item.text for item in load_items(str(folder / "corpus")))
    letters = set(texts) - {" "}
    assert {"\u093e", "\u094d"} < letters, "a vowel sign and a virama"
    assert set(speech.tokens.vocabulary()) == {"<pad>", "|", *letters}
    pool = HEADS_OF[name].pool
    # A second is 50 positions; four clips of one each.
    assert logits.shape == (4 * 50 // pool, 2 + len(letters))
    head = speech.model.get_submodule("head")
    first = states[1][0, :2].mean(0) if pool == 2 else states[1][0, 0]
    assert torch.allclose(logits[0], head(first), atol=1e-5)


def test_letters_are_kept_with_every_sign_and_written_back(folder: Path) -> None:
    tokens = load_model(str(folder / "one")).tokens
    # Danda, joiner and case are the normalizer's to drop; virama and vowel signs are letters.
    assert tokens.decode(tokens.encode("  नमस्ते\u200d, पानी। ")) == "नमस्ते पानी"
    assert len(tokens.encode("नमस्ते")) == len("नमस्ते")
    assert tokens.encode("xyz") == []


@pytest.mark.parametrize("name", HEADS_OF)
def test_it_learns_and_writes_what_it_learned(folder: Path, tmp_path: Path, name: str) -> None:
    speech = load_model(str(folder / name))
    losses = learn(folder, tmp_path, speech, 40)
    assert losses[-1] < 0.7 * losses[0]
    result = evaluate(
        speech, load_items(str(folder / "corpus")), data="tiny", language="hi",
        policy=WindowPolicy(), cache_folder=folder / "cache",
    )  # fmt: skip
    assert result.n == 8 and np.isfinite(result.loss) and "greedy CTC" in result.decoding


def test_the_loss_in_bf16_is_computed_in_float32(folder: Path) -> None:
    speech = load_model(str(folder / "one"))
    batch = one_batch(folder, speech)
    family, model = speech.family, speech.model
    targets = family.targets(model, speech.tokens, batch.texts, batch.keys, batch.seconds, "hi")
    with torch.no_grad():
        states = family.encode(model, batch.features)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = family.outputs(model, states, targets)
            logits = model.get_submodule("head")(states).float()
    wanted = F.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1), outputs.targets, torch.tensor(targets.frames),
        torch.tensor([len(ids) for ids in targets.ids]), blank=0, reduction="sum",
    )  # fmt: skip
    assert outputs.cross_entropy.dtype == torch.float32
    assert float(outputs.cross_entropy) == pytest.approx(
        float(wanted) / len(outputs.targets), rel=1e-6
    )


def test_a_clip_too_short_for_its_text_is_no_part_of_the_loss(folder: Path) -> None:
    speech = load_model(str(folder / "one"))
    batch = one_batch(folder, speech)
    family, model = speech.family, speech.model
    texts = ["पानी " * 40, *batch.texts[1:]]

    def outputs(wanted: list[str]) -> tuple[float, int, torch.Tensor]:
        targets = family.targets(model, speech.tokens, wanted, batch.keys, batch.seconds, "hi")
        model.zero_grad()
        found = family.outputs(model, family.encode(model, batch.features), targets)
        found.cross_entropy.backward()
        gradient = model.get_submodule("head").weight.grad.clone()
        return found.cross_entropy.item() * len(found.targets), found.left_out, gradient

    total, left_out, gradient = outputs(texts)
    assert left_out == 1 and np.isfinite(total) and bool(gradient.isfinite().all())
    each = []
    with torch.no_grad():
        states = family.encode(model, batch.features)
    for place in range(1, 4):
        targets = family.targets(
            model, speech.tokens, [texts[place]], ["k"], [batch.seconds[place]], "hi"
        )
        found = family.outputs(model, states[place : place + 1], targets)
        each.append(found.cross_entropy.item() * len(found.targets))
    assert total == pytest.approx(sum(each), rel=1e-5)
    # A double letter needs a blank between: "अअ" takes three frames, "अब" two.
    assert family.text_length(speech.tokens, "नन", "hi") == 3
    assert family.text_length(speech.tokens, "नम", "hi") == 2
    assert family.text_limit(model, 1.0) == 50


def test_masked_equals_cut_and_saved_equals_reloaded(folder: Path, tmp_path: Path) -> None:
    whole = load_model(str(folder / "two"))
    plan, batch = drop_some(whole), one_batch(folder, whole)
    smaller = checked_cut(whole, plan, batch)
    assert {g.stack for g in smaller.groups()} == {"encoder"}
    again = reloaded(whole, smaller, plan, tmp_path / "slim")
    with torch.no_grad():
        found = [each.family.encode(each.model, batch.features) for each in (smaller, again)]
    assert torch.equal(*found)


def test_what_is_written_has_times(folder: Path, tmp_path: Path) -> None:
    speech = load_model(str(folder / "two"))
    learn(folder, tmp_path, speech, 60)
    tone = 0.3 * np.sin(np.arange(16_000, dtype=np.float32) / 8)
    # Quiet in the middle, for half a minute: two parts, and the second's times follow the first's.
    audio = np.concatenate([tone, np.zeros(30 * 16_000, np.float32), tone])
    found = TorchTranscriber(speech, WindowPolicy()).transcribe(audio)
    assert found.text and " ".join(word.text for word in found.words) == found.text
    assert all(0 <= word.start < word.end <= 32.1 for word in found.words)
    assert all(0 < word.confidence <= 1 for word in found.words)
    starts = [word.start for word in found.words]
    assert starts == sorted(starts) and starts[0] < 1.0 and starts[-1] > 20


def test_its_operations_by_hand(folder: Path) -> None:
    report = cost_of(folder / "two", workloads=(Workload("1 s", 100, 5),))
    speech = load_model(str(folder / "two"))
    positions, letters = 50, len(speech.tokens.vocabulary())
    rows = {row.key: row for row in report.rows}
    assert rows["encoder.head"].flops == 2 * (positions // 2) * D_MODEL * letters
    assert rows["encoder.head"].units == letters
    ffn = LAYERS * 2 * positions * 2 * D_MODEL * FFN
    assert sum(row.flops for row in report.rows if row.kind == "ffn") == ffn
    scores = 2 * 2 * positions**2 * D_MODEL
    heads = LAYERS * (2 * positions * 4 * D_MODEL**2 + scores)
    assert sum(row.flops for row in report.rows if row.kind == "heads") == heads
    assert sum(row.units for row in report.rows if row.kind == "heads") == LAYERS * HEADS


def test_copies_that_are_timed_write_one_token(folder: Path) -> None:
    speech = load_model(str(folder / "one"))
    constant = speech.family.with_constant_output(speech.model, speech.tokens)
    tone = 0.3 * np.sin(np.arange(16_000, dtype=np.float32) / 8)
    heard = TorchTranscriber(replace(speech, model=constant), WindowPolicy()).transcribe(tone)
    assert heard.tokens == 1


def test_another_kind_of_model_is_no_teacher(folder: Path) -> None:
    whisper, speech = load_model(str(folder / "whisper")), load_model(str(folder / "one"))
    with pytest.raises(UsageError, match=r"is a whisper and the student a whisper_ctc"):
        Teacher(whisper, speech, DistillOptions())


@pytest.mark.parametrize("writes", ["letters", "tokens"])
def test_a_whole_run_goes_through(tmp_path: Path, writes: str) -> None:
    kept = {"languages": ["hi"] if writes == "tokens" else []}
    recipe = tiny_recipe(
        tmp_path, head={"kind": "ctc", "writes": writes}, vocabulary=kept,
        prepare={"steps": 2, "batch_size": 4, "evaluate_every": 0},
        recover={"steps": 2}, distill={"teacher": "dense", "hidden_weight": 1.0},
    )  # fmt: skip
    run = RunDir.create(tmp_path / "runs", from_mapping(recipe))
    seen: list[Event] = []
    work(run, seen.append)
    assert any(isinstance(e, Notice) and f"{writes}, the blank" in e.message for e in seen)
    assert all(run.stage_done(stage) for stage in ("shrink", "recover", "evaluate"))
    slim = load_model(str(run.path))
    assert slim.family.model_type == "whisper_ctc"
    assert sum(g.count for g in slim.groups()) < LAYERS * (HEADS + FFN)
    record = json.loads(run.eval_path("slim").read_text("utf-8"))
    assert {"CTC" in each["decoding"] for each in record["sets"].values()} == {True}


def test_the_short_form_of_the_recipe_and_what_does_not_go_together(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    assert from_mapping({**recipe, "head": "ctc"}).head == HeadOptions(kind="ctc")
    wrong = {
        "teacher": {"head": "ctc", "distill": {"teacher": "dense"}},
        "languages": {"head": "ctc", "vocabulary": {"languages": ["hi"]}},
        "is empty": {"head": {"kind": "ctc", "writes": "tokens"}},
        "only applies to kind ctc": {"head": {"pool": 2}},
        "outside 1 to 2": {"head": {"kind": "ctc", "pool": 3}},
    }
    for words, sections in wrong.items():
        with pytest.raises(RecipeError, match=words):
            from_mapping({**recipe, **sections})


def test_a_cut_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    whisper = load_model(str(folder / "whisper"))
    cut(whisper.model, whisper.groups(), drop_some(whisper))
    with pytest.raises(UsageError, match="whole encoder"):
        save_with_ctc_head(tmp_path / "x", whisper, HEADS_OF["one"], ["पानी"], "hi")


def changed(folder: Path, place: Path, file: str, **values: object) -> str:
    """A copy of the model whose file says something else."""
    place.mkdir()
    for path in (folder / "one").iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    found = json.loads((place / file).read_text("utf-8"))
    found |= values
    (place / file).write_text(json.dumps({k: v for k, v in found.items() if v != "gone"}), "utf-8")
    return str(place)


def test_vocabularies_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    wrong = {
        "has no blank": ("vocab.json", {"<pad>": "gone"}),
        "writes ids up to 99": ("vocab.json", {"क्ष"[0]: 99}),
        "its own id": ("vocab.json", {"ळ": 1}),
        "not single letters": ("vocab.json", {"शब्द": 2_000}),
        "for the blank and the model 5": ("config.json", {"pad_token_id": 5}),
        "pad_token_id, the blank, is 900": ("config.json", {"pad_token_id": 900}),
        "pool is 3": ("config.json", {"pool": 3}),
    }
    for place, (words, (file, values)) in enumerate(wrong.items()):
        with pytest.raises(CheckpointError, match=words):
            load_model(changed(folder, tmp_path / str(place), file, **values))


def test_letters_of_another_script_are_refused_for_hindi(folder: Path, tmp_path: Path) -> None:
    speech = load_model(str(folder / "one"))
    ids = {"<pad>": 0, "|": 1, **{c: n for n, c in enumerate("ABCDEFGHIJ", 2)}}
    place = tmp_path / "latin"
    place.mkdir()
    (place / "vocab.json").write_text(json.dumps(ids), "utf-8")
    tokens = load_letters(place)
    assert tokens.decode(tokens.encode("bad cab, xx")) == "BAD CAB"
    tokens.check_language("en")
    with pytest.raises(UsageError, match="letters ABCDEFGH and others, none of them Devanagari"):
        speech.family.targets(speech.model, tokens, ["पानी"], ["a"], [1.0], "hi")


@pytest.mark.parametrize("name", HEADS_OF)
def test_it_is_exported_to_onnx_cut_as_it_is(folder: Path, tmp_path: Path, name: str) -> None:
    speech = load_model(str(folder / name))
    learn(folder, tmp_path / "steps", speech, 40)
    plan = drop_some(speech)
    plan = replace(plan, keep={**plan.keep, "encoder.1.ffn": ()})  # a whole sub-layer, too
    whole = speech.groups()
    cut(speech.model, whole, plan)
    with torch.no_grad():  # what is cut so hard writes blanks alone
        speech.model.get_submodule("head").bias[0] -= 4.0
    clips = [AudioCache(folder / "cache").load(i) for i in load_items(str(folder / "corpus"))]
    record = export(speech, "onnx", "none", tmp_path / "out", clips, "hi", WindowPolicy())
    verdict = read_verdict(tmp_path / "out")
    assert verdict.ok and verdict.same_text == len(clips)
    assert verdict.encoder_error is not None and verdict.encoder_error < 1e-4
    assert set(record.files) == {"frames.onnx"} and record.model_type == "whisper_ctc"
    both = (
        TorchTranscriber(speech, WindowPolicy()),
        open_transcriber(str(tmp_path / "out"), WindowPolicy()),
    )
    for audio in clips:
        wanted, found = (each.transcribe(audio) for each in both)
        assert wanted.text == found.text
        for first, second in zip(wanted.words, found.words, strict=True):
            assert (first.text, first.start, first.end) == (second.text, second.start, second.end)
            assert first.confidence == pytest.approx(second.confidence, rel=1e-3)
    assert any(both[0].transcribe(audio).text for audio in clips), "silence would prove nothing"
    searched = [each.searching(Search(width=8)) for each in both]
    for audio in clips:
        wanted, found = (each.transcribe(audio) for each in searched)
        assert wanted.text == found.text
        assert " ".join(word.text for word in wanted.words) == wanted.text
    assert {each.describe_decoding() for each in searched} == {
        "prefix beam search over CTC, 8 prefixes"
    }
    stated = json.loads((tmp_path / "out" / "export.json").read_text("utf-8"))
    (tmp_path / "out" / "export.json").write_text(json.dumps({**stated, "seal": ""}), "utf-8")
    foreign = open_transcriber(str(tmp_path / "out"), WindowPolicy())
    assert foreign.transcribe(clips[0]).words == both[1].transcribe(clips[0]).words
    export(speech, "onnx", "int8", tmp_path / "int8", clips, "hi", WindowPolicy())
    with pytest.raises(UsageError, match=r"of Devanagari|none of them|not a language code"):
        both[1].transcribe(clips[0], "ta")


def test_only_models_that_score_frames_search(folder: Path) -> None:
    whisper = TorchTranscriber(load_model(str(folder / "whisper")), WindowPolicy())
    with pytest.raises(UsageError, match="for models that score frames"):
        whisper.searching(Search())
    found = evaluate_model(
        str(folder / "one"), str(folder / "corpus"), limit=2, cache_folder=folder / "cache",
        search=Search(width=4),
    )  # fmt: skip
    assert found.to_record()["decoding"] == "prefix beam search over CTC, 4 prefixes"


def test_ctranslate2_refuses_it_with_words(folder: Path, tmp_path: Path) -> None:
    speech = load_model(str(folder / "one"))
    with pytest.raises(ExportError, match=r"type whisper_ctc, which can be written for: onnx, hf"):
        export(speech, "ctranslate2", "none", tmp_path / "x", [], "hi", WindowPolicy())


def test_transformers_alone_runs_its_folder(folder: Path, tmp_path: Path) -> None:
    speech = load_model(str(folder / "two"))
    learn(folder, tmp_path / "steps", speech, 40)
    plan = drop_some(speech)
    cut(speech.model, speech.groups(), replace(plan, keep={**plan.keep, "encoder.0.ffn": ()}))
    with torch.no_grad():
        speech.model.get_submodule("head").bias[0] -= 4.0
    clips = [AudioCache(folder / "cache").load(i) for i in load_items(str(folder / "corpus"))]
    export(speech, "hf", "none", tmp_path / "out", clips, "hi", WindowPolicy())
    assert read_verdict(tmp_path / "out").ok
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "scores the encoder's frames" in card and "generate_kwargs" not in card
    own = TorchTranscriber(speech, WindowPolicy())
    opened = open_transcriber(str(tmp_path / "out"), WindowPolicy())
    assert [opened.transcribe(c).text for c in clips] == [own.transcribe(c).text for c in clips]
    listen = pipeline(
        "automatic-speech-recognition", model=str(tmp_path / "out"), trust_remote_code=True
    )
    assert type(listen.model).__name__ == "WhisperSlimForCTC"
    # transformers reads the frames of the padding, too.
    for audio in clips:
        text = listen(audio)["text"]
        assert text.startswith(own.transcribe(audio).text) and text
