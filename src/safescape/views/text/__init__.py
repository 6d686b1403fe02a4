"""Words and tables: what a landscape, a comparison or a gate says. Plain text; callers escape it."""
