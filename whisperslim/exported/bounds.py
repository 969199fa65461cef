"""What bounds a transcript: its length, the tokens it may have, and its script."""

from dataclasses import dataclass

# Hindi costs about 5.2 tokens a word and fast speech has about 4 words a second. A loop that
# repeats a phrase never ends by itself, so the audio's length bounds it. Our choice.
TOKENS_PER_SECOND = 25.0
TOKENS_ALWAYS = 10
OWN_SCRIPT = "held to the language's own script"


@dataclass(frozen=True)
class DecoderRules:
    """What a family with a decoder states of a model, for engines that run an export of it.

    Attributes:
        positions: Most tokens the decoder has positions for, the prompt among them.
        suppress: Token ids that are never written.
        suppress_at_start: Token ids that are not the first of a transcript.
    """

    positions: int
    suppress: tuple[int, ...]
    suppress_at_start: tuple[int, ...]


@dataclass(frozen=True)
class DecodingOptions:
    """How text is read off the model. `describe` goes beside every figure.

    With `own_script` it is held to its language's own script, as `exported.own_script` has it.
    """

    tokens_per_second: float = TOKENS_PER_SECOND
    tokens_always: int = TOKENS_ALWAYS
    own_script: bool = False

    def limit(self, seconds: float, positions: int, prompt: int) -> int:
        """Most tokens for `seconds` of audio, within the decoder's positions."""
        wanted = self.tokens_always + int(seconds * self.tokens_per_second)
        return min(wanted, positions - prompt)

    def describe(self) -> str:
        """For reports."""
        bound = (
            f"greedy, KV cache, at most {self.tokens_always} + "
            f"{self.tokens_per_second:g} tokens per second of audio"
        )
        return f"{bound}, {OWN_SCRIPT}" if self.own_script else bound
