"""Which languages a model knows, by the name or folder that it is chosen by."""

from whisperslim.scripts import LANGUAGES


def languages_of_model(name: str) -> tuple[str, ...] | None:
    """Codes that a model knows, as `known_languages`; without reading its weights.

    Of a Whisper that is not on this computer, all that Whisper has; None of any other.

    Raises `SourceError` for what is neither a folder here nor a model's name.
    """
    # Only now: they bring the hub's library.
    from whisperslim.core.fetch.sources import folder_here
    from whisperslim.core.tokens.known import known_languages

    folder = folder_here(name)
    if folder is not None:
        return known_languages(folder)
    return LANGUAGES if "whisper" in name.lower() else None
