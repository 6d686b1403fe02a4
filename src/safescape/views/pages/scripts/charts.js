// What both pages draw with: curves, axes, contours, and plotly itself.

import { $, colour, element, onScheme } from "./dom.js";
import { messageOf, plotlySource } from "./source.js";

/** @import { LimitData, Reading, ScaleData } from "./payload.js" */
/** @typedef {{ colour: string, symbol: string, dash: string }} Style */

// below this width a legend of full sentences would squeeze the curves
export const isNarrow = () => $("plot").clientWidth < 560;

const styles = [["--line-1", "circle"], ["--line-2", "square"], ["--line-3", "triangle-up"], ["--line-4", "diamond"]];

/** The number of curves that a style of their own tells apart. */
export const STYLES = styles.length;

/**
 * Return the style of a curve; the curves of a crowd have one style.
 * @param {number} number
 * @param {boolean} [isCrowd]
 * @returns {Style}
 */
export function styleOf(number, isCrowd = false) {
  const [name, symbol] = isCrowd ? ["--line-n", "circle"] : styles[number % STYLES];
  return { colour: colour(name), symbol, dash: number >= STYLES && !isCrowd ? "dash" : "solid" };
}

/**
 * Return a colour of the style sheet with an opacity.
 * @param {string} hex
 * @param {number} opacity
 */
export function transparent(hex, opacity) {
  const value = parseInt(hex.slice(1), 16);
  return `rgba(${value >> 16}, ${(value >> 8) & 255}, ${value & 255}, ${opacity})`;
}

/**
 * Return the traces of a curve's interval.
 * @param {Reading[]} readings
 * @param {string} ink
 * @param {string} legendgroup
 * @param {number} opacity
 * @param {string} [yaxis]
 */
export function band(readings, ink, legendgroup, opacity, yaxis = "y") {
  const shared = { x: readings.map((r) => r.x), type: "scatter", legendgroup, yaxis, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false };
  return [
    { ...shared, y: readings.map((r) => r.high) },
    { ...shared, y: readings.map((r) => r.low), fill: "tonexty", fillcolor: transparent(ink, opacity) },
  ];
}

/**
 * Return the contours of an ASR over a plane; the threshold is dark and light, to be visible on every ground.
 * @param {Figure} grid
 * @param {number} safeBelow
 */
export function contoursOf(grid, safeBelow) {
  /** @param {number} level @param {Figure} line */
  const contour = (level, line) => ({
    ...grid, type: "contour", autocontour: false, contours: { start: level, end: level, size: 1, coloring: "none" }, line: { ...line, smoothing: 0 },
    hoverinfo: "skip", showscale: false, showlegend: false, connectgaps: false,
  });
  return [
    ...[50, 90].filter((level) => level > safeBelow).map((level) => contour(level, { color: "#1a1d21", width: 1 })),
    contour(safeBelow, { color: "#1a1d21", width: 5 }), contour(safeBelow, { color: "#ffffff", width: 2.5 }),
  ];
}

/** Return the marker of a named model over a map: it is visible on every colour.
 * @param {string} symbol
 * @param {number} size
 */
export const modelMarker = (symbol, size) => ({ size, symbol, color: "#ffffff", line: { width: 3, color: "#1a1d21" } });

export const axisStyle = () => ({
  gridcolor: colour("--rule"), linecolor: colour("--soft"), zeroline: false, ticks: "outside", tickcolor: colour("--soft"),
});

/** @param {string} text */
export const barOf = (text) => ({
  title: { text, side: "right" }, thickness: isNarrow() ? 10 : 16, outlinewidth: 0, tickcolor: colour("--soft"),
});

/** @param {number} y */
export const legendAt = (y) => ({ orientation: "h", x: 0, xanchor: "left", y, yanchor: "top", font: { size: isNarrow() ? 11 : 12 } });

/** @param {string} [ground] */
export function plainLayout(ground = "rgba(0,0,0,0)") {
  return {
    uirevision: "kept", // the reader's zoom is preserved when new data arrive
    font: { color: colour("--ink"), size: isNarrow() ? 12 : 13, family: getComputedStyle(document.body).fontFamily },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: ground, hovermode: "closest",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--focus") },
    hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--rule"), font: { color: colour("--ink") }, align: "left" },
  };
}

/**
 * Return the layout of an ASR over α, with the threshold.
 * @param {ScaleData & { limit: LimitData, rounded: boolean }} scale
 * @param {number[]} domain
 * @param {string} below - The y axis under which the α axis lies.
 */
