"""The recipe's section about what writes the text. Loads nothing heavy."""

from dataclasses import dataclass

from whisperslim.errors import RecipeError
from whisperslim.fields import option, problems

OWN, CTC = "own", "ctc"
LETTERS, TOKENS = "letters", "tokens"


@dataclass(frozen=True)
class HeadOptions:
    """The model's own way to write, or a head that scores frames."""

    kind: str = option(
        OWN,
        "What writes the text. own: what the model has. ctc: one linear layer on Whisper's "
        "encoder, trained from scratch, without a decoder: many times faster, but less exact.",
        label="Head",
        choices=(OWN, CTC),
    )
    writes: str = option(
        LETTERS,
        "What a CTC head scores: the letters of the training texts, vowel signs among them, or the "
        "tokens that vocabulary.languages keeps.",
        label="Units of text",
        choices=(LETTERS, TOKENS),
    )
    pool: int = option(
        1,
        "Encoder positions of 20 ms that are averaged before a CTC head. 2 halves its work and "
        "leaves 25 frames a second to spell with.",
        unit="positions",
        label="Pooled",
        minimum=1,
        maximum=2,
        step=1,
    )

    def __post_init__(self) -> None:
        found = problems(self)
        if not found and self.kind == OWN:
            plain = HeadOptions.__dataclass_fields__
            changed = [n for n in ("writes", "pool") if getattr(self, n) != plain[n].default]
            found = {name: "only applies to kind ctc; set kind to ctc" for name in changed}
        if found:
            raise RecipeError(found)
