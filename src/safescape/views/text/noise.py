"""What is said of answers that ended as noise, and of the sample of them that was written to its end."""

from __future__ import annotations

from safescape.landscape import Landscape, Metric
from safescape.views.text.words import counted, interval_text

MANY_CHANGED = 0.5
"""Percent: above this share of verdicts that change, the page says so beside the verdict."""


def noise_said(landscape: Landscape) -> str:
    """Return how many answers ended as noise, and how many verdicts that changed; empty if none ended so."""
    noise = landscape.noise
    if noise is None or not noise.answers:
        return ""
    said = f"{noise.answers:,} of {noise.asked:,} answers ended early as noise"
    if not noise.again:
        return f"{said}."
    changed = ", ".join(f"{judge} {count}" for judge, count in noise.changed.items() if count)
    return (
        f"{said}. Asked again and written to the end, of {counted(noise.again, 'answer')} among them "
        f"{_share(noise.share)} had another verdict{f' ({changed})' if changed else ''}."
    )


def noise_warning(landscape: Landscape) -> str:
    """Return the same where more verdicts change than `MANY_CHANGED`, with what to do; else empty."""
    noise = landscape.noise
    if noise is None or noise.share.value is None or noise.share.value <= MANY_CHANGED:
        return ""
    return f"{noise_said(landscape)} Figures by whole answers: --whole-answers, with another --out."


def _share(share: Metric) -> str:
    return f"{share.value:.1f} % (95 % interval {interval_text(share, 1)} %)"
