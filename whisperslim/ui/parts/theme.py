"""Colors, type and the page's head. Everything is served from this machine."""

import base64

import gradio as gr

from whisperslim.machine.places import ASSETS

STYLE_SHEET = ASSETS / "app.css"
COMPARE_SHEET = ASSETS / "compare.css"
_SCRIPTS = tuple(ASSETS / name for name in ("keys.js", "meter.js", "stage.js"))

# File subset -> code points, as in the font's own style sheet.
_SUBSETS = {
    "devanagari": "U+0900-097F,U+1CD0-1CF9,U+200C-200D,U+20A8,U+20B9,U+20F0,U+25CC,U+A830-A839,"
    "U+A8E0-A8FF,U+11B00-11B09",
    "latin": "U+0000-00FF,U+0131,U+0152-0153,U+02BB-02BC,U+02C6,U+02DA,U+02DC,U+0304,U+0308,"
    "U+0329,U+2000-200B,U+200E-206F,U+20AC,U+2122,U+2191,U+2193,U+2212,U+2215,U+FEFF,U+FFFD",
}
_WEIGHTS = (400, 600)

# Set before the first paint; without it browsers refuse the microphone silently.
_CAPABILITIES = """
<script>
  document.documentElement.classList.toggle(
    "no-microphone", !(navigator.mediaDevices && navigator.mediaDevices.getUserMedia));
</script>
"""


def theme() -> gr.themes.Base:
    """A calm, dense theme on local fonts, for light and dark alike."""
    base = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        spacing_size=gr.themes.sizes.spacing_md,
        text_size=gr.themes.sizes.text_md,
        font=("Noto Sans Devanagari", "system-ui", "sans-serif"),
        font_mono=("ui-monospace", "DejaVu Sans Mono", "monospace"),
    )
    return base.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_title_text_weight="600",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_cancel_background_fill="white",
        button_cancel_background_fill_hover="#fde3e3",
        button_cancel_background_fill_dark="*neutral_900",
        button_cancel_background_fill_hover_dark="#521d1f",
        button_cancel_border_color="#b91c1c",
        button_cancel_border_color_dark="#fca5a5",
        button_cancel_text_color="#b91c1c",
        button_cancel_text_color_dark="#fca5a5",
        button_border_width="1px",
        checkbox_label_background_fill="*neutral_100",
        checkbox_label_background_fill_dark="*neutral_800",
        checkbox_label_background_fill_hover="*neutral_200",
        checkbox_label_background_fill_hover_dark="*neutral_700",
        checkbox_label_background_fill_selected="*primary_50",
        checkbox_label_background_fill_selected_dark="*neutral_800",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
        input_background_fill="*neutral_50",
        input_background_fill_dark="*neutral_800",
    )


def page_head() -> str:
    """The `<head>` additions: fonts as data, so that no file need be opened to requests."""
    scripts = "".join(f"<script>{script.read_text('utf-8')}</script>" for script in _SCRIPTS)
    return f"<style>\n{font_faces()}\n</style>\n{_CAPABILITIES}{scripts}"


def font_faces() -> str:
    """Style rules with the fonts inside."""
    return "\n".join(_face(name, weight) for name in _SUBSETS for weight in _WEIGHTS)


def _face(subset: str, weight: int) -> str:
    file = ASSETS / "fonts" / f"noto-sans-devanagari-{subset}-{weight}-normal.woff2"
    data = base64.b64encode(file.read_bytes()).decode()
    return (
        '@font-face{font-family:"Noto Sans Devanagari";font-style:normal;font-display:block;'
        f"font-weight:{weight};unicode-range:{_SUBSETS[subset]};"
        f'src:url(data:font/woff2;base64,{data}) format("woff2")}}'
    )
