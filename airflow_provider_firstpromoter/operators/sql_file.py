"""Reads the file that an operator's or a sensor's ``sql`` may name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class SqlFile:
    """
    A mixin, to be named before Airflow's base class: ``sql`` may be the path of a ``.sql`` file.

    Airflow's own ``template_ext`` would take a parameter that ends in ``.sql`` for a file, too.
    """

    template_ext: Sequence[str] = ()
    sql: Any

    def render_template(self, content: Any, context: Context, jinja_env: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Render a field's content; of ``sql`` the file's, if it is the path of one."""
        jinja_env = jinja_env or self.get_template_env()  # type: ignore[attr-defined]
        if content is self.sql and isinstance(content, str) and content.endswith(".sql"):
            content, *_ = jinja_env.loader.get_source(jinja_env, content)
        return super().render_template(content, context, jinja_env, *args, **kwargs)  # type: ignore[misc]
