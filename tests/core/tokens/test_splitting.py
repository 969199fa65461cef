"""New tokens split now and then: spelled alike, as often as asked, repeatable, never too long."""

from pathlib import Path

import pytest
import torch

from tests.support.models.tiny_tokens import many_tongued_folder
from tests.support.tiny import WORDS
from tests.support.tiny_run import tiny_recipe
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.store.checkpoint import read_tensors
from whisperslim.core.tokens.files import read_table
from whisperslim.core.tokens.merges import with_new_tokens
from whisperslim.core.tokens.splitting import Splitting, pieces_of
from whisperslim.core.trimming import save_trimmed, vocabulary_for
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.stages.order import work

TEXTS = [f"{first} {second}" for first in WORDS for second in WORDS]
LEARNING = {"steps": 3, "batch_size": 4, "learning_rate": 1e-3, "evaluate_every": 0,
            "checkpoint_every": 1, "report_every": 1, "freeze_embeddings": False}  # fmt: skip


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    folder = tmp_path_factory.mktemp("split")
    full = load_model(str(many_tongued_folder(folder / "model")))
    table = read_table(full.tokens, full.model.config.vocab_size)
    vocabulary = with_new_tokens(table, vocabulary_for(full, ["hi"]), TEXTS, 20)
    save_trimmed(folder / "slim", full, vocabulary, "hi")
    return load_model(str(folder / "slim"))


def test_pieces_spell_what_the_token_spells(merged: SpeechModel) -> None:
    pieces = pieces_of(merged.path)
    tokenizer = merged.tokens.tokenizer
    names = {i: token for token, i in tokenizer.get_vocab().items()}
    assert len(pieces) == 20
    for token, parts in pieces.items():
        assert len(parts) > 1 and not set(parts) & set(pieces)
        assert "".join(names[part] for part in parts) == names[token]


def test_a_model_whose_vocabulary_nobody_chose_has_none(tmp_path: Path) -> None:
    assert pieces_of(many_tongued_folder(tmp_path / "model")) == {}


def test_as_many_are_split_as_asked_and_the_text_stays(merged: SpeechModel) -> None:
    pieces = pieces_of(merged.path)
    split = Splitting(pieces, 0.25, 0).tokens(merged.tokens, "tune", 1, ["a"])
    there = whole = 0
    for text in TEXTS * 40:
        found = split.encode(text)
        there += sum(i in pieces for i in merged.tokens.encode(text))
        whole += sum(i in pieces for i in found)
        assert merged.tokens.decode(found) == text
    # Four standard deviations of a share of a quarter.
    assert abs(1 - whole / there - 0.25) < 4 * (0.25 * 0.75 / there) ** 0.5
    assert split.prompt("hi") == merged.tokens.prompt("hi")


def test_a_step_spells_its_clips_alike_and_others_otherwise(merged: SpeechModel) -> None:
    splitting = Splitting(pieces_of(merged.path), 0.5, 0)

    def spelled(stage: str, step: int, key: str) -> list[list[int]]:
        tokens = splitting.tokens(merged.tokens, stage, step, [key])
        return [tokens.encode(text) for text in TEXTS]

    first = spelled("tune", 1, "a")
    assert first == spelled("tune", 1, "a")
    for other in (("recover", 1, "a"), ("tune", 2, "a"), ("tune", 1, "b")):
        assert spelled(*other) != first


def test_what_would_be_too_long_stays_as_it_is(merged: SpeechModel) -> None:
    pieces, text = pieces_of(merged.path), " ".join(WORDS)
    own = merged.tokens.encode(text)
    kept = Splitting(pieces, 0.9, 0, longest=len(own)).tokens(merged.tokens, "tune", 1, ["a"])
    free = Splitting(pieces, 0.9, 0).tokens(merged.tokens, "tune", 1, ["a"])
    assert kept.encode(text) == own and len(free.encode(text)) > len(own)


def test_a_run_with_splits_resumed_equals_uninterrupted_and_learns_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    ends = {}
    for name, rate in (("whole", 0.5), ("broken", 0.5), ("never", 0.0)):
        asked = {"languages": ["hi"], "merges": 3, "merge_dropout": rate}
        recipe = tiny_recipe(tmp_path, vocabulary=asked, prepare=LEARNING, train=LEARNING)
        run = RunDir.create(tmp_path / name, from_mapping(recipe))
        if name == "broken":
            work(run, lambda event: run.request_stop() if event.kind == "step" else None)  # noqa: B023
            assert not run.stage_done("prepare")
            run.clear_stop()
        work(run, lambda event: None)
        ends[name] = read_tensors(run.path / "prepared" / "model.safetensors")
    assert all(torch.equal(ends["whole"][n], ends["broken"][n]) for n in ends["whole"])
    assert any(not torch.equal(ends["whole"][n], ends["never"][n]) for n in ends["whole"])
