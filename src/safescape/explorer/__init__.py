"""`safescape view`: the pages of all runs under a directory, served to this machine alone, updated while a scan runs.

The server only reads: a run is opened read-only, nothing is written, and no request names a file. A request names a
run, which is looked up among those that were found under the directory. The form of `safescape label --page` is served
in the same way, and stores labels in one run.
"""

from safescape.explorer.runs import Runs
from safescape.explorer.server import listen, serve

__all__ = ["Runs", "listen", "serve"]
