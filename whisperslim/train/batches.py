"""An endless, restorable supply of training batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whisperslim.speech.audio_cache import AudioCache
from whisperslim.speech.augment import Augmenter, AugmentOptions
from whisperslim.speech.batching import Batch, BucketedSampler, make_batch
from whisperslim.speech.dataset import Item
from whisperslim.speech.window import WindowPolicy


class BatchSource:
    """Clips decoded once and cached, batches fitted to their longest clip.

    What comes next is a function of the seed and of two counters, so `state_dict` is small and
    restoring it continues exactly.
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
        n_mels: int,
    ) -> None:
        self._items = list(items)
        self._cache = AudioCache(cache_folder)
        self._policy, self._seed, self._n_mels = policy, seed, n_mels
        self._augment = Augmenter(augment)
        self._sampler = BucketedSampler(self._cache.durations(self._items), batch_size, seed)

    @property
    def batches_per_epoch(self) -> int:
        """Batches that show every clip once."""
        return self._sampler.batches_per_epoch

    def draw(self) -> Batch:
        """The next batch."""
        items = [self._items[index] for index in next(self._sampler)]
        return make_batch(
            items,
            [self._cache.load(item) for item in items],
            self._policy,
            augment=self._augment,
            seed=self._seed,
            epoch=self._sampler.epoch,
            n_mels=self._n_mels,
        )

    def state_dict(self) -> dict[str, Any]:
        """Where the supply stands."""
        return dict(self._sampler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`; refuses the state of other data or another seed."""
        self._sampler.load_state_dict(state)
