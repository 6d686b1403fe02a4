// Several runs over planes: one heat map a run, all on one scale.

import { axisStyle, barOf, contoursOf, isNarrow, modelMarker, plainLayout } from "./charts.js";
import { $, colour, percent, signed } from "./dom.js";

/** @import { ComparedMap, ComparedPlanes } from "./payload.js" */

/** @param {ComparedPlanes} planes */
const columnsOf = ({ runs }) => (isNarrow() ? 1 : runs.length === 2 || runs.length === 4 ? 2 : Math.min(3, runs.length));

/** @param {ComparedPlanes} planes */
const rowsOf = (planes) => Math.ceil(planes.runs.length / columnsOf(planes));

/**
 * Return the height in pixels at which the maps are square, as far as the width allows.
 * @param {ComparedPlanes} planes
 */
export function heightOfMultiples(planes) {
  const inner = $("plot").clientWidth - (isNarrow() ? 110 : 190);
  return Math.round(90 + rowsOf(planes) * Math.min(420, inner / columnsOf(planes)) + 70 * (rowsOf(planes) - 1));
}

/** @param {number} number */
const suffix = (number) => (number ? String(number + 1) : "");

// plotly draws no axes around a map in which nothing is measured
const empty = { x: [0], y: [0], type: "scatter", mode: "markers", marker: { opacity: 0 }, hoverinfo: "skip", showlegend: false };

/**
 * @param {ComparedPlanes} planes
 * @param {number} safeBelow
 */
export const tracesOfMultiples = ({ runs }, safeBelow) => runs.flatMap((run, number) => {
  const axes = { xaxis: `x${suffix(number)}`, yaxis: `y${suffix(number)}` };
  const grid = { x: run.across, y: run.up, z: run.values, ...axes };
  const text = run.up.map((beta, row) => run.across.map((alpha, column) => {
    const value = run.values[row][column];
    return `<b>${run.label}</b><br>α = ${signed(alpha)}, β = ${signed(beta)}<br>${value === null ? "not measured" : `ASR ${percent(value)}`}`;
  }));
  return [
    { ...grid, type: "heatmap", coloraxis: "coloraxis", text, hovertemplate: "%{text}<extra></extra>", hoverongaps: false },
    ...(run.values.flat().some((value) => value !== null) ? contoursOf(grid, safeBelow) : [{ ...empty, ...axes }]),
    ...run.marks.map(({ label, place: [x, y], asr }, n) => ({
      ...axes, x: [x], y: [y], type: "scatter", mode: "markers", showlegend: false,
      marker: modelMarker(label === "origin" ? "circle" : label === "other model" ? "diamond" : "square", n ? 11 : 13),
      text: [`<b>${label}</b><br>ASR ${percent(asr)}`], hovertemplate: "%{text}<extra></extra>",
    })),
  ];
});

/** @param {ComparedPlanes} planes */
export function layoutOfMultiples(planes) {
  const { headings, runs } = planes;
  const narrow = isNarrow();
  const [columns, rows] = [columnsOf(planes), rowsOf(planes)];
  const [across, up] = [narrow ? 0 : 0.06 / columns, 70 / (heightOfMultiples(planes) - 90)];
  const [wide, tall] = [(1 - across * (columns - 1)) / columns, (1 - up * (rows - 1)) / rows];
  /** @param {(run: ComparedMap) => number[]} gridOf */
  const rangeOf = (gridOf) => {
    const all = runs.flatMap(gridOf);
    const [first, second] = gridOf(runs[0]);
    const margin = (second - first) / 2;
    return [Math.min(...all) - margin, Math.max(...all) + margin];
  };
  const ranges = { x: rangeOf((run) => run.across), y: rangeOf((run) => run.up) };
  const heading = narrow || columns > 2 ? ["α", "β"] : headings;
  const axis = { ...axisStyle(), showgrid: false, nticks: 6 };
  const places = runs.map(({ label }, number) => {
    const [row, column] = [Math.floor(number / columns), number % columns];
    const [left, top] = [column * (wide + across), 1 - row * (tall + up)];
    const [isLowest, isFirst] = [number + columns >= runs.length, column === 0];
    return {
      x: {
        ...axis, domain: [left, left + wide], anchor: `y${suffix(number)}`, range: ranges.x, matches: number ? "x" : undefined, showticklabels: isLowest,
        title: { text: isLowest ? heading[0] : "", standoff: 6, font: { size: 12 } },
      },
      y: {
        ...axis, domain: [top - tall, top], anchor: `x${suffix(number)}`, range: ranges.y, matches: number ? "y" : undefined, showticklabels: isFirst,
        title: { text: isFirst ? heading[1] : "", standoff: 4, font: { size: 12 } },
      },
      title: {
        xref: "paper", yref: "paper", x: left, y: top, xanchor: "left", yanchor: "bottom", showarrow: false, text: `<b>${label}</b>`, font: { size: 13 },
      },
    };
  });
  return {
    ...plainLayout(colour("--wash")), margin: { l: narrow ? 48 : 64, r: 10, t: 34, b: 56 },
    annotations: places.map(({ title }) => title),
    ...Object.fromEntries(places.flatMap(({ x, y }, number) => [[`xaxis${suffix(number)}`, x], [`yaxis${suffix(number)}`, y]])),
    coloraxis: { colorscale: "Cividis", cmin: 0, cmax: 100, colorbar: { ...barOf(narrow ? "ASR %" : "Attack success rate, %"), dtick: 25 } },
  };
}
