"""Numbers in Hindi words, in Unicode NFC. Two optional rules of the Hindi normalizer.

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


# What is said of a half and of quarters.
_HALF, _AND_QUARTER, _LESS_QUARTER = _nfc("साढ़े"), "सवा", "पौने"
_HALVES = {0: "आधा", 1: _nfc("डेढ़"), 2: _nfc("ढाई")}
_QUARTER, _THREE_QUARTERS = _nfc("चौथाई"), "पौन"
_MOST_IN_QUARTERS = 99  # our choice: of more, the decimals are read out
_TWELVE = 12  # hours are said in quarters up to here
_SIGNS = {"½": "5", "¼": "25", "¾": "75", "1/2": "5", "1/4": "25", "3/4": "75"}
_CURRENCIES = {
    "₹": ("रुपया", "रुपये", "पैसा", "पैसे"),
    "$": ("डॉलर", "डॉलर", "सेंट", "सेंट"),
    "€": ("यूरो", "यूरो", "सेंट", "सेंट"),
    "£": ("पाउंड", "पाउंड", "पेनी", "पेंस"),
}
"""Sign -> one, several; one and several of its hundredths."""
_WORD = r"[\p{L}\p{M}\p{N}]"
_BEGIN, _END = rf"(?<!{_WORD})(?<!\p{{N}}[.:/,])", rf"(?!{_WORD}|[.:/,]\p{{N}})"
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_SCALE = "|".join(_nfc("सौ हज़ार हजार लाख करोड़ करोड अरब खरब मिलियन बिलियन").split())
_SIGN = r"[₹$€£]|(?:rs|रु)\.?(?![\p{L}\p{M}])"
_FRACTION = regex.compile(rf"{_BEGIN}(?:([0-9]+) ?)?([½¼¾]|(?<![0-9])(?:1/2|1/4|3/4)){_END}")
_MONEY = regex.compile(
    rf"(?<!{_WORD})({_SIGN}) ?({_NUMBER})( (?:{_SCALE}))?{_END}"
    rf"|{_BEGIN}({_NUMBER}) ?({_SIGN})"
)
_PERCENT = regex.compile(rf"{_BEGIN}({_NUMBER}) ?%")
# The rule for colons, which comes earlier, writes a space where the digit is of Devanagari.
_TIME = regex.compile(rf"{_BEGIN}([01]?[0-9]|2[0-3]) ?:([0-5][0-9]){_END}( बजे(?!{_WORD}))?")
_DECIMAL = regex.compile(rf"{_BEGIN}([0-9]+)\.([0-9]+){_END}")


def write_amounts(text: str) -> str:
    """Fractions, currency, percent and times of day as they are said, whole numbers in digits.

    2.5 becomes ढाई, 3½ साढ़े 3, ₹500 500 रुपये, 50 % 50 प्रतिशत, 9:30 साढ़े 9, 9:20 9 बजकर 20 मिनट;
    with `spell_numbers` after it no digit is left. Which of several ways to say an amount is taken
    is our choice: दो दशमलव पाँच for 2.5 differs.
    """
    text = _FRACTION.sub(lambda match: f"{match[1] or 0}.{_SIGNS[match[2]]}", text)
    text = _MONEY.sub(_money, text)
    text = _PERCENT.sub(r"\1 प्रतिशत", text)
    text = _TIME.sub(_time, text)
    return _DECIMAL.sub(_decimal, text)


def _money(match: regex.Match[str]) -> str:
    number, scale = match[2] or match[4], match[3] or ""
    sign = match[1] or match[5]
    one, several, hundredth, hundredths = _CURRENCIES[sign if sign in _CURRENCIES else "₹"]
    whole, _, part = number.partition(".")
    if len(part) != 2 or scale:  # 2.5 is ढाई; two decimals are counted
        return f"{number}{scale} {one if number == '1' and not scale else several}"
    counts = ((int(whole), one, several), (int(part), hundredth, hundredths))
    said = [f"{count} {single if count == 1 else many}" for count, single, many in counts if count]
    return " ".join(said) or f"0 {several}"


def _time(match: regex.Match[str]) -> str:
    hour, minute, at = int(match[1]), int(match[2]), match[3] or ""
    quarter = {15: "25", 30: "5", 45: "75"}.get(minute)
    if minute == 0:
        return f"{hour}{at}"
    if quarter is None or not 1 <= hour <= _TWELVE:
        return f"{hour} बजकर {minute} मिनट"
    if quarter == "75":
        return f"{_LESS_QUARTER} {hour % _TWELVE + 1}{at}"
    return f"{_AND_QUARTER} {hour}{at}" if quarter == "25" else f"{_and_half(hour)}{at}"


def _decimal(match: regex.Match[str]) -> str:
    whole, part = int(match[1]), match[2].rstrip("0")
    if whole > _MOST_IN_QUARTERS or part not in ("5", "25", "75"):
        return match[0]
    if part == "5":
        return _and_half(whole)
    if part == "75":
        return f"{_LESS_QUARTER} {whole + 1}" if whole else _THREE_QUARTERS
    if whole == 0:
        return _QUARTER
    return _AND_QUARTER if whole == 1 else f"{_AND_QUARTER} {whole}"


def _and_half(whole: int) -> str:
    return _HALVES.get(whole) or f"{_HALF} {whole}"
