"""Pictures, pages and words of runs. Needs only the store and the landscape; never loads a model or opens a socket."""

from safescape.views.figures.directions import draw_directions
from safescape.views.figures.figure import draw, draw_comparison, draw_speed
from safescape.views.figures.figure import save as save_figure
from safescape.views.figures.paper import PAPER_FORMATS, draw_for_paper, draw_into, paper_bytes
from safescape.views.pages.comparison import compose_comparison, render_comparison
from safescape.views.pages.document import Document, Home, plotly_source
from safescape.views.pages.label_form import compose_label_form
from safescape.views.pages.report import Opinions, answers_at, compose_page, notebook_of
from safescape.views.pages.report import render as render_page
from safescape.views.pages.run_list import Glance, Row, compose_notice, compose_run_list, glance_of, row_of
from safescape.views.text.comparison import shared_limit
from safescape.views.text.correction import (
    agreement_tables,
    agreement_text,
    corrected_cell,
    corrected_further,
    corrections_said,
    has_corrections,
)
from safescape.views.text.directions import directions_table
from safescape.views.text.gate import junit_of, markdown_of
from safescape.views.text.inspection import inspection_text
from safescape.views.text.key_figures import by_keyword, figures_of
from safescape.views.text.noise import noise_said
from safescape.views.text.remarks import basin_said, beyond_said, interval_said, thoughts_said, unscored_said
from safescape.views.text.strict import strict_lines, strict_said
from safescape.views.text.summaries import card_of, speed_table, speed_text, study_text
from safescape.views.text.verdict import Verdict, verdict_of
from safescape.views.text.words import (
    KINDS,
    folded,
    interval_text,
    legible,
    limit_text,
    named,
    printable,
    subject_of,
    value_text,
)

__all__ = [
    "KINDS",
    "PAPER_FORMATS",
    "Document",
    "Glance",
    "Home",
    "Opinions",
    "Row",
    "Verdict",
    "agreement_tables",
    "agreement_text",
    "answers_at",
    "basin_said",
    "beyond_said",
    "by_keyword",
    "card_of",
    "compose_comparison",
    "compose_label_form",
    "compose_notice",
    "compose_page",
    "compose_run_list",
    "corrected_cell",
    "corrected_further",
    "corrections_said",
    "directions_table",
    "draw",
    "draw_comparison",
    "draw_directions",
    "draw_for_paper",
    "draw_into",
    "draw_speed",
    "figures_of",
    "folded",
    "glance_of",
    "has_corrections",
    "inspection_text",
    "interval_said",
    "interval_text",
    "junit_of",
    "legible",
    "limit_text",
    "markdown_of",
    "named",
    "noise_said",
    "notebook_of",
    "paper_bytes",
    "plotly_source",
    "printable",
    "render_comparison",
    "render_page",
    "row_of",
    "save_figure",
    "shared_limit",
    "speed_table",
    "speed_text",
    "strict_lines",
    "strict_said",
    "study_text",
    "subject_of",
    "thoughts_said",
    "unscored_said",
    "value_text",
    "verdict_of",
]
