"""What a recipe starts from: the shipped presets and the user's own, with their buttons."""

from dataclasses import dataclass
from datetime import datetime

import gradio as gr
from gradio.blocks import Block

from whisperslim.errors import UsageError
from whisperslim.jobs.recipe.own_presets import OwnPresets, read_recipe
from whisperslim.jobs.recipe.presets import preset_names, preset_summary
from whisperslim.jobs.recipe.recipe import Recipe, load_recipe, to_yaml
from whisperslim.ui.parts.markup import text
from whisperslim.ui.parts.updates import Updates

FIRST_PRESET = "quick-demo"
OWN = "own/"
"""Prefix of own presets in the list, so that they cannot be taken for shipped ones."""

# The file is made in the page, from text, so that nothing is written where others could fetch it.
DOWNLOAD = """(given) => {
  const cut = given.indexOf("\\n");
  if (cut < 1) return [];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([given.slice(cut + 1)], {type: "application/yaml"}));
  link.download = given.slice(0, cut);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  return [];
}"""


@dataclass(frozen=True)
class PresetFields:
    """The components, from top to bottom. `shared` brings a file's name and text to the page."""

    choice: gr.Dropdown
    note: gr.HTML
    changes: gr.HTML
    name: gr.Textbox
    save: gr.Button
    back: gr.Button
    share: gr.Button
    take: gr.UploadButton
    delete: gr.Button
    shared: gr.Textbox

    def chosen(self) -> list[Block]:
        """What shows which preset is chosen; `chosen_updates` fills it."""
        return [self.choice, self.note, self.name, self.delete]


def lay_out_presets(own: OwnPresets) -> PresetFields:
    """Make the components in the open Blocks context."""
    first = first_preset()
    choice = gr.Dropdown(
        choices=choices(own),
        value=first,
        label="Preset",
        info="A complete recipe to start from; everything below can be changed.",
        elem_id="preset",
    )
    note = gr.HTML(note_html(own, first))
    changes = gr.HTML("", elem_id="preset-changes")
    with gr.Accordion(
        "Your own presets: keep this form, share it", open=False, elem_id="own-presets"
    ):
        with gr.Row(equal_height=False):
            name = gr.Textbox(
                "",
                label="Name",
                info="Letters, digits, `-`, `_` or `.`; an existing preset of that name is "
                "replaced.",
                max_lines=1,
                max_length=60,
                elem_id="own-preset-name",
                scale=2,
                min_width=220,
            )
            save = gr.Button("Save form", elem_id="own-preset-save", scale=1, min_width=120)
        with gr.Row(elem_classes=["ws-acts"]):
            back = gr.Button("Undo changes", size="sm", min_width=120, elem_id="own-preset-back")
            share = gr.Button(
                "Save as a file", size="sm", min_width=120, elem_id="own-preset-share"
            )
            take = gr.UploadButton(
                "Load from a file",
                file_types=[".yaml", ".yml"],
                type="binary",
                size="sm",
                min_width=120,
                elem_id="own-preset-take",
            )
            delete = gr.Button(
                "Delete preset",
                variant="stop",
                size="sm",
                min_width=120,
                interactive=False,
                elem_id="own-preset-delete",
            )
        shared = gr.Textbox("", visible="hidden", label="File", elem_id="own-preset-shared")
    return PresetFields(
        choice, note, changes, name, save, back, share, take, delete, shared
    )  # fmt: skip


def first_preset() -> str:
    """The preset a fresh page shows."""
    return FIRST_PRESET if FIRST_PRESET in preset_names() else preset_names()[0]


def choices(own: OwnPresets) -> list[tuple[str, str]]:
    """(shown, value) of the user's own presets, then of the shipped ones."""
    yours = [(f"{name} (yours)", f"{OWN}{name}") for name in own.names()]
    return [*yours, *((name, name) for name in preset_names())]


def chosen_recipe(own: OwnPresets, choice: object) -> Recipe:
    """The recipe behind an entry of the list. Raises `UsageError`, or `RecipeError`."""
    if isinstance(choice, str) and choice.startswith(OWN):
        return own.load(choice.removeprefix(OWN))
    if not isinstance(choice, str) or choice not in preset_names():
        raise UsageError(f"{choice!r} is not a preset; choose one from the list")
    return load_recipe(choice)


def title(choice: object) -> str:
    """A preset's name, for use in sentences."""
    return str(choice).removeprefix(OWN)


def note_html(own: OwnPresets, choice: str) -> str:
    """What a preset is for, or when it was saved. Raises `UsageError` when it does not exist."""
    if not choice.startswith(OWN):
        return f'<p class="ws-lead">{text(preset_summary(choice))}</p>'
    path = own.folder / f"{title(choice)}.yaml"
    if title(choice) not in own.names():
        raise UsageError(f"your preset {title(choice)} does not exist any more; choose another")
    saved = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    line = f"Your own preset, saved {saved:%Y-%m-%d %H:%M}, in {path}."
    return f'<p class="ws-lead ws-wrap">{text(line)}</p>'


def chosen_updates(fields: PresetFields, own: OwnPresets, choice: str) -> Updates:
    """The page once `choice` is the preset."""
    is_own = choice.startswith(OWN)
    return {
        fields.choice: gr.update(choices=choices(own), value=choice),
        fields.note: note_html(own, choice),
        fields.name: title(choice) if is_own else "",
        fields.delete: gr.update(interactive=is_own),
    }


def taken(own: OwnPresets, raw: object) -> str:
    """Keep a recipe from an uploaded file; returns its entry in the list.

    Raises `UsageError` or `RecipeError`: the file may be anything.
    """
    if not isinstance(raw, bytes):
        raise UsageError("no file is chosen; choose the YAML file of a recipe")
    recipe = read_recipe(raw, "the file")
    name = own.free_name(recipe.name)
    own.save(name, recipe)
    return OWN + name


def shared_file(recipe: Recipe) -> str:
    """A file's name, a line break, and the recipe as YAML."""
    return f"{recipe.name}.yaml\n{to_yaml(recipe)}"
