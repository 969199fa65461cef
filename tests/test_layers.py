"""The direction of imports, and what only certain places may name.

Violations are named as `file:line`.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from whisperslim.engines import registry

PACKAGE = Path(__file__).parents[1] / "whisperslim"
LEAVES = {
    "boxed",
    "errors",
    "events",
    "exported",
    "fields",
    "inputs",
    "machine",
    "text",
    "version",
}
MAY_IMPORT = {
    "errors": set(),
    "events": {"fields"},
    "inputs": set(),
    "machine": {"errors"},
    "text": {"errors"},
    "boxed": {"errors", "machine"},
    "version": set(),
    "listening": {"errors"},
    "exported": {"errors", "text"},
    "fields": {"errors"},
    "speech": {"errors", "fields", "inputs", "machine", "text"},
    "core": {"speech", *LEAVES},
    "methods": {"core", *LEAVES},
    "engines": {"core", "speech", *LEAVES},
    "train": {"methods", "core", "speech", *LEAVES},
    "jobs": {"train", "engines", "methods", "core", "speech", *LEAVES},
    "server": {"listening", "engines", "core", "speech", *LEAVES},
    "ui": {"listening", "jobs", "train", "engines", "methods", "core", "speech", *LEAVES},
    "runtime": {"engines", "text", "speech"},
    "api": {"runtime", "jobs", "speech", *LEAVES},
    "commands": {
        "api", "runtime", "server", "ui", "listening", "jobs", "train", "engines", "methods",
        "core", "speech", *LEAVES,
    },
    "cli": {"commands", "errors", "machine", "text"},
    "__main__": {"cli"},
    "__init__": {"api", "version"},
}  # fmt: skip
# Modules, and fields of configurations, that some architectures have and others do not.
ARCHITECTURE_NAMES = {
    "activation_function", "begin_suppress_tokens", "conv1", "conv2", "d_model",
    "decoder_attention_heads", "decoder_ffn_dim", "decoder_input_ids", "decoder_layers",
    "decoder_start_token_id", "embed_positions", "embed_tokens", "encoder_attention_heads",
    "encoder_attn", "encoder_ffn_dim", "encoder_layers", "fc1", "fc2", "feature_extractor",
    "feature_projection", "generation_config", "hidden_size", "input_features", "input_values",
    "k_proj", "last_hidden_state", "lm_head", "max_source_positions", "max_target_positions",
    "num_attention_heads", "num_hidden_layers", "num_mel_bins", "out_proj", "proj_out", "q_proj",
    "scale_embedding", "self_attn", "suppress_tokens", "v_proj",
}  # fmt: skip
# What other things are called, too: audio streams have decoders, sessions of ONNX are named so.
# They count as attributes of a model, and at the head of a parameter's name.
MODEL_PARTS = {"decoder", "encoder", "model"}
# Classes that transformers makes for an architecture; its base classes serve all of them.
ARCHITECTURE_CLASS = re.compile(
    r"transformers\.(models\..*|.*(Model|Config|For[A-Z]\w+|Tokenizer|TokenizerFast|Processor"
    r"|FeatureExtractor|Encoder|Decoder|Cache))"
)
BASE_CLASSES = {"transformers.PreTrainedModel", "transformers.PreTrainedConfig"}
# Inside the folder of one family; what all of them share is free.
FAMILY_FOLDER = re.compile(
    r"whisperslim\.core\.families\.(?!base\.|configuration\.|factors\.|flavours\.|hearing\.)\w+\..*"
)
# Who may look there: writers and readers of its models' forms for other runtimes.
MAY_KNOW_A_FAMILY = {
    "engines/ctranslate2",
    "engines/export",
    "engines/hf",
    "engines/onnx",
    "engines/sherpa",
}
EXCEPTIONS = {
    # It makes Hugging Face folders of Whisper's weights as CTranslate2 wrote them, and of no other.
    ("core/fetch/mirror.py", "whisperslim.core.families.whisper.ct2_read.dimensions"),
    ("core/fetch/mirror.py", "whisperslim.core.families.whisper.ct2_read.to_hugging_face"),
    ("core/fetch/mirror.py", "whisperslim.core.families.whisper.side_files.write_side_files"),
    # Vocabularies are trimmed of Whisper's kind of tokenizer alone, which names ids in its files.
    ("core/tokens/files.py", "whisperslim.core.families.whisper.tokens.WHOLE_WORDS"),
    ("core/tokens/files.py", "whisperslim.core.families.whisper.tokens.whisper_tokens"),
    ("core/tokens/files.py", "begin_suppress_tokens"),
    ("core/tokens/files.py", "decoder_start_token_id"),
    ("core/tokens/files.py", "suppress_tokens"),
    # No model: a published rule of text, which is to be computed by its publisher's own code.
    (
        "speech/scoring/published.py",
        "transformers.models.whisper.english_normalizer.BasicTextNormalizer",
    ),
    (
        "speech/scoring/published.py",
        "transformers.models.whisper.english_normalizer.EnglishTextNormalizer",
    ),
    # Sizes a slider shows, from `config.json` without torch; families load it.
    ("ui/context/embedding.py", "d_model"),
}  # fmt: skip
# Modules that Windows lacks. Inside a function that says what becomes of Windows they may be used.
POSIX_ONLY = {
    "crypt", "fcntl", "grp", "nis", "posix", "pty", "pwd", "resource", "spwd", "syslog", "termios",
    "tty",
}  # fmt: skip
# Where an engine's name is another thing's too: the kind of an ordinary model folder.
OTHER_MEANINGS = {
    ("core/fetch/model_folder.py", "hf"),
    ("core/fetch/hub.py", "hf"),
    ("speech/corpus/hub.py", "hf"),
    # Packages that may be missing.
    ("machine/extras.py", "ctranslate2"),
    ("machine/extras.py", "onnx"),
}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def dotted(path: Path) -> str:
    names = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(names).removesuffix(".__init__")


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import hides its direction"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def docstrings(tree: ast.Module) -> set[int]:
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, owners) and node.body]
    return {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}


def of_an_architecture(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Lines that name a class, a module or a field which only some architectures have."""
    for line, name in imported(tree):
        theirs = ARCHITECTURE_CLASS.fullmatch(name) and name not in BASE_CLASSES
        if theirs or FAMILY_FOLDER.fullmatch(name):
            yield line, name
    skipped = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            inside = isinstance(owner, ast.Attribute) and owner.attr == "model"
            # A variable called model may also be a loaded model with all that belongs to it.
            bare = isinstance(owner, ast.Name) and owner.id == "model" and node.attr != "model"
            part = node.attr in MODEL_PARTS and (inside or bare)
            if part or node.attr in ARCHITECTURE_NAMES:
                yield node.lineno, node.attr
        elif isinstance(node, ast.Constant) and id(node) not in skipped:
            text = str(node.value)
            if text.endswith(".json"):  # a file, which may be called as a field is
                continue
            words = text.split(".")
            yield from ((node.lineno, word) for word in words if word in ARCHITECTURE_NAMES)
            if words[0] == "model" and MODEL_PARTS & set(words[1:2]):
                yield node.lineno, text


