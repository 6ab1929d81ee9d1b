"""Pages without any script: a form, a table. What somebody typed is escaped."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from serving.console.gate import STRICT
from serving.console.mark import MARK

LARGEST_FORM = 10_000

_pages = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class FormTooLarge(Exception):
    """A form is larger than any of ours can be."""


def plain_page(template: str, title: str, status: int = 200, **values: Any) -> Response:
    """Return a page made of a template."""
    page = _pages.get_template(template).render(title=title, mark=Markup(MARK), **values)  # noqa: S704
    headers = {"Content-Security-Policy": STRICT, "Cache-Control": "no-store"}
    return Response(page, status, headers, "text/html; charset=utf-8")


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form; of one that comes twice the last.

    Raises:
        FormTooLarge: It is no form of ours.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_FORM:
            raise FormTooLarge
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=20)
    return {name: values[-1] for name, values in fields.items()}
