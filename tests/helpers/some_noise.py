"""A test of noise that ends some answers of a random model and not others."""

from __future__ import annotations

from collections.abc import Sequence

from safescape.judges import NoiseTest


class SomeNoise(NoiseTest):
    """Calls an answer noise if the code points of its text so far add up to a multiple of three."""

    def __call__(self, text: str, tokens: Sequence[int] = ()) -> bool:
        """Return whether an answer ends here."""
        return sum(map(ord, text)) % 3 == 0
