"""The docstrings' few bits of reStructuredText, as the Markdown that the reference is made of."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|attr|meth|func|data):`~?([^`]+)`")
CODE_BLOCK = re.compile(r"^\.\. code-block:: \w+\n", re.MULTILINE)  # what follows it is indented, and that is enough


class Markdown(griffe.Extension):
    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = CODE_BLOCK.sub("", ROLE.sub(r"`\1`", obj.docstring.value))
