"""Names in Markdown: hostile text, which where it is posted could draw tables, load pictures, mention people.

They stand in `<code>` with every sign that Markdown reads as a character reference, which nothing reads as markup.
"""

from __future__ import annotations

import string

from safescape.views.words import printable

__all__ = ["named"]

_MARKUP = {ord(sign): f"&#{ord(sign)};" for sign in string.punctuation if sign not in "-/"}


def named(name: str) -> str:
    """Return a name as Markdown shows it."""
    return f"<code>{printable(name).translate(_MARKUP)}</code>"
