// The landscape over a plane: a heat map with the contour of the threshold, or the same as a surface.

import { axisStyle, barOf, contoursOf, isNarrow, legendAt, modelMarker, plainLayout, redraw, unitOf } from "./charts.js";
import { $, colour, offer, signed } from "./dom.js";
import { originName, pointTrace, trajectory } from "./lines.js";
import { checkpoints, data, hover, origin, planeData, pointAt, points } from "./run.js";

/** @import { Layer } from "./payload.js" */
/** @import { Point } from "./run.js" */

const view = { layer: 0, surface: false };
const layerShown = () => planeData().layers[view.layer];

export const isSurface = () => view.surface;

/** @param {Layer} layer */
const heightsOf = ({ kind, values }) => (kind === "perplexity" ? values.map((row) => row.map((value) => (value === null ? null : Math.log10(value)))) : values);

/** The height of a marker over the surface. @param {Point} point */
const heightOf = (point) => (point.figures[0] ? point.figures[0].value + 3 : null);

/** @param {Layer} layer */
const nameOf = ({ kind }) => (kind === "asr" ? "ASR" : kind.replace("_", "-"));

/** @param {Layer} layer */
function cellText(layer) {
  const { across, up } = planeData();
  return up.map((beta, row) => across.map((alpha, column) => {
    const point = pointAt(alpha, beta);
    const value = layer.values[row][column];
    if (!point) return "not measured";
    if (view.layer === 0) return hover(point);
    if (value === null) return "not judged yet";
    return `<b>α = ${signed(alpha)}, β = ${signed(beta)}</b><br>${nameOf(layer)} ${value.toFixed(1)}${unitOf(layer.kind)}`;
  }));
}

/**
 * Return the colour scale of a layer. Bright is worse, and more of an outcome; cividis is readable with every colour
 * vision, and in grey.
 * @param {Layer} layer
 */
function colourScale(layer) {
  const scale = { colorscale: "Cividis", reversescale: layer.kind === "accuracy" || layer.kind === "margin" };
  const isPerplexity = layer.kind === "perplexity";
  const bar = barOf(`${nameOf(layer)}${unitOf(layer.kind)}`);
  if (layer.kind === "asr" || data.outcomes.includes(layer.kind)) return { ...scale, min: 0, max: 100, bar: { ...bar, dtick: 25 } };
  const known = heightsOf(layer).flat().filter((value) => value !== null);
  if (!known.length) return { ...scale, min: 0, max: 1, bar };
  const [low, high] = [Math.min(...known), Math.max(...known)];
  if (layer.kind === "margin") {
    const margin = Math.max(0, 1 - (high - low)) / 2;
    return { ...scale, min: low - margin, max: high + margin, bar };
  }
  if (!isPerplexity) {
    const margin = Math.max(0, 20 - (high - low)) / 2;
    return { ...scale, min: Math.max(0, low - margin), max: Math.min(100, high + margin), bar };
  }
  const tickvals = [low, (low + high) / 2, high];
  return { ...scale, min: low, max: high, bar: { ...bar, tickvals, ticktext: tickvals.map((value) => String(Math.round(10 ** value))) } };
}

/** @returns {{ point: Point, name: string, symbol: string }[]} */
const namedModels = () => [
  ...(origin ? [{ point: origin, name: originName(), symbol: "circle" }] : []),
  ...data.marks.map(({ label, point }, n) => ({ point: points[point], name: label, symbol: ["diamond", "square"][n] })),
];

export const tracesOfPlane = () => (view.surface ? surfaceTraces() : heatTraces());

/** @returns {Figure[]} */
function heatTraces() {
  const layer = layerShown();
  const { min, max, bar, ...scale } = colourScale(layer);
  const grid = { x: planeData().across, y: planeData().up, z: heightsOf(layer) };
  return [
    { ...grid, ...scale, type: "heatmap", zmin: min, zmax: max, colorbar: bar, text: cellText(layer), hovertemplate: "%{text}<extra></extra>", hoverongaps: false },
    ...(layer.kind === "asr" ? contoursOf(grid, data.limit.value) : []),
    ...namedModels().map(({ point, name, symbol }) => ({
      ...pointTrace([point]), x: [point.effective[0]], y: [point.effective[1]], type: "scatter", mode: "markers", name,
      marker: modelMarker(symbol, symbol === "circle" ? 15 : 13),
    })),
    ...trajectory((point) => point.effective[1]),
  ];
}

