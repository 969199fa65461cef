"""Reading a folder that anybody may have filled: files within bounds, values of known types.

Nothing here follows a link. A run's folder never has one: with a link, whoever sent the run could
have other files read, overwritten or emptied when it is opened.
"""

import dataclasses
import errno
import json
import os
import re
import stat
import types
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Union, cast, get_args, get_origin, get_type_hints

import yaml

from whisperslim.fields import spelled_now

MOST_JSON_BYTES = 64_000_000
"""Of a file of facts. The longest, `tuned.json`, has some bytes for each of a model's units."""
MOST_JSON_VALUES = 4_000_000
"""Of a file of facts. The longest list is of the clips of a run; nothing else runs meanwhile."""
MOST_YAML_BYTES = 256_000
_MOST_NODES = 20_000
_DEEPEST = 16  # a recipe has two levels, and lists in them
_MOST_OPEN = 64  # brackets
_BRACKET = re.compile(r"[\[\]{}]")
_MOST_ENTRIES = 200_000  # a run has some dozens
_LARGEST_WHOLE = 2**53  # exact in JSON, in a browser and as a float
_LARGEST = 1e18
_LARGEST_STORED = 2**63
_LONGEST_NUMBER = 20  # digits of a 64-bit number and a sign
# Absent on Windows, where `_check_way` stands in for the first.
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FLAGS = _NOFOLLOW | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_FOLDER_FLAGS = _FLAGS | getattr(os, "O_DIRECTORY", 0)
_MODES = {os.O_RDONLY: "rb", os.O_WRONLY: "wb", os.O_RDWR: "r+b"}  # "wb" empties nothing here
_WALKS = os.open in os.supports_dir_fd and bool(_NOFOLLOW)
# What PyYAML raises for values that are not what their tag says: `!!int ''`, `!!timestamp x`.
_YAML_FAULTS = (
    yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, OverflowError,
    RecursionError,
)  # fmt: skip


def open_plain(path: Path, flags: int = os.O_RDONLY, below: Path | None = None) -> BinaryIO:
    """A file opened with `flags` of `os.open`, in binary; a new one is as others of this user.

    Args:
        path: The file.
        flags: As `os.open` has them.
        below: A folder above it, from which on no part of the path may be a link either; by
            default the file alone is looked at.

    Raises:
        OSError: it is missing or refused; `ELOOP` when it, or a folder on the way, is a link.
        ValueError: it is not a file but a pipe or a device, for example.
    """
    # What is looked at is what is opened: nothing can be put in its place in between. A pipe that
    # nobody writes to would wait forever.
    descriptor: int = _walked(path, below or path.parent, flags | _FLAGS | _NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{path} is not a plain file")
        return cast(BinaryIO, os.fdopen(descriptor, _MODES[flags & (os.O_WRONLY | os.O_RDWR)]))
    except BaseException:
        os.close(descriptor)
        raise


def read_plain(path: Path, most: int, below: Path | None = None) -> bytes:
    """The contents of a file of at most `most` bytes.

    Raises as `open_plain`, and `ValueError` when it is longer.
    """
    with open_plain(path, below=below) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path} has over {most} bytes")
    return content


def read_json(
    path: Path,
    below: Path | None = None,
    most: int = MOST_JSON_BYTES,
    values: int = MOST_JSON_VALUES,
) -> Any:
    """The value in a JSON file. Raises as `read_plain` and `json_of`."""
    return json_of(read_plain(path, most, below), values)


def foreign_part(folder: Path) -> Path | None:
    """The first thing at any depth below `folder` that is neither a file nor a folder; else None.

    Links, pipes, sockets and devices: none of them belongs in a folder of ours, and whoever opens
    one may get another file or wait forever. Raises `OSError` for a folder that cannot be read,
    `ValueError` for one that holds too much to look at.
    """
    left, seen = [os.fspath(folder)], 0
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                seen += 1
                if seen > _MOST_ENTRIES:
                    raise ValueError(f"{folder} holds over {_MOST_ENTRIES} files")
                if _is_junction(entry):
                    return Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    return Path(entry.path)
    return None


