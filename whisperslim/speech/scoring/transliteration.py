"""Hindi written in Urdu or Latin letters, into Devanagari: for a second score, never the first.

No library at hand does it. aksharamukha 2.3 (AGPL, some twenty packages) leaves گ, ٹ, ھ and others
as they are and starts words with vowel signs (ابھی پولینڈ becomes ाभे पोलेنڈ); the Urdu scheme of
indic-transliteration 2.3 is that of a dictionary and does the same (ाبھی); their Latin schemes are
for scholars' spelling and make मैन् घर् of "main ghar". AI4Bharat's IndicXlit is a neural model with
a toolkit of its own. So the tables here are ours. They are simple on purpose:

* Urdu writes no short vowels and no half letters, has one letter for ई, ए and य and one for ऊ, ओ, औ
  and व, and spells मैं and में alike. What a word's letters leave open is guessed, except for the
  most common words, which are listed.
* Latin is read as people type Hindi (aa, ee, kh, chh), with no difference between त and ट.

So a word that was heard right may still count as wrong: a score after this is an upper bound.
`consonants` gives a lower bound: it keeps what all three scripts write unambiguously.
"""

import unicodedata
from functools import cache

import regex

from whisperslim.speech.scoring.writing import word_script

_HALANT = "\u094d"
_ANUSVARA = "\u0902"


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _pairs(text: str) -> dict[str, str]:
    words = _nfc(text).split()
    return dict(zip(words[::2], words[1::2], strict=True))


_URDU_WORDS = _pairs(
    "ہے है ہیں हैं میں में ہوں हूँ ہوا हुआ ہوئی हुई ہوئے हुए اور और کیا क्या کیوں क्यों یہ यह "
    "وہ वह کہ कि نہ न نہیں नहीं اس इस ان उन مجھے मुझे مجھ मुझ کچھ कुछ لیے लिए لئے लिए لیکن लेकिन "
    "پھر फिर دن दिन مل मिल دل दिल بچے बच्चे بچوں बच्चों بچہ बच्चा اچھا अच्छा اچھی अच्छी اچھے अच्छे "
    "ہندی हिन्दी کتاب किताब صرف सिर्फ़ وقت वक़्त گیا गया دیا दिया لیا लिया کیسے कैसे کیسا कैसा "
    "ایسا ऐसा ایسے ऐसे جیسے जैसे جیسا जैसा تین तीन میری मेरी زیادہ ज़्यादा شروع शुरू پیسے पैसे "
    "کسی किसी جس जिस جن जिन بہن बहन سکول स्कूल"
)
_ASPIRATED = _pairs("ک ख گ घ چ छ ج झ ٹ ठ ڈ ढ ت थ د ध پ फ ب भ ڑ ढ़ ن न्ह م म्ह ل ल्ह ر र्ह")
_URDU_CONSONANTS = _pairs(
    "ب ब پ प ت त ٹ ट ث स ج ज چ च ح ह خ ख़ د द ڈ ड ذ ज़ ر र ڑ ड़ ز ज़ ژ ज़ س स ش श ص स ض ज़ ط त ظ ज़ "
    "غ ग़ ف फ़ ق क़ ک क گ ग ل ल م म ن न ہ ह ھ ह"
)
_URDU_SIGNS = {"\u0650": "ि", "\u064f": "ु", "\u064e": "", "\u0652": "", "\u0670": "ा"}
_SAME_LETTERS = str.maketrans({
    "ي": "ی", "ى": "ی", "ك": "ک", "ه": "ہ", "ة": "ہ", "ۃ": "ہ", "ۀ": "ہ", "أ": "ا", "إ": "ا",
    "ٱ": "ا",
    "۔": "।", "؟": "?", "،": ",", "؛": ";", "ـ": "",
    **{chr(0x06F0 + n): str(n) for n in range(10)},
    **{chr(0x0660 + n): str(n) for n in range(10)},
})  # fmt: skip
_ALEF, _ALEF_MADDA, _VAV, _YEH, _BIG_YEH, _AIN, _NUN, _HEH = "اآویےعنہ"
_NUN_GHUNNA, _ASPIRATION, _YEH_HAMZA, _VAV_HAMZA, _DOUBLED = "ںھئؤ\u0651"
_LONG = frozenset(_ALEF + _ALEF_MADDA + _VAV + _YEH + _BIG_YEH + _YEH_HAMZA + _VAV_HAMZA)
_STOPS = frozenset("کگچجٹڈتدپب")

