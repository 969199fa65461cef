"""The command that trims a model's vocabulary without training."""

from pathlib import Path
from typing import Annotated

import typer

from whisperslim.commands.models import MODEL_HELP
from whisperslim.commands.terminal import announce, megabytes, millions, print_table
from whisperslim.errors import UsageError
from whisperslim.jobs.run.disk import disk_errors
from whisperslim.text.languages import language_code


def trim(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the result.")],
    language: Annotated[
        list[str],
        typer.Option(help="Language to keep, by code or English name; repeat it for several."),
    ],
    timestamps: Annotated[bool, typer.Option(help="Keep the timestamp tokens as well.")] = False,
) -> None:
    """Remove the tokens that the given languages do not need: smaller and faster, without
    training.
    """
    with disk_errors(out):
        if out.exists():
            raise UsageError(f"{out} exists already; name a new folder")
    from whisperslim.core.disk.weight_files import weights_bytes
    from whisperslim.core.loading import load_model
    from whisperslim.core.store.checkpoint import count_parameters
    from whisperslim.core.trimming import save_trimmed, vocabulary_for

    codes = [language_code(each) for each in language]
    speech = load_model(model, announce=announce)
    vocabulary = vocabulary_for(speech, codes, timestamps)
    save_trimmed(out, speech, vocabulary, codes[0])
    trimmed = load_model(str(out))
    rows = [
        (
            name, str(one.model.config.vocab_size), millions(count_parameters(one.model)),
            megabytes(weights_bytes(one.path)),
        )
        for name, one in ((model, speech), (str(out), trimmed))
    ]  # fmt: skip
    print_table(("model", "tokens", "parameters", "weights"), rows)
    if timestamps:
        tokens = vocabulary.size - vocabulary_for(speech, codes).size
        weights = tokens * trimmed.family.width(trimmed.model)
        announce(f"{tokens} of the tokens are timestamps: {millions(weights)} parameters")