def json_of(content: bytes, values: int = MOST_JSON_VALUES) -> Any:
    """The value of JSON in UTF-8, of at most about `values` values in it.

    Raises `ValueError` for anything else, and for what is nested too deep, has more values, or has
    a whole number of over twenty digits.
    """
    # A byte or two of an empty list become 60 in memory. Those in texts count, too.
    if sum(map(content.count, (b",", b"[", b"{"))) > values:
        raise ValueError(f"it has over {values} values")
    try:
        return json.loads(content.decode("utf-8"), parse_int=_whole)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def yaml_of(text: str, loader: Any = yaml.SafeLoader) -> Any:
    """The value of YAML within bounds: length, depth, values with aliases written out, numbers.

    Few bytes of aliases, merge keys or brackets can name gigabytes, or overflow the stack.

    Raises:
        ValueError: it is beyond them, or is not YAML; the message has the line of the mistake.
    """
    if len(text) > MOST_YAML_BYTES:
        raise ValueError(f"it has over {MOST_YAML_BYTES} characters")
    _check_brackets(text)
    try:
        _check_size(yaml.parse(text, Loader=yaml.SafeLoader))
        found = yaml.load(text, Loader=loader)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except _YAML_FAULTS as error:
        raise ValueError(f"{error}" or type(error).__name__) from error
    _check_numbers(found)
    return found


def read_yaml(path: Path, below: Path | None = None) -> Any:
    """The value in a YAML file. Raises as `read_plain` and `yaml_of`."""
    return yaml_of(read_plain(path, MOST_YAML_BYTES, below).decode("utf-8"))


def typed(value: Any, kind: Any) -> Any:
    """`value` when it is of `kind`, which is one of JSON's; a whole number is a float, too.

    Raises `ValueError` when it is not, and for what could not be worked with: whole numbers beyond
    2**53, others from 1e18 on, NaN, and text that is not Unicode.
    """
    if type(value) is int and abs(value) > _LARGEST_WHOLE:
        raise ValueError("a number is too large")
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ValueError(f"there is {type(value).__name__} where {kind.__name__} belongs")
    if kind is float and not abs(value) < _LARGEST:
        raise ValueError("a number is too large, or none")
    if kind is str:
        # JSON can hold half of a pair of UTF-16; no file and no page can. Raises ValueError.
        value.encode()
    return value


def typed_fields(kind: type, record: Any, but: Container[str] = ()) -> dict[str, Any]:
    """Field -> value of `record` for each field of a dataclass of JSON's kinds, `but` some.

    Raises as `typed` does, and `KeyError` for one that is missing.
    """
    record = spelled_now(typed(record, dict))
    kinds = {name: each for name, each in kind.__annotations__.items() if name not in but}
    return {name: typed(record[name], each) for name, each in kinds.items()}


def record_of(kind: Any, record: Any) -> Any:
    """An instance of a dataclass from a mapping of JSON, every value as its annotation says.

    Lists become tuples where a tuple or a sequence is wanted. Raises `ValueError` for a value of
    another type (as `typed` has it), an unknown key, or a missing one without default.
    """
    hints, given = _hints(kind), spelled_now(typed(record, dict))
    fields = {each.name: each for each in dataclasses.fields(kind) if each.init}
    unknown = sorted(set(given) - set(fields))
    if unknown:
        raise ValueError(f"there is an unknown {unknown[0]!r}")
    try:
        return kind(**{name: fitting(value, hints[name]) for name, value in given.items()})
    except TypeError as error:  # a field is missing
        raise ValueError(str(error)) from error


def check_record(instance: Any) -> None:
    """Raise `ValueError` unless every field of a dataclass is of the type that it is said to be."""
    kind: Any = type(instance)
    hints = _hints(kind)
    for each in dataclasses.fields(instance):
        fitting(getattr(instance, each.name), hints[each.name])


def fitting(value: Any, hint: Any) -> Any:
    """`value` of JSON as the type `hint`: plain ones, unions, containers, dataclasses, `Any`.

    Raises `ValueError` when it does not fit.
    """
    if hint is Any:
        return value
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _one_of(value, inner)
    if hint is type(None):
        if value is not None:
            raise ValueError("there is a value where none belongs")
        return None
    if origin in (dict, Mapping):
        pairs = typed(value, dict).items()
        return {fitting(key, inner[0]): fitting(each, inner[1]) for key, each in pairs}
    if origin in (tuple, list, Sequence):
        return _sequence(value, origin, inner)
    if dataclasses.is_dataclass(hint):
        return value if type(value) is hint else record_of(hint, value)
    if hint is int and type(value) is int and abs(value) < _LARGEST_STORED:
        return value  # nanoseconds since 1970 are beyond what a float holds exactly
    return typed(value, hint)


