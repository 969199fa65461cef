"""What methods measure outside of training, on clean clips of the training data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from whisperslim.core.families import UnitSite
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import Scores
from whisperslim.errors import DataError
from whisperslim.methods.shared.importance import FisherGates
from whisperslim.speech.corpus.batching import Batch
from whisperslim.train.batches import BatchSource
from whisperslim.train.forward import decode_targets, encode_batch, targets_of
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
        if clips < 1:
            raise DataError(f"information on {clips} clips was asked for; 1 is the least")
        model, fisher = self.speech.model, FisherGates(decay=1.0)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        training = model.training
        model.eval()
        model.requires_grad_(False)  # only the gates' gradients are wanted
        fisher.attach(model, groups)
        fisher.active = True
        try:
            self._measure(fisher, clips)
        finally:
            fisher.detach()
            for parameter in trained:
                parameter.requires_grad_(True)
            model.train(training)
        return dict(fisher.information)

    def _measure(self, fisher: FisherGates, clips: int) -> None:
        done = 0
        with self.open() as batches:
            for _ in range(batches.batches_per_epoch):
                batch = batches.draw()
                self._loss_gradients(batch)
                fisher.collect()
                done += len(batch.keys)
                self.progress(min(done, clips), clips)
                if done >= clips:
                    return

    def _loss_gradients(self, batch: Batch) -> None:
        speech = self.speech
        targets = targets_of(speech, batch, self.language)
        with self.precision.autocast(speech.device):
            outputs = decode_targets(speech, encode_batch(speech, batch), targets)
        outputs.cross_entropy.backward()
