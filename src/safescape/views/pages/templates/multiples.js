"use strict";
// Several runs over planes: a heat map a run, all on one scale.

const columnsOf = () => (isNarrow() ? 1 : data.runs.length === 2 || data.runs.length === 4 ? 2 : Math.min(3, data.runs.length));
const rowsOf = () => Math.ceil(data.runs.length / columnsOf());
const suffix = (number) => (number ? String(number + 1) : "");

// Where nothing is measured yet; plotly draws no axes around a map of nothing.
const unseen = (axes) => ({ ...axes, x: [0], y: [0], type: "scatter", mode: "markers", marker: { opacity: 0 }, hoverinfo: "skip", showlegend: false });

function tracesOfMultiples() {
  return data.runs.flatMap((run, number) => {
    const axes = { xaxis: `x${suffix(number)}`, yaxis: `y${suffix(number)}` };
    const grid = { x: run.across, y: run.up, z: run.values, ...axes };
    const text = run.up.map((beta, row) => run.across.map((alpha, column) => {
      const value = run.values[row][column];
      return `<b>${run.label}</b><br>α = ${signed(alpha)}, β = ${signed(beta)}<br>${value === null ? "not measured" : `ASR ${percent(value)}`}`;
    }));
    return [
      { ...grid, type: "heatmap", coloraxis: "coloraxis", text, hovertemplate: "%{text}<extra></extra>", hoverongaps: false },
      ...(run.values.flat().some((value) => value !== null) ? contoursOf(grid) : [unseen(axes)]),
      ...run.marks.map(({ label, place: [x, y], asr }, n) => ({
        ...axes, x: [x], y: [y], type: "scatter", mode: "markers", showlegend: false,
        marker: { size: n ? 11 : 13, symbol: label === "origin" ? "circle" : label === "other model" ? "diamond" : "square", color: "#ffffff", line: { width: 3, color: "#1a1d21" } },
        text: [`<b>${label}</b><br>ASR ${percent(asr)}`], hovertemplate: "%{text}<extra></extra>",
      })),
    ];
  });
}

function layoutOfMultiples() {
  const narrow = isNarrow();
  const [columns, rows] = [columnsOf(), rowsOf()];
  const [across, up] = [narrow ? 0 : 0.06 / columns, 70 / (heightOfMultiples() - 90)];
  const [wide, tall] = [(1 - across * (columns - 1)) / columns, (1 - up * (rows - 1)) / rows];
  const layout = { ...plainLayout(), annotations: [], margin: { l: narrow ? 48 : 64, r: 10, t: 34, b: 56 } };
  const ends = (name, step) => {
    const all = data.runs.flatMap((run) => run[name]);
    return [Math.min(...all) - step / 2, Math.max(...all) + step / 2];
  };
  const [first] = data.runs;
  const ranges = { x: ends("across", first.across[1] - first.across[0]), y: ends("up", first.up[1] - first.up[0]) };
  data.runs.forEach((run, number) => {
    const [row, column] = [Math.floor(number / columns), number % columns];
    const [left, top] = [column * (wide + across), 1 - row * (tall + up)];
    const isLowest = number + columns >= data.runs.length;
    const axis = { ...axisStyle(), showgrid: false, nticks: 6 };
    layout[`xaxis${suffix(number)}`] = {
      ...axis, domain: [left, left + wide], anchor: `y${suffix(number)}`, range: ranges.x, matches: number ? "x" : undefined, showticklabels: isLowest,
      title: { text: isLowest ? (narrow || columns > 2 ? "α" : data.headings[0]) : "", standoff: 6, font: { size: 12 } },
    };
    layout[`yaxis${suffix(number)}`] = {
      ...axis, domain: [top - tall, top], anchor: `x${suffix(number)}`, range: ranges.y, matches: number ? "y" : undefined, showticklabels: column === 0,
      title: { text: column === 0 ? (narrow || columns > 2 ? "β" : data.headings[1]) : "", standoff: 4, font: { size: 12 } },
    };
    layout.annotations.push({
      xref: "paper", yref: "paper", x: left, y: top, xanchor: "left", yanchor: "bottom", showarrow: false, text: `<b>${run.label}</b>`, font: { size: 13 },
    });
  });
  layout.coloraxis = {
    colorscale: "Cividis", cmin: 0, cmax: 100,
    colorbar: { title: { text: narrow ? "ASR %" : "Attack success rate, %", side: "right" }, thickness: narrow ? 10 : 16, outlinewidth: 0, tickcolor: colour("--soft"), dtick: 25 },
  };
  return layout;
}

// Square maps, as far as the width allows.
const heightOfMultiples = () => {
  const inner = $("plot").clientWidth - (isNarrow() ? 110 : 190);
  return Math.round(90 + rowsOf() * Math.min(420, inner / columnsOf()) + 70 * (rowsOf() - 1));
};
