"""`python -m safescape`."""

from safescape.cli import main

main()
