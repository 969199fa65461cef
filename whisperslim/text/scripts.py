"""Which letters a language is written in, for every language Whisper has a token of.

Ranges are Unicode blocks. A language that is written in two scripts has both. Loads nothing.
"""

from collections.abc import Iterable

Range = tuple[int, int]

# Block ranges of the Unicode standard, both ends included. ASCII belongs to Latin as a whole:
# its languages use the punctuation inside words and numbers.
_SCRIPTS: dict[str, tuple[Range, ...]] = {
    "Latin": ((0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x1E00, 0x1EFF)),
    "Greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "Cyrillic": ((0x400, 0x52F),),
    "Armenian": ((0x530, 0x58F),),
    "Hebrew": ((0x590, 0x5FF),),
    "Arabic": ((0x600, 0x6FF), (0x750, 0x77F), (0x8A0, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)),
    "Devanagari": ((0x900, 0x97F), (0xA8E0, 0xA8FF)),
    "Bengali": ((0x980, 0x9FF),),
    "Gurmukhi": ((0xA00, 0xA7F),),
    "Gujarati": ((0xA80, 0xAFF),),
    "Tamil": ((0xB80, 0xBFF),),
    "Telugu": ((0xC00, 0xC7F),),
    "Kannada": ((0xC80, 0xCFF),),
    "Malayalam": ((0xD00, 0xD7F),),
    "Sinhala": ((0xD80, 0xDFF),),
    "Thai": ((0xE00, 0xE7F),),
    "Lao": ((0xE80, 0xEFF),),
    "Tibetan": ((0xF00, 0xFFF),),
    "Myanmar": ((0x1000, 0x109F),),
    "Georgian": ((0x10A0, 0x10FF),),
    "Hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7A3)),
    "Ethiopic": ((0x1200, 0x139F),),
    "Khmer": ((0x1780, 0x17FF),),
    "Kana": ((0x3040, 0x30FF),),
    "Han": ((0x3000, 0x303F), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xFF00, 0xFFEF)),
}
_LATIN = (
    "af az br bs ca cs cy da de en es et eu fi fo fr gl ha haw hr ht hu id is it jw la lb ln lt lv "
    "mg mi ms mt nl nn no oc pl pt ro sk sl sn so sq su sv sw tk tl tr vi yo"
)
_WRITTEN_IN: dict[tuple[str, ...], str] = {
    ("Latin",): _LATIN,
    ("Cyrillic",): "ba be bg kk mk mn ru tg tt uk",
    ("Cyrillic", "Latin"): "sr uz",
    ("Devanagari",): "hi mr ne sa",
    ("Bengali",): "as bn",
    ("Arabic",): "ar fa ps sd ur",
    ("Hebrew",): "he yi",
    ("Greek",): "el",
    ("Armenian",): "hy",
    ("Gurmukhi",): "pa",
    ("Gujarati",): "gu",
    ("Tamil",): "ta",
    ("Telugu",): "te",
    ("Kannada",): "kn",
    ("Malayalam",): "ml",
    ("Sinhala",): "si",
    ("Thai",): "th",
    ("Lao",): "lo",
    ("Tibetan",): "bo",
    ("Myanmar",): "my",
    ("Georgian",): "ka",
    ("Ethiopic",): "am",
    ("Khmer",): "km",
    ("Hangul",): "ko",
    ("Kana", "Han"): "ja",
    ("Han",): "yue zh",
}
SCRIPTS_OF = {code: names for names, codes in _WRITTEN_IN.items() for code in codes.split()}
LANGUAGES = tuple(sorted(SCRIPTS_OF))


def letters(languages: Iterable[str]) -> frozenset[str]:
    """Every character of the scripts of `languages`, all of them members of `LANGUAGES`."""
    ranges = {part for code in languages for name in SCRIPTS_OF[code] for part in _SCRIPTS[name]}
    return frozenset(chr(code) for low, high in ranges for code in range(low, high + 1))
