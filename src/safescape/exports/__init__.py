"""Exports for other tools: tables (CSV, Parquet), a section of a model card, a log for Inspect AI, figures for papers.

Reads the store and uses the words of `views`; loads no model and opens no socket. The only room that imports pyarrow
and inspect-ai.
"""

from safescape.exports.files import Place, save_figures, write_exports

__all__ = ["Place", "save_figures", "write_exports"]
