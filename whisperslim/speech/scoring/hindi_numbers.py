"""Whole numbers in Hindi words, in Unicode NFC. An optional rule of the Hindi normalizer.

A table of our own, since no library at hand replaces it: num2words 0.5.14 has no Hindi
(`NotImplementedError` for every number), and indic-numtowords 1.1.0, the same otherwise up to
999,999,999 at the numbers tried, spells 6, 18, 44, 53, 63, 66, 67, 88 and 95 in another way (छः,
अट्ठारह, चौंतालीस, तिरेपन, तिरेसठ, छयासठ, सरसठ, अठासी, पचानवे), all of which are in use, too.
"""

import unicodedata

import regex

from whisperslim.errors import UsageError


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


_NUMBERS = _nfc(
    "शून्य एक दो तीन चार पाँच छह सात आठ नौ "
    "दस ग्यारह बारह तेरह चौदह पंद्रह सोलह सत्रह अठारह उन्नीस "
    "बीस इक्कीस बाईस तेईस चौबीस पच्चीस छब्बीस सत्ताईस अट्ठाईस उनतीस "
    "तीस इकतीस बत्तीस तैंतीस चौंतीस पैंतीस छत्तीस सैंतीस अड़तीस उनतालीस "
    "चालीस इकतालीस बयालीस तैंतालीस चवालीस पैंतालीस छियालीस सैंतालीस अड़तालीस उनचास "
    "पचास इक्यावन बावन तिरपन चौवन पचपन छप्पन सत्तावन अट्ठावन उनसठ "
    "साठ इकसठ बासठ तिरसठ चौंसठ पैंसठ छियासठ सड़सठ अड़सठ उनहत्तर "
    "सत्तर इकहत्तर बहत्तर तिहत्तर चौहत्तर पचहत्तर छिहत्तर सतहत्तर अठहत्तर उन्यासी "
    "अस्सी इक्यासी बयासी तिरासी चौरासी पचासी छियासी सत्तासी अट्ठासी नवासी "
    "नब्बे इक्यानवे बानवे तिरानवे चौरानवे पंचानवे छियानवे सत्तानवे अट्ठानवे निन्यानवे"
).split()
_SCALES = ((10**7, _nfc("करोड़")), (10**5, "लाख"), (10**3, _nfc("हज़ार")), (100, "सौ"))
_LONE_NUMBER = regex.compile(
    r"(?<![\p{L}\p{Mn}\p{Mc}\p{N}])[0-9]+(?:\.[0-9]+)*(?![\p{L}\p{Mn}\p{Mc}\p{N}])"
)


def spell_number(number: int) -> str:
    """A whole number from 0 to 999,999,999 in Hindi words, in crores, lakhs, thousands, hundreds.

    Raises `UsageError` outside that range.
    """
    if not 0 <= number < 10**9:
        raise UsageError(f"{number} cannot be spelled; give a whole number from 0 to 999999999")
    words = []
    for size, name in _SCALES:
        if number >= size:
            words += [_NUMBERS[number // size], name]
            number %= size
    if number or not words:
        words.append(_NUMBERS[number])
    return " ".join(words)


def _spell_digits(digits: str) -> str:
    return " ".join(_NUMBERS[int(digit)] for digit in digits)


def _spell_part(digits: str) -> str:
    # Leading zeros and long runs are codes and telephone numbers: read digit by digit.
    is_code = len(digits) > 9 or (len(digits) > 1 and digits[0] == "0")
    return _spell_digits(digits) if is_code else spell_number(int(digits))


def _spell_match(match: regex.Match[str]) -> str:
    parts = match[0].split(".")
    if len(parts) == 2:
        return f"{_spell_part(parts[0])} दशमलव {_spell_digits(parts[1])}"
    return " ".join(_spell_part(part) for part in parts)


def spell_numbers(text: str) -> str:
    """Free-standing ASCII numbers as Hindi words (from digits to words only).

    The other way round cannot be done by rule: "दो" is 2 and also "give". Years are spelled as
    counts ("एक हज़ार नौ सौ ..."), and many numbers have more than one accepted spelling, which is
    why this step is off unless asked for.
    """
    return _LONE_NUMBER.sub(_spell_match, text)
