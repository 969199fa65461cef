"""A vocabulary for a few languages: exact over what stays, and able to write everything."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from torch.nn import functional as F

from tests.support.models.tiny_tokens import CONTROL, TIMES, many_tongued_folder
from tests.support.tiny import D_MODEL, tiny_model
from tests.support.tiny_job import drop_some
from whisperslim.core.cost.cost import cost_of, expected_size
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.store.checkpoint import count_parameters, load_slim, read_record, save_slim
from whisperslim.core.surgery.shrink import cut, select_tokens
from whisperslim.core.tokens import vocabulary as vocabulary_module
from whisperslim.core.tokens.files import read_table
from whisperslim.core.tokens.vocabulary import TokenTable, choose, vocabulary_from_record
from whisperslim.core.trimming import save_trimmed, vocabulary_for, with_vocabulary_of
from whisperslim.errors import CheckpointError, PlanError, UsageError
from whisperslim.exported.symbols import bytes_of
from whisperslim.text.scripts import LANGUAGES, letters

DEMO_CLIP = Path(__file__).parents[3] / "assets" / "demo_hi" / "audio" / "demo_010.ogg"
FEW = 12  # Latin pieces: the tiny tokenizer has some dozens
MIXED = "मेरा नाम Ünal है 🎵 مرحبا 你好 the 1999\n\tॐ\u200d"


@pytest.fixture(scope="module", autouse=True)
def few_latin_pieces() -> object:
    patch = pytest.MonkeyPatch()
    patch.setattr(vocabulary_module, "LATIN_PIECES", FEW)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many_tongued_folder(tmp_path_factory.mktemp("vocabulary") / "model")


@pytest.fixture(scope="module")
def full(folder: Path) -> SpeechModel:
    return load_model(str(folder))


@pytest.fixture(scope="module")
def table(full: SpeechModel) -> TokenTable:
    return read_table(full.tokens, full.model.config.vocab_size)


@pytest.fixture(scope="module")
def hindi(full: SpeechModel, tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    path = tmp_path_factory.mktemp("hindi") / "slim"
    save_trimmed(path, full, vocabulary_for(full, ["hi"]), "hi")
    return load_model(str(path))


def old_ids(full: SpeechModel, trimmed: SpeechModel) -> list[int]:
    """Old id of every new id, by the tokens' own names."""
    before = full.tokens.tokenizer.get_vocab()
    after = trimmed.tokens.tokenizer.get_vocab()
    return [before[token] for token in sorted(after, key=lambda name: after[name])]


def test_every_language_of_whisper_has_a_script() -> None:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES as WHISPERS

    assert set(WHISPERS) == set(LANGUAGES)
    assert letters(["hi"]) == letters(["mr", "ne", "sa"]) and "ॐ" in letters(["hi"])
    assert not letters(["hi"]) & letters(["en", "ur", "bn"])


def test_what_stays(table: TokenTable) -> None:
    kept = set(choose(table, ["hi"]).keep)
    names = {i: token for token, i in {**table.text, **table.control}.items()}
    one_byte = {i for token, i in table.text.items() if len(bytes_of(token)) == 1}
    assert len(one_byte) == 256 and one_byte <= kept
    for token, i in table.text.items():
        raw = bytes_of(token)
        characters = raw.decode("utf-8", "ignore").strip()
        if characters and all("\u0900" <= c <= "\u097f" for c in characters):
            assert i in kept, token
        if any("\u0600" <= c <= "\u06ff" for c in characters):
            assert i not in kept, token
    control = {names[i] for i in kept} & {*CONTROL, *TIMES}
    assert control == set(CONTROL) - {"<|en|>", "<|ar|>", "<|mr|>"}


def test_latin_is_a_handful_for_hindi_and_whole_for_english(table: TokenTable) -> None:
    pieces = {
        i for token, i in table.text.items()
        if len(raw := bytes_of(token).removeprefix(b" ")) > 1 and raw.isalpha()
    }  # fmt: skip
    assert len(pieces) > FEW
    assert pieces & set(choose(table, ["hi"]).keep) == set(sorted(pieces)[:FEW])
    assert pieces <= set(choose(table, ["hi", "en"]).keep)


