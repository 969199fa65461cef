"""What methods measure outside of training, on clean clips of the training data."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from whisperslim.core import ranks
from whisperslim.core.families import UnitSite
from whisperslim.core.families.hearing import PieceEvidence
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import Scores
from whisperslim.core.surgery.moments import Moments, MomentWatch, Watched
from whisperslim.errors import DataError
from whisperslim.methods.shared.importance import FisherGates
from whisperslim.speech.corpus.batching import Batch
from whisperslim.train.batches import BatchSource
from whisperslim.train.forward import decode_targets, encode_batch, targets_of
from whisperslim.train.gradients import share_of
from whisperslim.train.precision import FP32, Precision


@dataclass(frozen=True)
class CleanClips:
    """The `Calibration` of a model, by forward and backward passes that change nothing.

    Attributes:
        speech: The model to measure.
        open: Opens the clips from their start, without augmentation; closed after use.
        language: Language code of the texts.
        precision: The arithmetic of the passes.
        progress: Called with the clips `done` and their `total`.
    """

    speech: SpeechModel
    open: Callable[[], BatchSource]
    language: str
    precision: Precision = FP32
    progress: Callable[[int, int], None] = lambda done, total: None

    def information(self, groups: Sequence[UnitSite], clips: int) -> Scores:
        """Fisher information of every unit's gate, as `FisherGates` has it, mean over batches.

        Raises:
            DataError: when no clips are asked for.
        """
        fisher = FisherGates(decay=1.0)
        fisher.active = True
        with self._still():
            fisher.attach(self.speech.model, groups)
            try:
                self._each(clips, lambda batch: self._loss_gradients(batch, fisher))
            finally:
                fisher.detach()
        return dict(fisher.information)

    def moments(
        self, groups: Sequence[Watched], clips: int, attended: bool = False
    ) -> Mapping[str, Moments]:
        """Moments of what goes into the gate modules, in float32 without gradient.

        Over the places whose loss counts, or with `attended` over all that are attended to. Of
        processes that train together, the first one measures.

        Raises:
            DataError: when no clips are asked for.
        """
        return ranks.on_first(lambda: self._moments(groups, clips, attended))

    def _moments(
        self, groups: Sequence[Watched], clips: int, attended: bool
    ) -> Mapping[str, Moments]:
        watch = MomentWatch(groups)
        with self._still(), torch.no_grad():
            watch.attach(self.speech.model)
            try:
                self._each(clips, lambda batch: self._watched_pass(batch, watch, attended))
            finally:
                watch.detach()
        return watch.moments()

    def piece_evidence(
        self, cut: Callable[[str], Sequence[tuple[int, tuple[int, ...]]]], clips: int
    ) -> PieceEvidence | None:
        """What the model says of the pieces that `cut` makes of each text, on all clips together.

        None for a family that does not write one token after another.

        Raises:
            DataError: when no clips are asked for.
        """
        found: list[PieceEvidence | None] = []

        def pass_over(batch: Batch) -> None:
            speech, texts = self.speech, [cut(text) for text in batch.texts]
            states = encode_batch(speech, batch)
            found.append(
                speech.family.piece_evidence(
                    speech.model, speech.tokens, states, texts, self.language
                )
            )

        with self._still(), torch.no_grad():
            self._each(clips, pass_over)
        seen = [each for each in found if each is not None]
        if not seen:
            return None
        return PieceEvidence(
            torch.cat([each.states for each in seen]),
            torch.cat([each.logits for each in seen]),
            torch.cat([each.tokens for each in seen]),
        )

    @contextmanager
    def _still(self) -> Iterator[None]:
        """The model in evaluation mode, none of its parameters with a gradient."""
        model = self.speech.model
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        training = model.training
        model.eval()
        model.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)
            model.train(training)

    def _each(self, clips: int, measure: Callable[[Batch], None]) -> None:
        if clips < 1:
            raise DataError(f"cannot measure on {clips} clips; use 1 or more")
        done = 0
        with self.open() as batches:
            for _ in range(batches.batches_per_epoch):
                batch = batches.draw()
                measure(batch)
                done += ranks.total(0 if batch.stand_in else len(batch.keys))
                self.progress(min(done, clips), clips)
                if done >= clips:
                    return

    def _watched_pass(self, batch: Batch, watch: MomentWatch, attended: bool) -> None:
        family, targets = self.speech.family, targets_of(self.speech, batch, self.language)
        chosen = family.attended_states if attended else family.counted_states
        watch.counted = lambda stack, states: chosen(stack, states, targets)
        decode_targets(self.speech, encode_batch(self.speech, batch), targets)

    def _loss_gradients(self, batch: Batch, fisher: FisherGates) -> None:
        speech = self.speech
        targets = targets_of(speech, batch, self.language)
        with self.precision.autocast(speech.device):
            outputs = decode_targets(speech, encode_batch(speech, batch), targets)
        tokens = 0 if batch.stand_in else speech.family.target_tokens(targets)
        (outputs.cross_entropy * share_of(tokens)).backward()
        fisher.collect()
