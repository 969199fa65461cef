"""Find a model by name: a folder, the cache, the Hugging Face hub, or a package index.

Whatever is tried is announced, and nothing is used in place of what was asked for.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from whisperslim.core.files import renamed_into_place
from whisperslim.core.hub import HubUnavailable, fetch_from_hub, find_in_hub_cache
from whisperslim.core.mirror import MIRRORED, fetch_from_mirror, mirror_entry
from whisperslim.core.model_folder import (
    WEIGHTS,
    kind_of,
    local_model,
    read_record,
    weights_sha256,
    write_record,
)
from whisperslim.core.storage import explain_os_error, require_space
from whisperslim.core.wheels import Report
from whisperslim.errors import SourceError

__all__ = ["ResolvedModel", "cache_folder", "default_cache", "resolve", "verify", "weights_sha256"]
