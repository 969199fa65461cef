"""Languages by code and by name, for every one Whisper has a token of. Loads nothing."""

import re
from collections.abc import Collection, Iterable
from difflib import SequenceMatcher

from whisperslim.errors import UsageError
from whisperslim.text.scripts import LANGUAGES

# In English, as Whisper's authors name them.
_NAMES = """
af Afrikaans, am Amharic, ar Arabic, as Assamese, az Azerbaijani, ba Bashkir, be Belarusian,
bg Bulgarian, bn Bengali, bo Tibetan, br Breton, bs Bosnian, ca Catalan, cs Czech, cy Welsh,
da Danish, de German, el Greek, en English, es Spanish, et Estonian, eu Basque, fa Persian,
fi Finnish, fo Faroese, fr French, gl Galician, gu Gujarati, ha Hausa, haw Hawaiian, he Hebrew,
hi Hindi, hr Croatian, ht Haitian Creole, hu Hungarian, hy Armenian, id Indonesian, is Icelandic,
it Italian, ja Japanese, jw Javanese, ka Georgian, kk Kazakh, km Khmer, kn Kannada, ko Korean,
la Latin, lb Luxembourgish, ln Lingala, lo Lao, lt Lithuanian, lv Latvian, mg Malagasy, mi Maori,
mk Macedonian, ml Malayalam, mn Mongolian, mr Marathi, ms Malay, mt Maltese, my Myanmar, ne Nepali,
nl Dutch, nn Nynorsk, no Norwegian, oc Occitan, pa Punjabi, pl Polish, ps Pashto, pt Portuguese,
ro Romanian, ru Russian, sa Sanskrit, sd Sindhi, si Sinhala, sk Slovak, sl Slovenian, sn Shona,
so Somali, sq Albanian, sr Serbian, su Sundanese, sv Swedish, sw Swahili, ta Tamil, te Telugu,
tg Tajik, th Thai, tk Turkmen, tl Tagalog, tr Turkish, tt Tatar, uk Ukrainian, ur Urdu, uz Uzbek,
vi Vietnamese, yi Yiddish, yo Yoruba, yue Cantonese, zh Chinese
"""
NAMES: dict[str, str] = {
    code: name for code, _, name in (one.strip().partition(" ") for one in _NAMES.split(","))
}
"""Code -> English name, of all of `LANGUAGES`."""
_ALSO = {
    "burmese": "my", "castilian": "es", "farsi": "fa", "flemish": "nl", "haitian": "ht",
    "mandarin": "zh", "moldovan": "ro", "panjabi": "pa", "pushto": "ps", "sinhalese": "si",
    "valencian": "ca",
}  # fmt: skip
_CODES = {name.lower(): code for code, name in NAMES.items()} | _ALSO
_TOKEN = re.compile(r"<\|([a-z]{2,3})\|>")
_LONGEST_CODE = 3  # letters
_NEAR, _MOST_NEAR = 0.5, 3  # our choice: how alike two words are, from 0 to 1
_MOST_LISTED = 6


def named(code: str) -> str:
    """A language for people, "Hindi (hi)"; a code that is not Whisper's stands alone."""
    return f"{NAMES[code]} ({code})" if code in NAMES else code


def languages_of(tokens: Iterable[str]) -> tuple[str, ...]:
    """Codes of the languages that a vocabulary has control tokens of, `<|hi|>`, sorted."""
    found = (_TOKEN.fullmatch(token) for token in tokens)
    return tuple(sorted(match[1] for match in found if match and match[1] in NAMES))


def choices(codes: Iterable[str] = LANGUAGES) -> list[tuple[str, str]]:
    """(words, code) of each, by name."""
    return sorted((named(code), code) for code in codes)


def listed(codes: Collection[str]) -> str:
    """Languages in a row, "Hindi (hi), Marathi (mr)"; many of them as their number."""
    many = len(codes) > _MOST_LISTED
    return f"{len(codes)} languages" if many else ", ".join(map(named, codes))


def code_of(given: str) -> str:
    """The code of a language by code, by English name, or as `named` has it.

    What is none of these comes back as it is: whoever knows the model refuses it.
    """
    said = " ".join(given.split()).lower()
    name, _, code = said.rstrip(")").rpartition(" (")
    if name and code in NAMES:
        return code
    return said if said in NAMES else _CODES.get(said, given.strip())


def language_code(given: object) -> str:
    """As `code_of`. Raises `UsageError` for what can be no code either.

    A code that Whisper does not have may be that of a model of letters.
    """
    code = code_of(given) if isinstance(given, str) else ""
    if not could_be_code(code):
        raise UsageError(unknown(str(given)))
    return code


def could_be_code(code: str) -> bool:
    """Whether it is written as codes are, two letters or three."""
    return code.isascii() and code.isalpha() and code.islower() and 2 <= len(code) <= _LONGEST_CODE


def unknown(given: str, known: Collection[str] = LANGUAGES) -> str:
    """A sentence about a language that a model does not know, with the near ones it does know."""
    shown = named(given) if given in NAMES else repr(given[:60])
    beginning = f"the model does not know the language {shown}"
    if len(known) <= _MOST_LISTED:
        return f"{beginning}; it knows {', '.join(map(named, known)) or 'none'}"
    near = _near(given, known)
    if near:
        return f"{beginning}; near ones are {', '.join(map(named, near))}"
    return f"{beginning}; give a code such as hi, or an English name such as Hindi"


def _near(given: str, known: Collection[str]) -> list[str]:
    said = given.lower()[:60]

    def likeness(code: str) -> float:
        words = [code, *(word for word, of in _CODES.items() if of == code)]
        return max(SequenceMatcher(None, said, word).ratio() for word in words)

    near = [(likeness(code), code) for code in known]
    # Of equally near ones, those that begin alike: somebody slipped at the second letter.
    best = sorted((-how, code[:1] != said[:1], code) for how, code in near if how >= _NEAR)
    return [code for _, _, code in best[:_MOST_NEAR]]
