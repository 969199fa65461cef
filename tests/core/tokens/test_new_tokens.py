"""New tokens: fewer of them to a word, everything else as it was."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.support.models.tiny_tokens import many_tongued_folder
from tests.support.tiny import WORDS
from tests.support.tiny_run import tiny_recipe
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.store.checkpoint import read_record, read_tensors
from whisperslim.core.tokens.files import read_table
from whisperslim.core.tokens.merges import with_new_tokens
from whisperslim.core.tokens.vocabulary import Vocabulary, vocabulary_from_record
from whisperslim.core.trimming import save_trimmed, vocabulary_for, with_vocabulary_of
from whisperslim.errors import RecipeError, UsageError
from whisperslim.events import Event, Notice
from whisperslim.exported.symbols import bytes_of
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.derive import derive
from whisperslim.jobs.stages.order import work

TEXTS = [f"{first} {second} किताबें" for first in WORDS for second in WORDS]
NEW = 20
LATIN = "the other cat said café, naïve - it's 1999!"
LEARNING = {"steps": 3, "batch_size": 4, "learning_rate": 1e-3, "evaluate_every": 0,
            "checkpoint_every": 1, "report_every": 1, "freeze_embeddings": False}  # fmt: skip


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return load_model(str(many_tongued_folder(tmp_path_factory.mktemp("new") / "model")))


def vocabulary_of(speech: SpeechModel, count: int = NEW, texts: list[str] = TEXTS) -> Vocabulary:
    table = read_table(speech.tokens, speech.model.config.vocab_size)
    return with_new_tokens(table, vocabulary_for(speech, ["hi"]), texts, count)


def saved(folder: Path, full: SpeechModel, vocabulary: Vocabulary) -> SpeechModel:
    save_trimmed(folder, full, vocabulary, "hi")
    return load_model(str(folder))


@pytest.fixture(scope="module")
def plain(full: SpeechModel, tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return saved(tmp_path_factory.mktemp("plain") / "slim", full, vocabulary_for(full, ["hi"]))


@pytest.fixture(scope="module")
def merged(full: SpeechModel, tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return saved(tmp_path_factory.mktemp("merged") / "slim", full, vocabulary_of(full))


def test_words_take_fewer_tokens(plain: SpeechModel, merged: SpeechModel) -> None:
    for text in TEXTS:
        assert len(merged.tokens.encode(text)) < len(plain.tokens.encode(text))
        assert merged.tokens.decode(merged.tokens.encode(text)) == text


def test_a_word_that_is_frequent_enough_is_one_token(full: SpeechModel, tmp_path: Path) -> None:
    speech = saved(tmp_path / "slim", full, vocabulary_of(full, 400))
    for word in WORDS:
        assert len(speech.tokens.encode(word)) == 1


def test_latin_text_is_cut_as_before(plain: SpeechModel, merged: SpeechModel) -> None:
    def pieces(speech: SpeechModel) -> list[str]:
        return speech.tokens.tokenizer.tokenize(LATIN)

    assert pieces(merged) == pieces(plain)


def test_new_tokens_stand_between_text_and_control(
    plain: SpeechModel, merged: SpeechModel, full: SpeechModel
) -> None:
    before, after = plain.tokens.tokenizer.get_vocab(), merged.tokens.tokenizer.get_vocab()
    added = vocabulary_of(full).added
    assert set(after) - set(before) == set(added) and len(added) == NEW
    end = before["<|endoftext|>"]
    for token, i in before.items():
        assert after[token] == (i if i < end else i + len(added))
    assert [after[token] for token in added] == list(range(end, end + len(added)))
    assert merged.tokens.prompt("hi") == [i + len(added) for i in plain.tokens.prompt("hi")]


def test_a_new_row_is_the_mean_of_the_rows_its_text_was_written_with(
    plain: SpeechModel, merged: SpeechModel
) -> None:
    old = plain.model.model.decoder.embed_tokens.weight
    new = merged.model.model.decoder.embed_tokens.weight
    before, seen = plain.tokens.tokenizer.get_vocab(), 0
    after = merged.tokens.tokenizer.get_vocab()
    for token in (t for t in after if t not in before):
        text = bytes_of(token).decode()
        ids = plain.tokens.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) == 2:  # longer ones may hold marks, where Whisper's own splitting differs
            assert torch.allclose(new[after[token]], old[ids].mean(0))
            seen += 1
    assert seen
    end = plain.tokens.end
    assert torch.equal(new[:end], old[:end])
    assert torch.equal(new[merged.tokens.end :], old[end:])


@given(st.text(max_size=40) | st.lists(st.sampled_from([*WORDS, " ", "a", "ॐ"])).map("".join))
@settings(max_examples=150, deadline=None)
def test_any_text_can_still_be_written(merged: SpeechModel, text: str) -> None:
    for token in merged.tokens.tokenizer.get_added_vocab():
        text = text.replace(token, "")
    ids = merged.tokens.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert merged.tokens.tokenizer.decode(ids) == text


def test_the_file_alone_writes_the_same(merged: SpeechModel) -> None:
    alone = Tokenizer.from_file(str(merged.path / "tokenizer.json"))
    for text in (" " + TEXTS[0], LATIN, "मर्म की बात"):
        ids = alone.encode(text, add_special_tokens=False).ids
        assert ids == merged.tokens.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_it_is_stored_and_counted(merged: SpeechModel, full: SpeechModel) -> None:
    facts = read_record(merged.path).vocabulary
    assert facts is not None and facts.added == NEW
    assert facts.size == merged.model.config.vocab_size
    stored = json.loads((merged.path / "vocabulary.json").read_text("utf-8"))
    assert vocabulary_from_record(stored) == vocabulary_of(full)
    # Trimmed already: the new tokens are of the language.
    assert vocabulary_for(merged, ["hi"]).changes_nothing


def test_the_same_texts_give_the_same_tokens(full: SpeechModel) -> None:
    assert vocabulary_of(full) == vocabulary_of(full)


def test_texts_that_repeat_little_give_fewer(full: SpeechModel) -> None:
    assert len(vocabulary_of(full, 500, ["नमस्ते पानी"] * 5).added) < 20
    assert not vocabulary_of(full, 500, ["नमस्ते पानी"]).added


def test_what_occurs_less_often_than_asked_for_is_no_token(full: SpeechModel) -> None:
    table, texts = (
        read_table(full.tokens, full.model.config.vocab_size),
        ["नमस्ते"] * 9 + ["पानी"] * 5,
    )
    found = {
        floor: with_new_tokens(table, vocabulary_for(full, ["hi"]), texts, 500, floor).added
        for floor in (5, 6, 10)
    }
    assert found[10] == () and len(found[5]) > len(found[6]) > 0
    assert not {bytes_of(token).decode().strip() for token in found[6]} & {"प", "पा", "पानी"}


def test_texts_without_the_language_are_refused(full: SpeechModel) -> None:
    with pytest.raises(UsageError, match=r"vocabulary.merges to 0"):
        vocabulary_of(full, 10, ["the cat"] * 9)


def test_a_teacher_without_them_is_refused(full: SpeechModel, merged: SpeechModel) -> None:
    with pytest.raises(UsageError, match=f"does not know {NEW} tokens"):
        with_vocabulary_of(full, merged)


def test_new_tokens_must_be_trained_and_a_teacher_must_know_them(tmp_path: Path) -> None:
    asked = {"languages": ["hi"], "merges": 50}
    with pytest.raises(RecipeError, match=r"vocabulary.merges.*freeze_embeddings"):
        from_mapping(tiny_recipe(tmp_path, vocabulary=asked))
    taught = {"vocabulary": asked, "train": LEARNING, "distill": {"teacher": "dense"}}
    with pytest.raises(RecipeError, match=r"distill.teacher.*prepare"):
        from_mapping(tiny_recipe(tmp_path, **taught))
    from_mapping(tiny_recipe(tmp_path, prepare=LEARNING, **taught))


def test_a_run_with_new_tokens_stopped_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    sections = {"vocabulary": {"languages": ["hi"], "merges": 3}, "prepare": LEARNING,
                "train": LEARNING, "distill": {"teacher": "dense"}}  # fmt: skip
    recipe = from_mapping(tiny_recipe(tmp_path, **sections))
    whole, broken = (RunDir.create(tmp_path / name, recipe) for name in ("whole", "broken"))
    seen: list[Event] = []
    work(whole, seen.append)
    said = [e.message for e in seen if isinstance(e, Notice) and "vocabulary" in e.message]
    facts = json.loads((whole.path / "vocabulary.json").read_text())
    assert facts["new_tokens"] == 3 and any("3 are new" in message for message in said)
    assert facts["tokens_per_word"] < facts["tokens_per_word_before"]
    work(broken, lambda event: broken.request_stop() if event.kind == "step" else None)
    assert not broken.stage_done("prepare")
    broken.clear_stop()
    work(broken, lambda event: None)
    ours, theirs = (read_tensors(run.slim_path / "model.safetensors") for run in (whole, broken))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours | theirs)
    derived = derive(whole, 0.2)
    work(derived, lambda event: None)
    record = read_record(derived.slim_path).vocabulary
    assert record is not None and record.added == 3
