"""The README of a Hugging Face folder: what it is, how to use it, what was measured."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from whisperslim.core.families.hf_remote.form import CardWords
from whisperslim.core.loading import SpeechModel
from whisperslim.core.store.checkpoint import (
    SLIM_FILE,
    WEIGHTS_FILE,
    SlimRecord,
    count_parameters,
    read_record,
)
from whisperslim.errors import ExportError

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_CUT = (
    "A KIND model from which attention heads, feed-forward units or layers were cut out by "
    "WhisperSlim."
)
_WHOLE = "A KIND model, exported by WhisperSlim."
_COLUMNS = ("model", "set", "clips", "minutes", "normalizer", "WER %", "95 % interval", "CER %")


def model_card(
    speech: SpeechModel, folder: Path, quantize: str, words: CardWords, code: Path | None
) -> str:
    """Markdown for the model in `folder`, with its `code`. No path of this machine is in it."""
    record = read_record(speech.path) if (speech.path / SLIM_FILE).is_file() else None
    parts = [
        _header(speech, record, words),
        _what(speech, record, folder, quantize, words),
        _use(words, code),
        _evaluation(speech),
        _training(speech.path),
        _license(_base(speech, record), words, code),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def public_name(name: str) -> str:
    """A hub id as it is; of anything else the last part, since paths are private."""
    if _HUB_NAME.fullmatch(name) and not Path(name).exists():
        return name
    path, _, split = name.rstrip("/").partition("#")
    return Path(path).name + (f"#{split}" if split else "")


def _base(speech: SpeechModel, record: SlimRecord | None) -> str:
    return public_name(record.base if record else speech.name)


def _use(words: CardWords, code: Path | None) -> str:
    trust, alone = "", "With transformers 5 alone."
    if code is not None:
        trust = ", trust_remote_code=True"
        alone += f" `trust_remote_code=True` runs `{code.name}` of this\nfolder: {words.reason}."
    return _USE.replace("ALONE", alone).replace("TRUST", trust).replace("OF_ITS_KIND", words.use)


def _header(speech: SpeechModel, record: SlimRecord | None, words: CardWords) -> str:
    base = _base(speech, record)
    lines = ["---", "library_name: transformers", "pipeline_tag: automatic-speech-recognition"]
    if record and record.language:
        lines.append(f"language: {record.language}")
    if "/" in base:
        lines.append(f"base_model: {base}")
    if base.startswith("openai/whisper"):
        lines.append("license: mit")
    tags = [f"- {tag}" for tag in (*words.tags, "pruning")]
    return "\n".join([*lines, "tags:", *tags, "---"])


def _what(
    speech: SpeechModel, record: SlimRecord | None, folder: Path, quantize: str, words: CardWords
) -> str:
    present = count_parameters(speech.model)
    size = (folder / WEIGHTS_FILE).stat().st_size
    zeros = sum(int((p == 0).sum()) for p in speech.model.parameters() if p.ndim > 1)
    precision = "float32" if quantize == "none" else quantize
    origin = _CUT if record else _WHOLE
    lines = [
        f"# {_base(speech, record)}{', made smaller' if record else ''}",
        "",
        f"{origin.replace('KIND', words.kind)} {present / 1e6:.1f} M parameters, "
        f"{size / 1e6:.1f} MB of weights ({precision}).",
    ]
    if record:
        share = 1 - present / record.dense_parameters
        lines.append(
            f"The model it was cut from has {record.dense_parameters / 1e6:.1f} M parameters: "
            f"{share:.1%} fewer, {record.removed:.1%} of the prunable weights."
        )
        if record.vocabulary:
            facts = record.vocabulary
            lines.append(
                f"Its vocabulary was trimmed from {facts.dense_size} to {facts.size} tokens, for: "
                f"{', '.join(facts.languages)}."
            )
    if zeros > present // 1000:
        lines.append(f"Another {zeros / 1e6:.1f} M weights are zero, and stored as zeros.")
    return "\n".join(lines)


_USE = """## Use

ALONE

```python
from transformers import pipeline

listen = pipeline("automatic-speech-recognition", model="THIS_FOLDER"TRUST)
print(listen("recording.wav")["text"])
```

OF_ITS_KIND

File names are read with ffmpeg; without it, pass float32 samples at 16 kHz."""


def _evaluation(speech: SpeechModel) -> str:
    """The table of the run that the model is in, if it was measured on exactly these weights."""
    rows, terms = [], set()
    for label, record in _stored(speech):
        for name, result in record["sets"].items():
            terms.add((result["window"], result["decoding"], result["language"]))
            rows += _rows(label, public_name(name), result)
    if not rows:
        return "## Evaluation\n\nNone is stored with this model. Measure it on your own recordings."
    settings = "; ".join(f"window {w}, {d}, language {x}" for w, d, x in sorted(terms))
    table = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS)), *map(_line, rows)]
    return (
        "## Evaluation\n\nErrors / reference units, pooled over all clips; the interval is from a "
        f"bootstrap over clips. Measured in PyTorch before the export. {settings}.\n\n"
        + "\n".join(table)
    )


def _stored(speech: SpeechModel) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Label and contents of eval/*.json, if the slim one was measured on exactly these weights."""
    slim = _read(speech.path.parent / "eval" / "slim.json")
    if slim.get("weights_sha256") != speech.info.weights_sha256:
        return
    if dense := _read(speech.path.parent / "eval" / "dense.json"):
        yield "dense", dense
    yield "slim", slim


def _read(file: Path) -> dict[str, Any]:
    """The table in a file, empty when there is none."""
    if not file.is_file():
        return {}
    try:
        table: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ExportError(f"{file} is damaged ({error}); delete it, or evaluate again") from error
    return table


def _rows(label: str, name: str, result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    minutes = f"{result['audio_seconds'] / 60:.1f}"
    rows: list[tuple[str, ...]] = []
    for normalizer, score in result["scores"].items():
        low, high = score["wer_interval_95"]
        rates = (f"{100 * score['wer']:.1f}", f"{100 * low:.1f} to {100 * high:.1f}",
                 f"{100 * score['cer']:.1f}")  # fmt: skip
        rows.append((label, name, str(score["n"]), minutes, normalizer, *rates))
    return rows


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _training(folder: Path) -> str:
    """Names of the data in the recipe that lies beside the model."""
    for place in (folder / "recipe.yaml", folder.parent / "recipe.yaml"):
        try:
            recipe = yaml.safe_load(place.read_text("utf-8"))
            names = [public_name(str(source)) for source in recipe["data"]["train"]]
        except (OSError, yaml.YAMLError, KeyError, TypeError):
            continue
        return (
            f"## Training data\n\n{', '.join(names)}, by the name of the folder or data set. Its "
            "license is not known here: add it."
        )
    return ""


def _license(base: str, words: CardWords, code: Path | None) -> str:
    parts = [
        f"## License\n\nThe weights here derive from {base}: its license and the terms of the "
        "training data still apply.",
        words.license,
        f"`{code.name}` is under Apache-2.0, as WhisperSlim is." if code else "",
    ]
    return " ".join(part for part in parts if part)