def test_kept_merges_need_kept_parts_only(table: TokenTable) -> None:
    for languages in (["hi"], ["ar"], ["mr", "en"]):
        kept = set(choose(table, languages).keep)
        made = {left + right: (left, right) for left, right in reversed(table.merges)}
        for token, i in table.text.items():
            if i in kept and token in made:
                assert {table.text[part] for part in made[token]} <= kept


def test_text_tokens_come_before_the_end_and_control_tokens_after(hindi: SpeechModel) -> None:
    ids = hindi.tokens.tokenizer.get_vocab()
    assert sorted(ids.values()) == list(range(hindi.model.config.vocab_size))
    order = [token for token in sorted(ids, key=lambda name: ids[name]) if token in CONTROL]
    assert order == [token for token in CONTROL if token in ids]
    assert ids["<|endoftext|>"] == len(ids) - len(order)


def test_ids_keep_their_order(full: SpeechModel, hindi: SpeechModel) -> None:
    old = old_ids(full, hindi)
    assert old == sorted(old)
    assert tuple(old) == vocabulary_for(full, ["hi"]).keep


@pytest.mark.parametrize("text", ["मेरा कमरा पानी है", "नमस्ते, सुबह की हवा।", "हिन्दी १२३"])
def test_the_languages_own_text_is_cut_into_the_same_pieces(
    full: SpeechModel, hindi: SpeechModel, text: str
) -> None:
    old = old_ids(full, hindi)
    assert [old[i] for i in hindi.tokens.encode(text)] == full.tokens.encode(text)


TEXTS = st.text(max_size=60) | st.text(
    st.characters(min_codepoint=0x900, max_codepoint=0x97F)
    | st.characters(min_codepoint=0x600, max_codepoint=0x6FF)
    | st.characters(min_codepoint=0x1F300, max_codepoint=0x1FAFF)
    | st.sampled_from(" \n\u200dथe1"),
    max_size=40,
)


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_any_text_can_still_be_written(hindi: SpeechModel, text: str) -> None:
    for token in hindi.tokens.tokenizer.get_added_vocab():
        text = text.replace(token, "")
    tokenizer = hindi.tokens.tokenizer
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert max(ids, default=0) < hindi.tokens.end
    assert tokenizer.decode(ids) == text


def test_the_file_alone_writes_the_same(hindi: SpeechModel) -> None:
    alone = Tokenizer.from_file(str(hindi.path / "tokenizer.json"))
    ids = alone.encode(MIXED, add_special_tokens=False).ids
    assert ids == hindi.tokens.tokenizer(MIXED, add_special_tokens=False)["input_ids"]
    assert alone.decode(ids) == MIXED
    wrapped = alone.encode("पानी").tokens
    assert wrapped == Tokenizer.from_file(str(hindi.path / "tokenizer.json")).encode("पानी").tokens


def test_the_older_files_say_the_same(hindi: SpeechModel) -> None:
    ids = hindi.tokens.tokenizer.get_vocab()
    vocab = json.loads((hindi.path / "vocab.json").read_text("utf-8"))
    added = json.loads((hindi.path / "added_tokens.json").read_text("utf-8"))
    assert {**vocab, **added} == ids
    lines = (hindi.path / "merges.txt").read_text("utf-8").splitlines()[1:]
    assert all("".join(line.split(" ")) in vocab for line in lines) and lines
    config = json.loads((hindi.path / "tokenizer_config.json").read_text("utf-8"))
    assert set(config["additional_special_tokens"]) == set(added)
    assert {int(i): e["content"] for i, e in config["added_tokens_decoder"].items()} == {
        i: token for token, i in added.items()
    }


