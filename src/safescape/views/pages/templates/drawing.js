"use strict";
// What both pages draw with: the page's data and colours, curves and axes, and plotly itself. Names, prompts and answers
// are hostile text: they reach the page through textContent alone. What goes into a plotly label was made plain before
// it came here.

let data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const element = (tag, className, text) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const signed = (value) => (value === 0 ? "0" : (value < 0 ? "−" : "+") + String(+Math.abs(value).toPrecision(6)));
const percent = (value) => value.toFixed(1) + " %";
const onPlane = data.kind === "plane";

// Where a legend of full sentences would squeeze the curves.
const isNarrow = () => $("plot").clientWidth < 560;

const styles = [["--line-1", "circle"], ["--line-2", "square"], ["--line-3", "triangle-up"], ["--line-4", "diamond"]];
const styleOf = (number, crowd) => {
  const [name, symbol] = crowd ? ["--line-n", "circle"] : styles[number % styles.length];
  return { colour: colour(name), symbol, dash: number >= styles.length && !crowd ? "dash" : "solid" };
};

// The interval of a curve; readings are { x, value, low, high }.
function band(readings, style, group, opacity, axis = "y") {
  const shared = { x: readings.map((r) => r.x), type: "scatter", legendgroup: group, yaxis: axis, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false };
  return [
    { ...shared, y: readings.map((r) => r.high) },
    { ...shared, y: readings.map((r) => r.low), fill: "tonexty", fillcolor: transparent(style.colour, opacity) },
  ];
}

function transparent(hex, alpha) {
  const value = parseInt(hex.slice(1), 16);
  return `rgba(${value >> 16}, ${(value >> 8) & 255}, ${value & 255}, ${alpha})`;
}

// A reading in words, for a label: numbers alone.
const intervalText = ({ low, high }, unit = " %") => `95 % interval ${low.toFixed(1)} to ${high.toFixed(1)}${unit}`;

// Where the ASR passes a level on a plane; the threshold, dark and light, can be seen on every ground.
function contoursOf(grid) {
  const contour = (level, line) => ({
    ...grid, type: "contour", autocontour: false, contours: { start: level, end: level, size: 1, coloring: "none" }, line,
    hoverinfo: "skip", showscale: false, showlegend: false, connectgaps: false,
  });
  return [
    ...[50, 90].filter((level) => level > data.safeBelow).map((level) => contour(level, { color: "#1a1d21", width: 1, smoothing: 0 })),
    contour(data.safeBelow, { color: "#1a1d21", width: 5, smoothing: 0 }), contour(data.safeBelow, { color: "#ffffff", width: 2.5, smoothing: 0 }),
  ];
}

const axisStyle = () => ({
  gridcolor: colour("--rule"), linecolor: colour("--soft"), zeroline: false, ticks: "outside", tickcolor: colour("--soft"),
});

function plainLayout() {
  return {
    uirevision: "kept", // a reader's zoom outlasts new data
    font: { color: colour("--ink"), size: isNarrow() ? 12 : 13, family: getComputedStyle(document.body).fontFamily },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: onPlane ? colour("--wash") : "rgba(0,0,0,0)", hovermode: "closest",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--focus") },
    hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--rule"), font: { color: colour("--ink") }, align: "left" },
  };
}

// The axes of an ASR over α, with the threshold.
function layoutOverAlpha(domain, below) {
  const narrow = isNarrow();
  const axis = axisStyle();
  const wide = 0.02 * (data.high - data.low);
  return {
    ...plainLayout(),
    shapes: [{
      type: "line", xref: "paper", x0: 0, x1: 1, y0: data.safeBelow, y1: data.safeBelow, layer: "below",
      line: { color: colour("--soft"), width: 1.2, dash: "dash" },
    }],
    annotations: [{
      xref: "paper", x: 1, y: data.safeBelow, xanchor: "left", yanchor: "middle", showarrow: false, align: "left",
      text: narrow ? `${data.safeBelow} %` : `unsafe<br>above ${data.safeBelow} %`, font: { size: 11, color: colour("--soft") },
    }],
    margin: { l: narrow ? 44 : 60, r: narrow ? 40 : 84, t: 34, b: narrow ? 112 : 100 },
    xaxis: {
      ...axis, showgrid: false, showline: true, range: [data.low - wide, data.high + wide],
      anchor: below, title: { text: narrow ? "α" : data.title + (data.rounded ? ", as rounded" : ""), standoff: 8 },
    },
    yaxis: { ...axis, domain, range: [-4, 104], dtick: 25, title: { text: narrow ? "ASR %" : "Attack success rate, %", standoff: 6 } },
  };
}

// The range of an axis of perplexities, in decades; it ends where a model is worse than guessing.
function decadesOf(courses) {
  const values = courses.flatMap((course) => course.readings.map((r) => r.value));
  const low = Math.log10(Math.min(...values));
  return [low - 0.15, Math.max(Math.log10(Math.max(...values)), low + 1) + 0.15];
}

async function loadPlotly() {
  const script = element("script");
  script.textContent = await source.plotly();
  document.head.append(script);
  if (!window.Plotly) throw new Error("plotly did not start");
}

let drawn = null;
const redraw = () => drawn?.dataset.ready && Plotly.react(drawn, traces(), layout());

// Draw what the page's own `traces` and `layout` say, and again when the colours or the width change.
async function draw(begun) {
  try {
    await loadPlotly();
  } catch (error) {
    for (const shown of document.querySelectorAll("#plot, #plot-tools")) shown.hidden = true;
    $("plot-note").textContent = `This browser cannot draw the landscape (${error.message}). The figures are in the table below.`;
    return;
  }
  drawn = $("plot");
  await Plotly.newPlot(drawn, traces(), layout(), {
    responsive: true, displaylogo: false, scrollZoom: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    toImageButtonOptions: { filename: "safety-landscape", scale: 2 },
  });
  begun?.(drawn);
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
