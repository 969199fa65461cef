"""The record of an export folder: which model, for which engine, and what a check found.

export.json     this record, written last: a folder without it is half written
parity.json     the verdict of the check against the model it was made of
and the engine's own files beside a tokenizer
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from whisperslim.core.disk.untrusted import read_json, record_of, typed, typed_fields
from whisperslim.engines import registry
from whisperslim.errors import ExportError
from whisperslim.exported.bounds import DecoderRules
from whisperslim.exported.spelling import TOKENIZER_FILE
from whisperslim.inputs import InputSpec

FORMAT = 2
_WHISPER_ONLY = 1  # the format whose records were of Whisper alone, all with windows of up to:
_WHISPERS_FRAMES = 3000
_MOST_BYTES, _MOST_VALUES = 1_000_000, 100_000  # our choice; ours have some hundred
Rules = TypeVar("Rules")
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
        model_type: Name of its family.
        input_spec: What it is given of a recording.
        family: What its family states for whoever runs it; see `Hearing.export_facts`.
        language: The language it was tuned for, or empty.
        files: Name -> bytes of every file of the engine: an incomplete copy is noticed.
        runtime: Package -> version it was written with.
        settings: What only this engine needs to know.
        tokenizer: Name of the file that turns ids into text.
        sha256: Name -> hash of every file beside the record and the verdict, in hexadecimal.
        seal: Of the installation that wrote it; see `export.seal`. Older exports have none.
    """

    engine: str
    quantize: str
    source: str
    source_sha256: str
    parameters: int
    model_type: str
    input_spec: InputSpec
    family: Mapping[str, Any]
    language: str
    files: Mapping[str, int]
    runtime: Mapping[str, str]
    settings: Mapping[str, Any]
    tokenizer: str
    format: int = FORMAT
    sha256: Mapping[str, str] = field(default_factory=dict)
    seal: str = ""

    @property
    def stored(self) -> str:
        """The number format of its weights, for people."""
        return "float32" if self.quantize == registry.FULL else self.quantize

    @property
    def weights_bytes(self) -> int:
        """Bytes of the engine's files together."""
        return sum(self.files.values())

    def write(self, folder: Path) -> None:
        """Store in `folder`."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        (folder / EXPORT_FILE).write_text(text + "\n", "utf-8")


def decoder_rules(record: ExportRecord) -> DecoderRules:
    """What a family with a decoder stated. Raises `ExportError` when it stated none."""
    return stated_rules(record, DecoderRules, "has no rules for a decoder")


def stated_rules(record: ExportRecord, kind: type[Rules], lacking: str) -> Rules:
    """What the family stated, as `kind`. Raises `ExportError`, which says `lacking`, otherwise."""
    try:
        rules: Rules = record_of(kind, dict(record.family))
    except ValueError as error:
        raise ExportError(
            f"the export of {record.source} is damaged: {EXPORT_FILE} {lacking} ({error}); export "
            "the model again"
        ) from error
    return rules


def is_export(folder: Path) -> bool:
    """Whether `folder` says it is an export."""
    return (folder / EXPORT_FILE).is_file()


def read_export(folder: Path) -> ExportRecord:
    """The record of an export folder, once its files are found complete.

    Raises:
        ExportError: it is missing, damaged or of another version, or a file is missing or of
            another length.
    """
    try:
        raw: dict[str, Any] = typed(
            read_json(folder / EXPORT_FILE, most=_MOST_BYTES, values=_MOST_VALUES), dict
        )
        found = raw.get("format")
        if found not in (FORMAT, _WHISPER_ONLY):
            raise ExportError(
                f"{folder} is an export of format {found}; this version reads formats up to "
                f"{FORMAT}: export the model again"
            )
        record = _parsed(raw if found == FORMAT else _in_families(raw))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ExportError(
            f"{folder / EXPORT_FILE} is missing or damaged ({error}); an export that was broken "
            "off has none: export the model again"
        ) from error
    _check_files(folder, record)
    return record


_NESTED = ("input_spec", "family", "files", "runtime", "settings", "sha256")


def _in_families(raw: dict[str, Any]) -> dict[str, Any]:
    """A record of format 1 as one of today."""
    stated = {name: raw[name] for name in ("positions", "suppress", "suppress_at_start")}
    spec = {"kind": "log_mel", "bands": raw["n_mels"], "max_frames": _WHISPERS_FRAMES}
    same = {key: value for key, value in raw.items() if key not in (*stated, "n_mels")}
    return {
        **same, "model_type": "whisper", "input_spec": spec, "family": stated,
        "tokenizer": TOKENIZER_FILE, "format": FORMAT,
    }  # fmt: skip


def _parsed(raw: dict[str, Any]) -> ExportRecord:
    """A record from disk, every type checked: somebody else may have made the folder."""
    raw = {"sha256": {}, "seal": "", "language": "", **raw}
    plain = typed_fields(ExportRecord, raw, but=_NESTED)
    known = registry.exported(), registry.precisions()
    if plain["engine"] not in known[0] or plain["quantize"] not in known[1]:
        raise ValueError("its engine or quantization is unknown")
    _file_name(plain["tokenizer"])
    spec = record_of(InputSpec, raw["input_spec"])
    files = {_file_name(name): typed(size, int) for name, size in typed(raw["files"], dict).items()}
    texts = {
        name: {typed(key, str): typed(text, str) for key, text in typed(raw[name], dict).items()}
        for name in ("runtime", "sha256")
    }
    for name in ("family", "settings"):
        typed(raw[name], dict)
    return ExportRecord(**{**raw, **plain, **texts, "files": files, "input_spec": spec})


def _file_name(name: str) -> str:
    # Otherwise the length of any file of this user could be revealed.
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