def test_logits_over_kept_tokens_are_the_original_s(full: SpeechModel, hindi: SpeechModel) -> None:
    old = old_ids(full, hindi)
    ids = [*hindi.tokens.prompt("hi"), *hindi.tokens.encode("मेरा कमरा")]
    torch.manual_seed(0)
    states = torch.randn(1, 20, D_MODEL)
    with torch.no_grad():
        wanted = _logits(full, [old[i] for i in ids], states)[..., old]
        found = _logits(hindi, ids, states)
    # The same numbers in a product of another width: float32 sums may be ordered otherwise.
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5)
    weight = hindi.model.model.decoder.embed_tokens.weight
    assert torch.equal(weight, full.model.model.decoder.embed_tokens.weight[old])
    assert hindi.model.proj_out.weight is weight


def _logits(speech: SpeechModel, ids: list[int], states: torch.Tensor) -> torch.Tensor:
    hidden = speech.model.model.decoder(
        input_ids=torch.tensor([ids]), encoder_hidden_states=states, use_cache=False
    ).last_hidden_state
    return F.linear(hidden, speech.model.get_output_embeddings().weight)


def test_settings_name_the_same_tokens(full: SpeechModel, hindi: SpeechModel) -> None:
    def names(speech: SpeechModel, ids: int | list[int]) -> str | list[str]:
        return speech.tokens.tokenizer.convert_ids_to_tokens(ids)

    before: Any = full.model.generation_config
    after: Any = hindi.model.generation_config
    singles = ("bos", "eos", "pad", "decoder_start", "no_timestamps", "prev_sot")
    for key in (*(f"{name}_token_id" for name in singles), "begin_suppress_tokens"):
        assert names(hindi, getattr(after, key)) == names(full, getattr(before, key)), key
    assert names(hindi, after.suppress_tokens) == ["#", "<|nospeech|>"]
    assert after.lang_to_id == {"<|hi|>": hindi.tokens.prompt("hi")[1]}
    assert after.task_to_id["transcribe"] == hindi.tokens.transcribe
    assert after.alignment_heads == before.alignment_heads
    config = hindi.model.config
    assert (config.eos_token_id, config.pad_token_id) == (hindi.tokens.end, hindi.tokens.end)
    assert config.decoder_start_token_id == hindi.tokens.start
    assert hindi.model.get_input_embeddings().padding_idx == hindi.tokens.end


def test_transformers_own_generate_runs(hindi: SpeechModel) -> None:
    torch.manual_seed(0)
    model: Any = hindi.model
    found = model.generate(
        torch.randn(1, 80, 3000), language="hi", task="transcribe", max_new_tokens=5
    )
    assert found.shape[0] == 1 and int(found.max()) < hindi.model.config.vocab_size


def test_timestamps_stay_when_asked_for(full: SpeechModel, table: TokenTable) -> None:
    without, with_them = choose(table, ["hi"]), choose(table, ["hi"], timestamps=True)
    extra = set(with_them.keep) - set(without.keep)
    assert extra == {table.control[token] for token in TIMES}
    # Tokenizer files of older models leave timestamps out; the embedding has them.
    unnamed = replace(table, control={k: i for k, i in table.control.items() if k not in TIMES})
    assert choose(unnamed, ["hi"], timestamps=True).keep == with_them.keep
    assert choose(unnamed, ["hi"]).keep == without.keep


def test_an_unknown_language_is_reported_with_the_known_ones(table: TokenTable) -> None:
    with pytest.raises(
        UsageError,
        match=r"French \(fr\).*Arabic \(ar\), English \(en\), Hindi \(hi\), Marathi \(mr\)",
    ):
        choose(table, ["hi", "fr"])
    with pytest.raises(UsageError, match="at least one"):
        choose(table, [])


def test_trimming_again_changes_nothing(hindi: SpeechModel) -> None:
    assert vocabulary_for(hindi, ["hi"]).changes_nothing
    with pytest.raises(UsageError, match=r"knows Hindi \(hi\)"):
        vocabulary_for(hindi, ["en"])


