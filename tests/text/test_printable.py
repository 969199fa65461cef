"""What others have named or written gives a terminal no orders."""

import ast
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.runs.light_runs import light_run
from whisperslim import cli, events
from whisperslim.commands import terminal
from whisperslim.errors import MemoryShortageError, UsageError, shortage_of
from whisperslim.jobs.run.console import ConsoleView
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.text.printable import printable, printable_json

COMMANDS = Path(terminal.__file__).parent
# Clears the screen, names the window, writes the clipboard, goes back a line; 8-bit forms; bidi.
ORDERS = "\x1b[2J\x1b]0;x\x07\x1b]52;c;eA==\x07\r\x08\x00\x7f\x9b2J\x90\u202e\u2066\udc80"


def harmless(text: str) -> bool:
    return not any(each in text for each in ORDERS if each.isascii() is False or ord(each) < 32)


def test_every_order_is_spelled_out_and_text_stays_text() -> None:
    # Hindi needs the joiners U+200C and U+200D; tab and line end are layout.
    usual = "हिन्दी क्\u200dष र\u200cय, ΐ 🎤\ttab\nline"
    assert printable(usual) == usual
    assert printable("\x1b[2J\x9b\u202e\udc80\r") == r"\x1b[2J\x9b\u202e\udc80\r"
    assert harmless(printable(ORDERS))
    printable(ORDERS).encode()  # a terminal takes UTF-8 alone


def test_json_stays_the_same_value() -> None:
    value = {"name": "\x9b\u202e हिन्दी", "list": ["\x7f"]}
    text = printable_json(json.dumps(value, ensure_ascii=False))
    assert harmless(text) and "हिन्दी" in text and json.loads(text) == value


@pytest.mark.parametrize("screen", [False, True])
def test_events_that_somebody_wrote_reach_no_terminal(screen: bool) -> None:
    target = io.StringIO()
    colors = {"force_terminal": True, "color_system": None} if screen else {}
    reported = [
        events.RunStarted(ORDERS, 1, (ORDERS,)),
        events.StageStarted(ORDERS),
        events.Progress(ORDERS, ORDERS, 1, 2),
        events.Notice(ORDERS),
        events.Evaluated(ORDERS, ORDERS, ORDERS, 1, 1, 0.5, 0.5, 0.5, ORDERS, ORDERS),
        events.Failed(ORDERS, ORDERS),
    ]
    # Without `shown`, since the bar itself gives orders, and a line alone is looked at.
    view = ConsoleView(Console(file=target, width=4000, **colors))
    for event in reported:
        view(event)
    for column in view._bar.tasks:
        assert harmless(column.description) and harmless(str(column.fields))
    assert harmless(target.getvalue()) and r"\x1b[2J" in target.getvalue()


def test_lists_and_results_give_no_orders(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_table(("run", ORDERS), [(ORDERS, "x")])
    terminal.announce(ORDERS)
    terminal.say(ORDERS)
    terminal.print_json({"name": ORDERS[:-1]})
    said = capsys.readouterr()
    assert harmless(said.out) and harmless(said.err) and said.out and said.err


def test_a_run_folder_gives_no_orders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "r\x1b]0;x\x07\x9b"
    run = light_run(tmp_path, name)
    EventLog(run.events_path).append(events.Failed("\x1b[2J", "\x1b[2J\x9b2J"))
    for arguments in (["runs"], ["runs", "--json"], ["report", name], ["stop", name + "?"]):
        with pytest.raises(SystemExit):
            cli.main([*arguments, "--runs", str(tmp_path)])
        said = capsys.readouterr()
        assert harmless(said.out) and harmless(said.err) and said.out + said.err


def test_commands_print_through_one_place() -> None:
    """`typer.echo` is called with what is ours alone: a meter, and the file of a preset."""
    found = {
        f"{path.name}: {ast.unparse(node)}"
        for path in sorted(COMMANDS.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.echo", "print")
    }
    assert {each.partition(":")[0] for each in found} == {"terminal.py", "speech.py", "runs.py"}
    inside = {each for each in found if each.startswith("terminal.py")}
    assert all("printable" in each for each in inside)
    assert len(found - inside) == 2


# --- no memory --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
    ids=str,
)
def test_no_memory_is_said_in_a_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(shortage_of(error), MemoryShortageError)

    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "command_line", lambda asked: fails)
    with pytest.raises(SystemExit) as ended:
        cli.main(["runs"])
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.startswith("error: there is not enough memory") and said.count("\n") == 1


def test_of_many_lines_the_one_about_memory_is_shown() -> None:
    lines = ImportError("IMPORTANT: PLEASE READ THIS\n\nOriginal error: failed to map segment")
    assert "(Original error: failed to map segment)" in str(shortage_of(lines))


def test_memory_is_found_behind_an_error_that_took_its_place() -> None:
    lost = OSError("Could not find the shared object file")
    lost.__context__ = OSError("libllvmlite.so: failed to map segment from shared object")
    assert "(libllvmlite.so: failed" in str(shortage_of(lost))
    fault = KeyError("x")
    fault.__context__ = MemoryError()
    assert shortage_of(fault) is None


@pytest.mark.parametrize(
    "error", [RuntimeError("shape"), OSError(2, "No such file"), ImportError("x"), UsageError("y")]
)
def test_other_faults_are_not_taken_for_it(error: Exception) -> None:
    assert shortage_of(error) is None
