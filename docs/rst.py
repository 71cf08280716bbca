"""
What the reference is made of: the docstrings' few bits of reStructuredText as Markdown, and what only the code says.

Of each class that Airflow runs, that is which fields are templates and which parameters it inherits.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|attr|meth|func|data):`~?([^`]+)`")
CODE_BLOCK = re.compile(r"^\.\. code-block:: \w+\n", re.MULTILINE)  # what follows it is indented, and that is enough
OURS = "airflow_provider_firstpromoter."


class Markdown(griffe.Extension):
    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = CODE_BLOCK.sub("", ROLE.sub(r"`\1`", obj.docstring.value))

    def on_class_instance(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        if not cls.docstring or not re.search(r"(Operator|Sensor)$", cls.name):
            return
        kind = getattr(import_module(cls.module.path), cls.name)
        if not kind.template_fields:
            return
        said = f"Templated: {', '.join(f'`{name}`' for name in kind.template_fields)}.\n\n{_parameters(kind)}"
        first, _, rest = cls.docstring.value.partition("\n\n")
        cls.docstring.value = f"{first}\n\n{said}\n\n{rest}"


def _parameters(kind: type) -> str:
    """Return all parameters of a class that the provider adds to Airflow's, with their defaults."""
    found: dict[str, str] = {}
    for one in kind.__mro__:
        if one.__module__.startswith(OURS) and "__init__" in vars(one):
            for name, parameter in inspect.signature(one.__init__).parameters.items():  # type: ignore[misc]
                if parameter.kind is parameter.KEYWORD_ONLY:
                    required = parameter.default is parameter.empty
                    found.setdefault(name, f"`{name}`" if required else f"`{name}={parameter.default!r}`")
    return f"All parameters: {', '.join(found.values())}, and those of every task."
