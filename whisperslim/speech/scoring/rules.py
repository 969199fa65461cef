"""Named rules that change a text before scoring, each a pure function; `normalizer` combines them.

Devanagari vowel signs, virama, anusvara and nukta are Unicode class M (marks); a rule written for
Latin accents deletes them and with them most of the word. The rules here keep every mark that
carries meaning.
"""

import unicodedata

import regex

NUKTA = "\u093c"
CHANDRABINDU = "\u0901"
ANUSVARA = "\u0902"
VISARGA = "\u0903"
VIRAMA = "\u094d"


def compose(text: str) -> str:
    """Unicode canonical composition (NFC)."""
    return unicodedata.normalize("NFC", text)


# Invisible by definition (joiners, directional marks, variation selectors, soft hyphen), letters
# such as the Hangul filler excepted; and U+FFFE, which the Indic rules would drop later on.
_INVISIBLE = regex.compile(r"(?V1)[\p{Default_Ignorable_Code_Point}--\p{L}]|\uFFFE")


def remove_zero_width(text: str) -> str:
    """Drop ZWJ, ZWNJ, zero-width space and the like; marks that now touch are composed again."""
    return compose(_INVISIBLE.sub("", text))


# The library turns every colon after a Devanagari character into a visarga. That repairs "दु:ख",
# but breaks "उसने कहा: ...", "१०:३०" and "है।:". So the visarga is written here, for colons inside
# a word and for those that end one of these words, and every other colon is hidden from the
# library.
_VISARGA_WORDS = (
    "अत|छ|पुन|प्रात|प्राय|मूलत|क्रमश|मुख्यत|वस्तुत|विशेषत|संभवत|सम्भवत|सामान्यत"  # often typed with a colon
)
_TYPED_VISARGA = regex.compile(
    r"(?<=[\u0904-\u0939\u093c-\u094c\u0958-\u0963]):(?=[\u0904-\u0939\u0958-\u0961])"
    rf"|(?<=(?<![\p{{L}}\p{{M}}])(?:{_VISARGA_WORDS})):"
)
_COLON_IN_REACH = regex.compile(r"(?<=[\u0900-\u097f]):")


def apply_indic_rules(text: str) -> str:
    """The Devanagari rules of indic-nlp-library: one form of nukta letters, `|` as danda, quotes.

    Nuktas are kept, as separate marks. Which colons become a visarga is our choice, narrower than
    the library's.
    """
    # Here and not above, so that importing this module does not need the library.
    from indicnlp.normalize.indic_normalize import DevanagariNormalizer

    text = _COLON_IN_REACH.sub(" :", _TYPED_VISARGA.sub(VISARGA, text))
    return DevanagariNormalizer("hi").normalize(text)


_LATIN_RUN = regex.compile(r"\p{Latin}[\p{Latin}\p{M}]*")


def lower_case_latin(text: str) -> str:
    """Lower-case runs of Latin letters; other scripts are left alone."""
    return _LATIN_RUN.sub(lambda run: compose(run[0].lower()), text)


_TO_ASCII_DIGITS = {0x0966 + value: str(value) for value in range(10)}
# Indian (1,00,000) and Western (100,000) grouping; the last group has three digits in both.
_GROUPED_NUMBER = regex.compile(r"(?<![0-9])[0-9]{1,3}(?:,[0-9]{2,3})*,[0-9]{3}(?![0-9])")


def unify_digits(text: str) -> str:
    """Devanagari digits to ASCII ones; the commas that group thousands are dropped."""
    return ungroup(text.translate(_TO_ASCII_DIGITS))


def ungroup(text: str) -> str:
    """Drop the commas that group thousands of ASCII digits."""
    return _GROUPED_NUMBER.sub(lambda number: number[0].replace(",", ""), text)


# P: punctuation, danda U+0964/65 and U+0970 among it. S: symbols. Me: enclosing marks (keycaps).
_PUNCTUATION = regex.compile(r"[\p{P}\p{S}\p{Me}]")


def remove_punctuation(text: str) -> str:
    """Punctuation and symbols to spaces. Combining marks (Mn, Mc) stay."""
    return _PUNCTUATION.sub(" ", text)


def unify_chandrabindu(text: str) -> str:
    """Chandrabindu to anusvara: हूँ and हूं are one word in practice."""
    return text.replace(CHANDRABINDU, ANUSVARA)


# Nasal, then the stops of its own place of articulation. A nukta under न does not change it.
_HALF_NASALS = tuple(
    regex.compile(f"[{nasals}]{NUKTA}*{VIRAMA}(?=[{stops}])")
    for nasals, stops in (
        ("ङ", "क-घ"),
        ("ञ", "च-झ"),
        ("ण", "ट-ढ"),
        ("न\u0929", "त-ध"),
        ("म", "प-भ"),
    )
)


def unify_half_nasals(text: str) -> str:
    """A half nasal before a stop of its own class to anusvara: हिन्दी becomes हिंदी.

    Before any other consonant it stays, so जन्म and सम्मान are untouched.
    """
    for pattern in _HALF_NASALS:
        text = pattern.sub(ANUSVARA, text)
    return text


_WITHOUT_NUKTA = {ord(NUKTA): ""} | {
    code: unicodedata.normalize("NFD", chr(code))[0]
    for code in range(0x0900, 0x0980)
    if unicodedata.decomposition(chr(code)).endswith(f"{ord(NUKTA):04X}")
}


def fold_nukta(text: str) -> str:
    """Drop nuktas: रोज़ and रोज become one, but so do सज़ा (punishment) and सजा (adorned)."""
    return text.translate(_WITHOUT_NUKTA)


# The library has the candra letter U+0972 as ए, so the other candra e and the sign become e, too.
_WITHOUT_CANDRA = str.maketrans("ऍ\u0945ऑ\u0949", "ए\u0947आ\u093e")


def fold_candra(text: str) -> str:
    """Candra o to aa, as in डॉक्टर and डाक्टर; candra e to e.

    Which vowel takes their place is our choice. बॉल (ball) and बाल (hair) become one, too.
    """
    return text.translate(_WITHOUT_CANDRA)


# After a vowel, or a consonant with its own; at the end of a word, or before the future's ending.
_BEFORE = rf"(?<=[\u0904-\u0939{NUKTA}\u093e-\u094c])"
_NASAL, _END = rf"[{ANUSVARA}{CHANDRABINDU}]?", r"(?![\p{L}\p{M}])"
_GLIDE = regex.compile(
    rf"{_BEFORE}य(?:([\u0940\u0947])(?={_NASAL}{_END})"
    rf"|(\u0947)(?={_NASAL}ग[\u093e\u0940\u0947]{_END}))"
)
_WITHOUT_GLIDE = {"\u0940": "ई", "\u0947": "ए"}


def drop_glides(text: str) -> str:
    """The y between two vowels at the end of a verb or an adjective: गये becomes गए, नयी नई.

    And जायेगा becomes जाएगा. Both are in use; the dictionary of the government writes गए. Our choice
    is where it counts: before ी and े that end a word, and before the ending -गा, -गी, -गे.
    """
    return _GLIDE.sub(lambda match: _WITHOUT_GLIDE[match[1] or match[2]], text)


def collapse_spaces(text: str) -> str:
    """Any run of white space to one space; none at the ends."""
    return " ".join(text.split())
