"""Every clip once, similar lengths together, exact resume; and batches of features."""

from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from tests.support.models.inputs import WHISPERS
from whisperslim.errors import DataError, UsageError
from whisperslim.speech.audio.augment import Augmenter, AugmentOptions
from whisperslim.speech.audio.reference_log_mel import reference_log_mel
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.batching import (
    BucketedSampler,
    evaluation_batches,
    make_batch,
    shards_of,
)
from whisperslim.speech.corpus.dataset import Item
from whisperslim.speech.corpus.parts import Cell
from whisperslim.speech.corpus.remote.shard_store import HubShard

RATE = 16_000
DURATIONS = np.random.default_rng(0).uniform(1.0, 20.0, 103).tolist()


def sampler(seed: int = 0, durations: list[float] = DURATIONS, size: int = 8) -> BucketedSampler:
    return BucketedSampler(durations, size, seed)


def clips(*seconds: float) -> tuple[list[Item], list[np.ndarray]]:
    rng = np.random.default_rng(1)
    audios = [0.1 * rng.standard_normal(round(s * RATE), dtype=np.float32) for s in seconds]
    return [Item(f"k{n}", "x", f"t{n}") for n in range(len(seconds))], audios


@pytest.mark.parametrize(("count", "size", "batches"), [(103, 8, 13), (16, 8, 2), (3, 8, 1)])
def test_every_epoch_has_every_clip_once(count, size, batches):
    drawn = sampler(durations=DURATIONS[:count], size=size)
    assert drawn.batches_per_epoch == batches
    for epoch in range(3):
        groups = list(islice(drawn, batches))
        assert sorted(index for group in groups for index in group) == list(range(count))
        assert sum(len(group) < size for group in groups) == (count % size > 0)
        assert drawn.epoch == epoch


SHARDS = [2, 0, 0, 1, 2] * 20  # 40 clips in two of the files, 20 in the third


def sharded(seed: int = 0) -> BucketedSampler:
    return BucketedSampler(DURATIONS[:100], 8, seed, shards=SHARDS)


def files_in_order(batches: list[list[int]]) -> list[int]:
    """The file of each batch, without repetitions in a row."""
    found = [{SHARDS[index] for index in batch} for batch in batches]
    assert all(len(files) == 1 for files in found)
    return [files.pop() for files in found if files]


def test_files_are_gone_through_one_after_another_in_another_order_each_epoch():
    drawn, orders = sharded(), set()
    assert drawn.batches_per_epoch == 5 + 3 + 5
    for _ in range(10):
        batches = list(islice(drawn, 13))
        assert sorted(index for batch in batches for index in batch) == list(range(100))
        order = files_in_order(batches)
        changes = [a for a, b in pairwise(order) if a != b]
        assert len(changes) == 2  # so each comes once, in a row
        orders.add((*changes, order[-1]))
    assert len(orders) > 1


@pytest.mark.parametrize("k", [1, 7, 13, 20])
def test_a_restored_place_in_a_file_goes_on_as_if_nothing_had_been(k):
    straight, stopped, resumed = sharded(), sharded(), sharded()
    expected = list(islice(straight, 2 * k))
    first = list(islice(stopped, k))
    resumed.load_state_dict(stopped.state_dict())
    assert [*first, *islice(resumed, k)] == expected
    with pytest.raises(DataError, match="made with shards 3"):
        BucketedSampler(DURATIONS[:100], 8, 0, shards=[0, 1] * 50).load_state_dict(
            stopped.state_dict()
        )


def test_numbers_of_files_are_those_of_the_hub():
    shards = [HubShard("a/b", "c", name, 1, "") for name in "xy"]
    items = [Item(f"{n}", "x", "", part=Cell("audio", 0, n, shards[n % 2])) for n in range(4)]
    assert shards_of(items) == [0, 1, 0, 1]
    local = Item("l", "x", "", part=Cell("audio", 0, 0))
    assert shards_of([*items, local, local]) == [0, 1, 0, 1, 2, 2]
    assert shards_of([local]) is None


