// Several runs over lines: ASR over α, one curve a run; beneath it one panel for each further measure.

import { axisStyle, band, decadesOf, layoutOverAlpha, legendAt, modelLine, natsOf, styleOf, unitOf } from "./charts.js";
import { colour, intervalText, percent, signed } from "./dom.js";

/** @import { ComparedLines, ComparisonPayload, Reading } from "./payload.js" */

// pixels: the panel of the ASR, each panel beneath it with the space above it
const [MAIN, LOW, SPACE] = [326, 140, 34];
const thirds = [0, 1, 2, 3, 4, 5, 6].flatMap((decade) => [10 ** decade, 3 * 10 ** decade]); // of perplexities

/** @param {ComparedLines} lines */
const innerHeight = ({ measures }) => MAIN + LOW * measures.length;

/** @param {ComparedLines} compared */
export const heightOfOverlay = (compared) => innerHeight(compared) + 134;

/** @param {number} panel */
const axisOf = (panel) => `y${panel + 2}`;

/** @param {ComparedLines} compared */
export function tracesOfOverlay({ measures, runs }) {
  const opacity = Math.min(0.14, 0.42 / runs.length); // the bands of many runs lie on each other
  /** @param {number} run @param {Reading[][]} pieces @param {string} axis @param {(reading: Reading) => string} told */
  const curve = (run, pieces, axis, told) => pieces.flatMap((piece, place) => {
    const { label } = runs[run];
    const style = styleOf(run);
    return [...band(piece, style.colour, `run ${run}`, opacity, axis), {
      x: piece.map((r) => r.x), y: piece.map((r) => r.value), type: "scatter", mode: "lines+markers", yaxis: axis,
      name: label, legendgroup: `run ${run}`, showlegend: axis === "y" && place === 0,
      line: { color: style.colour, width: 2.5, dash: style.dash },
      marker: { size: 8, symbol: style.symbol, line: { width: 1, color: colour("--panel") } },
      text: piece.map((r) => `<b>${label}</b>, α = ${signed(Number(r.x.toPrecision(4)))}<br>${told(r)}`), hovertemplate: "%{text}<extra></extra>",
    }];
  });
  return [
    ...runs.flatMap(({ pieces }, run) => curve(run, pieces, "y", (r) => `ASR ${percent(r.value)}<br>${intervalText(r)}`)),
    ...measures.flatMap((measure, panel) => {
      const unit = unitOf(measure.kind);
      return measure.runs.flatMap(({ run, pieces }) =>
        curve(run, pieces, axisOf(panel), (r) => `${measure.label} ${r.value.toFixed(1)}${unit}<br>${intervalText(r, unit)}`));
    }),
  ];
}

/**
 * @param {ComparisonPayload} data
 * @param {ComparedLines} compared
 */
export function layoutOfOverlay(data, compared) {
  const { between, measures, scale } = compared;
  const inner = innerHeight(compared);
  const upper = 1 - MAIN / inner;
  const { shapes, annotations, ...over } = layoutOverAlpha({ ...data, ...scale }, [upper, 1], measures.length ? axisOf(measures.length - 1) : "y");
  if (between) {
    shapes.push(modelLine(1, upper));
    annotations.push({ x: 1, yref: "paper", y: 1, yanchor: "bottom", showarrow: false, text: "other model", font: { size: 11, color: colour("--soft") } });
  }
  const panels = measures.map(({ kind, label, runs }, panel) => {
    const isPerplexity = kind === "perplexity";
    const domain = [(panel + 1) * LOW, panel * LOW + SPACE].map((down) => Math.max(0, upper - down / inner));
    annotations.push({
      xref: "paper", x: 0, yref: "paper", y: domain[1], xanchor: "left", yanchor: "bottom", showarrow: false,
      text: label + (isPerplexity ? "" : `,${unitOf(kind)}`), font: { size: 12 },
    });
    const readings = runs.flatMap(({ pieces }) => pieces.flat());
    const range = isPerplexity ? { type: "log", tickvals: thirds, range: decadesOf(readings) }
      : kind === "margin" ? { range: natsOf(readings), zeroline: true, zerolinecolor: colour("--soft"), nticks: 4 }
      : { range: [-4, 104], dtick: 50 };
    return [axisOf(panel).replace("y", "yaxis"), { ...axisStyle(), domain, ...range }];
  });
  return { ...over, shapes, annotations, ...Object.fromEntries(panels), legend: legendAt(-64 / inner) };
}
