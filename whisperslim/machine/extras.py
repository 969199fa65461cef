"""What an installation may lack, and the extra that installs it. Leaf module.

`pip install whisperslim` installs what transcribes; training, the app and its window are extras.
"""

from importlib.util import find_spec

from whisperslim.errors import UsageError

EXTRAS: dict[str, tuple[str, ...]] = {
    "media": ("av",),
    "train": (
        "torch", "transformers", "safetensors", "librosa", "scipy", "jiwer", "regex", "indicnlp",
        "ctranslate2", "onnx", "tokenizers", "huggingface_hub",
    ),
    "serve": ("starlette", "uvicorn", "python_multipart"),
    "app": (
        "gradio", "plotly", "sounddevice", "starlette", "uvicorn", "python_multipart",
    ),
    "desktop": ("webview",),
    "track": ("tensorboard", "trackio"),
    "scale": ("pyarrow", "ray"),
}  # fmt: skip
"""Extra -> modules that come with it and not with a smaller one."""


def need(extra: str, what: str) -> None:
    """Raise `UsageError` unless every module of `extra` is installed. `what` names what needs
    them.
    """
    missing = [module for module in EXTRAS[extra] if find_spec(module) is None]
    if missing:
        raise UsageError(f"{what} needs {', '.join(missing)}; {install(extra)}")


def advice(module: str) -> str | None:
    """How to install a module that cannot be found; None when it is in no extra."""
    top = module.partition(".")[0]
    for extra, modules in EXTRAS.items():
        if top in modules:
            return f"this needs {top}, which is not installed; {install(extra)}"
    return None


def install(extra: str) -> str:
    """Words that say how to install an extra."""
    return f"install it with: pip install 'whisperslim[{extra}]'"