# Independent vowel for each sign, as it stands at a word's start and after another vowel.
_STANDING = {"": "अ", "ा": "आ", "ि": "इ", "ी": "ई", "ु": "उ", "ू": "ऊ", "े": "ए", "ै": "ऐ",
             "ो": "ओ", "ौ": "औ"}  # fmt: skip

_LATIN_WORDS = _pairs(
    "main मैं mein में me में mai मैं hai है hain हैं he है hoon हूँ hun हूँ hu हूँ nahi नहीं nahin नहीं "
    "nahii नहीं aur और kya क्या ye यह yeh यह wo वह woh वह voh वह ki कि ka का ke के ko को se से ne ने "
    "na न pe पे par पर ek एक hua हुआ hui हुई hue हुए kyun क्यों kyon क्यों kyu क्यों mujhe मुझे "
    "tum तुम hum हम ham हम bahut बहुत bohot बहुत"
)
_LATIN_CONSONANTS = _pairs(
    "cch च्छ chh छ kh ख gh घ ch च jh झ th थ dh ध ph फ bh भ sh श ck क k क c क q क़ g ग j ज t त "
    "d द n न p प f फ़ b ब m म y य r र l ल v व w व s स h ह z ज़ x क्स"
)
_LATIN_VOWELS = _pairs("aa ा ai ै au ौ ee ी ii ी ea ी oo ू uu ू ou ौ i ि u ु e े o ो") | {"a": ""}
_GLIDES = frozenset("यरवलह")


def to_devanagari(text: str) -> str:
    """A text with its words of Urdu and Latin letters respelled; words of other scripts stay."""
    return " ".join(_word(word) for word in _nfc(text).translate(_SAME_LETTERS).split())


def _word(word: str) -> str:
    respell = {"Arabic": _from_urdu, "Latin": _from_latin}.get(word_script(word))
    if respell is None:
        return word
    return _nfc(_LETTERS.sub(lambda run: respell(run[0]), word))


_LETTERS = regex.compile(r"[\p{L}\p{M}]+")


def _from_urdu(word: str) -> str:
    if word in _URDU_WORDS:
        return _URDU_WORDS[word]
    written, place = "", 0
    while place < len(word):
        piece, taken = _urdu_piece(word, place, written)
        written, place = written + piece, place + taken
    return written


def _urdu_piece(word: str, place: int, written: str) -> tuple[str, int]:
    """What letters at `place` become, and how many they are."""
    letter, rest = word[place], word[place + 1 :]
    if rest[:1] == _ASPIRATION and letter in _ASPIRATED:
        return _ASPIRATED[letter], 2
    if letter == _DOUBLED:
        return (_HALANT + written[-1] if written[-1:] in _PLAIN else ""), 1
    if letter in _URDU_SIGNS:
        return _vowel(_URDU_SIGNS[letter], written), 1
    if letter == _NUN_GHUNNA or (letter == _NUN and _is_nasal(word, place)):
        return _ANUSVARA, 1
    if letter == _HEH and not rest and place and word[place - 1] not in _LONG:
        return "ा", 1
    if letter in _URDU_CONSONANTS:
        return _URDU_CONSONANTS[letter], 1
    return _urdu_vowel(letter, rest, written)


