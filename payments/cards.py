"""Finding card numbers in requests, so that none gets into a log or the database."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from django.http import HttpRequest

# 13 to 19 digits that begin like a payment card (ISO/IEC 7812: 2 to 6), also in groups with spaces or hyphens.
CANDIDATE = re.compile(r"(?<![0-9A-Za-z])[2-6](?:[ -]?[0-9]){12,18}(?![0-9A-Za-z])")
# About one UUID in ten thousand has enough digits to look like a card.
UUID = re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9A-Za-z])")
MASK = "[card number removed]"
# Proxies and clients write these by themselves; they contain long numbers.
SKIPPED_HEADERS = frozenset({"traceparent", "tracestate", "content-length", "cookie"})
DOUBLE_DIGIT = 9


def holds_card_number(text: str) -> bool:
    """Whether the text contains a number that could be a payment card's."""
    return any(_passes_luhn(match.group()) for match in CANDIDATE.finditer(UUID.sub(" ", text)))


def redact(text: str) -> str:
    """The text with every card number replaced by `MASK`, for logs."""
    return CANDIDATE.sub(lambda match: MASK if _passes_luhn(match.group()) else match.group(), text)


def request_holds_card_number(request: HttpRequest) -> bool:
    """Look at the path, the query, the headers and the body, as they were sent."""
    address = unquote_plus(request.get_full_path())
    headers = (value for name, value in request.headers.items() if name.lower() not in SKIPPED_HEADERS)
    body = request.body.decode("utf-8", errors="replace")
    return any(holds_card_number(text) for text in (address, body, unquote_plus(body), *headers))


def _passes_luhn(text: str) -> bool:
    """The check digit of ISO/IEC 7812-1 annex B."""
    digits = [int(char) for char in text if char.isdigit()]
    doubled = [digit * 2 - DOUBLE_DIGIT * (digit > DOUBLE_DIGIT // 2) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
