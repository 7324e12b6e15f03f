"""The package's page templates, and how a page gets into its file."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from elasticface.base.files import write_text

if TYPE_CHECKING:
    import jinja2


@functools.cache
def templates_of(package: str) -> "jinja2.Environment":
    """The templates in the folder ``templates`` of a package, and the report's, for pages that look like it.

    All that they are given is escaped. They are compiled once, which takes a quarter of the time of a report.
    """
    import jinja2  # here, since the command line imports this module and must start fast

    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(one) for one in (package, "elasticface.report")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(path: Path, page: str) -> None:
    """Write a page, whole or not at all. File names need not be UTF-8; what cannot be written is shown as "?"."""
    write_text(path, page.encode(errors="replace").decode())