def test_trimming_in_two_steps_is_trimming_at_once(
    full: SpeechModel, hindi: SpeechModel, tmp_path: Path
) -> None:
    save_trimmed(tmp_path / "both", full, vocabulary_for(full, ["hi", "ar"]), "hi")
    both = load_model(str(tmp_path / "both"))
    save_trimmed(tmp_path / "one", both, vocabulary_for(both, ["hi"]), "hi")
    one = load_model(str(tmp_path / "one"))
    assert one.tokens.tokenizer.get_vocab() == hindi.tokens.tokenizer.get_vocab()
    assert one.info.weights_sha256 == hindi.info.weights_sha256
    assert read_record(one.path) == read_record(hindi.path) or (
        read_record(one.path).vocabulary == read_record(hindi.path).vocabulary
    )


def test_a_vocabulary_can_be_stored(full: SpeechModel, hindi: SpeechModel) -> None:
    vocabulary = vocabulary_for(full, ["hi"])
    stored = json.loads((hindi.path / "vocabulary.json").read_text("utf-8"))
    assert vocabulary_from_record(stored) == vocabulary
    with pytest.raises(CheckpointError, match="trim"):
        vocabulary_from_record({"keep": 3})


def test_the_record_and_the_cost_count_the_whole_vocabulary(
    full: SpeechModel, hindi: SpeechModel
) -> None:
    rows, dense = hindi.model.config.vocab_size, full.model.config.vocab_size
    facts = read_record(hindi.path).vocabulary
    assert facts is not None and (facts.size, facts.dense_size) == (rows, dense)
    assert (facts.languages, facts.timestamps, facts.added) == (("hi",), False, 0)
    report = cost_of(hindi.path)
    gone = (dense - rows) * D_MODEL
    assert report.dense_parameters == count_parameters(full.model)
    assert (report.parameters, report.removed) == (count_parameters(hindi.model), gone)
    assert report.removed_weights == 0 and report.removed_tokens == gone
    row = next(row for row in report.rows if row.kind == "embeddings")
    assert (row.units, row.units_dense, row.removed) == (rows, dense, gone)
    assert report.dense_bytes - report.bytes_on_disk == 4 * gone
    assert row.flops_dense - row.flops == 2 * 30 * gone
    expected = expected_size(report.dense_parameters, report.prunable, 0.0, 4, tokens=gone)
    assert expected.parameters == report.parameters


def test_a_cut_model_with_a_trimmed_vocabulary_comes_back(
    hindi: SpeechModel, tmp_path: Path
) -> None:
    model = load_slim(hindi.path)
    speech = replace(hindi, model=model)
    plan = drop_some(speech)
    cut(model, speech.groups(), plan)
    record = read_record(hindi.path)
    counts = {group.key: len(plan.keep[group.key]) for group in hindi.groups()}
    save_slim(tmp_path / "cut", model, replace(record, counts=counts), side_files=hindi.path)
    again = load_model(str(tmp_path / "cut"))
    assert torch.equal(again.model.proj_out.weight, model.proj_out.weight)
    assert again.groups() == speech.groups()
    report = cost_of(again.path)
    assert report.removed == report.dense_parameters - report.parameters
    assert (tmp_path / "cut" / "vocabulary.json").is_file()


def test_a_cut_model_can_be_trimmed(full: SpeechModel, tmp_path: Path) -> None:
    from whisperslim.core.store.checkpoint import describe_cut

    speech = load_model(str(full.path))
    plan, groups = drop_some(speech), speech.groups()
    record = describe_cut("base", groups, count_parameters(speech.model), plan, "")
    cut(speech.model, groups, plan)
    save_slim(tmp_path / "cut", speech.model, record, side_files=full.path)
    slim = load_model(str(tmp_path / "cut"))
    save_trimmed(tmp_path / "both", slim, vocabulary_for(slim, ["hi"]), "hi")
    both = load_model(str(tmp_path / "both"))
    assert both.groups() == slim.groups()
    found = read_record(both.path)
    assert (found.base, found.counts, found.language) == ("base", record.counts, "hi")


