"""Which languages a model knows, by the name or folder that it is chosen by."""

from whisperslim.text.scripts import LANGUAGES


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


def tuned_for(name: str) -> str:
    """Code of the language that a slim model or an export was made for; empty when not recorded.

    Raises `SourceError` as `languages_of_model`; `CheckpointError` or `ExportError` for a record
    that cannot be read.
    """
    from whisperslim.core.fetch.sources import folder_here
    from whisperslim.core.store.record import SLIM_FILE, read_record
    from whisperslim.engines.export.record import is_export, read_export

    folder = folder_here(name)
    if folder is None:
        return ""
    if is_export(folder):
        return read_export(folder).language
    return read_record(folder).language if (folder / SLIM_FILE).is_file() else ""
