// The landscape of a run, and how it leads to the answers.

import { $, colour } from "./dom.js";
import { draw, plotDrawn, redraw } from "./charts.js";
import { layoutOfLines, panelsOfLines, selectedOnLines, tracesOfLines } from "./lines.js";
import { beginPlane, layoutOfPlane, offerLayers, selectedOnPlane, isSurface, tracesOfPlane } from "./plane.js";
import { isPlane, lines, nearestOn, planeData, pointAt, points } from "./run.js";
import { goTo, onChange, state } from "./selection.js";

/** @import { Point } from "./run.js" */

/** Draw it, and mark the selected and the pinned point. */
export function beginLandscape() {
  if (isPlane) beginPlane();
  size();
  onChange(["point"], markSelected);
  onChange(["pinned"], redraw);
  draw({ traces, layout: () => (isPlane ? layoutOfPlane() : layoutOfLines()) }, (plot) => plot.on("plotly_click", (event) => {
    const at = event.points.map(clicked).find(Boolean);
    // a surface reports a click while it draws, and again as long as the button is down
    if (at && at !== state.point) setTimeout(() => goTo(at));
  }));
}

/** Set the size and the choices for the present data; `redraw` draws it. */
export function renewLandscape() {
  if (isPlane) offerLayers();
  size();
}

function size() {
  if (!isPlane) $("plot").className = ["one", "tall", "taller", "tallest"][Object.keys(panelsOfLines()).length - 1];
}

/** @param {Point | null} point */
const placesOf = (point) => (!point ? [] : isPlane ? selectedOnPlane(point) : selectedOnLines(point));

// The last traces mark the selected point: a line through the stacked answers, and a ring.
function traces() {
  const line = { width: 2.5, color: colour("--focus") };
  const ring = isSurface()
    ? { type: "scatter3d", mode: "markers", marker: { size: 11, symbol: "circle-open", color: colour("--focus"), line: { ...line, width: 4 } } }
    : { type: "scatter", mode: "markers", marker: { size: 24, color: "rgba(0,0,0,0)", line } };
  const through = { type: "scatter", mode: "lines", yaxis: "y4", line };
  const square = { type: "scatter", mode: "markers", marker: { size: 22, symbol: "square", color: "rgba(0,0,0,0)", line } };
  const pinned = isSurface() ? [] : placesOf(state.pinned).slice(-1).map((at) => ({ ...at, ...square }));
  const selected = placesOf(state.point).map((at, n, all) => ({ ...at, ...(n === all.length - 1 ? ring : through) }));
  const marks = [...pinned, ...selected].map((trace) => ({ ...trace, hoverinfo: "skip", showlegend: false }));
  return [...(isPlane ? tracesOfPlane() : tracesOfLines()), ...marks];
}

function markSelected() {
  const plot = plotDrawn();
  const here = placesOf(state.point);
  if (!plot || !here.length) return;
  /** @param {"x" | "y" | "z"} name */
  const each = (name) => here.map((trace) => trace[name]);
  const at = { x: each("x"), y: each("y"), ...("z" in here[0] && { z: each("z") }) };
  Plotly.restyle(plot, at, here.map((_, n) => plot.data.length - here.length + n));
}

/**
 * Return the point that a click chose: marks carry its number, a cell of a map or surface has its place. Means and stacked
 * answers are of several directions: they lead to the nearest point of the current line.
 * @param {Clicked} click
 */
function clicked({ customdata, data: trace, pointIndex, pointNumber, x }) {
  if (trace.type !== "heatmap" && trace.type !== "surface") {
    return points[customdata] ?? (isPlane ? null : nearestOn(state.curve.kind === "line" ? state.curve : lines[0], x));
  }
  const [row, column] = pointIndex ?? pointNumber;
  const { across, up } = planeData();
  return trace.type === "surface" ? pointAt(across[row], up[column]) : pointAt(across[column], up[row]);
}
