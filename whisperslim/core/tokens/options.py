"""The recipe's section about the vocabulary. Loads nothing heavy."""

from dataclasses import dataclass

from whisperslim.errors import RecipeError
from whisperslim.fields import option, problems
from whisperslim.scripts import LANGUAGES


@dataclass(frozen=True)
class VocabularyOptions:
    """Which tokens the model keeps. Bytes always stay, so that any text can be written."""

    languages: tuple[str, ...] = option(
        (),
        "Languages whose tokens stay, as Whisper's codes; empty keeps every token. Few languages "
        "make a small embedding and fast decoding.",
        label="Languages kept",
        choices=LANGUAGES,
        advanced=False,
    )
    timestamps: bool = option(
        False,
        "Keep the 1501 timestamp tokens, too. Nothing here writes them; they are larger than the "
        "rest of a small vocabulary.",
    )
    merges: int = option(
        0,
        "New tokens for frequent pieces of words, learnt from the training transcripts, so that "
        "a word takes fewer decoding steps. They must be trained; 0 is none.",
        unit="tokens",
        label="New tokens",
        minimum=0,
        maximum=8000,
        step=50,
    )

    def __post_init__(self) -> None:
        found = problems(self)
        if not self.languages:
            if self.timestamps:
                found["timestamps"] = "without languages every token is kept; name languages too"
            if self.merges:
                found["merges"] = "new tokens are of a language's script; name languages too"
        if found:
            raise RecipeError(found)
