"""Replaces personal data in a text by what it was: <EMAIL>, <PHONE>, <IP>, <IBAN>, <CREDIT_CARD>.

Numbers that carry a check digit are replaced only where it is right; others by their form. Finds no names.
"""

import ipaddress
import re

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
_IP = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w:]|\.\w)")
# A number with its country (+49 ...), or groups as they are dialled: (030) 1234-567, 030/1234567, 555-123-4567. Dates,
# versions and amounts have other groups.
_PHONE = re.compile(
    r"(?<![\w.+-])(?<!\d )(?:"
    r"(?:\+|00)[1-9]\d{0,2}(?:[ ./-]?\(?\d{1,5}\)?){2,5}"
    r"|\(\d{2,5}\)[ -]?\d{3,4}(?:[ -]?\d{2,4}){1,2}"
    r"|0\d{2,4}[ /-]\d{3,}(?:[ -]?\d{2,5}){0,2}"
    r"|\d{3}[ -]\d{3}[ -]\d{4}"
    r")(?![\w-]|\.\d)"
)
_FEWEST_DIGITS, _MOST_DIGITS = 7, 15


def redact(text: str) -> str:
    """`text` with a name of its kind in place of each piece of personal data."""
    text = _EMAIL.sub("<EMAIL>", text)
    text = _IBAN.sub(lambda found: "<IBAN>" if is_iban(found[0]) else found[0], text)
    text = _CARD.sub(lambda found: "<CREDIT_CARD>" if is_card_number(found[0]) else found[0], text)
    text = _IP.sub(lambda found: "<IP>" if _is_address(found[0]) else found[0], text)
    return _PHONE.sub(lambda found: "<PHONE>" if _is_dialled(found[0]) else found[0], text)


def is_iban(text: str) -> bool:
    """Whether the check digits of an account number are right (ISO 13616)."""
    compact = text.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


def is_card_number(text: str) -> bool:
    """Whether the last digit is the check digit of the others (Luhn)."""
    digits = [int(character) for character in text if character.isdecimal()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    # Luhn alone lets a tenth of all numbers through, and rows of one digit; no card begins with 0 or 1.
    return digits[0] > 1 and len(set(digits)) > 1 and (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def _is_address(text: str) -> bool:
    if ":" in text and len(text) < 7:
        return False  # `::` and `a::b` stand in programs more often than in logs
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_dialled(text: str) -> bool:
    return _FEWEST_DIGITS <= sum(character.isdecimal() for character in text) <= _MOST_DIGITS
