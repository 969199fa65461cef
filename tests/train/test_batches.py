"""Batches made ahead are those made one by one, in their order, and their thread ends."""

import gc
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from tests.support.models.inputs import WHISPERS
from tests.support.tiny_job import Workshop, same
from whisperslim.errors import AudioError
from whisperslim.speech.audio.augment import Augmenter, AugmentOptions
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.batching import Batch, BucketedSampler, make_batch
from whisperslim.speech.corpus.dataset import Item, load_items
from whisperslim.train import batches
from whisperslim.train.batches import BatchSource

VARIED = AugmentOptions(speed=True, noise=True, gain_db=6.0)


def one_by_one(shop: Workshop, count: int) -> list[Batch]:
    """The same supply in plain steps: 8 clips in batches of 3, seed 7."""
    items = load_items(str(shop.folder / "corpus"))
    cache = AudioCache(shop.folder / "cache")
    sampler = BucketedSampler(cache.durations(items), 3, 7)
    found = []
    for _ in range(count):
        chosen = [items[index] for index in next(sampler)]
        audios = [cache.load(item) for item in chosen]
        found.append(
            make_batch(
                chosen, audios, WindowPolicy(), input_spec=WHISPERS, augment=Augmenter(VARIED),
                seed=7, epoch=sampler.epoch,
            )
        )  # fmt: skip
    return found


def equal(first: Batch, second: Batch) -> bool:
    return same(vars(first), vars(second))


@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_made_ahead_is_what_is_made_when_asked_for(shop: Workshop, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        wanted = one_by_one(shop, 8)  # into the third epoch of three batches
        with shop.batches(3, VARIED) as supply:
            assert all(equal(supply.draw(), batch) for batch in wanted)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("drawn", [0, 1, 3, 5])
def test_the_state_is_that_of_the_batch_drawn_last(shop: Workshop, drawn: int) -> None:
    wanted = one_by_one(shop, 8)
    with shop.batches(3, VARIED) as first, shop.batches(3, VARIED) as second:
        for _ in range(drawn):
            first.draw()
        state = first.state_dict()
        # Three batches an epoch; an epoch ends when the next one is asked for.
        assert (state["epoch"], state["position"]) == [(0, 0), (0, 1), (0, 3), (1, 2)][
            [0, 1, 3, 5].index(drawn)
        ]
        second.draw()  # others are made by now, and are not to come after the restored state
        second.load_state_dict(state)
        assert second.state_dict() == state
        assert all(equal(second.draw(), batch) for batch in wanted[drawn:])


def test_an_error_comes_with_the_batch_that_has_it(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = one_by_one(shop, 2)
    bad = wanted[1].keys[0]
    load = AudioCache.load

    def failing(cache: AudioCache, item: Item) -> object:
        if item.key == bad:
            raise AudioError(f"{bad} is broken")
        return load(cache, item)

    with shop.batches(3, VARIED) as supply:
        monkeypatch.setattr(AudioCache, "load", failing)
        assert equal(supply.draw(), wanted[0])
        with pytest.raises(AudioError, match="is broken"):
            supply.draw()


def makers() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if t.name.startswith("batches")}


def forget(supply: BatchSource) -> None:
    """Nothing: the caller's own name was the last."""


@pytest.mark.parametrize("end", [BatchSource.close, forget])
def test_the_thread_ends_with_the_source(
    shop: Workshop, end: Callable[[BatchSource], None]
) -> None:
    before, supply = makers(), shop.batches(3)
    supply.draw()
    (own,) = makers() - before
    end(supply)
    del supply
    gc.collect()
    own.join(timeout=20)
    assert not own.is_alive()


def test_waiting_is_counted(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.5, 20.0, 20.25])
    monkeypatch.setattr(batches, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    with shop.batches(3) as supply:
        assert supply.waited == 0.0
        supply.draw()
        supply.draw()
        assert supply.waited == 0.75
