"""What a browser would send of the recipe's form."""

from typing import Any

from whisperslim.ui.compress.form import RecipeForm
from whisperslim.ui.parts.updates import Values


def shown(form: RecipeForm, **changes: Any) -> Values:
    """The form as it was laid out, with some controls changed: `train__steps=5`."""
    wanted = {name.replace("__", "."): value for name, value in changes.items()}
    return {f.component: wanted.get(f.dotted, f.component.value) for f in form.fields}
