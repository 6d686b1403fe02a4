"use strict";
// The report's landscape, and how it leads to the answers.

const layout = () => (onPlane ? layoutOfPlane() : layoutOfLines());

// The last trace is the ring around the chosen point.
function traces() {
  const here = hereOn(state.point);
  const ring = onPlane && shown.surface
    ? { type: "scatter3d", marker: { size: 11, symbol: "circle-open", color: colour("--focus"), line: { width: 4, color: colour("--focus") } } }
    : { type: "scatter", marker: { size: 24, color: "rgba(0,0,0,0)", line: { width: 2.5, color: colour("--focus") } } };
  return [...(onPlane ? tracesOfPlane() : tracesOfLines()), { ...here, ...ring, mode: "markers", hoverinfo: "skip", showlegend: false }];
}

function hereOn(point) {
  if (!point) return { x: [], y: [], z: [] };
  return onPlane ? hereOnPlane(point) : hereOnLines(point);
}

function drawLandscape() {
  beginPlane();
  if (!onPlane && data.measures.length) $("plot").classList.add("tall");
  draw((plot) => plot.on("plotly_click", (event) => {
    const [at] = event.points.map(clicked).filter(Boolean);
    // a surface tells of a click while it draws, and again as long as the button is down
    if (at && at !== state.point) setTimeout(() => goTo(at));
  }));
}

// The point that a click chose: marks carry its number; a cell of a map or surface is found by its place.
function clicked({ customdata, data: trace, pointIndex, pointNumber }) {
  if (trace.type !== "heatmap" && trace.type !== "surface") return points[customdata];
  const [row, column] = pointIndex ?? pointNumber;
  const [y, x] = trace.type === "surface" ? [column, row] : [row, column];
  return pointAt.get([data.across[x], data.up[y]].join());
}

function markHere() {
  if (!drawn?.dataset.ready) return;
  const here = Object.fromEntries(Object.entries(hereOn(state.point)).map(([name, value]) => [name, [value]]));
  Plotly.restyle(drawn, here, [drawn.data.length - 1]);
}
