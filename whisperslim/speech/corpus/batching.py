"""Which clips go together, and a batch of them as tensors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from whisperslim.errors import DataError, UsageError
from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.audio import HOP_LENGTH, SAMPLE_RATE
from whisperslim.speech.audio.augment import Augmenter, rng_for
from whisperslim.speech.audio.model_input import model_input
from whisperslim.speech.audio.reference_log_mel import reference_log_mel
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.dataset import Item
from whisperslim.speech.corpus.parts import Cell


@dataclass(frozen=True)
class Batch:
    """`features` is float32: log-mel (B, bands, frames), or samples (B, 160 * frames). `seconds` is
    each clip's own length within the window, after any change of speed. With `stand_in` it is no
    part of the loss: there are more processes than clips."""

    features: torch.Tensor
    texts: tuple[str, ...]
    keys: tuple[str, ...]
    seconds: tuple[float, ...]
    stand_in: bool = False


class BucketedSampler:
    """Infinite batches of indices, clips of similar duration together; every clip once an epoch.

    Durations are randomized by up to `noise` (a share) before sorting, so that the neighbors of a
    clip change from epoch to epoch. Every epoch is a function of (seed, epoch) alone: the state is
    two numbers. `epoch` is that of the batch drawn last.

    With `shards`, the number of the file that each clip is in, the clips of a file come together,
    and the files in an order of their own in each epoch: then few of them need to be here at a
    time. The two numbers also say which file it is, and where in it.
    """

    def __init__(
        self,
        durations: Sequence[float],
        batch_size: int,
        seed: int,
        noise: float = 0.15,
        shards: Sequence[int] | None = None,
    ) -> None:
        if not durations:
            raise DataError("there are no clips to make batches from")
        if batch_size < 1:
            raise UsageError(f"the batch size is {batch_size}; it must be 1 or more")
        self._durations = np.asarray(durations, dtype=np.float64)
        self._batch_size = batch_size
        self._seed = seed
        self._noise = noise
        self._shards = _members([0] * len(durations) if shards is None else shards)
        self.epoch = 0
        self._position = 0
        self._plan = self._plan_epoch()

    @property
    def batches_per_epoch(self) -> int:
        return sum(-(-len(members) // self._batch_size) for members in self._shards)

    def __iter__(self) -> Iterator[list[int]]:
        return self

    def __next__(self) -> list[int]:
        if self._position == self.batches_per_epoch:
            self.epoch += 1
            self._position = 0
            self._plan = self._plan_epoch()
        self._position += 1
        return list(self._plan[self._position - 1])

    def state_dict(self) -> dict[str, int]:
        """The sampler's position, and what it was made with, in whole numbers."""
        return {"epoch": self.epoch, "position": self._position, **self._made_with()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from `state`. Raises `DataError` when it is of other data or another seed."""
        for name, value in self._made_with().items():
            if state.get(name) != value:
                raise DataError(
                    f"cannot continue: the checkpoint was made with {name} {state.get(name)}, "
                    f"now it is {value}; restore the setting or start a new run"
                )
        self.epoch, self._position = state["epoch"], state["position"]
        self._plan = self._plan_epoch()

    def _made_with(self) -> dict[str, int]:
        made = {"clips": len(self._durations), "batch_size": self._batch_size, "seed": self._seed}
        # Earlier states have no number of shards, and go on as long as there is one only.
        return made | ({"shards": len(self._shards)} if len(self._shards) > 1 else {})

    def _plan_epoch(self) -> list[list[int]]:
        rng = np.random.default_rng([self._seed, self.epoch])
        blur = 1.0 + self._noise * rng.uniform(-1.0, 1.0, len(self._durations))
        lengths, plan = self._durations * blur, []
        only = len(self._shards) == 1
        for shard in (0,) if only else rng.permutation(len(self._shards)):
            members = self._shards[shard]
            order = members[np.argsort(lengths[members], kind="stable")]
            cuts = np.cumsum(self._sizes(len(members), rng))[:-1]
            batches = [part.tolist() for part in np.split(order, cuts)]
            plan += [batches[i] for i in rng.permutation(len(batches))]
        return plan

    def _sizes(self, clips: int, rng: np.random.Generator) -> list[int]:
        full, left = divmod(clips, self._batch_size)
        sizes = [self._batch_size] * full
        # At a random place: at the end, the small batch would always be the longest clips.
        return [*np.insert(sizes, rng.integers(full + 1), left).tolist()] if left else sizes


def shards_of(items: Sequence[Item]) -> list[int] | None:
    """The number of the file of the hub that each clip is in, from 0, for `BucketedSampler`.

    None when all are files of this computer; of several sets, those have one number together.
    """
    names = [part.shard if isinstance(part := item.part, Cell) else None for item in items]
    if not any(names):
        return None
    numbers = {shard: number for number, shard in enumerate(dict.fromkeys(names))}
    return [numbers[shard] for shard in names]


def _members(shards: Sequence[int]) -> list[np.ndarray]:
    """Indices of the clips of each shard, in order."""
    numbers = np.asarray(shards)
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)


def make_batch(
    items: Sequence[Item],
    audios: Sequence[np.ndarray],
    policy: WindowPolicy,
    *,
    input_spec: InputSpec,
    augment: Augmenter | None = None,
    seed: int = 0,
    epoch: int = 0,
    at_least: float = 0.0,
) -> Batch:
    """Features of clips (each (samples,) float32, 16 kHz) in a window fitted to the longest.

    `input_spec` is the model's. With `augment`, which is for training, the variant of a clip
    depends on (seed, epoch, its key) only, and the window is one of few lengths; of samples no
    bands or frames are masked. The window holds `at_least` seconds.

    Raises `DataError` for a clip that the window cannot hold: its end would be dropped unheard.
    """
    if not items or len(items) != len(audios):
        raise UsageError(f"{len(items)} clips with {len(audios)} recordings make no batch")
    rngs = [rng_for(seed, epoch, item.key) for item in items]
    if augment is not None:
        longest = input_spec.max_seconds
        audios = [augment.waveform(a, r, longest) for a, r in zip(audios, rngs, strict=True)]
    seconds = tuple(len(audio) / SAMPLE_RATE for audio in audios)
    fitted = policy.frames_for if augment is None else policy.training_frames_for
    frames = fitted(max(*seconds, at_least), input_spec.max_frames)
    _check_fits(items, seconds, frames)
    features = [model_input(audio, frames, input_spec, reference_log_mel) for audio in audios]
    if augment is not None and input_spec.kind == "log_mel":
        spoken = [-(-len(audio) // HOP_LENGTH) for audio in audios]
        features = [augment.features(*f) for f in zip(features, rngs, spoken, strict=True)]
    return Batch(
        features=torch.from_numpy(np.stack(features)),
        texts=tuple(item.text for item in items),
        keys=tuple(item.key for item in items),
        seconds=seconds,
    )


def evaluation_batches(
    items: Sequence[Item],
    durations: Sequence[float],
    policy: WindowPolicy,
    batch_size: int,
    max_frames: int,
) -> list[list[int]]:
    """Indices of clips that share a batch because each one's own window is the same.

    A clip's result then does not depend on its neighbors or on the batch size. `durations` are
    seconds of the decoded audio, `max_frames` is of the model's `InputSpec`; shortest window
    first, order of `items` within.
    """
    if len(items) != len(durations) or batch_size < 1:
        raise UsageError(
            f"{len(items)} clips with {len(durations)} durations in batches of {batch_size}: "
            "one duration for each clip and a batch size of 1 or more are needed"
        )
    by_window: dict[int, list[int]] = {}
    for index, seconds in enumerate(durations):
        by_window.setdefault(policy.frames_for(seconds, max_frames), []).append(index)
    return [
        group[start : start + batch_size]
        for _, group in sorted(by_window.items())
        for start in range(0, len(group), batch_size)
    ]


def _check_fits(items: Sequence[Item], seconds: Sequence[float], frames: int) -> None:
    window = frames * HOP_LENGTH / SAMPLE_RATE
    for item, length in zip(items, seconds, strict=True):
        if length > window:
            raise DataError(
                f"clip {item.key} lasts {length:.1f} s and the window {window:.1f} s; "
                "cut it into sentences or leave it out"
            )
