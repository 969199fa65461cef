"""Find a model's weights by name. (Local folders only for the moment.)"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from whisperslim.errors import SourceError


@dataclass(frozen=True)
class ResolvedModel:
    name: str
    path: Path
    kind: str
    origin: str
    weights_sha256: str


def resolve(
    name: str,
    *,
    cache: Path | None = None,
    offline: bool = False,
    announce: Callable[[str], None] = lambda message: None,
    progress: Callable[[str, int, int], None] | None = None,
) -> ResolvedModel:
    path = Path(name)
    if (path / "recipe.yaml").is_file() and (path / "slim").is_dir():
        path = path / "slim"
    if not (path / "model.safetensors").is_file():
        raise SourceError(f"{name} is not a model folder")
    kind = "slim" if (path / "slim.json").is_file() else "hf"
    with (path / "model.safetensors").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ResolvedModel(name, path, kind, "local folder", digest)