def _sequence(value: Any, origin: Any, inner: tuple[Any, ...]) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"there is {type(value).__name__} where a list belongs")
    if origin is tuple and inner[-1] is not Ellipsis:
        if len(value) != len(inner):
            raise ValueError(f"a list has {len(value)} entries instead of {len(inner)}")
        return tuple(map(fitting, value, inner))
    found = [fitting(each, inner[0]) for each in value]
    return found if origin is list else tuple(found)


def _one_of(value: Any, hints: tuple[Any, ...]) -> Any:
    for hint in hints[:-1]:
        try:
            return fitting(value, hint)
        except ValueError:
            continue
    return fitting(value, hints[-1])


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _walked(path: Path, below: Path, flags: int) -> int:
    """A descriptor of `path`, opened folder by folder from `below` on."""
    *folders, name = path.relative_to(below).parts
    if not _WALKS or ".." in folders:
        _check_way(path, below)
        return os.open(path, flags, 0o666)
    try:
        if not folders:
            return os.open(path, flags, 0o666)
        at = os.open(below, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        for folder in folders:
            at = _next(at, folder)
        try:
            return os.open(name, flags, 0o666, dir_fd=at)
        finally:
            os.close(at)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENOTDIR):
            _check_way(path, below)
        raise OSError(error.errno, error.strerror, str(path)) from error


def _next(at: int, folder: str) -> int:
    try:
        return os.open(folder, os.O_RDONLY | _FOLDER_FLAGS, dir_fd=at)
    finally:
        os.close(at)


def _check_way(path: Path, below: Path) -> None:
    """Raise `OSError` when `path`, or a folder between `below` and it, is a link."""
    parts = path.relative_to(below).parts
    for count in range(1, len(parts) + 1):
        each = below.joinpath(*parts[:count])
        if each.is_symlink() or parts[count - 1] == ".." or _is_junction(each):
            raise OSError(errno.ELOOP, "it is a link, and may lead anywhere", str(each))


def _is_junction(place: Any) -> bool:
    # Of Windows; Python knows them from 3.12 on.
    ask = getattr(place, "is_junction", None)
    return ask is not None and bool(ask())


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError("a number is too large")
    return int(digits)


def _check_size(events: Iterator[yaml.Event]) -> None:
    """Raise `ValueError` for what is too deep, or too long with every alias written out."""
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []  # anchor, nodes before it
    count = 0
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = count - before
        elif isinstance(event, yaml.AliasEvent):
            # One that is not there yet contains itself, or PyYAML reports it.
            count += sizes.get(str(event.anchor), _MOST_NODES)
        elif isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, count))
            elif event.anchor:
                sizes[event.anchor] = 1
            count += 1
        if len(open_nodes) > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
        if count > _MOST_NODES:
            raise ValueError(f"it has over {_MOST_NODES} values, aliases (`*name`) written out")


def _check_brackets(text: str) -> None:
    """Raise `ValueError` for a great many open brackets, for which PyYAML takes seconds.

    It looks up to 1,024 characters ahead, and at every open bracket for each character. Brackets in
    texts count too, so this is not the depth: `_check_size` finds that.
    """
    depth = 0
    for found in _BRACKET.finditer(text):
        depth = depth + 1 if found[0] in "[{" else max(0, depth - 1)
        if depth > _MOST_OPEN:
            raise ValueError("it is nested too deep")


def _check_numbers(value: Any) -> None:
    """Raise `ValueError` for a whole number that is too long to be written down."""
    if isinstance(value, (list, tuple, set)):
        for each in value:
            _check_numbers(each)
    elif isinstance(value, dict):
        for pair in value.items():
            _check_numbers(pair)
    elif isinstance(value, int) and abs(value) >= 10**_LONGEST_NUMBER:
        raise ValueError("a number is too large")
