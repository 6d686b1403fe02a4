"""Pictures and pages of a run. Needs only the store and the landscape; never loads a model."""

from safescape.views.figure import draw
from safescape.views.figure import save as save_figure
from safescape.views.page import render as render_page

__all__ = ["draw", "render_page", "save_figure"]
