"use strict";
// The landscape over a plane: a heat map with the edge of safety, or the same as a surface.

const shown = { layer: 0, surface: false };
const layerHere = () => data.layers[shown.layer];
const scaleOf = (layer) => (layer.kind === "perplexity" ? layer.values.map((row) => row.map((value) => (value === null ? null : Math.log10(value)))) : layer.values);
const heightOf = (point) => (figureOf(point, 0) ? figureOf(point, 0).value + 3 : null);

function cellText(layer) {
  return data.up.map((beta, row) => data.across.map((alpha, column) => {
    const point = pointAt.get([alpha, beta].join());
    if (!point) return "not measured";
    if (shown.layer === 0) return hover(point);
    if (layer.values[row][column] === null) return "not judged yet";
    const value = layer.values[row][column].toFixed(1) + (layer.kind === "perplexity" ? "" : " %");
    return `<b>α = ${signed(alpha)}, β = ${signed(beta)}</b><br>${words[layer.kind]} ${value}`;
  }));
}
const words = {
  asr: "ASR", over_refusal: "over-refusal", accuracy: "accuracy", perplexity: "perplexity",
  refused: "refused", complied: "complied", incoherent: "incoherent", unscored: "unscored",
};

// Bright is worse, of an outcome more; cividis is told apart by everyone, and in grey.
function colourOf(layer) {
  const scale = { colorscale: "Cividis", reversescale: layer.kind === "accuracy" };
  const bar = { title: { text: layer.kind === "perplexity" ? words.perplexity : `${words[layer.kind]} %`, side: "right" }, thickness: isNarrow() ? 10 : 16, outlinewidth: 0, tickcolor: colour("--soft") };
  if (layer.kind === "asr" || data.outcomes.includes(layer.kind)) return { ...scale, min: 0, max: 100, bar: { ...bar, dtick: 25 } };
  const known = scaleOf(layer).flat().filter((value) => value !== null);
  if (!known.length) return { ...scale, min: 0, max: 1, bar };
  const low = Math.min(...known);
  const high = Math.max(...known);
  if (layer.kind !== "perplexity") {
    const wide = Math.max(0, 20 - (high - low)) / 2;
    return { ...scale, min: Math.max(0, low - wide), max: Math.min(100, high + wide), bar };
  }
  const ticks = [low, (low + high) / 2, high];
  return { ...scale, min: low, max: high, bar: { ...bar, tickvals: ticks, ticktext: ticks.map((value) => String(Math.round(10 ** value))) } };
}

// Where models with a name stand: [point, label, symbol].
const namedModels = () => [
  ...(origin ? [[origin, isNarrow() ? "origin" : "origin: the model under test", "circle"]] : []),
  ...data.marks.map(({ label, point }, n) => [points[point], label, ["diamond", "square"][n]]),
];

function tracesOfPlane() {
  return shown.surface ? surfaceTraces() : heatTraces();
}

function heatTraces() {
  const layer = layerHere();
  const { min, max, bar, ...scale } = colourOf(layer);
  const grid = { x: data.across, y: data.up, z: scaleOf(layer) };
  const found = [{
    ...grid, ...scale, type: "heatmap", zmin: min, zmax: max, colorbar: bar, text: cellText(layer), hovertemplate: "%{text}<extra></extra>",
    hoverongaps: false,
  }];
  if (layer.kind === "asr") found.push(...contoursOf(grid));
  for (const [point, name, symbol] of namedModels()) {
    found.push({
      x: [point.effective[0]], y: [point.effective[1]], type: "scatter", mode: "markers", name,
      marker: { size: symbol === "circle" ? 15 : 13, symbol, color: "#ffffff", line: { width: 3, color: "#1a1d21" } },
      customdata: [point.number], text: [hover(point)], hovertemplate: "%{text}<extra></extra>",
    });
  }
  if (checkpoints) found.push({ ...trajectory(), y: checkpoints.measured.map(({ point }) => point.effective[1]) });
  return found;
}