def test_a_folder_that_contradicts_itself_is_refused(hindi: SpeechModel, tmp_path: Path) -> None:
    folder = shutil.copytree(hindi.path, tmp_path / "slim")
    record = json.loads((folder / "slim.json").read_text("utf-8"))
    record["vocabulary"]["size"] += 1
    (folder / "slim.json").write_text(json.dumps(record), "utf-8")
    with pytest.raises(CheckpointError, match="tokens"):
        load_model(str(folder))


def test_another_models_tokenizer_is_refused(
    full: SpeechModel, hindi: SpeechModel, tmp_path: Path
) -> None:
    folder = shutil.copytree(hindi.path, tmp_path / "slim")
    for name in ("tokenizer.json", "tokenizer_config.json", "added_tokens.json", "vocab.json"):
        shutil.copy(full.path / name, folder / name)
    with pytest.raises(CheckpointError, match="belongs to another model"):
        load_model(str(folder))


def test_a_teacher_takes_the_student_s_vocabulary(full: SpeechModel, hindi: SpeechModel) -> None:
    assert with_vocabulary_of(hindi, hindi) is hindi
    teacher = with_vocabulary_of(load_model(str(full.path)), hindi)
    assert torch.equal(teacher.model.proj_out.weight, hindi.model.proj_out.weight)
    assert teacher.tokens.end == hindi.tokens.end
    with pytest.raises(UsageError, match="does not know"):
        with_vocabulary_of(load_model(str(hindi.path)), full)


def test_rows_are_copied_or_averaged_and_stay_tied() -> None:
    model = tiny_model()
    found = model.model.decoder.embed_tokens
    old = found.weight.detach().clone()
    found.weight.requires_grad_(False)
    select_tokens(model, [(5,), (2, 9), (256,)])
    assert torch.equal(found.weight[[0, 2]], old[[5, 256]])
    assert torch.allclose(found.weight[1], (old[2] + old[9]) / 2)
    assert model.proj_out.weight is found.weight and not found.weight.requires_grad
    assert (found.num_embeddings, model.proj_out.out_features, model.config.vocab_size) == (3,) * 3
    for wrong in ([(5,), ()], [(3,)], [(-1,)], []):
        with pytest.raises(PlanError):
            select_tokens(model, wrong)


@pytest.mark.real
def test_whisper_base_writes_the_same_hindi(tmp_path: Path) -> None:
    from whisperslim.engines.torch_engine import TorchTranscriber
    from whisperslim.speech.audio.decoding import decode
    from whisperslim.speech.audio.window import WindowPolicy

    patch = pytest.MonkeyPatch()
    patch.setattr(vocabulary_module, "LATIN_PIECES", 250)
    dense = load_model("openai/whisper-base")
    vocabulary = vocabulary_for(dense, ["hi"])
    patch.undo()
    save_trimmed(tmp_path / "slim", dense, vocabulary, "hi")
    slim = load_model(str(tmp_path / "slim"))
    old = old_ids(dense, slim)
    clip = decode(DEMO_CLIP)
    states = _states(dense, clip)
    ids = [*slim.tokens.prompt("hi"), *slim.tokens.encode("नमस्ते दुनिया")]
    with torch.no_grad():
        wanted = _logits(dense, [old[i] for i in ids], states)[..., old]
        found = _logits(slim, ids, states)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5
    assert count_parameters(dense.model) - count_parameters(slim.model) == 512 * (
        51865 - vocabulary.size
    )
    assert TorchTranscriber(slim, WindowPolicy()).transcribe(clip, "hi").text


def _states(speech: SpeechModel, clip: np.ndarray) -> torch.Tensor:
    from whisperslim.speech.audio.log_mel import log_mel

    with torch.no_grad():
        features = torch.from_numpy(log_mel(clip, 600, 80))[None]
        return speech.family.encode(speech.model, features)
