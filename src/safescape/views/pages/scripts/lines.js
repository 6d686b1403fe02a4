// The landscape over lines: ASR over α, one curve a direction or a probe; beneath it the shares of the outcomes, then
// over-refusal and capability.

import {
  STYLES, axisStyle, band, decadesOf, isNarrow, layoutOverAlpha, legendAt, modelLine, natsOf, styleOf, transparent, unitOf,
} from "./charts.js";
import { colour, intervalText, percent, signed } from "./dom.js";
import { checkpoints, data, hover, lines, linesData, origin, points } from "./run.js";

/** @import { Style } from "./charts.js" */
/** @import { Point } from "./run.js" */

export const tracesOfLines = () =>
  [...(linesData().courses.length ? probeTraces() : directionTraces()), ...strictTraces(), ...keywordTraces(), ...modelTraces(), ...stackTraces(), ...measureTraces()];

/** @param {Point} point */
const asrOf = (point) => point.figures[0]?.value ?? null;

/** What traces of points share: a click finds the point by its number.
 * @param {Point[]} along
 */
export const pointTrace = (along) => ({
  customdata: along.map((point) => point.number), text: along.map(hover), hovertemplate: "%{text}<extra></extra>",
});

/** @param {Style} style */
const markerOf = (style) => ({ size: 8, symbol: style.symbol, line: { width: 1, color: colour("--panel") } });

function directionTraces() {
  const { mean } = linesData();
  const narrow = isNarrow();
  const isOne = lines.length === 1;
  const isCrowd = lines.length > STYLES;
  const begun = lines.filter((curve) => isOne || curve.steps.length > 1);
  /** @type {Figure[]} */
  const found = begun.flatMap((curve) => {
    const style = styleOf(curve.number, isCrowd);
    const along = curve.steps.map(({ point }) => point);
    const readings = along.flatMap((point) => (point.figures[0] ? [{ ...point.figures[0], x: point.effective[0] }] : []));
    const legendgroup = isCrowd ? "lines" : `line ${curve.number}`;
    return [...band(readings, style.colour, legendgroup, isCrowd ? 0.06 : 0.16), {
      ...pointTrace(along), x: along.map((point) => point.effective[0]), y: along.map(asrOf), type: "scatter", mode: "lines+markers", legendgroup,
      name: isCrowd ? "each direction" : narrow ? curve.label.split(" (")[0] : curve.label, showlegend: !isCrowd || curve === begun[0],
      line: { color: style.colour, width: isOne ? 2.5 : 1.5 }, marker: markerOf(style),
    }];
  });
  if (mean.length) {
    found.push({
      x: mean.map((r) => r.x), y: mean.map((r) => r.value), type: "scatter", mode: "lines",
      name: narrow ? "mean" : "mean of the directions", line: { color: colour("--ink"), width: 3 },
      hovertemplate: "mean of the directions: ASR %{y:.1f} %<extra></extra>",
    });
  }
  return found;
}

function probeTraces() {
  return linesData().courses.flatMap(({ label, pieces }, number) => {
    const readings = pieces.flat();
    const style = styleOf(number);
    // the curve of a single line leads to its points; a mean has none
    const along = number === 0 && lines.length === 1 ? lines[0].steps.map(({ point }) => point) : [];
    const text = readings.map((r, n) => (along[n] ? hover(along[n]) : `<b>probe ${number + 1}</b><br>ASR ${percent(r.value)}<br>${intervalText(r)}`));
    return [...band(readings, style.colour, `probe ${number}`, 0.14), {
      ...pointTrace(along), text, x: readings.map((r) => r.x), y: readings.map((r) => r.value), type: "scatter", mode: "lines+markers",
      name: label, legendgroup: `probe ${number}`, line: { color: style.colour, width: 2.5, dash: style.dash }, marker: markerOf(style),
    }];
  });
}

// The origin, the other models, the checkpoints of a trajectory.
function modelTraces() {
  /** @param {Point} point @param {string} name @param {number} size @param {string} symbol */
  const mark = (point, name, size, symbol) => ({
    ...pointTrace([point]), x: [point.effective[0]], y: [asrOf(point)], type: "scatter", mode: "markers", name,
    marker: { size, symbol, color: colour("--panel"), line: { width: 3, color: colour("--ink") } },
  });
  return [
    ...(origin ? [mark(origin, originName(), 15, "circle")] : []),
    ...data.marks.map(({ label, point }) => mark(points[point], label, 13, "diamond")),
    ...trajectory(asrOf),
  ];
}

export const originName = () => (isNarrow() ? "origin" : "origin: the model under test");

/**
 * Return the trace of the checkpoints, numbered in their order; none without checkpoints.
 * @param {(point: Point) => number | null} heightOf
 */
