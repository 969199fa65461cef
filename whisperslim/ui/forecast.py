"""How big the model will be: arithmetic on the target alone, no weight is touched."""

from dataclasses import dataclass

from whisperslim.ui.lazy import ModelSize
from whisperslim.ui.markup import text
from whisperslim.ui.quantities import megabytes, millions, percent

# Of the model as published, tied weights counted once; so that a fresh machine has figures, too.
PUBLISHED = {"openai/whisper-base": ModelSize(parameters=72_593_920, prunable=44_040_192)}
BYTES = {"float16": 2, "float32": 4}


@dataclass(frozen=True)
class Forecast:
    """Parameters of the slim model by what becomes of them. Biases of cut units are left out."""

    size: ModelSize
    removed: float
    zeroed: float
    bytes_each: int

    @property
    def cut(self) -> int:
        """Weights cut out."""
        return round(self.removed * self.size.prunable)

    @property
    def zeros(self) -> int:
        """Weights zeroed where they stand."""
        return round(self.zeroed * self.size.prunable)

    @property
    def parameters(self) -> int:
        """Parameters left in the file, zeros among them."""
        return self.size.parameters - self.cut


def forecast_html(forecast: Forecast, dtype: str) -> str:
    """The forecast as two strips, to one scale, dense above slim."""
    size = forecast.size
    fixed = size.parameters - size.prunable
    kept = size.prunable - forecast.cut - forecast.zeros
    dense = [("fixed", fixed), ("kept", size.prunable)]
    slim = [("fixed", fixed), ("kept", kept), ("zeroed", forecast.zeros), ("gone", forecast.cut)]
    saved = forecast.cut / size.parameters
    return (
        '<div class="ws-card"><div class="ws-big">'
        f"{millions(size.parameters)} → {millions(forecast.parameters)}</div>"
        f'<p class="ws-small">parameters, {percent(saved)} fewer · '
        f"{megabytes(size.parameters * forecast.bytes_each)} → "
        f"{megabytes(forecast.parameters * forecast.bytes_each)} as {text(dtype)}</p>"
        f'<div class="ws-size">{_row("dense", dense, size.parameters)}'
        f"{_row('slim', slim, size.parameters)}</div>{_legend()}"
        f'<p class="ws-small">Cut out: {millions(forecast.cut)} of the {millions(size.prunable)} '
        f"prunable weights. Zeroed: {millions(forecast.zeros)}; they stay in the file and cost the "
        "same time. Embeddings, convolutions and norms are never cut.</p></div>"
    )


def unknown_html(removed: float, zeroed: float, reason: str) -> str:
    """What can be said when the model's own size is not known."""
    return (
        f'<div class="ws-card"><div class="ws-big">−{percent(removed, 0)}</div>'
        f'<p class="ws-small">of the prunable weights cut out, {percent(zeroed, 0)} zeroed.</p>'
        f'<p class="ws-small">{text(reason)}</p></div>'
    )


def _row(name: str, parts: list[tuple[str, int]], whole: int) -> str:
    strips = "".join(
        f'<i class="{kind}" style="width:{100 * n / whole:.2f}%"></i>' for kind, n in parts
    )
    left = sum(n for kind, n in parts if kind != "gone")
    return (
        f'<span>{name}</span><div class="ws-strip" aria-hidden="true">{strips}</div>'
        f"<b>{millions(left)}</b>"
    )


def _legend() -> str:
    names = (("fixed", "not prunable"), ("kept", "kept"), ("zeroed", "zeroed"), ("gone", "cut out"))
    items = "".join(f'<span><i class="ws-{kind}"></i>{name}</span>' for kind, name in names)
    return f'<div class="ws-legend">{items}</div>'