def test_clips_of_a_batch_are_of_similar_length_in_shuffled_order():
    groups = list(islice(sampler(), 13))
    spreads = [max(DURATIONS[i] for i in g) / min(DURATIONS[i] for i in g) for g in groups]
    # Unsorted batches of 8 from 1..20 s span more than 2 nearly always.
    assert np.median(spreads) < 1.6
    means = [np.mean([DURATIONS[i] for i in g]) for g in groups]
    assert means != sorted(means)


def test_epochs_and_seeds_differ_and_a_seed_repeats():
    def first_two(seed: int) -> list[list[list[int]]]:
        drawn = sampler(seed)
        return [list(islice(drawn, 13)) for _ in range(2)]

    assert first_two(0) == first_two(0)
    assert first_two(0) != first_two(1)
    epochs = [{frozenset(group) for group in epoch} for epoch in first_two(0)]
    assert len(epochs[0] & epochs[1]) < 3


@pytest.mark.parametrize("k", [0, 1, 7, 13, 14, 30])
def test_k_batches_restore_k_batches_are_2k_batches(k):
    straight = list(islice(sampler(), 2 * k))
    first = sampler()
    before = list(islice(first, k))
    state = first.state_dict()
    resumed = sampler()
    next(resumed)
    resumed.load_state_dict(state)
    assert resumed.epoch == first.epoch
    assert before + list(islice(resumed, k)) == straight
    assert resumed.epoch == max(0, (2 * k - 1) // 13)


def test_the_state_can_be_stored_with_weights_only(tmp_path):
    drawn = sampler()
    next(drawn)
    torch.save(drawn.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state == drawn.state_dict()
    assert (state["epoch"], state["position"]) == (0, 1)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (sampler(seed=1), "seed 1, now it is 0"),
        (sampler(size=4), "batch_size 4, now it is 8"),
        (sampler(durations=DURATIONS[:50]), "clips 50, now it is 103"),
    ],
)
def test_the_state_of_other_data_is_refused(other, what):
    with pytest.raises(DataError, match=what):
        sampler().load_state_dict(other.state_dict())


def test_drawn_batches_are_the_callers_own():
    drawn = sampler()
    state = drawn.state_dict()
    next(drawn).clear()
    drawn.load_state_dict(state)
    assert next(drawn)


def test_nothing_to_draw_from_is_refused():
    with pytest.raises(DataError, match="no clips"):
        BucketedSampler([], 8, 0)
    with pytest.raises(UsageError, match="batch size is 0"):
        BucketedSampler([1.0], 0, 0)


def test_the_window_is_that_of_the_longest_clip():
    items, audios = clips(1.3, 4.9, 2.0)
    policy = WindowPolicy()
    batch = make_batch(items, audios, policy, input_spec=WHISPERS)
    frames = policy.frames_for(4.9, 3000)
    assert batch.features.shape == (3, 80, frames) and batch.features.dtype == torch.float32
    assert (batch.keys, batch.texts) == (("k0", "k1", "k2"), ("t0", "t1", "t2"))
    assert batch.seconds == pytest.approx((1.3, 4.9, 2.0), abs=1 / RATE)
    for row, audio in zip(batch.features.numpy(), audios, strict=True):
        np.testing.assert_array_equal(row, reference_log_mel(audio, frames, 80))
    wide = make_batch(items, audios, policy, input_spec=replace(WHISPERS, bands=128))
    assert wide.features.shape[1] == 128


def test_a_clip_longer_than_the_window_is_refused_and_not_cut():
    items, audios = clips(2.0, 30.5)
    with pytest.raises(DataError, match=r"clip k1 lasts 30\.5 s and the window 30\.0 s"):
        make_batch(items, audios, WindowPolicy(), input_spec=WHISPERS)
    assert make_batch(*clips(30.0), WindowPolicy(), input_spec=WHISPERS).features.shape[2] == 3000


