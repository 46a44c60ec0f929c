"""Self-contained HTML pages from templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from zifbench.files import write_text_atomically
from zifbench.formatting import format_interval, format_value


def write_page(template: Path, target: Path, **values: Any) -> Path:
    """Fill a template and write the page, whole or not at all.

    Args:
        template: A Jinja template; a name that it uses and that is not given is an error. It has
            the filters `value` and `interval` for numbers.
        target: The file to write.
        values: What the template shows; text is escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["value"] = format_value
    environment.filters["interval"] = format_interval
    write_text_atomically(target, environment.get_template(template.name).render(**values))
    return target
