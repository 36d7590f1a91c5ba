"""Redaction: personal data goes, numbers that only look like it stay."""

import pytest

from trainables.data.redaction import redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to ann.lee+news@mail.ex-ample.co.uk.", "write to <EMAIL>."),
        ("call +49 30 1234567 or (030) 1234-567", "call <PHONE> or <PHONE>"),
        ("call 555-123-4567 now", "call <PHONE> now"),
        ("from 192.168.0.1, 2001:db8::8a2e:370:7334", "from <IP>, <IP>"),
        ("to DE89 3704 0044 0532 0130 00 today", "to <IBAN> today"),
        ("card 4111 1111 1111 1111, 5500-0000-0000-0004", "card <CREDIT_CARD>, <CREDIT_CARD>"),
    ],
)
def test_personal_data_is_replaced_by_its_kind(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "on 2024-01-02 at 12:34:56, or 02/01/2024",
        "version 1.2.3 and pi 3.14159265358979",
        "1,000,000 or 10 000 000 of them",
        "DE89 3704 0044 0532 0130 03 has wrong check digits",
        "4111 1111 1111 1112 has a wrong check digit",
        "999.1.2.3 is no address, std::vector is none, a[1:2] is none",
        "id 12345678901234567890",
        "@decorator and user@host",
    ],
)
def test_numbers_that_only_look_like_it_stay(text: str) -> None:
    assert redact(text) == text