export function trajectory(heightOf) {
  if (!checkpoints) return [];
  const along = checkpoints.steps.map(({ point }) => point);
  return [{
    ...pointTrace(along), x: along.map((point) => point.effective[0]), y: along.map(heightOf), type: "scatter", mode: "lines+markers+text",
    name: isNarrow() ? "checkpoints" : "checkpoints of the trajectory", line: { color: colour("--trajectory"), width: 2 },
    marker: { size: 17, color: colour("--trajectory"), line: { width: 1.5, color: colour("--panel") } },
    text: checkpoints.steps.map(({ at }) => String(at)), textfont: { size: 10, color: colour("--panel") },
    hovertext: along.map(hover), hovertemplate: "%{hovertext}<extra></extra>",
  }];
}

// The ASR that counts compliance alone, where the ASR also counts noise.
const strictTraces = () => (linesData().stack?.strict ?? []).map((piece, n) => ({
  x: piece.map((r) => r.x), y: piece.map((r) => r.value), type: "scatter", mode: "lines", legendgroup: "strict", showlegend: n === 0,
  name: isNarrow() ? "strict ASR" : "strict ASR, complied alone", line: { color: colour("--complied"), width: 2, dash: "dash" }, customdata: [],
  text: piece.map((r) => `strict ASR ${percent(r.value)}<br>${intervalText(r)}`), hovertemplate: "%{text}<extra></extra>",
}));

// The ASR by the keyword judge, where the refusal judge contradicts it and the other curves are the refusal judge's.
const keywordTraces = () => linesData().keyword.map((piece, n) => ({
  x: piece.map((r) => r.x), y: piece.map((r) => r.value), type: "scatter", mode: "lines", legendgroup: "keyword", showlegend: n === 0,
  name: isNarrow() ? "keyword judge" : "ASR by the keyword judge", line: { color: colour("--soft"), width: 2, dash: "dash" }, customdata: [],
  text: piece.map((r) => `keyword judge: ASR ${percent(r.value)}<br>${intervalText(r)}`), hovertemplate: "%{text}<extra></extra>",
}));

/** @type {Record<string, number>} */
const opacities = { refused: 0.3, complied: 1, incoherent: 0.75, unscored: 0.6 };

// The shares of the outcomes, stacked: told apart by colour, by their order, and noise by its hatching.
function stackTraces() {
  return (linesData().stack?.pieces ?? []).flatMap(({ x, percent: shares }, n) => Object.entries(shares).map(([outcome, y]) => {
    const fill = transparent(colour(`--${outcome}`), opacities[outcome]);
    const text = x.map((at, place) => [
      `<b>α = ${signed(Number(at.toPrecision(4)))}</b>`, ...Object.entries(shares).map(([name, values]) => `${name} ${percent(values[place])}`),
    ].join("<br>"));
    return {
      x, y, text, type: "scatter", mode: "lines", yaxis: "y4", stackgroup: `answers ${n}`, legendgroup: outcome, name: outcome,
      showlegend: n === 0, line: { width: 0.5, color: colour("--soft") }, fillcolor: fill, hovertemplate: "%{text}<extra></extra>",
      ...(outcome === "incoherent" && { fillpattern: { shape: "/", size: 7, solidity: 0.2, bgcolor: fill, fgcolor: colour("--ink"), fgopacity: 0.5 } }),
    };
  }));
}

/** @type {Record<string, string>} */
const symbols = { over_refusal: "square", accuracy: "triangle-up", perplexity: "triangle-down", margin: "diamond" };
/** @type {Record<string, string>} */
const axes = { perplexity: "y3", margin: "y5" };

function measureTraces() {
  const { measures } = linesData();
  return measures.flatMap(({ kind, label, pieces }, number) => {
    const readings = pieces.flat();
    const [axis, unit] = [axes[kind] ?? "y2", unitOf(kind)];
    const isFirst = measures.findIndex((other) => other.kind === kind) === number;
    return [...band(readings, colour(`--${kind}`), `measure ${number}`, 0.14, axis), {
      x: readings.map((r) => r.x), y: readings.map((r) => r.value), type: "scatter", mode: "lines+markers", yaxis: axis,
      name: label, legendgroup: `measure ${number}`, line: { color: colour(`--${kind}`), width: 2, dash: isFirst ? "solid" : "dash" },
      marker: { size: 7, symbol: symbols[kind] }, customdata: [],
      text: readings.map((r) => `<b>${label} ${r.value.toFixed(1)}${unit}</b><br>${intervalText(r, unit)}`), hovertemplate: "%{text}<extra></extra>",
    }];
  });
}

/**
 * Return where a point lies: among the stacked answers, if there are any, and on the curve.
 * @param {Point} point
 * @returns {{ x: number[], y: (number | null)[], z?: (number | null)[] }[]}
 */
export function selectedOnLines(point) {
  const [x] = point.effective;
  return [...(linesData().stack ? [{ x: [x, x], y: [0, 100] }] : []), { x: [x], y: [asrOf(point)] }];
}

