"""Makes a server's message fit to be stored and logged: bounded, on one line, without the customer's data."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from airflow_provider_firstpromoter.calls.values import UNSENDABLE

MAX_MESSAGE_LENGTH = 500
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
#: A quick check first, because most texts contain no escape sequence.
_MAY_BE_ESCAPED = re.compile(r"[%&\\]")

#: The start and the end of a part of a text.
_Span = tuple[int, int]


def masked(message: object, *private: str | None) -> str | None:
    """
    Make a server's message fit to be kept: at most 500 characters on one line, without the customer's data.

    E-mail addresses and the private texts become ``***``, in upper and lower case, and also where they are escaped for
    a URL, HTML or JSON.

    :param message: what the server said; anything but a text is None
    :param private: texts that must not be kept, such as the customer's ids and the API key
    """
    if not isinstance(message, str) or not message.strip():
        return None
    secrets = [secret for part in private if part and (secret := _one_line(part))]
    # What the cut may have left of a private text or an address lies in the margin, and is dropped with it.
    margin = max(_LONGEST_EMAIL, _LONGEST_ESCAPE * max(map(len, secrets), default=0))
    text = _one_line(message[: _MESSAGE_READ + margin])
    end = len(text) - margin if len(message) > _MESSAGE_READ + margin else len(text)
    kept = "".join(_without(_private_spans(text, secrets), text, end))
    return kept if len(kept) <= MAX_MESSAGE_LENGTH else kept[: MAX_MESSAGE_LENGTH - 1] + "…"


def _without(spans: list[_Span], text: str, end: int) -> Iterator[str]:
    """Yield the text up to ``end`` with each of the spans replaced; overlapping spans get one replacement."""
    position = 0
    for start, stop in sorted(spans):
        if start >= end:
            break
        if start >= position:
            yield text[position:start]
            yield "***"
        position = max(position, stop)
    yield text[position : max(end, position)]


def _private_spans(text: str, secrets: list[str]) -> list[_Span]:
    """Find the e-mail addresses and secrets in a text, escaped or not."""
    needles = {needle for secret in secrets for needle in _needles(secret) if needle.strip()}
    found: list[_Span] = []
    for layer, origins in _layers(text):
        folded, folded_origins = _folded(layer, origins)
        for needle in needles:
            start = folded.find(needle)
            while start >= 0:
                found.append(_origin(folded_origins, start, start + len(needle)))
                start = folded.find(needle, start + 1)
        if "@" in layer:
            found += (_origin(origins, *match.span()) for match in _EMAIL.finditer(layer))
    return found


def _needles(secret: str) -> Iterator[str]:
    """Yield what to find in a folded text: the secret may itself hold an escape, and forms write a blank as a plus."""
    for layer, _ in _layers(secret):
        folded = layer.upper().casefold()
        yield folded
        if " " in folded:
            yield folded.replace(" ", "+")
        if "+" in folded:
            yield folded.replace("+", " ")


def _layers(text: str) -> Iterator[tuple[str, list[_Span] | None]]:
    """
    The text, and what it becomes when it is unescaped again and again.

    :returns: with each text, where each of its characters comes from in the first one; None if it is the first one
    """
    origins: list[_Span] | None = None
    yield text, origins
    for _ in range(_LAYERS):
        if not _MAY_BE_ESCAPED.search(text):
            return
        text, origins = _unescaped(text, origins)
        yield text, origins


def _unescaped(text: str, origins: list[_Span] | None) -> tuple[str, list[_Span]]:
    characters: list[str] = []
    spans: list[_Span] = []
    for character, start, end in _unescaped_characters(text):
        blank = character.isspace() or UNSENDABLE.match(character)
        if blank and characters and characters[-1] == " ":
            continue
        characters.append(" " if blank else character)
        spans.append(_origin(origins, start, end))
    return "".join(characters), spans


def _unescaped_characters(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield each character of the unescaped text, with the start and end of its source in the text."""
    position = 0
    for match in _ESCAPE.finditer(text):
        yield from ((text[at], at, at + 1) for at in range(position, match.start()))
        position = match.start()
        for characters, length in _unescaped_match(match):
            yield from ((character, position, position + length) for character in characters)
            position += length
    yield from ((text[at], at, at + 1) for at in range(position, len(text)))


def _unescaped_match(match: re.Match[str]) -> Iterator[tuple[str, int]]:
    """Yield the characters that an escape represents, each with the length of its escape sequence."""
    whole = match[0]
    match match.lastgroup:
        case "percent":
            for character in bytes.fromhex(whole.replace("%", "")).decode(errors="surrogateescape"):
                yield character, 3 * len(character.encode(errors="surrogateescape"))
        case "unicode":
            units = b"".join(int(unit, 16).to_bytes(2, "big") for unit in re.split(r"\\u", whole, flags=re.I)[1:])
            for character in units.decode("utf-16-be", errors="surrogatepass"):
                yield character, 12 if character > "\uffff" else 6
        case "html":
            plain = html.unescape(whole)
            plain = html.unescape(whole.lower()) if plain == whole else plain
            if plain.lower() == whole.lower():  # no such entity
                yield from ((character, 1) for character in whole)
            else:
                yield plain, len(whole)
        case "long" | "byte" as group:
            code = int(match[group], 16)
            yield chr(code) if code <= 0x10FFFF else whole, len(whole)
        case _:
            yield " " if match["single"] in "bfnrt" else match["single"], 2


def _folded(text: str, origins: list[_Span] | None) -> tuple[str, list[_Span] | None]:
    """Return the text without the difference between upper and lower case, and the origins of its characters."""
    folded = text.upper().casefold()
    if len(folded) == len(text):  # else some character has become two, such as the German sharp s
        return folded, origins
    spans = (_origin(origins, at, at + 1) for at in range(len(text)))
    return folded, [span for span, character in zip(spans, text, strict=True) for _ in character.upper().casefold()]


def _origin(origins: list[_Span] | None, start: int, end: int) -> _Span:
    return (start, end) if origins is None else (origins[start][0], origins[end - 1][1])


def _one_line(text: str) -> str:
    return " ".join(UNSENDABLE.sub(" ", text).split())