def test_imports_point_one_way() -> None:
    wrong = []
    for path, tree in sources():
        part = part_of(path)
        for line, name in imported(tree):
            package, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            allowed = {part, *MAY_IMPORT[part]}
            if package == "whisperslim" and target not in allowed:
                wrong.append(f"{path}:{line}: {part} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_no_imports_run_in_a_circle() -> None:
    """Those inside functions and those for types count as well."""
    trees = {dotted(path): tree for path, tree in sources()}
    needs = {
        name: {
            full if full in trees else full.rpartition(".")[0] for _, full in imported(tree)
        } & trees.keys()
        for name, tree in trees.items()
    }  # fmt: skip
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        pytest.fail(" is imported by ".join(error.args[1]))


def test_only_the_app_knows_gradio() -> None:
    wrong = [
        f"{path}:{line}: imports {name}"
        for path, tree in sources()
        for line, name in imported(tree)
        if name.partition(".")[0] == "gradio" and part_of(path) != "ui"
    ]
    assert not wrong, "\n".join(wrong)


def test_only_families_name_an_architecture() -> None:
    found = {
        (path.relative_to(PACKAGE).as_posix(), line, what)
        for path, tree in sources()
        for line, what in of_an_architecture(tree)
        if PACKAGE / "core" / "families" not in path.parents
    }
    free = {
        (name, line, what)
        for name, line, what in found
        if (name, what) in EXCEPTIONS
        or (what.startswith("whisperslim.") and name.rpartition("/")[0] in MAY_KNOW_A_FAMILY)
    }
    wrong = [f"{PACKAGE / name}:{line}: names {what}" for name, line, what in sorted(found - free)]
    assert not wrong, "\n".join(wrong)
    void = EXCEPTIONS - {(name, what) for name, _, what in free}
    assert not void, f"exceptions that nothing needs: {sorted(void)}"


@pytest.mark.parametrize(
    "line",
    [
        "from transformers import WhisperForConditionalGeneration",
        "from transformers import Wav2Vec2ForCTC",
        "from transformers import WhisperConfig",
        "from transformers import GenerationConfig",
        "from transformers.cache_utils import EncoderDecoderCache",
        "from transformers.models.whisper.tokenization_whisper import LANGUAGES",
        "import transformers.models.whisper",
        "from whisperslim.core.families.whisper.model import WhisperFamily",
        "speech.model.model.encoder",
        "speech.model.decoder(ids)",
        "model.decoder(ids)",
        "hidden = model.proj_out(states)",
        "int(speech.model.config.max_target_positions)",
        "speech.model.generation_config.suppress_tokens",
        'getattr(config, "d_model")',
        'get_submodule("encoder.layers.0.fc1")',
        'TIED = "model.decoder.embedding"',
    ],
)
def test_an_architecture_named_elsewhere_is_seen(line: str) -> None:
    assert list(of_an_architecture(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    [
        "from transformers import PreTrainedModel",
        "from transformers import AttentionInterface",
        "from whisperslim.core.families import family_of",
        "from whisperslim.core.families.hearing import Tokens",
        "from whisperslim.core.families.flavours.attention_decoder import DecodingOptions",
        "self.decoder.run(names, given)",
        "stream.codec_context.decoder",
        "live = model.model",
        "speech.model.config.vocab_size",
        'Path("generation_config.json")',
        'stack = "decoder"',
    ],
)
def test_what_serves_every_architecture_may_be_named(line: str) -> None:
    assert not list(of_an_architecture(ast.parse(line)))


def strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Strings that are not documentation, parts of formatted ones among them."""
    skipped = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in skipped:
            yield node.lineno, str(node.value)


def usual_engine(tree: ast.Module) -> Iterator[int]:
    """Lines where `registry.OWN`, a package's name too, can only mean the engine."""
    for node in ast.walk(tree):
        values: list[ast.expr | None] = []
        if isinstance(node, ast.Compare):
            values = [node.left, *node.comparators]
        elif isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "engine":
            values = [node.value]
        elif isinstance(node, ast.FunctionDef):
            values = [*node.args.defaults, *node.args.kw_defaults]
        elif isinstance(node, ast.Call):
            values = [node.args[0]] if getattr(node.func, "id", "") == "option" else []
        for value in values:
            if isinstance(value, ast.Constant) and value.value == registry.OWN:
                yield value.lineno


def engine_names(file: str, tree: ast.Module) -> Iterator[str]:
    """Where a file names an engine that it should ask the register for."""
    names = set(registry.exported())
    for line, value in strings(tree):
        for word in names & set(re.findall(r"[\w-]+", value)):
            if (file, word) not in OTHER_MEANINGS:
                yield f"{file}:{line}: names the engine {word}"
    yield from (f"{file}:{line}: names {registry.OWN}" for line in usual_engine(tree))


def test_only_engines_and_what_families_write_for_them_name_an_engine() -> None:
    known = (PACKAGE / "engines", PACKAGE / "core" / "families", PACKAGE / "exported")
    wrong = [
        place
        for path, tree in sources()
        if not any(folder in path.parents for folder in known)
        for place in engine_names(path.relative_to(PACKAGE).as_posix(), tree)
    ]
    assert not wrong, "ask whisperslim.engines.registry:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    "code",
    ["if engine == 'torch': pass", "engine: str = 'torch'", "def f(engine: str = 'torch'): ...",
     "print('for onnx alone')", "ENGINES = ('ctranslate2',)"],
)  # fmt: skip
def test_an_engine_that_is_named_is_found(code: str) -> None:
    assert list(engine_names("jobs/a.py", ast.parse(code)))


def test_packages_and_folders_of_an_engines_name_are_left_alone() -> None:
    code = "import torch\nversion('torch')\nfacts = {'torch': 1}\n'hf' in kinds"
    assert not list(engine_names("core/fetch/model_folder.py", ast.parse(code)))


def imported_at_once(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Imports of a file that are carried out when it is loaded, those in a condition included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from imported(ast.Module([node], []))
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from imported_at_once(node)


def posix_only(tree: ast.Module) -> Iterator[tuple[int, str]]:
    yield from (
        (line, name)
        for line, name in imported_at_once(tree)
        if name.partition(".")[0] in POSIX_ONLY
    )


def test_every_file_can_be_loaded_on_windows() -> None:
    wrong = [
        f"{path}:{line}: imports {name}"
        for path, tree in sources()
        for line, name in posix_only(tree)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "code",
    ["import fcntl", "import os, resource as r", "from termios import tcgetattr",
     "try:\n import pwd\nexcept ImportError:\n pass", "if x:\n import tty",
     "class A:\n import pwd"],
)  # fmt: skip
def test_what_windows_lacks_is_seen(code: str) -> None:
    assert list(posix_only(ast.parse(code)))


def test_what_windows_lacks_may_be_loaded_when_it_is_needed() -> None:
    code = "import os.path\nimport pwd_like\ndef f():\n import fcntl\n async def g():\n  import pwd"
    assert not list(posix_only(ast.parse(code)))


def test_importing_the_package_and_asking_for_help_is_light() -> None:
    code = (
        "import sys, whisperslim, whisperslim.cli\n"
        "whisperslim.cli.command_line()\n"
        "heavy = {'torch', 'transformers', 'librosa', 'gradio', 'scipy', 'av',\n"
        "         'onnx', 'onnxruntime', 'ctranslate2'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, f"loaded by `import whisperslim.cli`: {done.stderr}"
