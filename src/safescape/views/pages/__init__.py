"""HTML documents: the report of a run, of a comparison, and the list of runs."""
