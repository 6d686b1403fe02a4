"""Pictures and pages of runs. Knows no socket, needs only the store and the landscape; never loads a model."""

from safescape.views.card import card_of
from safescape.views.comparison_page import compose_comparison, render_comparison
from safescape.views.document import Document, Home, plotly_source
from safescape.views.figure import (
    PAPER_FORMATS,
    columns_of,
    draw,
    draw_comparison,
    draw_for_paper,
    draw_into,
    paper_bytes,
)
from safescape.views.figure import save as save_figure
from safescape.views.junit import junit_of
from safescape.views.markdown import named
from safescape.views.notebook import notebook_of
from safescape.views.page import compose_page
from safescape.views.page import render as render_page
from safescape.views.posting import markdown_of
from safescape.views.said import said_at
from safescape.views.shelf import Glance, Row, compose_notice, compose_shelf, glance_of, row_of
from safescape.views.speed import SPEED_COLUMNS, draw_speed, speed_rows, speed_table
from safescape.views.study import study_table
from safescape.views.summary import figures_of
from safescape.views.verdict import Verdict, beyond_said, interval_said, is_at_edge, verdict_of
from safescape.views.words import KINDS, interval_text, printable, subject_of, value_text

__all__ = [
    "KINDS",
    "PAPER_FORMATS",
    "SPEED_COLUMNS",
    "Document",
    "Glance",
    "Home",
    "Row",
    "Verdict",
    "beyond_said",
    "card_of",
    "columns_of",
    "compose_comparison",
    "compose_notice",
    "compose_page",
    "compose_shelf",
    "draw",
    "draw_comparison",
    "draw_for_paper",
    "draw_into",
    "draw_speed",
    "figures_of",
    "glance_of",
    "interval_said",
    "interval_text",
    "is_at_edge",
    "junit_of",
    "markdown_of",
    "named",
    "notebook_of",
    "paper_bytes",
    "plotly_source",
    "printable",
    "render_comparison",
    "render_page",
    "row_of",
    "said_at",
    "save_figure",
    "speed_rows",
    "speed_table",
    "study_table",
    "subject_of",
    "value_text",
    "verdict_of",
]
