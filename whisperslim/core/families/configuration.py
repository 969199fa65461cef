"""What a model folder's `config.json` says, within bounds, before transformers acts on it.

A configuration is data to us. To transformers some of its keys name code: attention from a kernel
of the hub, classes to import, a quantizer with a package of its own. Those are not passed on.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from whisperslim.core.disk.untrusted import read_json, typed
from whisperslim.errors import CheckpointError

CONFIG_FILE = "config.json"
PROCESSOR_FILE = "preprocessor_config.json"
_PROCESSORS_FILE = "processor_config.json"  # later releases of transformers have all in one file
MOST_BYTES, MOST_VALUES = 1_000_000, 100_000  # of a configuration; our choice, theirs have some 200
NOT_PASSED_ON = (
    # Code: kernels of the hub, classes to import, quantizers.
    "attn_implementation", "auto_map", "compression_config", "custom_pipelines",
    "experts_implementation", "kernel_config", "quantization_config", "use_kernels",
    # How configurations themselves work, and a table made for so many labels.
    "attribute_map", "num_labels", "per_layer_config", "pruned_heads", "rope_parameters",
    "rope_scaling", "sub_configs", "sub_configs_defaults", "torchscript",
)  # fmt: skip
"""Keys for which transformers would load code, or that change what other keys mean. So do all that
begin with an underscore, but for the name, and those called like a method."""
NUMBER_FORMATS = ("bfloat16", "float16", "float32", "float64")
"""What `dtype` and `torch_dtype` may name; anything else is left out. Weights come as asked for."""
_FORMAT_KEYS, _NAME = ("dtype", "torch_dtype"), "_name_or_path"


def read_configuration(folder: Path) -> dict[str, Any]:
    """The configuration in a folder, without what `left_out` names.

    Raises `CheckpointError` when it is missing, damaged, or longer or deeper than any.
    """
    found = _read(folder)
    gone = _left_out(found)
    return {key: value for key, value in found.items() if key not in gone}


def plain_part(part: Any) -> dict[str, Any]:
    """The same of a configuration within a configuration. Raises `ValueError` if it is none."""
    found: dict[str, Any] = typed(part, dict)
    gone = _left_out(found)
    return {key: value for key, value in found.items() if key not in gone}


def processor_settings(folder: Path) -> dict[str, Any]:
    """What a folder says of how its models' input is made; nothing where it says nothing.

    Raises `ValueError` or `OSError` for a file that is damaged, or longer or deeper than any.
    """
    for name, part in ((PROCESSOR_FILE, ""), (_PROCESSORS_FILE, "feature_extractor")):
        file = folder / name
        if file.is_file():
            found = typed(read_json(file.resolve(), most=MOST_BYTES, values=MOST_VALUES), dict)
            return typed(found.get(part, {}), dict) if part else found
    return {}


def left_out(folder: Path) -> tuple[str, ...]:
    """Its keys that are not passed on; number formats, which every model has, not among them.

    Raises as `read_configuration`.
    """
    return tuple(key for key in _left_out(_read(folder)) if key not in _FORMAT_KEYS)


@contextmanager
def usable(file: Path) -> Iterator[None]:
    """Say of a configuration with which transformers fails that it is not usable.

    Raises `CheckpointError`.
    """
    try:
        yield
    except (
        OSError, ValueError, TypeError, AttributeError, KeyError, StrictDataclassError,
    ) as error:  # fmt: skip
        raise CheckpointError(f"{file} is not a usable configuration: {error}") from error


def check_sizes(config: Any, bounds: Mapping[str, tuple[int, int]], file: Path) -> None:
    """Raise `CheckpointError` unless each number of `bounds` is whole and within its two ends."""
    for name, (least, most) in bounds.items():
        found = getattr(config, name, None)
        if type(found) is not int or not least <= found <= most:
            raise CheckpointError(
                f"{file} says {name} {_short(found)}; accepted are whole numbers from {least} to "
                f"{most}. It is damaged or no model: fetch or save the model again"
            )


def _read(folder: Path) -> dict[str, Any]:
    # A model of the hub library's cache is links; what is read here is not handed on.
    file = folder / CONFIG_FILE
    try:
        found: dict[str, Any] = typed(
            read_json(file.resolve(), most=MOST_BYTES, values=MOST_VALUES), dict
        )
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is not a usable configuration: {error}") from error
    return found


def _left_out(found: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(key for key, value in found.items() if not _is_plain(key, value))


def _is_plain(key: str, value: Any) -> bool:
    if key in _FORMAT_KEYS:
        return value is None or value in NUMBER_FORMATS
    if key in NOT_PASSED_ON or (key.startswith("_") and key != _NAME):
        return False
    return not callable(getattr(PreTrainedConfig, key, None))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
