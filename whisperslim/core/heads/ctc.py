"""The folder of a Whisper with a CTC head, made of a Whisper and the texts it is to learn."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from whisperslim.core.families import Family, TakesCTCHead
from whisperslim.core.families.flavours.ctc import frames_needed
from whisperslim.core.heads.options import TOKENS, HeadOptions
from whisperslim.core.loading import SpeechModel
from whisperslim.core.store.checkpoint import copy_side_files, save_dense
from whisperslim.core.tokens.letters import write_letters
from whisperslim.errors import UsageError
from whisperslim.speech.scoring.normalizer import for_letters


def takes_ctc_head(family: Family) -> TakesCTCHead:
    """The same family. Raises `UsageError` when its models take no CTC head."""
    if not isinstance(family, TakesCTCHead):
        raise UsageError(
            f"a CTC head cannot be put on a model of type {family.model_type}; take a Whisper, or "
            "set head.kind to own"
        )
    return family


def letters_take(text: str, language: str) -> int:
    """Frames that a text takes at least, spelled in letters."""
    return frames_needed(for_letters(language)(text))


def save_with_ctc_head(
    folder: Path, speech: SpeechModel, options: HeadOptions, texts: Sequence[str], language: str
) -> int:
    """Write the model; its head is drawn from torch's generator. Returns how many tokens it has.

    Args:
        folder: Where it goes; replaced as a whole when it exists.
        speech: A Whisper, whole, its vocabulary trimmed when tokens are to be scored.
        options: What the head scores.
        texts: All training texts, for the letters.
        language: Of the texts.

    Raises:
        UsageError: for another model than a whole Whisper.
        DataError: there is no letter in the texts.
        CheckpointError: when the disk refuses.
    """
    family, pieces = takes_ctc_head(speech.family), options.writes == TOKENS
    with TemporaryDirectory() as place:
        side_files = Path(place)
        if pieces:
            copy_side_files(speech.path, side_files)
            (side_files / "generation_config.json").unlink(missing_ok=True)
            blank = family.blank_of_pieces(speech.model)
            count = blank + 1
        else:
            tokens = write_letters(side_files, texts, language)
            blank, count = tokens.blank, len(tokens.vocabulary())
        model = family.with_ctc_head(speech.model, count, blank, pieces=pieces, pool=options.pool)
        save_dense(folder, model, side_files=side_files, dtype=torch.float32)
    return count
