"""Prompts, answers and names that try to run a script, load an address or break a format."""

from __future__ import annotations

HOSTILE = (
    "</script><script>window.ran = 1</script>",
    "<img src=x onerror='window.ran = 2'>",
    "<b>bold</b><a href='https://example.com/'>link</a>",
    '"><svg onload=window.ran=3>',
    "<!-- <script>",
    "$x^2$ {{7*7}} {% raw %} ${window.ran = 4} %{x} %s %(a)s {0}",
    r"$\frac{broken",
    "javascript:window.ran=5",
    "nul \0, line\nbreak, separators \u2028 \u2029, right to left \u202e",
    "emoji 🙂, family 👩‍👩‍👧, 漢字, zalgo ẗ̴́",
    "https://example.com/pixel.png",
    "]]> &lt;b&gt; &amp;",
    "_hidden",
)
"""Markup, mathematics, templates and control characters; a script that is executed sets `window.ran`."""
