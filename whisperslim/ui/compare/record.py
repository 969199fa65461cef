"""One comparison in plain values: all that is kept, shown and exported is made from this."""

import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from whisperslim.core.disk.untrusted import typed, typed_fields
from whisperslim.ui.context.side_choice import SideChoice

if TYPE_CHECKING:  # they import torch
    from whisperslim.engines.comparison import Comparison, Side, SideScores

FORMAT = 1
ROLES = ("dense", "slim", "third")
SAME = "same"
_MOST_TOGETHER = 1000  # our choice, for records that somebody else wrote


@dataclass(frozen=True)
class HeardSide:
    """What one model wrote, and its costs.

    Attributes:
        role: One of `ROLES`.
        model: As it was chosen.
        runs_in, hears_in: Engine and window, in words.
        text: As the model wrote it.
        note: What the reader should know, or empty.
        seconds: Wall time; of a comparison heard together with others, its share of the pass.
            `rtf` is that divided by the recording's length.
        tokens: Text tokens written.
        bytes_on_disk, parameters, peak_memory_bytes: As in `engines.comparison.Side`.
        scores: Normalizer name -> (WER, CER) as fractions; empty when no reference was given.
        times: Start and end in seconds of each word of `text`, between its spaces; empty when not
            known.
        untimed: Why they are not known, where that is.
    """

    role: str
    model: str
    runs_in: str
    hears_in: str
    text: str
    note: str
    seconds: float
    rtf: float
    tokens: int
    bytes_on_disk: int
    parameters: int
    peak_memory_bytes: int
    scores: dict[str, tuple[float, float]]
    times: tuple[tuple[float, float], ...] = ()
    untimed: str = ""


def title_of(side: HeardSide) -> str:
    """What a side is called: a third is the slim model in one more engine."""
    return side.role if side.role in ROLES[:2] else f"slim in {side.runs_in}"


@dataclass(frozen=True)
class Compared:
    """One comparison, in plain values.

    Attributes:
        key: Name of its folder.
        made: Time in UTC, ISO 8601.
        language: Code.
        reference: The spoken text, or None.
        audio_seconds: Length of the recording.
        shared_features: Whether the models were given the very same features.
        memory_note: How peak memory was measured.
        fairness: Whether only the models differ, in words.
        sides: Dense, slim and perhaps a third.
        blind: Roles of A and B when they were hidden; empty for an open comparison.
        vote: The role that was voted for, `SAME`, or None.
        trained: Roles of models that were trained on this recording.
        together: Recordings that each side heard in one pass. Above 1, times and peak memory are
            not this recording's own: see `engines.comparison.compare_together`.
    """

    key: str
    made: str
    language: str
    reference: str | None
    audio_seconds: float
    shared_features: bool
    memory_note: str
    fairness: str
    sides: tuple[HeardSide, ...]
    blind: tuple[str, ...] = ()
    vote: str | None = None
    trained: tuple[str, ...] = ()
    together: int = 1

    @property
    def hidden(self) -> bool:
        """Whether which side is which must not be shown yet."""
        return bool(self.blind) and self.vote is None

    def side(self, role: str) -> HeardSide:
        """The side of that role."""
        return next(side for side in self.sides if side.role == role)

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"format": FORMAT, **asdict(self)}


def compared_from(
    comparison: "Comparison",
    names: tuple[str, ...],
    run_as: tuple[SideChoice, ...],
    language: str,
    reference: str | None,
    fairness: str,
    trained: tuple[str, ...] = (),
) -> Compared:
    """The result of `engines.comparison.compare`, with names and engines as chosen."""
    found = [comparison.dense, comparison.slim]
    if comparison.third is not None:
        found.append(comparison.third)
    scores = comparison.scores or {}
    sides = tuple(
        _heard(role, name, run, side, scores.get(role, {}))
        for role, name, run, side in zip(ROLES, names, run_as, found, strict=False)
    )
    now = datetime.now(UTC)
    return Compared(
        key=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}",
        made=now.isoformat(timespec="seconds"),
        language=language,
        reference=reference,
        audio_seconds=comparison.dense.transcript.audio_seconds,
        shared_features=comparison.shared_features,
        memory_note=comparison.memory_note,
        fairness=fairness,
        sides=sides,
        trained=trained,
        together=comparison.together,
    )


def _heard(role: str, name: str, run: SideChoice, side: "Side", scores: "SideScores") -> HeardSide:
    transcript = side.transcript
    return HeardSide(
        role, name, run.runs_in, run.hears_in, transcript.text, transcript.note,
        transcript.seconds, transcript.rtf, transcript.tokens, side.bytes_on_disk,
        side.parameters, side.peak_memory_bytes,
        {kind: (float(rates[0]), float(rates[1])) for kind, rates in scores.items()},
    )  # fmt: skip


def parsed(record: Any, key: str) -> Compared:
    """A record read from disk, every type checked: the folder may hold anything.

    Raises `ValueError`, `TypeError` or `KeyError` for anything else.
    """
    if typed(record, dict)["format"] != FORMAT:
        raise ValueError("another format")
    sides = tuple(_parsed_side(side) for side in typed(record["sides"], list))
    blind = tuple(typed(record["blind"], list))
    roles = [side.role for side in sides]
    trained = tuple(typed(record.get("trained", []), list))  # earlier records do not have it
    known = roles in (list(ROLES[:2]), list(ROLES)) and blind in _orders()
    known = known and all(role in ROLES for role in trained)
    if not known or record["vote"] not in (*roles, SAME, None):
        raise ValueError("unknown sides or vote")
    together = typed(record.get("together", 1), int)  # nor this
    if not 1 <= together <= _MOST_TOGETHER:
        raise ValueError("an unlikely number of recordings")
    texts = {name: typed(record[name], str) for name in _TEXTS}
    _check_time(texts["made"])
    reference = record["reference"]
    return Compared(
        key=key,
        reference=None if reference is None else typed(reference, str),
        audio_seconds=typed(record["audio_seconds"], float),
        shared_features=typed(record["shared_features"], bool),
        sides=sides,
        blind=blind,
        vote=record["vote"],
        trained=trained,
        together=together,
        **texts,
    )


_TEXTS = ("made", "language", "memory_note", "fairness")


def _orders() -> tuple[tuple[str, ...], ...]:
    dense, slim, _ = ROLES
    return (), (dense, slim), (slim, dense)


def _check_time(made: str) -> None:
    moment = datetime.fromisoformat(made)
    # A time beyond these years, or without time zone, may be invalid where the list is read.
    if moment.tzinfo is None or not 2000 <= moment.year < 9000:
        raise ValueError("not the time of a comparison")


def _parsed_side(record: Any) -> HeardSide:
    values = typed_fields(HeardSide, record, but=("scores", *_LATER))
    scores = {
        typed(kind, str): (typed(wer, float), typed(cer, float))
        for kind, (wer, cer) in typed(record["scores"], dict).items()
    }
    return HeardSide(**values, scores=scores, **_parsed_times(record, values["text"]))


# What earlier records have not.
_LATER = ("times", "untimed")


def _parsed_times(record: Any, heard: str) -> dict[str, Any]:
    times = tuple(
        (typed(start, float), typed(end, float))
        for start, end in typed(record.get("times", []), list)
    )
    if times and len(times) != len(heard.split()):
        raise ValueError("other words than those of the text")
    return {"times": times, "untimed": typed(record.get("untimed", ""), str)}
