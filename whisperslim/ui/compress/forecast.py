"""How big the model will be: arithmetic on the target only, no weight is read."""

from whisperslim.core.plan.arithmetic import ExpectedSize, expected_size
from whisperslim.core.plan.counting import OF_WEIGHTS
from whisperslim.ui.context.models import ModelSize
from whisperslim.ui.parts.markup import text
from whisperslim.ui.parts.quantities import megabytes, millions, percent

# Of the published model, tied weights counted once, so that a fresh machine shows figures as well.
PUBLISHED = {"openai/whisper-base": ModelSize(parameters=72_593_920, prunable=44_040_192)}
BYTES = {"float16": 2, "float32": 4}

_PARTS = (("fixed", "not prunable"), ("kept", "kept"), ("zeroed", "zeroed"), ("gone", "cut out"))


def forecast_html(
    size: ModelSize, removed: float, zeroed: float, dtype: str, tokens: int = 0, note: str = ""
) -> str:
    """The forecast as text and as two strips on one scale, dense above slim.

    `tokens` are elements of the embedding removed with unneeded tokens; `note` is shown below.
    Raises `UsageError` when the shares are not valid together.
    """
    slim = expected_size(size.parameters, size.prunable, removed, BYTES[dtype], zeroed, tokens)
    fewer = (slim.removed + tokens) / size.parameters
    return (
        '<div class="ws-card"><div class="ws-big">'
        f"{millions(size.parameters)} → {millions(slim.parameters)}</div>"
        f'<p class="ws-small">parameters, {percent(fewer)} fewer · '
        f"{megabytes(slim.dense_bytes)} → {megabytes(slim.bytes)} as {text(dtype)}</p>"
        f"{_strips(size, slim)}{_legend()}"
        f'<p class="ws-small">Cut out: {millions(slim.removed)} of the {millions(size.prunable)} '
        f"prunable weights. Zeroed: {millions(slim.zeroed)}; each takes one bit in the file, and "
        f"computing takes as long. {_vocabulary(tokens)}Convolutions and norms are never cut.</p>"
        f"{_note(note)}</div>"
    )


def unplanned_html(
    size: ModelSize, removed: float, zeroed: float, counted: str, tokens: int = 0, note: str = ""
) -> str:
    """The forecast when the target is a share of `counted`, which is not the weights.

    Units of equal cost differ in weights, so weights and bytes depend on which units are removed.
    The other arguments are as in `forecast_html`.
    """
    return (
        f'<div class="ws-card"><div class="ws-big">{millions(size.parameters)} → ?</div>'
        '<p class="ws-small">parameters. How many go, and the size of the file, is not known '
        "before the run has planned: its stage plan decides which units go.</p>"
        f'<p class="ws-small">Cut out: {percent(removed, 0)} of {text(counted)}. Zeroed: '
        f"{millions(zeroed * size.prunable)} of the {millions(size.prunable)} prunable weights. "
        f"{_vocabulary(tokens)}Convolutions and norms are never cut.</p>"
        f"{_note(note)}</div>"
    )


def unknown_html(removed: float, zeroed: float, reason: str, counted: str = OF_WEIGHTS) -> str:
    """The forecast when the model's own size is not known."""
    return (
        f'<div class="ws-card"><div class="ws-big">−{percent(removed, 0)}</div>'
        f'<p class="ws-small">of {text(counted)} cut out, {percent(zeroed, 0)} of the prunable '
        "weights zeroed.</p>"
        f'<p class="ws-small">{text(reason)}</p></div>'
    )


def _vocabulary(tokens: int) -> str:
    if not tokens:
        return "All tokens stay. "
    return f"Tokens of other languages: {millions(tokens)} of the embedding are removed. "


def _note(note: str) -> str:
    return f'<p class="ws-small">{text(note)}</p>' if note else ""


def _strips(size: ModelSize, slim: ExpectedSize) -> str:
    fixed = size.parameters - size.prunable
    stays = fixed - slim.tokens
    kept = size.prunable - slim.removed - slim.zeroed
    dense = _strip("dense", {"fixed": fixed, "kept": size.prunable}, size.parameters)
    gone = slim.removed + slim.tokens
    parts = {"fixed": stays, "kept": kept, "zeroed": slim.zeroed, "gone": gone}
    return f'<div class="ws-size">{dense}{_strip("slim", parts, size.parameters)}</div>'


def _strip(name: str, parts: dict[str, int], whole: int) -> str:
    strips = "".join(
        f'<i class="{kind}" style="width:{100 * count / whole:.2f}%"></i>'
        for kind, count in parts.items()
    )
    left = sum(count for kind, count in parts.items() if kind != "gone")
    return (
        f'<span>{name}</span><div class="ws-strip" aria-hidden="true">{strips}</div>'
        f"<b>{millions(left)}</b>"
    )


def _legend() -> str:
    items = "".join(f'<span><i class="ws-{kind}"></i>{name}</span>' for kind, name in _PARTS)
    return f'<div class="ws-legend">{items}</div>'