export function layoutOverAlpha({ low, high, title, limit: { value: level, label, short }, rounded }, domain, below) {
  const narrow = isNarrow();
  const axis = axisStyle();
  const margin = 0.02 * (high - low);
  /** @type {Figure[]} */
  const shapes = [{
    type: "line", xref: "paper", x0: 0, x1: 1, y0: level, y1: level, layer: "below",
    line: { color: colour("--soft"), width: 1.2, dash: "dash" },
  }];
  /** @type {Figure[]} */
  const annotations = [{
    xref: "paper", x: 1, y: level, xanchor: "left", yanchor: "middle", showarrow: false, align: "left",
    text: narrow ? short : label, font: { size: 11, color: colour("--soft") },
  }];
  return {
    ...plainLayout(), shapes, annotations,
    margin: { l: narrow ? 44 : 60, r: narrow ? 40 : 84, t: 34, b: narrow ? 112 : 100 },
    xaxis: {
      ...axis, showgrid: false, showline: true, range: [low - margin, high + margin], exponentformat: "none",
      anchor: below, title: { text: narrow ? "α" : title + (rounded ? ", as rounded" : ""), standoff: 8 },
    },
    yaxis: { ...axis, domain, range: [-4, 104], dtick: 25, title: { text: narrow ? "ASR %" : "Attack success rate, %", standoff: 6 } },
  };
}

/**
 * A dotted line at a named model.
 * @param {number} x
 * @param {number} bottom
 */
export const modelLine = (x, bottom) => ({
  type: "line", x0: x, x1: x, yref: "paper", y0: bottom, y1: 1, layer: "below", line: { color: colour("--soft"), width: 1.2, dash: "dot" },
});

/**
 * Return the range of an axis of perplexities, in decades.
 * @param {Reading[]} readings
 */
export function decadesOf(readings) {
  const values = readings.map((r) => r.value);
  const low = Math.log10(Math.min(...values));
  return [low - 0.15, Math.max(Math.log10(Math.max(...values)), low + 1) + 0.15];
}

/**
 * Return the range of an axis on which refusal margins and their intervals fit, with 0 inside.
 * @param {Reading[]} readings
 */
export function natsOf(readings) {
  const low = Math.min(-0.5, ...readings.map((r) => r.low));
  const high = Math.max(0.5, ...readings.map((r) => r.high));
  const margin = 0.05 * (high - low);
  return [low - margin, high + margin];
}

/** Return the unit of a kind of figure, with a space before it. @param {string} kind */
export const unitOf = (kind) => (kind === "perplexity" ? "" : kind === "margin" ? " nats" : " %");

/** @typedef {{ traces: () => Figure[], layout: () => Figure }} Drawing */
/** @type {Drawing | null} */
let drawing = null;

/** The plot, once it is drawn. */
export const plotDrawn = () => (drawing ? $("plot") : null);

/** Draw again what `draw` drew. */
export function redraw() {
  if (drawing) Plotly.react($("plot"), drawing.traces(), drawing.layout());
}

async function loadPlotly() {
  const script = element("script");
  script.textContent = await plotlySource();
  document.head.append(script);
  if (!("Plotly" in window)) throw new Error("plotly did not start");
}

/**
 * Draw, and draw again when the colours or the layout for the width change.
 * @param {Drawing} given
 * @param {(plot: Plot) => void} [begun] - Called once it is drawn.
 */
export async function draw(given, begun) {
  try {
    await loadPlotly();
  } catch (error) {
    document.querySelectorAll("#plot, #plot-tools").forEach((shown) => shown.setAttribute("hidden", ""));
    $("plot-note").textContent = `This browser cannot draw the landscape (${messageOf(error)}). The figures are in the table below.`;
    return;
  }
  const plot = await Plotly.newPlot($("plot"), given.traces(), given.layout(), {
    responsive: true, displaylogo: false, scrollZoom: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    toImageButtonOptions: { filename: "safety-landscape", scale: 2 },
  });
  drawing = given;
  begun?.(plot);
  $("plot-note").textContent = "";
  onScheme(redraw);
  let narrow = isNarrow();
  addEventListener("resize", () => {
    if (narrow !== isNarrow()) {
      narrow = !narrow;
      redraw();
    }
  });
  plot.dataset.ready = "true";
}
