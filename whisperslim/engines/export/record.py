"""What an export folder says of itself: which model, for which engine, and what a check found.

export.json     this record, written last: a folder without it is half written
parity.json     the verdict of the check against the model it was made of
and the engine's own files beside a tokenizer
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from whisperslim.core.disk.untrusted import json_of, typed, typed_fields
from whisperslim.engines import registry
from whisperslim.errors import ExportError

FORMAT = 1
EXPORT_FILE, PARITY_FILE = "export.json", "parity.json"


@dataclass(frozen=True)
class ExportRecord:
    """The contents of `export.json`.

    Attributes:
        engine: One of `registry.exported()`.
        quantize: One of `registry.precisions()`.
        source: Name of the exported model.
        source_sha256: Of its weights file, in hexadecimal.
        parameters: Its parameters, tied ones counted once.
        n_mels: Bands of its features.
        positions: Most tokens the decoder has positions for, the prompt among them.
        language: The language it was tuned for, or empty.
        suppress: Token ids that are never written.
        suppress_at_start: Token ids that are not the first of a transcript.
        files: Name -> bytes of every file of the engine: an incomplete copy is noticed.
        runtime: Package -> version it was written with.
        settings: What only this engine needs to know.
        sha256: Name -> hash of every file beside the record and the verdict, in hexadecimal.
        seal: Of the installation that wrote it; see `export.seal`. Older exports have none.
    """

    engine: str
    quantize: str
    source: str
    source_sha256: str
    parameters: int
    n_mels: int
    positions: int
    language: str
    suppress: tuple[int, ...]
    suppress_at_start: tuple[int, ...]
    files: Mapping[str, int]
    runtime: Mapping[str, str]
    settings: Mapping[str, Any]
    format: int = FORMAT
    sha256: Mapping[str, str] = field(default_factory=dict)
    seal: str = ""

    @property
    def weights_bytes(self) -> int:
        """Bytes of the engine's files together."""
        return sum(self.files.values())

    def write(self, folder: Path) -> None:
        """Store in `folder`."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        (folder / EXPORT_FILE).write_text(text + "\n", "utf-8")


def is_export(folder: Path) -> bool:
    """Whether `folder` says it is an export."""
    return (folder / EXPORT_FILE).is_file()


def read_export(folder: Path) -> ExportRecord:
    """The record of an export folder, after a look at whether its files are whole.

    Raises:
        ExportError: it is missing, damaged or of another version, or a file is missing or of
            another length.
    """
    try:
        raw: dict[str, Any] = typed(json_of((folder / EXPORT_FILE).read_bytes()), dict)
        found = raw.get("format")
        if found != FORMAT:
            raise ExportError(
                f"{folder} is an export of format {found}; this version reads format {FORMAT}: "
                "export the model again"
            )
        record = _parsed(raw)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ExportError(
            f"{folder / EXPORT_FILE} is missing or damaged ({error}); an export that was broken "
            "off leaves none: export the model again"
        ) from error
    _check_files(folder, record)
    return record


_NESTED = ("suppress", "suppress_at_start", "files", "runtime", "settings", "sha256")


def _parsed(raw: dict[str, Any]) -> ExportRecord:
    """A record of the disk, every type checked: somebody may have sent the folder."""
    raw = {"sha256": {}, "seal": "", **raw}
    plain = typed_fields(ExportRecord, raw, but=_NESTED)
    known = registry.exported(), registry.precisions()
    if plain["engine"] not in known[0] or plain["quantize"] not in known[1]:
        raise ValueError("its engine or quantization is unknown")
    tokens = {
        name: tuple(typed(token, int) for token in typed(raw[name], list))
        for name in ("suppress", "suppress_at_start")
    }
    files = {_file_name(name): typed(size, int) for name, size in typed(raw["files"], dict).items()}
    texts = {
        name: {typed(key, str): typed(text, str) for key, text in typed(raw[name], dict).items()}
        for name in ("runtime", "sha256")
    }
    typed(raw["settings"], dict)
    return ExportRecord(**{**raw, **plain, **tokens, "files": files, **texts})


def _file_name(name: str) -> str:
    # Elsewhere, the length of a file that is nobody's business would be revealed.
    if Path(typed(name, str)).name != name:
        raise ValueError("one of its files is not in the folder")
    return name


def _check_files(folder: Path, record: ExportRecord) -> None:
    for name, size in record.files.items():
        file = folder / name
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            what = "is missing" if found is None else f"has {found} bytes instead of {size}"
            raise ExportError(f"{file} {what}: the export is incomplete; export the model again")
