"""An infinite supply of training batches, restorable, and made while the model trains."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from whisperslim.core import ranks
from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.augment import Augmenter, AugmentOptions, rng_for
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.batching import Batch, BucketedSampler, make_batch, shards_of
from whisperslim.speech.corpus.dataset import Item

# Batches made before they are asked for. Two make up for clips that take long to decode; more would
# only take memory.
_AHEAD = 2


class BatchSource:
    """Clips decoded once and cached, batches fitted to their longest clip.

    What comes next is a function of the seed and of two counters, so `state_dict` is small and
    restoring it continues exactly. One thread makes the next batches while the caller works on
    this one. It ends with `close`, at the end of a `with` block, or with the source itself.
    `announce` is called with what the user should know of the cache. With `listed`, clips are put
    together by the lengths that their list has, without a look at the recordings.

    Of processes that train together, each gets every so-many-th clip of each batch, in the window
    that the whole batch would have. One that gets none is given a clip that only stands in.

    Attributes:
        waited: Seconds that `draw` has spent waiting for batches, summed.
    """

    def __init__(
        self,
        items: Sequence[Item],
        cache_folder: Path,
        policy: WindowPolicy,
        *,
        batch_size: int,
        augment: AugmentOptions,
        seed: int,
        input_spec: InputSpec,
        listed: bool = False,
        announce: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._items = list(items)
        self._announce = announce
        self._said: deque[str] = deque()
        self._cache = AudioCache(cache_folder, self._said.append)
        self._policy, self._seed, self._input_spec = policy, seed, input_spec
        self._augment = Augmenter(augment)
        self._durations = self._cache.durations(self._items, listed)
        self._sampler = BucketedSampler(
            self._durations, batch_size, seed, shards=shards_of(self._items)
        )
        self._rank, self._ranks = ranks.rank(), ranks.size()
        self._state = self._sampler.state_dict()
        self._coming: deque[tuple[dict[str, int], Future[Batch]]] = deque()
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self.waited = 0.0
        self._report()

    @property
    def batches_per_epoch(self) -> int:
        """Batches that show every clip once."""
        return self._sampler.batches_per_epoch

    def draw(self) -> Batch:
        """The next batch. Raises what the thread that made it raised, `AudioError` or
        `DataError`."""
        while len(self._coming) <= _AHEAD:
            self._begin_next()
        self._state, batch = self._coming.popleft()
        started = time.perf_counter()
        try:
            return batch.result()
        finally:
            self.waited += time.perf_counter() - started
            self._report()

    def state_dict(self) -> dict[str, Any]:
        """The position after the batch drawn last, however many are made already."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`; refuses the state of other data or another seed."""
        self._sampler.load_state_dict(state)
        self._state = self._sampler.state_dict()
        for _, batch in self._coming:
            batch.cancel()
        self._coming.clear()

    def close(self) -> None:
        """End the thread. Nothing can be drawn afterwards."""
        self._maker.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _report(self) -> None:
        # From the caller's thread: `announce` need not be safe to call from another.
        while self._said:
            self._announce(self._said.popleft())

    def _begin_next(self) -> None:
        indices = next(self._sampler)
        batch = self._maker.submit(self._make, indices, self._sampler.epoch)
        self._coming.append((self._sampler.state_dict(), batch))

    def _make(self, indices: Sequence[int], epoch: int) -> Batch:
        own = indices[self._rank :: self._ranks]
        items = [self._items[index] for index in own or indices[:1]]
        batch = make_batch(
            items,
            [self._cache.load(item) for item in items],
            self._policy,
            augment=self._augment,
            seed=self._seed,
            epoch=epoch,
            input_spec=self._input_spec,
            at_least=self._longest(indices, epoch) if self._ranks > 1 else 0.0,
        )
        return batch if own else replace(batch, stand_in=True)

    def _longest(self, indices: Sequence[int], epoch: int) -> float:
        """Seconds of the longest clip of a batch as it will be heard."""
        most = self._input_spec.max_seconds
        return max(
            self._augment.seconds(
                self._durations[index], rng_for(self._seed, epoch, self._items[index].key), most
            )
            for index in indices
        )
