"""`data`: list the public data sets that have names, and fetch them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from safescape.probes import Located, PublicSet, catalogue, fetch, locate, set_named

__all__ = ["Listed", "fetch_sets", "list_sets"]


class Listed(NamedTuple):
    """A public data set, and where it is on this machine."""

    data: PublicSet
    located: Located

    @property
    def homes(self) -> list[str]:
        """Where its files are published: `github:OWNER/NAME@COMMIT` or `hub:OWNER/NAME@COMMIT`."""
        files = self.data.files
        return sorted({f"{'hub' if file.on_hub else 'github'}:{file.repository}@{file.revision}" for file in files})

    def to_dict(self) -> dict[str, Any]:
        """Return what `safescape data --json` prints of it."""
        return {
            "name": self.data.name,
            "holds": self.data.holds,
            "rows": self.data.rows,
            "licence": self.data.licence,
            "citation": self.data.citation,
            "published": self.homes,
            "where": self.located.where,
            "files": [str(path) for path in self.located.paths],
            "integrity": self.located.integrity or None,
        }


def list_sets() -> list[Listed]:
    """Return all public data sets by name, with where each one is; of MMLU, the subjects that the paper measures."""
    return [Listed(data, locate(data)) for data in catalogue()]


def fetch_sets(names: Sequence[str]) -> list[Listed]:
    """Fetch public data sets into the cache, unless they are there or in `SAFESCAPE_DATA` already.

    Raises:
        InputError: a name is unknown, or a set cannot be fetched; those named before it are kept.

    """
    sets = [set_named(name) for name in dict.fromkeys(names)]
    return [Listed(data, fetch(data, data.name)) for data in sets]
