"use strict";
// Draws the landscape, and leads from it to the answers.

let drawn = null;

const axisStyle = () => ({
  gridcolor: colour("--rule"), linecolor: colour("--soft"), zeroline: false, ticks: "outside", tickcolor: colour("--soft"),
});

function plainLayout() {
  return {
    font: { color: colour("--ink"), size: isNarrow() ? 12 : 13, family: getComputedStyle(document.body).fontFamily },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: onPlane ? colour("--wash") : "rgba(0,0,0,0)", hovermode: "closest",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--focus") },
    hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--rule"), font: { color: colour("--ink") }, align: "left" },
  };
}

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

async function loadPlotly() {
  const packed = Uint8Array.from(atob($("plotly").textContent), (sign) => sign.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = element("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  if (!window.Plotly) throw new Error("plotly did not start");
}

const redraw = () => drawn?.dataset.ready && Plotly.react(drawn, traces(), layout());

async function draw() {
  beginPlane();
  if (!onPlane && data.measures.length) $("plot").classList.add("tall");
  try {
    await loadPlotly();
  } catch (error) {
    $("plot").hidden = true;
    $("plot-tools").hidden = true;
    $("plot-note").textContent = `This browser cannot draw the landscape (${error.message}). The figures are in the table below.`;
    return;
  }
  drawn = $("plot");
  await Plotly.newPlot(drawn, traces(), layout(), {
    responsive: true, displaylogo: false, scrollZoom: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    toImageButtonOptions: { filename: "safety-landscape", scale: 2 },
  });
  drawn.on("plotly_click", (event) => {
    const [at] = event.points.map(clicked).filter(Boolean);
    // a surface tells of a click while it draws, and again as long as the button is down
    if (at && at !== state.point) setTimeout(() => goTo(at));
  });
  $("plot-note").textContent = "";
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let narrow = isNarrow();
  addEventListener("resize", () => {
    if (narrow !== isNarrow()) {
      narrow = !narrow;
      redraw();
    }
  });
  drawn.dataset.ready = "true";
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
