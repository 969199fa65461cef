"""First rows of new tokens: evidence from one clip at a time, least squares by numpy, training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.tiny_job import Workshop, one_batch
from tests.support.tiny_run import tiny_recipe
from whisperslim.core.families.hearing import PieceEvidence
from whisperslim.core.store.checkpoint import read_tensors
from whisperslim.core.tokens.new_rows import solved_rows
from whisperslim.core.tokens.vocabulary import vocabulary_from_record
from whisperslim.errors import RecipeError
from whisperslim.events import Event, Notice, StepDone
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.stages.order import work
from whisperslim.train.forward import encode_batch

EMBEDDING = "model.decoder.embed_tokens.weight"
LEARNING = {"steps": 2, "batch_size": 4, "learning_rate": 1e-2, "evaluate_every": 0,
            "checkpoint_every": 1, "report_every": 1, "freeze_embeddings": False,
            "weight_decay": 0.5}  # fmt: skip


def test_the_evidence_is_what_transformers_says_of_one_clip_at_a_time(shop: Workshop) -> None:
    speech, batch = shop.student(), one_batch(shop)
    # Pieces of one, two and three ids, in another order for every clip, the last clip without any.
    texts = [[(7, (5, 6)), (1, (9,)), (8, (4, 5, 6))], [(8, (4, 5, 6))], [(1, (9,)), (2, (3,))]]
    texts += [[(1, (9,))] for _ in batch.texts[3:]]
    states = encode_batch(speech, batch)
    found = speech.family.piece_evidence(
        speech.model, speech.tokens, states, texts[: len(batch.texts)], "hi"
    )
    assert found is not None
    expected = []
    for clip, text in enumerate(texts[: len(batch.texts)]):
        ids = list(speech.tokens.prompt("hi"))
        with torch.no_grad():
            for token, pieces in text:
                whole = torch.tensor([[*ids, *pieces]])
                logits = speech.model(
                    encoder_outputs=(states[clip : clip + 1],), decoder_input_ids=whole
                ).logits[0]
                place = len(ids) - 1
                total = logits[place, pieces[0]]
                for n in range(1, len(pieces)):
                    total = total + logits[place + n].log_softmax(-1)[pieces[n]]
                if len(pieces) > 1:
                    expected.append((token, float(total), float(logits[place, pieces[0]])))
                ids += pieces
    assert found.tokens.tolist() == [token for token, _, _ in expected] != []
    assert found.logits.tolist() == pytest.approx([total for _, total, _ in expected], abs=1e-4)
    # A state times a row is that row's logit there.
    rows = speech.model.get_input_embeddings().weight.detach()
    first = {7: 5, 8: 4}
    products = [
        float(s @ rows[first[t]]) for s, t in zip(found.states, found.tokens.tolist(), strict=True)
    ]
    assert products == pytest.approx([alone for _, _, alone in expected], abs=1e-4)


def test_a_row_is_the_ridge_solution_that_numpy_finds() -> None:
    torch.manual_seed(0)
    states, wanted = torch.randn(7, 5), torch.randn(7)
    which = torch.tensor([3, 3, 9, 3, 9, 9, 3])
    means = {3: torch.randn(5), 9: torch.randn(5), 4: torch.randn(5)}
    rows = solved_rows(means, PieceEvidence(states, wanted, which), damp=0.5)
    held = 0.5 * states.square().sum(1).mean()
    for token in (3, 9):
        here = which == token
        above = np.concatenate([states[here].numpy(), held.sqrt().item() * np.eye(5)])
        beside = np.concatenate([wanted[here].numpy(), held.sqrt().item() * means[token].numpy()])
        expected = np.linalg.lstsq(above, beside, rcond=None)[0]
        assert rows[token].numpy() == pytest.approx(expected, abs=1e-5)
        before = (states[here] @ means[token] - wanted[here]).square().sum()
        assert (states[here] @ rows[token] - wanted[here]).square().sum() < before
    assert torch.equal(rows[4], means[4]), "it does not occur"


def run_with(folder: Path, **vocabulary: object) -> tuple[RunDir, list[Event]]:
    asked = {"languages": ["hi"], "merges": 3, "merge_start": "solved", **vocabulary}
    sections = {"vocabulary": asked, "prepare": LEARNING, "train": LEARNING}
    run = RunDir.create(folder, from_mapping(tiny_recipe(folder.parent, **sections)))
    seen: list[Event] = []
    work(run, lambda event: (seen.append(event), stop_after_trimming(run, event))[0])
    return run, seen


def stop_after_trimming(run: RunDir, event: Event) -> None:
    if event.kind == "stage_finished" and event.stage == "vocabulary":
        run.request_stop()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))


def rows_of(run: RunDir) -> tuple[torch.Tensor, list[int]]:
    record = json.loads((run.path / "trimmed" / "vocabulary.json").read_text("utf-8"))
    new = list(vocabulary_from_record(record).added_ids)
    return read_tensors(run.path / "trimmed" / "model.safetensors")[EMBEDDING], new


@pytest.mark.usefixtures("cache")
def test_a_run_solves_them_then_trains_them_and_nothing_else(tmp_path: Path) -> None:
    mean, _ = run_with(tmp_path / "mean", merge_start="mean")
    solved, said = run_with(tmp_path / "solved")
    trained, steps = run_with(tmp_path / "trained", merge_steps=3)
    assert [
        e.message for e in said if isinstance(e, Notice) and "start from a solution" in e.message
    ]
    done = [e for e in steps if isinstance(e, StepDone)]
    assert [e.step for e in done] == [1, 2, 3] and {e.stage for e in done} == {"vocabulary"}
    (means, new), (rows, _), (last, _) = map(rows_of, (mean, solved, trained))
    old = [i for i in range(len(means)) if i not in new]
    assert len(new) == 3
    for before, after in ((means, rows), (rows, last)):
        assert torch.equal(before[old], after[old])
        assert all(not torch.equal(before[i], after[i]) for i in new)
    weights = [
        read_tensors(run.path / "trimmed" / "model.safetensors") for run in (solved, trained)
    ]
    assert all(torch.equal(weights[0][n], weights[1][n]) for n in weights[0] if n != EMBEDDING)


@pytest.mark.usefixtures("cache")
def test_stopped_among_them_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, _ = run_with(tmp_path / "whole", merge_steps=3)
    recipe = whole.recipe()
    broken = RunDir.create(tmp_path / "broken", recipe)
    work(broken, lambda event: broken.request_stop() if event.kind == "step" else None)
    assert not broken.stage_done("vocabulary")
    broken.clear_stop()
    work(broken, lambda event: stop_after_trimming(broken, event))
    assert broken.stage_done("vocabulary")
    assert torch.equal(rows_of(whole)[0], rows_of(broken)[0])


def test_steps_without_new_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"merge_steps.*set vocabulary.merges"):
        from_mapping(tiny_recipe(tmp_path, vocabulary={"languages": ["hi"], "merge_steps": 5}))
