"""The families that are written as Hugging Face folders. A new one: a line here."""

from collections.abc import Mapping

from whisperslim.core.families.hf_remote.form import FramesForm, HfForm
from whisperslim.core.families.parakeet.hf import PARAKEET
from whisperslim.core.families.wav2vec2.hf import CONFORMER, HUBERT, WAV2VEC2
from whisperslim.core.families.whisper.hf import WhisperForm
from whisperslim.core.families.whisper_ctc.hf import WhisperCTCForm
from whisperslim.errors import ExportError

_OF_FRAMES: Mapping[str, FramesForm] = {
    "whisper_ctc": WhisperCTCForm(),
    "wav2vec2": WAV2VEC2,
    "hubert": HUBERT,
    "wav2vec2-conformer": CONFORMER,
    "parakeet_ctc": PARAKEET,
}
_FORMS: Mapping[str, HfForm] = {"whisper": WhisperForm(), **_OF_FRAMES}


def form_of(model_type: str) -> HfForm:
    """The form of a family. Raises `ExportError` where there is none."""
    if model_type not in _FORMS:
        raise ExportError(
            f"models of type {model_type} have no Hugging Face folder; those that have one: "
            f"{', '.join(sorted(_FORMS))}"
        )
    return _FORMS[model_type]


def frames_form(model_type: str) -> FramesForm | None:
    """The form of a family that scores frames; None for any other."""
    return _OF_FRAMES.get(model_type)
