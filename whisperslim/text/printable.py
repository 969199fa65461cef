"""Text for a terminal, which obeys some characters as commands. Leaf module.

A name, recipe or event in a run from someone else could otherwise move the cursor, rename the
window, write to the clipboard, or disguise lines.
"""

import re

# Control characters but tab and line end, those of 8-bit terminals (0x80 on) among them; what turns
# the direction of writing; and bytes of a file's name that are no UTF-8, which no terminal takes.
_ORDERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""`text` with every character that a terminal would obey spelled out, such as `\x1b`."""
    return _ORDERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable_json(text: str) -> str:
    r"""As `printable`, of JSON, which stays JSON of the same value."""
    return _ORDERS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
