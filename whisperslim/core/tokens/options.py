"""The recipe's section about the vocabulary. Loads nothing heavy."""

from dataclasses import dataclass

from whisperslim.errors import RecipeError
from whisperslim.fields import option, problems
from whisperslim.text.languages import code_of, named
from whisperslim.text.scripts import LANGUAGES


@dataclass(frozen=True)
class VocabularyOptions:
    """Which tokens the model keeps. Bytes always stay, so that any text can be written."""

    languages: tuple[str, ...] = option(
        (),
        "Languages whose tokens stay, by code or English name; empty keeps every token. Few "
        "languages make a small embedding and fast decoding.",
        label="Languages kept",
        choices=LANGUAGES,
        words={code: named(code) for code in LANGUAGES},
        advanced=False,
    )
    timestamps: bool = option(
        False,
        "Also keep the 1501 timestamp tokens. Nothing here writes them, and they are larger than "
        "the rest of a small vocabulary.",
    )
    merges: int = option(
        0,
        "New tokens for frequent pieces of words, learned from the training transcripts, so that "
        "a word takes fewer decoding steps. They must be trained; 0 is none.",
        unit="tokens",
        label="New tokens",
        minimum=0,
        maximum=8000,
        step=50,
    )

    merge_floor: int = option(
        5,
        "How often the training transcripts must hold a new token. A rare one learns little.",
        unit="times",
        label="Least occurrences of a new token",
        minimum=1,
        maximum=100_000,
    )
    merge_start: str = option(
        "mean",
        "Start values for the rows of new tokens. mean: the mean of the rows of the pieces they "
        "stand for. solved: least squares to the model's logits of those pieces on training clips.",
        choices=("mean", "solved"),
    )
    merge_steps: int = option(
        0,
        "Updates that train only the rows of new tokens, before anything else; 0 is none. Batches "
        "and rate are those of `prepare`.",
        unit="steps",
        label="Updates of only the new tokens",
        minimum=0,
        maximum=10**7,
    )

    merge_dropout: float = option(
        0.0,
        "Share of new tokens that training spells with their pieces, drawn for every clip, so that "
        "the pieces stay trained; 0 is off. Scores always use the new tokens.",
        label="New tokens split in training",
        minimum=0.0,
        maximum=0.9,
        step=0.05,
    )

    def __post_init__(self) -> None:
        if isinstance(self.languages, tuple):
            codes = (code_of(one) if isinstance(one, str) else one for one in self.languages)
            object.__setattr__(self, "languages", tuple(codes))
        found = problems(self)
        if not self.languages:
            if self.timestamps:
                found["timestamps"] = "without languages every token is kept; name languages too"
            if self.merges:
                found["merges"] = "new tokens are of a language's script; name languages too"
        if self.merge_steps and not self.merges:
            found["merge_steps"] = "there are no new tokens to train; set vocabulary.merges, or 0"
        if found:
            raise RecipeError(found)
