"""Makes a server's message fit to be stored and logged: bounded, on one line, without the customer's data."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from airflow_provider_firstpromoter.calls.values import UNSENDABLE

MAX_MESSAGE_LENGTH = 500
#: Replaces a message that holds a secret in an escaped form.
HIDDEN = "*** (the message repeats private data in an escaped form)"
#: Characters of a message that are looked at. More than are kept, because white space and private texts shrink.
_MESSAGE_READ = 4 * MAX_MESSAGE_LENGTH
#: How often a message is unescaped, because each layer of a server may have escaped it.
_LAYERS = 3
#: The most characters that these layers make of one character: ``%2525F0%25259F%252598%252580``.
_LONGEST_ESCAPE = 28
#: Characters; e-mail addresses that are longer, escapes included, can be cut apart.
_LONGEST_EMAIL = 1000

_EMAIL = re.compile(r"(?<![^\s@'\"<>(),;:])[^\s@'\"<>(),;:]++(?:'[^\s@'\"<>(),;:]*)*@[^\s@'\"<>(),;:]+")
_ESCAPE = re.compile(
    r"""(?P<percent>(?:%[0-9a-f]{2})+)
      | (?P<html>&(?:\#[0-9]{1,7}|\#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});?)
      | \\(?:(?-i:U)(?P<long>[0-9a-f]{8}) | x(?P<byte>[0-9a-f]{2}))
      | (?P<unicode>(?:\\u[0-9a-f]{4})+)
      | \\(?P<single>.)""",
    re.IGNORECASE | re.VERBOSE,
)


def masked(message: object, *private: str | None) -> str | None:
    """
    Make a server's message fit to be kept: at most 500 characters on one line, without the customer's data.

    E-mail addresses and the private texts become ``***``, in upper and lower case. Where the message holds one of them
    in a form that is escaped for a URL, HTML or JSON, all of it is replaced.

    :param message: what the server said; anything but a text is None
    :param private: texts that must not be kept, such as the customer's ids and the API key
    """
    if not isinstance(message, str) or not message.strip():
        return None
    secrets = [secret for part in private if part and (secret := _one_line(part))]
    # What the cut may have left of a private text or an address lies in the margin, and is dropped with it.
    margin = max(_LONGEST_EMAIL, _LONGEST_ESCAPE * max(map(len, secrets), default=0))
    text = _one_line(message[: _MESSAGE_READ + margin])
    needles = {needle for secret in secrets for needle in _needles(secret) if needle.strip()}
    kept = _hide(text, needles)
    plain = _counts(text, needles)
    if any(_counts(layer, needles) - plain for layer in _layers(text)) or any(
        _counts(layer, needles) for layer in (kept, *_layers(kept))
    ):
        return HIDDEN
    if len(message) > _MESSAGE_READ + margin:
        kept = kept[: max(len(kept) - margin, 0)]
    return kept if len(kept) <= MAX_MESSAGE_LENGTH else kept[: MAX_MESSAGE_LENGTH - 1] + "…"


def _hide(text: str, needles: set[str]) -> str:
    """Replace the needles and e-mail addresses that are written as they are, in any case."""
    folded = "".join(one if len(one := character.upper().casefold()) == 1 else character for character in text)
    private = bytearray(len(text))
    for needle in needles:
        for start in _starts(folded, needle):
            private[start : start + len(needle)] = b"\1" * len(needle)
    for match in _EMAIL.finditer(text):
        private[match.start() : match.end()] = b"\1" * len(match[0])
    parts = groupby(zip(private, text, strict=True), key=lambda pair: pair[0])
    return "".join("***" if hidden else "".join(character for _, character in part) for hidden, part in parts)


def _counts(text: str, needles: set[str]) -> Counter[str]:
    """Return how often a text holds each of the needles, and e-mail addresses, if it does at all."""
    folded = text.upper().casefold()
    found = Counter(needle for needle in needles for _ in _starts(folded, needle))
    found["@"] += len(_EMAIL.findall(text)) if "@" in text else 0
    return +found


def _starts(text: str, needle: str) -> Iterator[int]:
    start = text.find(needle)
    while start >= 0:
        yield start
        start = text.find(needle, start + 1)


def _needles(secret: str) -> Iterator[str]:
    """Yield what to find in a folded text: the secret may itself hold an escape, and forms write a blank as a plus."""
    for layer in (secret, *_layers(secret)):
        folded = layer.upper().casefold()
        yield from (folded, folded.replace(" ", "+"), folded.replace("+", " "))


def _layers(text: str) -> Iterator[str]:
    """Yield what a text becomes when it is unescaped again and again."""
    for _ in range(_LAYERS):
        unescaped = _one_line(_ESCAPE.sub(_unescape, text))
        if unescaped == text:
            return
        yield (text := unescaped)


def _unescape(match: re.Match[str]) -> str:
    whole = match[0]
    match match.lastgroup:
        case "percent":
            return bytes.fromhex(whole.replace("%", "")).decode(errors="replace")
        case "unicode":
            return bytes.fromhex(re.sub(r"\\u", "", whole, flags=re.IGNORECASE)).decode("utf-16-be", "replace")
        case "html":
            plain = html.unescape(whole)
            return html.unescape(whole.lower()) if plain == whole else plain
        case "long" | "byte" as group:
            code = int(match[group], 16)
            return chr(code) if code <= 0x10FFFF else whole
        case _:
            return " " if match["single"] in "bfnrt" else match["single"]


def _one_line(text: str) -> str:
    return " ".join(UNSENDABLE.sub(" ", text).split())