def _urdu_vowel(letter: str, rest: str, written: str) -> tuple[str, int]:
    follows, starts = rest[:1], not written
    if letter == _ALEF_MADDA:
        return "आ", 1
    if letter == _ALEF:
        if starts and follows in (_YEH, _VAV):
            return ("ए" if follows == _YEH else "ओ"), 2
        return (_STANDING[""] if starts else _vowel("ा", written)), 1
    if letter == _AIN:
        if starts and follows in (_ALEF, _VAV):
            return ("आ" if follows == _ALEF else "औ"), 2
        return (_STANDING[""] if starts else "" if follows in _LONG else _vowel("ा", written)), 1
    if letter in (_YEH_HAMZA, _VAV_HAMZA):
        if follows in (_YEH, _BIG_YEH):
            return ("ई" if follows == _YEH else "ए"), 2
        return ("इ" if letter == _YEH_HAMZA else "ओ"), 1
    if letter == _VAV:
        return ("व" if starts or follows in _LONG else _vowel("ो", written)), 1
    if letter == _YEH:
        glides = starts or follows in (_ALEF, _VAV, _ALEF_MADDA)
        return ("य" if glides and follows else _vowel("े" if rest else "ी", written)), 1
    return (_vowel("े", written) if letter == _BIG_YEH else ""), 1


def _is_nasal(word: str, place: int) -> bool:
    """Whether ن nasalizes the vowel before it: a stop follows, and no other vowel's end comes."""
    if not place or word[place + 1 : place + 2] not in _STOPS:
        return False
    after = word[place + 2 :].removeprefix(_ASPIRATION)
    return word[place - 1] not in _LONG or not after


_PLAIN = frozenset(map(chr, range(0x0915, 0x093A)))


def _vowel(sign: str, written: str) -> str:
    """A vowel after what is written: as a sign on a consonant, standing alone elsewhere."""
    return sign if written[-1:] in _PLAIN or written[-1:] == "\u093c" else _STANDING[sign]


def _from_latin(word: str) -> str:
    lower = "".join(c for c in unicodedata.normalize("NFD", word.lower()) if c.isalpha())
    if lower in _LATIN_WORDS:
        return _LATIN_WORDS[lower]
    written, place, last_consonant = "", 0, False
    while place < len(lower):
        consonant = _longest(lower, place, _LATIN_CONSONANTS)
        if consonant:
            letter = _LATIN_CONSONANTS[consonant]
            # Letters join at a word's start and when doubled; elsewhere an unwritten अ parts them.
            joins = last_consonant and (
                (len(written) == 1 and letter in _GLIDES) or written[-1:] == letter
            )
            if letter == "न" and _nasal_in_latin(lower, place, last_consonant):
                letter = _ANUSVARA
            written, place = written + (_HALANT if joins else "") + letter, place + len(consonant)
            last_consonant = letter != _ANUSVARA
            continue
        vowel = _longest(lower, place, _LATIN_VOWELS)
        place += len(vowel) or 1
        if vowel:
            sign = _LATIN_VOWELS[vowel]
            if place == len(lower) and written:
                sign = {"": "ा", "ि": "ी", "ु": "ू"}.get(sign, sign)
            written += sign if last_consonant else _STANDING[sign]
            last_consonant = False
    return written


def _nasal_in_latin(word: str, place: int, after_consonant: bool) -> bool:
    return not after_consonant and place > 0 and word[place + 1 : place + 2] in tuple("kgcjtdpb")


def _longest(word: str, place: int, table: dict[str, str]) -> str:
    return next(
        (word[place : place + n] for n in (3, 2, 1) if word[place : place + n] in table), ""
    )


_UNSURE = regex.compile(
    r"[\u0900-\u0914\u093a-\u094f\u0955-\u0957\u0962\u0963यव]|[नणङञम]\u094d*(?=[क-भ])|(?<=.)ह$"
)
_MERGED = str.maketrans("टठडढणषङञ", "तथदधनशनन")


@cache
def _consonants_of(word: str) -> str:
    bare = _UNSURE.sub("", unicodedata.normalize("NFD", word))
    return bare.translate(_MERGED) or "अ"


def consonants(text: str) -> str:
    """Words of Devanagari by what every script writes of them, for an estimate from below.

    Without vowels, nasals before a stop, nuktas and half letters; य and व, which Urdu writes as it
    does vowels, and a ह at the end, are left out, and ट is त, as in Latin letters.
    """
    return " ".join(_consonants_of(word) for word in text.split())
