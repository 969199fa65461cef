"""Amounts as they are said: fractions, currency, percent, times of day."""

import pytest

from whisperslim.speech.scoring.hindi_numbers import write_amounts
from whisperslim.speech.scoring.normalizer import by_name


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("0.5 1.5 2.5 3.5", "आधा डेढ़ ढाई साढ़े 3"),
        ("0.25 1.25 4.25", "चौथाई सवा सवा 4"),
        ("0.75 1.75 9.75", "पौन पौने 2 पौने 10"),
        ("2.50 किलो", "ढाई किलो"),
        ("98.6 2.05 100.5", "98.6 2.05 100.5"),  # read out, digit by digit
        ("½ 3½ 2 ¾ 1/2 2 1/4", "आधा साढ़े 3 पौने 3 आधा सवा 2"),
        ("1/2/2020 11/2", "1/2/2020 11/2"),
        ("₹500 ₹ 1 rs. 20 रु 5 500 रु.", "500 रुपये 1 रुपया 20 रुपये 5 रुपये 500 रुपये"),
        ("$1 €2 £3", "1 डॉलर 2 यूरो 3 पाउंड"),
        ("₹2.5 करोड़ ₹3 लाख", "ढाई करोड़ रुपये 3 लाख रुपये"),
        ("₹2.50 ₹1.01 ₹0.75 ₹0.00", "2 रुपये 50 पैसे 1 रुपया 1 पैसा 75 पैसे 0 रुपये"),
        ("50% 2.5 %", "50 प्रतिशत ढाई प्रतिशत"),
        ("9:30 1:30 2:30 बजे", "साढ़े 9 डेढ़ ढाई बजे"),
        ("9:15 12:45 9:00 बजे", "सवा 9 पौने 1 9 बजे"),
        ("9:20 बजे 14:30 9 :05", "9 बजकर 20 मिनट 14 बजकर 30 मिनट 9 बजकर 5 मिनट"),
        ("1:2 9:60 25:10 1:30:20", "1:2 9:60 25:10 1:30:20"),
        ("क2.5 2.5क 1.2.5", "क2.5 2.5क 1.2.5"),
        ("", ""),
    ],
)  # fmt: skip
def test_amounts_as_they_are_said(written: str, said: str) -> None:
    assert write_amounts(written) == said


def test_devanagari_digits_and_grouping_come_first() -> None:
    both = by_name("hindi-1+amounts+number-words")
    assert both("९:३० बजे") == "साढ़े नौ बजे"
    assert both("₹१,००,०००") == "एक लाख रुपये"
    assert both("Rs. 2.5 करोड़, यानी ५० %।") == "ढाई करोड़ रुपये यानी पचास प्रतिशत"
    assert by_name("hindi-1+number-words")("2.5") == "दो दशमलव पांच"
