"use strict";
// The report's landscape, and how it leads to the answers.

const layout = () => (onPlane ? layoutOfPlane() : layoutOfLines());

// The last traces show the chosen point: the ring around it and, among stacked answers, the line through it.
function traces() {
  const style = onPlane && shown.surface
    ? { type: "scatter3d", mode: "markers", marker: { size: 11, symbol: "circle-open", color: colour("--focus"), line: { width: 4, color: colour("--focus") } } }
    : { type: "scatter", mode: "markers", marker: { size: 24, color: "rgba(0,0,0,0)", line: { width: 2.5, color: colour("--focus") } } };
  const through = { type: "scatter", mode: "lines", yaxis: "y4", line: { width: 2.5, color: colour("--focus") } };
  const here = hereOn(state.point).map((at, n, all) => ({ ...at, ...(n === all.length - 1 ? style : through), hoverinfo: "skip", showlegend: false }));
  return [...(onPlane ? tracesOfPlane() : tracesOfLines()), ...pinnedTraces(), ...here];
}

function hereOn(point) {
  if (!point) return [{ x: [], y: [], z: [] }];
  return onPlane ? hereOnPlane(point) : hereOnLines(point);
}

// The square around the pinned point.
function pinnedTraces() {
  if (!state.pinned || (onPlane && shown.surface)) return [];
  const { x, y } = hereOn(state.pinned).at(-1);
  return [{ x, y, type: "scatter", mode: "markers", marker: { size: 22, symbol: "square", color: "rgba(0,0,0,0)", line: { width: 2.5, color: colour("--focus") } }, hoverinfo: "skip", showlegend: false }];
}

function size() {
  if (!onPlane) $("plot").className = ["one", "tall", "taller"][Object.keys(panelsOfLines()).length - 1];
}

function drawLandscape() {
  beginPlane();
  size();
  draw((plot) => plot.on("plotly_click", (event) => {
    const [at] = event.points.map(clicked).filter(Boolean);
    // a surface tells of a click while it draws, and again as long as the button is down
    if (at && at !== state.point) setTimeout(() => goTo(at));
  }));
}

// The point that a click chose: marks carry its number; a cell of a map or surface is found by its place. Means and stacked
// answers are those of several directions: they lead to the point beneath on the curve that is being followed.
function clicked({ customdata, data: trace, pointIndex, pointNumber, x: along }) {
  if (trace.type !== "heatmap" && trace.type !== "surface") {
    return points[customdata] ?? (onPlane ? null : nearestOn(state.curve.kind === "line" ? state.curve : lines[0], along));
  }
  const [row, column] = pointIndex ?? pointNumber;
  const [y, x] = trace.type === "surface" ? [column, row] : [row, column];
  return pointAt.get([data.across[x], data.up[y]].join());
}

function markHere() {
  if (!drawn?.dataset.ready) return;
  const here = hereOn(state.point);
  const at = Object.fromEntries(Object.keys(here[0]).map((name) => [name, here.map((trace) => trace[name])]));
  Plotly.restyle(drawn, at, here.map((_, n) => drawn.data.length - here.length + n));
}
