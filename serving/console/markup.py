"""HTML elements with escaped text, so that a name somebody typed can never become markup."""

import re
from html import escape
from typing import TypeVar

from nicegui import ui

E = TypeVar("E", bound=ui.element)

# Refusals name what to run in quotes: those words are commands, and look like it.
_COMMAND = re.compile(r"&#x27;(regulars [^<>]*?)&#x27;")


def text(tag: str, content: str, classes: str = "", **attributes: str) -> ui.html:
    """Add an element with a text in it; a quoted regulars command in it is set as code."""
    marked = _COMMAND.sub(r"<code>\1</code>", escape(content))
    if tag == "span":
        # Between neighbours that only a margin keeps apart, for who hears the page or copies it.
        marked += " "
    return _with(ui.html(marked, sanitize=False, tag=tag).classes(classes), attributes)


def box(tag: str, classes: str = "", **attributes: str) -> ui.element:
    """Add an element that others go into; `aria_label` becomes the attribute aria-label."""
    return _with(ui.element(tag).classes(classes), attributes)


def notice(content: str, classes: str = "") -> None:
    """Say why there is nothing to see here; a refusal is an answer, so it looks like one."""
    with box("div", f"notice {classes}", role="status"):
        for line in content.splitlines():
            text("p", line)


def _with(element: E, attributes: dict[str, str]) -> E:
    # Set one by one: in a string of props a quote in somebody's text would end the attribute.
    for name, value in attributes.items():
        element.props[name.replace("_", "-")] = value
    return element