def test_items_and_recordings_must_be_as_many():
    items, audios = clips(1.0, 2.0)
    with pytest.raises(UsageError):
        make_batch(items, audios[:1], WindowPolicy(), input_spec=WHISPERS)
    with pytest.raises(UsageError):
        make_batch([], [], WindowPolicy(), input_spec=WHISPERS)


def test_a_variant_depends_on_seed_epoch_and_clip_and_not_on_neighbors():
    augment = Augmenter(AugmentOptions(spec_augment=True, noise=True, gain_db=6.0))
    items, audios = clips(2.0, 2.0, 2.0)

    def variant(indices: list[int], seed: int = 0, epoch: int = 0) -> torch.Tensor:
        chosen = [items[i] for i in indices], [audios[i] for i in indices]
        options = {"augment": augment, "seed": seed, "epoch": epoch}
        return make_batch(*chosen, WindowPolicy(), **options, input_spec=WHISPERS).features[0]

    assert torch.equal(variant([1, 0, 2]), variant([1]))
    assert not torch.equal(variant([1]), variant([1], epoch=1))
    assert not torch.equal(variant([1]), variant([1], seed=1))
    plain = make_batch(items[1:2], audios[1:2], WindowPolicy(), input_spec=WHISPERS)
    assert not torch.equal(variant([1]), plain.features[0])


def test_a_change_of_speed_shows_in_seconds_and_in_the_window():
    augment = Augmenter(AugmentOptions(speed=True))
    policy = WindowPolicy()
    items, audios = clips(*[8.0] * 12)
    batch = make_batch(items, audios, policy, augment=augment, input_spec=WHISPERS)
    assert len(set(batch.seconds)) == 12
    longest = policy.frames_for(max(batch.seconds), 3000)
    # Training's windows are whole seconds up to 10, then even ones.
    assert batch.features.shape[2] == (900 if longest <= 900 else 1000)


@pytest.mark.parametrize(
    ("seconds", "frames"),
    [(0.0, 200), (1.6, 200), (1.7, 300), (7.0, 800), (9.6, 1000), (9.7, 1200), (29.9, 3000)],
)
def test_training_windows_are_few_and_never_too_short(seconds: float, frames: int) -> None:
    assert WindowPolicy().training_frames_for(seconds, 3000) == frames
    assert frames >= WindowPolicy().frames_for(seconds, 3000)
    assert WindowPolicy("30s").training_frames_for(seconds, 3000) == 3000


def test_training_meets_nineteen_lengths_in_all() -> None:
    found = {WindowPolicy().training_frames_for(tenths / 10, 3000) for tenths in range(300)}
    assert len(found) == 19


def test_evaluation_batches_share_one_window_each():
    policy = WindowPolicy()
    items = clips(*[0.1] * len(DURATIONS))[0]
    groups = evaluation_batches(items, DURATIONS, policy, 8, 3000)
    assert sorted(i for group in groups for i in group) == list(range(len(items)))
    assert max(map(len, groups)) <= 8
    for group in groups:
        assert len({policy.frames_for(DURATIONS[i], 3000) for i in group}) == 1


def test_evaluated_features_do_not_depend_on_the_batch_size():
    items, audios = clips(1.0, 4.0, 1.1, 3.9, 7.3, 1.05)
    durations, policy = [len(audio) / RATE for audio in audios], WindowPolicy()

    def features(size: int) -> dict[str, np.ndarray]:
        found = {}
        for group in evaluation_batches(items, durations, policy, size, 3000):
            chosen = [items[i] for i in group], [audios[i] for i in group]
            batch = make_batch(*chosen, policy, input_spec=WHISPERS)
            found.update(zip(batch.keys, batch.features.numpy(), strict=True))
        return found

    alone, together = features(1), features(4)
    assert set(alone) == set(together) == {item.key for item in items}
    for key, row in alone.items():
        np.testing.assert_array_equal(row, together[key])


def test_evaluation_batches_want_a_duration_for_each_clip():
    with pytest.raises(UsageError, match="2 clips with 1 durations"):
        evaluation_batches(clips(1.0, 1.0)[0], [1.0], WindowPolicy(), 8, 3000)
