"""How long a text a run can be trained on, before its model is loaded or trimmed."""

from pathlib import Path
from tempfile import TemporaryDirectory

from whisperslim.core.checkpoint import empty_model
from whisperslim.core.tokenizer_files import read_table, write_trimmed_files
from whisperslim.core.tokens import TokenCodec, load_tokens
from whisperslim.core.vocabulary import choose
from whisperslim.core.vocabulary_options import VocabularyOptions
from whisperslim.speech.data_report import TextLimit


def text_limit(
    folder: Path, language: str, vocabulary: VocabularyOptions | None = None
) -> TextLimit:
    """The limit of the model in `folder`, with the tokens that `vocabulary` leaves it.

    A trimmed vocabulary spells what is foreign to its languages byte by byte: at most one token
    for each byte of UTF-8, the space before the text included. Merges are not counted on: they are
    learnt from the clips that this limit lets pass, and they make texts shorter.

    Args:
        folder: A model folder.
        language: Code of the texts' language, for the prompt.
        vocabulary: What a run keeps of the tokens; None or no languages is all.

    Raises:
        CheckpointError: for a damaged folder.
        UsageError: when the model does not know a language.
    """
    tokens, config = load_tokens(folder), empty_model(folder).config
    if vocabulary is not None and vocabulary.languages:
        tokens = _trimmed(folder, tokens, int(config.vocab_size), vocabulary)
    return TextLimit(
        count=lambda text: tokens.positions(text, language),
        positions=int(config.max_target_positions),
    )


def _trimmed(folder: Path, tokens: TokenCodec, rows: int, options: VocabularyOptions) -> TokenCodec:
    """The tokenizer as stage `vocabulary` will write it, without new tokens."""
    kept = choose(read_table(tokens, rows), options.languages, options.timestamps)
    with TemporaryDirectory() as place:
        write_trimmed_files(folder, Path(place), tokens, kept)
        return load_tokens(Path(place))
