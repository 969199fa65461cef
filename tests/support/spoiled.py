"""Files spoiled by structure: what a person with an editor, a bad disk or ill will makes of one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

HUGE = "1" * 5000
# As they stand in a file: values that are no JSON to us, too large to count with, or of no use.
WORDS = (
    "null", "true", "0", "-1", "1", "2.5", "1e400", "-1e400", "NaN", "Infinity", HUGE, "1" * 25,
    str(2**53 + 1), str(-(2**63)), "1e18", '""', '"x"', '"../../etc/passwd"', '"/etc/passwd"',
    '"\\u0000"', '"\\ud800"', '"\\u001b[2J"', '"' + "y" * 70_000 + '"', "[]", "{}", "[[]]",
    "[null]", '{"a": 1}', '["a", 2]', "[" * 3000 + "]" * 3000, '{"__proto__": 1}',
)  # fmt: skip
_MARK = "\ue000spoiled\ue000"
Leaf = tuple[Any, Any]


def places(value: Any) -> list[Leaf]:
    """(container, key) of every value in nested containers."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found: list[Leaf] = []
    for key, each in pairs:
        found.append((value, key))
        if isinstance(each, (dict, list)):
            found += places(each)
    return found


def spoil_json(content: bytes, draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """JSON with some values replaced, removed, added or moved."""
    value = json.loads(content)
    words = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=2))
    if not isinstance(value, (dict, list)) or not value:
        return str(words[0]).encode()
    for number, _ in enumerate(words):
        where = places(value)
        if not where:
            break
        container, key = where[draw(st.integers(0, len(where) - 1))]
        act = draw(st.sampled_from(["put", "put", "put", "drop", "add", "swap"]))
        if act == "put":
            container[key] = f"{_MARK}{number}"
        elif act == "drop":
            del container[key]
        elif act == "add" and isinstance(container, dict):
            container[draw(st.sampled_from(["", "format", "x", "é"]))] = f"{_MARK}{number}"
        else:
            other, name = where[draw(st.integers(0, len(where) - 1))]
            container[key] = json.loads(json.dumps(other[name] if other is not container else 7))
    text = json.dumps(value, ensure_ascii=False)
    for number, word in enumerate(words):
        text = text.replace(f'"{_MARK}{number}"', word)
    return text.encode("utf-8", "surrogatepass")


def _is_whole(line: bytes) -> bool:
    """Whether it is JSON still: it may have been cut before."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def spoil_lines(content: bytes, draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """Lines, of JSON or with tabs, some of them spoiled, twice there, cut, or gone."""
    lines = content.split(b"\n")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        act = draw(st.sampled_from(["json", "cut", "twice", "gone", "tab", "bytes"]))
        line = lines[at]
        if act == "json" and line.startswith(b"{") and _is_whole(line):
            lines[at] = spoil_json(line, draw)
        elif act == "cut":
            lines[at] = line[: draw(st.integers(0, max(0, len(line))))]
        elif act == "twice":
            lines.insert(at, line)
        elif act == "gone":
            lines[at] = b""
        elif act == "tab":
            lines[at] = line.replace(b"\t", draw(st.sampled_from([b"", b"\t\t", b" ", b"\0"])), 1)
        else:
            lines[at] = draw(st.binary(max_size=30)) + line
    return b"\n".join(lines)


def spoil_yaml(content: bytes, draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """A recipe with values, indents or whole lines replaced."""
    lines = content.decode().split("\n")
    more = (
        ".nan", ".inf", "1e999", "&a [*a]", "!!int 'x'", "!!python/object:os.x {}", "*no", "'", "[",
        "2001-99-99", "{", "- a", "? b", "%", "0x" + "f" * 400, "1_0:6_0", "<<: 3", "\t", "|", "~",
    )  # fmt: skip
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        name, mark, _ = lines[at].partition(":")
        act = draw(st.sampled_from(["value", "value", "value", "name", "indent", "gone"]))
        if act == "value":
            lines[at] = f"{name}{mark or ':'} {draw(st.sampled_from(WORDS + more))}"
        elif act == "name":
            lines[at] = f"{draw(st.sampled_from(['  x', 'x', '', 'data', '  steps']))}{lines[at]}"
        elif act == "indent":
            lines[at] = " " * draw(st.integers(0, 40)) + lines[at].strip()
        else:
            del lines[at : at + draw(st.integers(1, 5))]
            lines.append("")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def spoil_bytes(content: bytes, draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """Bytes changed, taken out, put in, written twice, or cut off; most often near the front."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        last = len(data) - 1 if draw(st.booleans()) else min(len(data) - 1, 400)
        at = draw(st.integers(0, max(0, last)))
        act = draw(st.sampled_from(["byte", "number", "out", "in", "twice", "cut"]))
        if act == "byte":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif act == "number":
            data[at : at + 4] = draw(
                st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
            )
        elif act == "out":
            del data[at : at + draw(st.integers(1, 300))]
        elif act == "in":
            data[at:at] = draw(st.binary(min_size=1, max_size=64))
        elif act == "twice":
            data[at:at] = data[at : at + draw(st.integers(1, 400))]
        else:
            del data[at:]
    return bytes(data)


def spoil(path: Path, content: bytes, draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """`content` of a file called `path`, spoiled as its kind asks; now and then byte by byte."""
    kinds = {".json": spoil_json, ".jsonl": spoil_lines, ".tsv": spoil_lines, ".csv": spoil_lines,
             ".yaml": spoil_yaml}  # fmt: skip
    own = kinds.get(path.suffix, spoil_bytes)
    return (own if draw(st.integers(0, 4)) else spoil_bytes)(content, draw)
