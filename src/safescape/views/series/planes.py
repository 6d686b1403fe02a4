"""The layers of a plane: one figure of one probe at each of its points."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from safescape.landscape import Landscape
from safescape.views.series.curves import WORST, Array, measures_everywhere
from safescape.views.series.samples import first_probe, sample_of
from safescape.views.text.words import measure_labels, quoted


class Layer(NamedTuple):
    """One figure of one probe over a plane."""

    probe: str
    kind: str
    """As in `Course`."""
    values: Array
    """Shape (β, α), both ascending; NaN where it is not measured."""
    label: str


def layers_of(landscape: Landscape) -> list[Layer]:
    """Return the layers of the probes asked all over a plane: the ASR of each, then each measure."""
    measures, apart = measures_everywhere(landscape), landscape.survey.only_at_models
    labels = {first_probe(landscape): "ASR"}
    labels |= {name: f"ASR, {quoted(name)}" for name in landscape.by_probe if name not in apart}
    found: dict[tuple[str, str], list[tuple[tuple[float, ...], float]]] = {(name, "asr"): [] for name in labels}
    for point in landscape.counted:
        if point.waypoint is None and point.probe in labels:
            found[point.probe, "asr"].append((point.coords, sample_of(landscape, point).asr))
    for measure in measures:
        found.setdefault((measure.probe, measure.kind), []).append((measure.coords, measure.value))
    labels |= measure_labels((measure.probe, measure.kind) for measure in measures)
    return [layer_of(landscape, probe, kind, values, labels[probe]) for (probe, kind), values in found.items()]


def layer_of(
    landscape: Landscape, probe: str, kind: str, values: Iterable[tuple[tuple[float, ...], float]], label: str
) -> Layer:
    """Return a layer from (coordinates, value) pairs."""
    across, up = (axis.grid for axis in landscape.axes)
    cells = np.full((len(up), len(across)), np.nan)
    for (alpha, beta), value in values:
        cells[up.index(beta), across.index(alpha)] = min(value, WORST)
    return Layer(probe, kind, cells, label)


def mesh_of(landscape: Landscape) -> tuple[Array, Array]:
    """Return the α and the β of a plane's points, as rounded where they are measured; each of shape (β, α)."""
    across, up = (axis.grid for axis in landscape.axes)
    alphas, betas = np.meshgrid(np.array(across), np.array(up))
    for point in landscape.counted:
        if point.waypoint is None:
            place = up.index(point.coords[1]), across.index(point.coords[0])
            alphas[place], betas[place] = point.effective
    return alphas, betas
