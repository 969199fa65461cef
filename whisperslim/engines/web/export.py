"""Write a model as a static page: the graphs of ONNX Runtime, and what runs them in a browser.

index.html, *.js, *.css   the page, from `assets/web`
model.json                what the page has to know: tokens, prompts, bounds, shapes of the caches
ort/                      ONNX Runtime Web
and the graphs and the tokenizer, as an ONNX export has them
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx

from whisperslim.core.loading import SpeechModel
from whisperslim.engines.export.export import Written, source_name, tuned_language
from whisperslim.engines.onnx import export as onnx_export
from whisperslim.engines.onnx.export import open_export
from whisperslim.engines.web.runtime_files import FILES, VERSION, runtime_files
from whisperslim.exported.bounds import TOKENS_ALWAYS, TOKENS_PER_SECOND, DecoderRules
from whisperslim.exported.names import DECODER_FILE, ENCODER_FILE, PAST
from whisperslim.exported.tokens import PromptTokens, read_tokens
from whisperslim.machine.places import ASSETS
from whisperslim.speech.audio.window import WindowPolicy

__all__ = ["check", "open_export", "write"]

PAGE = ASSETS / "web"
FACTS_FILE, RUNTIME_FOLDER, WORKER_FILE = "model.json", "ort", "sw.js"
_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
_USUAL_LANGUAGE = "hi"


def check(speech: SpeechModel, quantize: str) -> None:
    """Raise `ExportError` as the ONNX exporter does, or when ONNX Runtime Web cannot be had."""
    onnx_export.check(speech, quantize)
    runtime_files()


def write(speech: SpeechModel, folder: Path, quantize: str) -> Written:
    """The page with the model in it, into the existing folder `folder`."""
    written = onnx_export.write(speech, folder, quantize)
    tokens = read_tokens(folder)
    rules = DecoderRules(**speech.family.export_facts(speech.model, speech.tokens, speech.path))
    facts = {
        "name": source_name(speech),
        "bytes": sum((folder / name).stat().st_size for name in written.files),
        "language": tuned_language(speech) or _USUAL_LANGUAGE,
        "bands": speech.input_spec.bands,
        "window": {**asdict(WindowPolicy()), "max_frames": speech.input_spec.max_frames},
        "tokens_always": TOKENS_ALWAYS,
        "tokens_per_second": TOKENS_PER_SECOND,
        **asdict(rules),
        **_spelling(tokens),
        "caches": _empty_caches(folder / DECODER_FILE),
    }
    text = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
    (folder / FACTS_FILE).write_text(text + "\n", "utf-8")
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    (folder / RUNTIME_FOLDER).mkdir()
    runtime = runtime_files()
    for name in FILES:
        shutil.copyfile(runtime / name, folder / RUNTIME_FOLDER / name)
    _name_files(folder)
    return Written(written.files, {**written.runtime, "onnxruntime-web": VERSION}, written.settings)


def _spelling(tokens: PromptTokens) -> Mapping[str, Any]:
    """How ids become text, and how each language is asked for."""
    vocabulary = tokens.vocabulary()
    spelled = [""] * (max(vocabulary.values()) + 1)
    for token, identifier in vocabulary.items():
        spelled[identifier] = token
    found = [_LANGUAGE.fullmatch(token) for token in vocabulary]
    codes = sorted(match[1] for match in found if match)
    return {
        "tokens": spelled,
        "control": sorted(tokens.spelling.control),
        "end": tokens.end,
        "prompts": {code: tokens.prompt(code) for code in codes},
    }


def _empty_caches(decoder: Path) -> dict[str, list[int]]:
    """Name -> shape of the caches before the first token; the varying length is zero."""
    graph = onnx.load(decoder, load_external_data=False).graph
    return {
        given.name: [axis.dim_value for axis in given.type.tensor_type.shape.dim]
        for given in graph.input
        if given.name.startswith(PAST)
    }


def _name_files(folder: Path) -> None:
    """Write into the service worker which files to keep, and a version that changes with them."""
    page = sorted(path.name for path in PAGE.iterdir() if path.name != WORKER_FILE)
    names = [
        *page, FACTS_FILE, ENCODER_FILE, DECODER_FILE,
        *(f"{RUNTIME_FOLDER}/{name}" for name in FILES),
    ]  # fmt: skip
    digest = hashlib.sha256()
    for name in names:
        digest.update((folder / name).read_bytes())
    worker = folder / WORKER_FILE
    text = worker.read_text("utf-8")
    text = text.replace("__VERSION__", digest.hexdigest()[:16])
    worker.write_text(text.replace("__FILES__", json.dumps(["./", *names])), "utf-8")
