"""Tables of what is installed without extras."""

from typing import Any

from benchmarks.tables.parts import MEGA, spread, table, where

_LEAST = 1e6  # bytes of a package with a row of its own
_LISTENS = ("onnxruntime", "numpy")


def light(record: dict[str, Any]) -> str:
    """Disk by package, memory, and time to the first text."""
    return "\n\n".join(
        make(record[part]) if part in record else f"The {part}: not measured yet."
        for part, make in _PARTS.items()
    )


def light_install(record: dict[str, Any]) -> str:
    """The README's sentence on installing it."""
    size, memory = record["size"], record["memory"]
    return (
        "**Only to transcribe.** `pip install .` installs the commands and what runs an ONNX "
        f"export without PyTorch: {size['bytes'] / MEGA:.0f} MB on Linux, "
        f"{size['of_the_model'] / MEGA:.0f} MB of it the model in the box. To transcribe with that "
        f"takes at most {memory['transcribe']['max'] / MEGA:.0f} MB of memory "
        "([measured](docs/measured.md#without-pytorch))."
    )


def _size(part: dict[str, Any]) -> str:
    sizes, versions = part["by_package"], part["packages"]
    large = {name: size for name, size in sizes.items() if size >= _LEAST}
    rows = [(f"{name} {versions[name]}", f"{size / MEGA:.1f}") for name, size in large.items()]
    small = sum(sizes.values()) - sum(large.values())
    rows.append((f"{len(sizes) - len(large)} smaller ones", f"{small / MEGA:.1f}"))
    rows.append(("together", f"{part['bytes'] / MEGA:.1f}"))
    model = f"{part['of_the_model'] / MEGA:.1f} MB of whisperslim are the slim model in the box."
    return f"{table(('package', 'MB on disk'), rows)}\n\n{model} {where(part, _LISTENS)}"


def _memory(part: dict[str, Any]) -> str:
    most = "{:.0f}".format
    each = {name: part["transcribe"][name] / MEGA for name in ("median", "min", "max")}
    rows = [
        ("`whisperslim transcribe`, one recording (median, range)", spread(each, "{:.0f}")),
        ("`whisperslim transcribe`, all in one command", most(part["transcribe_all"] / MEGA)),
        ("`whisperslim.runtime` in Python, all in one process", most(part["runtime"] / MEGA)),
    ]
    clips = (
        f"{part['clips']} recordings of the demo corpus, {part['audio_seconds'] / 60:.1f} minutes; "
        "the most that the process has resident."
    )
    return f"{table(('', 'peak memory MB'), rows)}\n\n{clips} {where(part, _LISTENS)}"


def _seconds(part: dict[str, Any]) -> str:
    rows = [
        ("`whisperslim transcribe`", spread(part["transcribe"], "{:.2f}")),
        ("`whisperslim.runtime` in Python", spread(part["runtime"], "{:.2f}")),
    ]
    header = ("", f"seconds to the text of a {part['clip_seconds']} s clip (median, range)")
    about = (
        f"From the start of a process to its first line; {part['transcribe']['runs']} processes "
        f"each, their files in the disk's cache. The clip is {part['speech_seconds']:.1f} s of "
        "speech, and silence after it."
    )
    return f"{table(header, rows)}\n\n{about} {where(part, _LISTENS)}"


def _peers(part: dict[str, Any]) -> str:
    found = {name: each for name, each in part.items()
             if isinstance(each, dict) and "installed" in each}  # fmt: skip
    rows = [
        (name, str(len(each["installed"])), f"{each['bytes'] / MEGA:.0f}")
        for name, each in found.items()
    ]
    torch = part["transformers"]["installed"]["torch"]
    about = (
        "What other systems take without a model, in environments of their own, each in its newest "
        f"release on that day; torch {torch}, built for processors alone."
    )
    return f"{table(('system', 'packages', 'MB on disk'), rows)}\n\n{about} {where(part, _LISTENS)}"


_PARTS = {"size": _size, "memory": _memory, "seconds": _seconds, "peers": _peers}
