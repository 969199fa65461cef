"""The check of an export: its figures by hand, and the ends a child process may come to."""

from pathlib import Path

import numpy as np
import pytest

from tests.engines.export import dying_child
from whisperslim.engines.export import parity
from whisperslim.engines.export.parity import Answer, Part, ask_child, compare_answers
from whisperslim.errors import ExportError
from whisperslim.speech.audio.window import WindowPolicy

WINDOW = WindowPolicy()
PARTS = [Part(np.zeros((80, 100), np.float32), 0.5)]


def answer(text: str, ids: tuple[int, ...] | None, states: list[float] | None) -> Answer:
    return Answer(text, ids, None if states is None else np.array([states], np.float32))


def verdict(
    wanted: list[Answer], found: list[Answer], quantize: str = "int8"
) -> parity.ParityVerdict:
    parts = [Part(np.zeros((80, 100), np.float32), 1.5) for _ in wanted]
    return compare_answers(wanted, found, parts, quantize, "hi", WINDOW.describe())


def test_figures_by_hand() -> None:
    wanted = [answer("एक दो तीन", (1, 2, 3, 4), [3.0, 4.0]), answer("चार", (7,), [0.0, 1.0])]
    found = [answer("एक दो पाँच", (1, 2, 9, 4), [3.0, 4.5]), answer("चार", (7,), [0.0, 1.1])]
    reported = verdict(wanted, found)
    # Norms: 0.5 / 5 and 0.1 / 1.
    assert reported.encoder_error == pytest.approx(0.1, rel=1e-5)
    assert reported.same_text == 1 and reported.parts == 2 and reported.seconds == 3.0
    # Four tokens in common of the five and five written.
    assert reported.token_agreement == pytest.approx(2 * 4 / 10)
    # One word of four.
    assert reported.word_difference == pytest.approx(1 / 4)
    assert reported.ok
    assert not verdict(wanted, found, "none").ok


@pytest.mark.parametrize(("error", "ok"), [(0.0005, True), (0.002, False)])
def test_a_float_export_may_differ_by_rounding_alone(error: float, ok: bool) -> None:
    wanted, found = answer("घर", (1, 2), [1.0, 0.0]), answer("घर", (1, 2), [1.0 + error, 0.0])
    assert verdict([wanted], [found], "none").ok is ok


def test_a_float_export_must_write_the_same_tokens() -> None:
    wanted, found = answer("घर", (1, 2), [1.0]), answer("घर", (1, 3), [1.0])
    assert not verdict([wanted], [found], "none").ok


def test_states_of_another_shape_or_no_numbers_are_refused() -> None:
    wanted = answer("घर", (1,), [1.0, 2.0])
    for states in ([1.0], [1.0, float("nan")]):
        reported = verdict([wanted], [answer("घर", (1,), states)])
        assert not reported.ok and reported.encoder_error is None


def test_a_model_that_writes_nothing_has_no_rate() -> None:
    reported = verdict([answer("", (), None)], [answer("", (), None)], "none")
    assert reported.ok and reported.word_difference is None and reported.token_agreement == 1.0


@pytest.mark.parametrize(
    ("how", "reported"),
    [
        ("SIGSEGV", "ended by SIGSEGV"),
        ("SIGKILL", "out of memory"),
        ("error", "last words"),
        ("hang", "stopped after 1 s"),
    ],
)
def test_a_dying_child_is_a_finding(
    how: str, reported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "CHILD", "tests.engines.export.dying_child")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv(dying_child.HOW, how)
    with pytest.raises(ExportError, match=reported):
        ask_child(tmp_path, PARTS, "hi", WINDOW, timeout=1.0 if how == "hang" else 60.0)


def test_the_real_child_tells_what_it_cannot_open(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot be used: .*export\.json is missing"):
        ask_child(tmp_path, PARTS, "hi", WINDOW)