/** @returns {Figure[]} */
function surfaceTraces() {
  const layer = layerShown();
  const { alphas, betas } = planeData();
  const { min, max, bar, ...scale } = colourScale(layer);
  const surface = {
    x: alphas, y: betas, z: heightsOf(layer), ...scale, type: "surface", cmin: min, cmax: max, colorbar: bar,
    text: cellText(layer), hoverinfo: "text", lighting: { ambient: 0.8, diffuse: 0.5, specular: 0.05 },
  };
  if (layer.kind !== "asr") return [surface];
  /** @param {Point[]} along @param {Figure} style */
  const solid = (along, style) => ({
    ...pointTrace(along), x: along.map((point) => point.effective[0]), y: along.map((point) => point.effective[1]), z: along.map(heightOf),
    type: "scatter3d", ...style,
  });
  const trail = checkpoints ? [solid(checkpoints.steps.map(({ point }) => point), {
    mode: "lines+markers", name: "checkpoints of the trajectory", line: { color: colour("--trajectory"), width: 5 },
    marker: { size: 5, color: colour("--trajectory") },
  })] : [];
  const models = namedModels().map(({ point, name, symbol }) => {
    const marker = modelMarker(symbol, 6);
    return solid([point], { mode: "markers", name, marker: { ...marker, line: { ...marker.line, width: 2 } } });
  });
  return [surface, ...models, ...trail];
}

/**
 * Return where a point lies.
 * @param {Point} point
 * @returns {{ x: number[], y: number[], z?: (number | null)[] }[]}
 */
export function selectedOnPlane(point) {
  const [x, y] = point.effective;
  return [{ x: [x], y: [y], ...(view.surface && { z: [layerShown().kind === "asr" ? heightOf(point) : null] }) }];
}

export function layoutOfPlane() {
  const narrow = isNarrow();
  const layer = layerShown();
  const axis = { ...axisStyle(), showgrid: false };
  const [across, up] = planeData().headings;
  const rounded = data.rounded ? "; as asked for" : "";
  const solid = { gridcolor: colour("--rule"), color: colour("--ink"), showbackground: false };
  const heights = layer.kind === "perplexity" ? "log₁₀ perplexity" : `${nameOf(layer)}${unitOf(layer.kind)}`;
  return {
    ...plainLayout(colour("--wash")),
    margin: view.surface ? { l: 0, r: 0, t: 30, b: narrow ? 70 : 40 } : { l: narrow ? 48 : 70, r: 10, t: 16, b: narrow ? 96 : 90 },
    xaxis: { ...axis, title: { text: narrow ? "α" : across + rounded, standoff: 8 } },
    yaxis: { ...axis, title: { text: narrow ? "β" : up + rounded, standoff: 6 } },
    scene: {
      xaxis: { ...solid, title: { text: "α" } }, yaxis: { ...solid, title: { text: "β" } },
      zaxis: { ...solid, title: { text: heights }, ...(layer.kind === "asr" && { range: [0, 108] }) },
      aspectratio: { x: 1, y: 1, z: 0.65 }, camera: { eye: { x: 0.95, y: -1.6, z: 1.05 }, center: { x: 0, y: 0, z: -0.12 } },
    },
    legend: legendAt(view.surface ? 0 : narrow ? -0.22 : -0.13),
  };
}

/** Offer the present layers. */
export function offerLayers() {
  offer("layer", planeData().layers.map(({ label }) => label));
  view.layer = Number($("layer").value);
}

/** Connect the controls of the drawing. */
export function beginPlane() {
  $("plot").classList.add("square");
  $("plot-tools").hidden = false;
  offerLayers();
  $("layer").addEventListener("change", () => {
    view.layer = Number($("layer").value);
    redraw();
  });
  if (!document.createElement("canvas").getContext("webgl")) {
    $("surface").disabled = true;
    $("surface").title = "This browser has no WebGL, which a surface is drawn with.";
  }
  $("surface").addEventListener("click", () => {
    view.surface = !view.surface;
    $("surface").setAttribute("aria-pressed", String(view.surface));
    $("surface").textContent = view.surface ? "As a map" : "As a surface";
    redraw();
  });
}
