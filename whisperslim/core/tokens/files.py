"""A tokenizer's files for fewer tokens, and settings that name tokens by id.

tokenizer.json          written again
tokenizer_config.json, special_tokens_map.json, added_tokens.json, vocab.json, merges.txt
                        the same, where the model has them
generation_config.json  ids renumbered
vocabulary.json         which old ids stayed
"""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from whisperslim.core.disk.untrusted import read_json
from whisperslim.core.families.hearing import Tokens
from whisperslim.core.families.whisper.tokens import WHOLE_WORDS, whisper_tokens
from whisperslim.core.store.checkpoint import VOCABULARY_FILE, copy_side_files
from whisperslim.core.tokens.vocabulary import Merge, TokenTable, Vocabulary, table_from_layout
from whisperslim.errors import CheckpointError

_SINGLE = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id",
           "no_timestamps_token_id", "prev_sot_token_id")  # fmt: skip
_LISTS = ("suppress_tokens", "begin_suppress_tokens")
_TABLES = ("lang_to_id", "task_to_id")

Ids = Mapping[int, int]


def read_table(tokens: Tokens, rows: int) -> TokenTable:
    """The tables of a tokenizer; `rows` is the model's vocabulary size.

    Raises `UsageError` for another kind of tokens than Whisper's.
    """
    return table_from_layout(_layout(tokens), rows)


def write_trimmed_files(source: Path, folder: Path, tokens: Tokens, vocabulary: Vocabulary) -> None:
    """Write the side files of a model folder for the tokens that stay.

    Args:
        source: The model folder they come from.
        folder: An existing folder.
        tokens: Its tokenizer.
        vocabulary: Which tokens stay; ids are of this tokenizer.

    Raises:
        CheckpointError: when a file of `source` is damaged.
    """
    copy_side_files(source, folder)
    layout = trimmed_layout(_layout(tokens), vocabulary)
    _write_json(folder / "tokenizer.json", layout)
    rewrites: dict[str, Callable[[Any], Any]] = {
        "tokenizer_config.json": lambda old: _trimmed_config(old, layout),
        "special_tokens_map.json": lambda old: _trimmed_config(old, layout),
        "added_tokens.json": lambda old: _control(layout),
        "vocab.json": lambda old: layout["model"]["vocab"],
        "generation_config.json": lambda old: renumbered(old, vocabulary),
    }
    for name, rewrite in rewrites.items():
        if (folder / name).is_file():
            _write_json(folder / name, rewrite(_read_json(folder / name)))
    if (folder / "merges.txt").is_file():
        lines = ["#version: 0.2", *(" ".join(pair) for pair in layout["model"]["merges"])]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    _write_json(folder / VOCABULARY_FILE, vocabulary.to_record())


def trimmed_layout(layout: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """The contents of `tokenizer.json` with the tokens that stay, renumbered."""
    made, ids = deepcopy(dict(layout)), vocabulary.new_ids
    added = [entry for entry in made["added_tokens"] if entry["id"] in ids]
    made["added_tokens"] = [{**entry, "id": ids[entry["id"]]} for entry in added]
    text = {token: ids[old] for token, old in made["model"]["vocab"].items() if old in ids}
    first_new = sum(old < vocabulary.first_control for old in vocabulary.keep)
    text |= {token: first_new + place for place, token in enumerate(vocabulary.added)}
    made["model"]["vocab"] = dict(sorted(text.items(), key=lambda item: item[1]))
    if vocabulary.merges:
        made["pre_tokenizer"] = deepcopy(WHOLE_WORDS)
    made["model"]["merges"] = _merges_within(text, made["model"]["merges"], vocabulary.merges)
    for special in ((made.get("post_processor") or {}).get("special_tokens") or {}).values():
        special["ids"] = [ids[old] for old in special["ids"] if old in ids]
    return made


def renumbered(settings: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """Settings of generation or of a model, with ids of the tokens that stay.

    What names a token that is gone is left out of lists; a single id becomes that of the end,
    as Whisper has it for begin and padding. Suppressed tokens stay suppressed.
    """
    ids, made = vocabulary.new_ids, dict(settings)
    end = ids[vocabulary.first_control]
    for name in _SINGLE:
        if isinstance(made.get(name), int):
            made[name] = ids.get(made[name], end)
        elif isinstance(made.get(name), list):  # some models have several ends
            made[name] = [ids[old] for old in made[name] if old in ids]
    for name in _LISTS:
        if made.get(name):
            made[name] = [ids[old] for old in made[name] if old in ids] or None
    for name in _TABLES:
        if made.get(name):
            made[name] = {key: ids[old] for key, old in made[name].items() if old in ids}
    if made.get("forced_decoder_ids"):
        made["forced_decoder_ids"] = _forced(made["forced_decoder_ids"], ids)
    if made.get("return_timestamps") and not vocabulary.timestamps:
        made["return_timestamps"] = False
    return made


def _layout(tokens: Tokens) -> dict[str, Any]:
    layout = whisper_tokens(tokens).layout()
    if layout["model"]["type"] != "BPE":
        raise CheckpointError("only Whisper's byte-level BPE tokenizers can be trimmed")
    return layout


def _merge(pair: Any) -> Merge:
    left, right = pair.split(" ") if isinstance(pair, str) else pair
    return left, right


def _merges_within(
    text: Mapping[str, int], old: Sequence[Any], new: Sequence[Merge]
) -> list[list[str]]:
    kept = [m for m in map(_merge, old) if {*m, "".join(m)} <= text.keys()]
    return [list(pair) for pair in dict.fromkeys((*new, *kept))]


def _forced(pairs: Sequence[Sequence[int | None]], ids: Ids) -> list[list[int | None]]:
    known = [(place, old) for place, old in pairs if old is None or old in ids]
    return [[place, old if old is None else ids[old]] for place, old in known]


def _control(layout: Mapping[str, Any]) -> dict[str, int]:
    return {entry["content"]: entry["id"] for entry in layout["added_tokens"]}


def _trimmed_config(old: Mapping[str, Any], layout: Mapping[str, Any]) -> dict[str, Any]:
    """Without tokens that are gone: transformers would add each of them again."""
    made, control = dict(old), _control(layout)
    for name in ("additional_special_tokens", "extra_special_tokens"):
        if isinstance(made.get(name), list):
            made[name] = [token for token in made[name] if _content(token) in control]
    if "added_tokens_decoder" in made:
        made["added_tokens_decoder"] = {
            str(entry["id"]): {k: v for k, v in entry.items() if k != "id"}
            for entry in layout["added_tokens"]
        }
    return made


def _content(token: Any) -> Any:
    return token["content"] if isinstance(token, dict) else token


def _read_json(file: Path) -> Any:
    try:
        return read_json(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
