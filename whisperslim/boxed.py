"""Models that come with the project: exports under `assets/models`, called by a name. Leaf module.

Each is pinned by the hash of its record, which has the hashes of all its files.
"""

from dataclasses import dataclass
from pathlib import Path

from whisperslim.errors import SourceError
from whisperslim.machine.places import ASSETS

_OWNER = "whisperslim/"


@dataclass(frozen=True)
class BoxedModel:
    """A model that comes with the project.

    Attributes:
        name: What it is called wherever a model is named.
        folder: Its export, below `assets/models`.
        record_sha256: Of its `export.json`, in hexadecimal.
        made_from: Name of the dense model it was made from; empty for a dense one.
        words: What it is, for a list.
    """

    name: str
    folder: str
    record_sha256: str
    made_from: str
    words: str

    @property
    def path(self) -> Path:
        """Its export, which a wheel may lack."""
        return ASSETS / "models" / self.folder


BOXED = (
    BoxedModel(
        "whisperslim/base-hi",
        "whisper-base-hi/slim",
        "3848684b6d475688c7de2e5d1186321c028cf3ba7d280c17d81f5d8f29051fd5",
        "whisperslim/base-hi-dense",
        "Whisper-base for Hindi, 55 % of its prunable weights removed, int8",
    ),
    BoxedModel(
        "whisperslim/base-hi-dense",
        "whisper-base-hi/dense",
        "6198aaf76ccf4f4980f3570ffdfa48a82552e46ac237082d623b83a7317586f0",
        "",
        "Whisper-base tuned for Hindi, dense, int8",
    ),
)


def find_boxed(model: str) -> BoxedModel | None:
    """The model that comes with the project under this name, or in this folder; None if neither."""
    for each in BOXED:
        if model == each.name or Path(model).expanduser().absolute() == each.path:
            return each
    return None


def local_name(model: str) -> str:
    """The folder of a model that comes with the project; any other name as it is.

    Raises `SourceError` when the files are not here, or no model of the project has that name.
    """
    if not model.startswith(_OWNER) or Path(model).expanduser().exists():
        return model
    found = find_boxed(model)
    if found is None:
        known = ", ".join(each.name for each in BOXED) or "none"
        raise SourceError(f"{model!r} is no model that comes with WhisperSlim; these do: {known}")
    if not found.path.is_dir():
        raise SourceError(
            f"{model} is not installed here: this package was built without it. A checkout of "
            f"the project has it in assets/models/{found.folder}; copy that folder to "
            f"{found.path}, or give the folder's path instead of the name"
        )
    return str(found.path)
