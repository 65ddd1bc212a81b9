"""Takes secrets out of what people are told: log lines, health, and what a command says.

Promise: no secret of the settings is told where it stands as a word of its own, and one of twelve characters or more
nowhere at all. A name with dots, such as that of an event or a host, is one word. The non-promise: a password that is a
word of the language cannot be told from that word: it is taken out of sentences that never meant it.
"""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from ordersaga.delivery.database_address import passwords_in
from ordersaga.settings import Settings

HIDDEN = "***"
LONG_CHARS = 12
"""From here on no word of ours is meant by chance."""


class Redaction:
    def __init__(self, secrets: Collection[str]) -> None:
        # The longest first: a URL before the password that it holds.
        patterns = [_pattern(secret) for secret in sorted(secrets, key=len, reverse=True) if secret]
        self._secrets = re.compile("|".join(patterns)) if patterns else None

    def text(self, text: str) -> str:
        return self._secrets.sub(HIDDEN, text) if self._secrets else text

    def value(self, value: Any) -> Any:
        """In texts, however deep; names of fields stay, and so do numbers."""
        if value is None or isinstance(value, int | float):
            return value
        if isinstance(value, Mapping):
            return {name: self.value(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        return self.text(str(value))


def secrets_of(settings: Settings) -> set[str]:
    """Each secret as it was given, the passwords inside of addresses, and each as JSON and a URL would write it."""
    given = {value.get_secret_value() for value in dict(settings).values() if isinstance(value, SecretStr)}
    found = {*given, *(password for one in given for password in passwords_in(one))}
    return {form for secret in found if secret for form in (secret, _in_json(secret), _in_url(secret))}


def _pattern(secret: str) -> str:
    escaped = re.escape(secret)
    if len(secret) >= LONG_CHARS:
        return escaped
    before = r"(?<!\w)(?<!\w\.)" if _is_of_words(secret[0]) else ""
    after = r"(?!\.?\w)" if _is_of_words(secret[-1]) else ""
    return f"{before}{escaped}{after}"


def _is_of_words(character: str) -> bool:
    return re.match(r"\w", character) is not None


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _in_url(text: str) -> str:
    return quote(text, safe="", errors="replace")