// Where one to four panels lie, from the top, in shares of the height.
const domains = [
  [[0, 1]],
  [[0.44, 1], [0, 0.33]],
  [[0.58, 1], [0.285, 0.47], [0, 0.2]],
  [[0.66, 1], [0.43, 0.575], [0.215, 0.36], [0, 0.155]],
];

/**
 * Return where each panel lies: the ASR, and beneath it what there is of outcomes, rates with perplexities, and margins.
 * @returns {{ asr: number[], stack?: number[], measures?: number[], margins?: number[] }}
 */
export function panelsOfLines() {
  const { measures, stack } = linesData();
  const names = ["asr"];
  if (stack) names.push("stack");
  if (measures.some(({ kind }) => kind !== "margin")) names.push("measures");
  if (measures.some(({ kind }) => kind === "margin")) names.push("margins");
  return { asr: [], ...Object.fromEntries(names.map((name, place) => [name, domains[names.length - 1][place]])) };
}

/** Return a distance with two decimals, or a small one with two digits. @param {number} x */
const shortened = (x) => Number(Math.abs(x) < 0.01 ? x.toPrecision(2) : x.toFixed(2));

export function layoutOfLines() {
  const narrow = isNarrow();
  const { edges, is_basin_shown: isShown, measures: drawn, scale, stack: outcomes } = linesData();
  const panels = panelsOfLines();
  const { asr: upper, stack, measures, margins } = panels;
  // an axis that no curve uses is left out, and nothing can lie over it
  const hasRates = drawn.some(({ kind }) => kind !== "perplexity" && kind !== "margin");
  const lowest = margins ? "y5" : measures ? (hasRates ? "y2" : "y3") : stack ? "y4" : "y";
  const { shapes, annotations, ...over } = layoutOverAlpha({ ...data, ...scale }, upper, lowest);
  shapes.push(...data.marks.map(({ point }) => modelLine(points[point].effective[0], upper[0])));
  if (edges) {
    const [x0, x1] = edges;
    const inset = 0.19 * (scale.high - scale.low);
    shapes.push(
      { type: "rect", yref: "paper", x0, x1, y0: upper[0], y1: 1, layer: "below", line: { width: 0 }, fillcolor: colour(isShown ? "--basin" : "--open-ground") },
      { type: "line", yref: "paper", x0, x1, y0: 1.01, y1: 1.01, line: { color: colour(isShown ? "--safe" : "--open"), width: 3 } },
    );
    annotations.push({
      x: Math.min(Math.max((x0 + x1) / 2, scale.low + inset), scale.high - inset), yref: "paper", y: 1.02, yanchor: "bottom", showarrow: false,
      text: `${isShown ? "safe basin" : "basin"}, ${signed(shortened(x0))} to ${signed(shortened(x1))}`,
      font: { size: 12, color: colour(isShown ? "--safe" : "--open") },
    });
  }
  if (stack && outcomes) {
    annotations.push({
      xref: "paper", x: 0, xanchor: "left", yref: "paper", y: stack[1] + 0.005, yanchor: "bottom", showarrow: false,
      text: narrow ? `outcomes, “${outcomes.judge}” judge` : `Outcomes of the answers, “${outcomes.judge}” judge${outcomes.shown}`,
      font: { size: 12, color: colour("--ink") },
    });
  }
  const axis = axisStyle();
  /** @param {string} wanted */
  const readingsOf = (wanted) => drawn.filter(({ kind }) => kind === wanted).flatMap(({ pieces }) => pieces.flat());
  const perplexities = readingsOf("perplexity");
  const [lo, hi] = decadesOf(perplexities);
  const legend = [narrow ? -0.24 : -0.2, -0.12, -0.085, -0.07][Object.keys(panels).length - 1];
  return {
    ...over, shapes, annotations, legend: legendAt(legend),
    ...(stack && {
      yaxis4: { ...axis, domain: stack, range: [0, 100], dtick: 50, showgrid: false, title: { text: narrow ? "%" : "answers, %", standoff: 6 } },
    }),
    ...(measures && {
      yaxis2: { ...axis, domain: measures, range: [-4, 104], dtick: 50, title: { text: narrow ? "%" : "rate, %", standoff: 6 } },
      yaxis3: {
        ...axis, ...(hasRates ? { overlaying: "y2", side: "right" } : { domain: measures }), type: "log", showgrid: false, dtick: hi - lo < 1.5 ? "D2" : 1, anchor: "x", range: [lo, hi],
        title: { text: narrow && hasRates ? "" : "perplexity", standoff: 6 }, visible: perplexities.length > 0,
      },
    }),
    ...(margins && {
      yaxis5: { ...axis, domain: margins, range: natsOf(readingsOf("margin")), zeroline: true, zerolinecolor: colour("--soft"), nticks: 4, title: { text: narrow ? "nats" : "margin, nats", standoff: 6 } },
    }),
  };
}
