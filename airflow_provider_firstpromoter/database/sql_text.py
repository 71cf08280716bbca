"""Embeds the author's SQL in the provider's statements, with the provider's parameters beside the author's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlparse import lexer, tokens

from airflow_provider_firstpromoter.database.dialects import RESERVED
from airflow_provider_firstpromoter.database.kinds import Parameters

_MARK = re.compile("\x00(\\d+)\x00")


def without_semicolon(sql: str) -> str:
    """Return the query without the semicolon at its end, which comments may follow."""
    if ";" not in sql:
        return sql
    # The lexer alone: the parser refuses texts of more than 10,000 tokens, such as a long IN-list.
    parts = list(lexer.tokenize(sql))  # type: ignore[no-untyped-call]
    for position in range(len(parts) - 1, -1, -1):
        kind, value = parts[position]
        if kind in tokens.Whitespace or kind in tokens.Comment:
            continue
        if kind is tokens.Punctuation and value == ";":
            del parts[position]
            continue
        break
    return "".join(value for _, value in parts)


class Binds:
    """
    Binds the provider's own values in a statement that holds the author's SQL.

    Each value is bound once and its mark may be used several times, in any order, but only after the author's SQL:
    drivers count placeholders from the start.

    :param given: the author's parameters, whose style the provider's have to have
    :param placeholders: how the driver writes them
    """

    def __init__(self, given: Parameters, placeholders: Literal["percent", "question", "dollar"]) -> None:
        self._given = given
        self._placeholders = placeholders
        self._values: list[Any] = []

    def __call__(self, value: Any) -> str:
        """Add a value, and return the mark that stands for it."""
        self._values.append(value)
        return f"\x00{len(self._values) - 1}\x00"

    def complete(self, before: str, sql: str, after: str) -> tuple[str, Any]:
        """
        Put the statement together.

        :param before: the provider's own text, without marks
        :param sql: the author's
        :param after: the provider's own text, with marks
        :returns: the statement and its parameters
        """
        if not self._given and self._placeholders == "percent":
            # Now that there are parameters, the driver would read the author's % as a placeholder.
            sql = sql.replace("%", "%%")
        if isinstance(self._given, Mapping):
            return before + sql + _MARK.sub(self._named, after), {
                **self._given,
                **{f"{RESERVED}{number}": value for number, value in enumerate(self._values)},
            }
        values = list(self._given or ())
        place = _Positions(self._values, values, self._placeholders)
        return before + sql + _MARK.sub(place, after), values

    def _named(self, mark: re.Match[str]) -> str:
        name = f"{RESERVED}{mark[1]}"
        return f"%({name})s" if self._placeholders == "percent" else f"${name}"  # SQLite takes the dollar too


class _Positions:
    """Replaces marks by positional placeholders, and notes the values in the placeholders' order."""

    def __init__(self, ours: Sequence[Any], values: list[Any], placeholders: str) -> None:
        self._ours = ours
        self._values = values
        self._placeholders = placeholders

    def __call__(self, mark: re.Match[str]) -> str:
        self._values.append(self._ours[int(mark[1])])
        match self._placeholders:
            case "percent":
                return "%s"
            case "dollar":
                return f"${len(self._values)}"
        return "?"
