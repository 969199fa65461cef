"""Which languages both models of a comparison know, and which of them is chosen."""

from dataclasses import dataclass

import gradio as gr

from whisperslim.errors import WhisperSlimError
from whisperslim.jobs.models.languages import languages_of_model, tuned_for
from whisperslim.text.languages import choices, code_of, listed, named, unknown
from whisperslim.text.scripts import LANGUAGES
from whisperslim.ui.context.choices import chosen_model
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.parts.forms import wrong
from whisperslim.ui.parts.updates import Update

INFO = "Spoken in the recording; both models know it."


@dataclass(frozen=True)
class Offered:
    """The languages to choose from, the one chosen, and what must be said of it.

    Where the models have none in common, `codes` and `chosen` are empty.
    """

    codes: tuple[str, ...]
    chosen: str
    why: str = ""


def offered(context: AppContext, dense: object, slim: object, chosen: object) -> Offered:
    """The languages of two models of the form. What is chosen stays where that is possible."""
    sides = [known_to(context, dense), known_to(context, slim)]
    known = [codes for codes in sides if codes is not None]
    common = tuple(code for code in LANGUAGES if all(code in codes for codes in known))
    if not common:
        first, second = (listed(codes or ()) for codes in sides)
        return Offered(
            (), "", f"The models have no language in common: dense knows {first}, slim {second}."
        )
    code = code_of(chosen) if isinstance(chosen, str) else ""
    if code in common:
        return Offered(common, code)
    now = next((each for each in (_tuned(context, slim), "hi") if each in common), common[0])
    why = f"{named(code)} is not known to both models; {named(now)} is chosen." if code else ""
    return Offered(common, now, why)


def known_to(context: AppContext, model: object) -> tuple[str, ...] | None:
    """Codes that a model of the form knows; None while none is chosen, or when it takes any."""
    try:
        return languages_of_model(chosen_model(context, model))
    except WhisperSlimError:  # Compare says what is wrong with it
        return None


def offer_update(context: AppContext, dense: object, slim: object, chosen: object) -> Update:
    """The field after another model was chosen."""
    found = offered(context, dense, slim, chosen)
    shown = wrong(found.why) if not found.codes else gr.update(info=INFO, elem_classes=[])
    more = {"info": found.why} if found.codes and found.why else {}
    return {**shown, **more, "choices": choices(found.codes), "value": found.chosen or None}


def typed_update(context: AppContext, dense: object, slim: object, typed: object) -> Update:
    """The field after a language was chosen or typed: by its code, or marked, and left as it is."""
    found = offered(context, dense, slim, typed)
    code = code_of(typed) if isinstance(typed, str) else ""
    if code in found.codes:
        return gr.update(info=INFO, elem_classes=[], value=code)
    return wrong(unknown(code, found.codes) if found.codes else found.why)


def _tuned(context: AppContext, model: object) -> str:
    try:
        return tuned_for(chosen_model(context, model))
    except WhisperSlimError:
        return ""
