"""The figures of a plane as layers over a mesh, which its picture and its page both draw."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from safescape.landscape import Landscape
from safescape.views.series.curves import first_probe, sample_of

Array = NDArray[np.float64]


class Layer(NamedTuple):
    """One figure of one probe over a plane."""

    probe: str
    kind: str
    """asr, over_refusal, accuracy or perplexity; or an outcome, whose share it is."""
    values: Array
    """Shape (β, α), both ascending; NaN where it is not measured."""


def layers_of(landscape: Landscape) -> list[Layer]:
    """Return the layers of the probes asked all over a plane: the ASR of each, then each measure."""
    apart = landscape.survey.only_at_models
    samples = [(p.probe, sample_of(p)) for p in landscape.counted if p.waypoint is None]
    measures = [measure for measure in landscape.measures if measure.waypoint is None and measure.probe not in apart]
    rates = [
        layer_of(landscape, probe, "asr", ((s.coords, s.asr) for name, s in samples if name == probe))
        for probe in (first_probe(landscape), *(name for name in landscape.by_probe if name not in apart))
    ]
    others = [
        layer_of(landscape, probe, kind, ((m.coords, m.value) for m in measures if m.probe == probe))
        for probe, kind in dict.fromkeys((measure.probe, measure.kind) for measure in measures)
    ]
    return rates + others


def layer_of(landscape: Landscape, probe: str, kind: str, values: Iterable[tuple[tuple[float, ...], float]]) -> Layer:
    """Return a layer from (coordinates, value) pairs."""
    across, up = (axis.grid for axis in landscape.axes)
    cells = np.full((len(up), len(across)), np.nan)
    for (alpha, beta), value in values:
        cells[up.index(beta), across.index(alpha)] = value
    return Layer(probe, kind, cells)


def mesh_of(landscape: Landscape) -> tuple[Array, Array]:
    """Return the α and the β of a plane's points, as rounded where they are measured; each of shape (β, α)."""
    across, up = (axis.grid for axis in landscape.axes)
    alphas, betas = np.meshgrid(np.array(across), np.array(up))
    for point in landscape.counted:
        if point.waypoint is None:
            place = up.index(point.coords[1]), across.index(point.coords[0])
            alphas[place], betas[place] = point.effective
    return alphas, betas