function surfaceTraces() {
  const layer = layerHere();
  const { min, max, bar, ...scale } = colourOf(layer);
  const found = [{
    x: data.alphas, y: data.betas, z: scaleOf(layer), ...scale, type: "surface", cmin: min, cmax: max, colorbar: bar,
    text: cellText(layer), hoverinfo: "text", lighting: { ambient: 0.8, diffuse: 0.5, specular: 0.05 },
  }];
  if (layer.kind !== "asr") return found;
  const solid = (line, more) => ({
    x: line.map((point) => point.effective[0]), y: line.map((point) => point.effective[1]),
    z: line.map((point) => heightOf(point)), type: "scatter3d",
    customdata: line.map((point) => point.number), text: line.map(hover), hovertemplate: "%{text}<extra></extra>", ...more,
  });
  for (const [point, name, symbol] of namedModels()) {
    found.push(solid([point], { mode: "markers", name, marker: { size: 6, symbol, color: "#ffffff", line: { width: 2, color: "#1a1d21" } } }));
  }
  if (checkpoints) {
    found.push(solid(checkpoints.measured.map(({ point }) => point), {
      mode: "lines+markers", name: "checkpoints of the trajectory", line: { color: colour("--trajectory"), width: 5 },
      marker: { size: 5, color: colour("--trajectory") },
    }));
  }
  return found;
}

function hereOnPlane(point) {
  const [x, y] = point.effective;
  return [{ x: [x], y: [y], ...(shown.surface && { z: [layerHere().kind === "asr" ? heightOf(point) : null] }) }];
}

function layoutOfPlane() {
  const narrow = isNarrow();
  const axis = { ...axisStyle(), showgrid: false };
  const [across, up] = data.headings;
  const rounded = data.rounded ? "; as asked for" : "";
  const solid = { gridcolor: colour("--rule"), color: colour("--ink"), showbackground: false };
  return {
    ...plainLayout(),
    margin: shown.surface ? { l: 0, r: 0, t: 30, b: narrow ? 70 : 40 } : { l: narrow ? 48 : 70, r: 10, t: 16, b: narrow ? 96 : 90 },
    xaxis: { ...axis, title: { text: narrow ? "α" : across + rounded, standoff: 8 } },
    yaxis: { ...axis, title: { text: narrow ? "β" : up + rounded, standoff: 6 } },
    scene: {
      xaxis: { ...solid, title: { text: "α" } }, yaxis: { ...solid, title: { text: "β" } },
      zaxis: { ...solid, title: { text: layerHere().kind === "perplexity" ? "log₁₀ perplexity" : `${words[layerHere().kind]} %` }, ...(layerHere().kind === "asr" && { range: [0, 108] }) },
      aspectratio: { x: 1, y: 1, z: 0.65 }, camera: { eye: { x: 0.95, y: -1.6, z: 1.05 }, center: { x: 0, y: 0, z: -0.12 } },
    },
    legend: { orientation: "h", x: 0, xanchor: "left", y: shown.surface ? 0 : narrow ? -0.22 : -0.13, yanchor: "top", font: { size: narrow ? 11 : 12 } },
  };
}

function fillLayers() {
  fill("layer", data.layers.map(({ label }, number) => [number, label]));
  shown.layer = Number($("layer").value);
}

function beginPlane() {
  if (!onPlane) return;
  $("plot").classList.add("square");
  $("plot-tools").hidden = false;
  fillLayers();
  $("layer").addEventListener("change", (event) => {
    shown.layer = Number(event.target.value);
    redraw();
  });
  if (!document.createElement("canvas").getContext("webgl")) {
    $("surface").disabled = true;
    $("surface").title = "This browser has no WebGL, which a surface is drawn with.";
  }
  $("surface").addEventListener("click", () => {
    shown.surface = !shown.surface;
    $("surface").setAttribute("aria-pressed", String(shown.surface));
    $("surface").textContent = shown.surface ? "As a map" : "As a surface";
    redraw();
  });
}
