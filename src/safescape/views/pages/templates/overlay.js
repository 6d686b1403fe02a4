"use strict";
// Several runs over lines: ASR over α, one curve a run; beneath it, panel by panel, what else was measured.

// Pixels: the ASR, and each panel beneath it with the space above it.
const [main, low, space] = [326, 140, 34];
const inner = () => main + low * data.measures.length;
const heightOfOverlay = () => inner() + 134;
const upper = () => 1 - main / inner();
// Panel n of what else was measured, from the top down.
const domainOf = (panel) => [(panel + 1) * low, panel * low + space].map((down) => Math.max(0, upper() - down / inner()));
const thirds = [0, 1, 2, 3, 4, 5, 6].flatMap((decade) => [10 ** decade, 3 * 10 ** decade]); // for perplexities
const axisOf = (panel) => `y${panel + 2}`;

const opacity = () => Math.min(0.14, 0.42 / data.runs.length); // of many runs the bands lie on each other

function curveOf(number, pieces, { axis = "y", name, told }) {
  const { label } = data.runs[number];
  const style = styleOf(number, false);
  return pieces.flatMap((piece, place) => [...band(piece, style, `run ${number}`, opacity(), axis), {
    x: piece.map((r) => r.x), y: piece.map((r) => r.value), type: "scatter", mode: "lines+markers", yaxis: axis,
    name: label, legendgroup: `run ${number}`, showlegend: name && place === 0,
    line: { color: style.colour, width: 2.5, dash: style.dash },
    marker: { size: 8, symbol: style.symbol, line: { width: 1, color: colour("--panel") } },
    text: piece.map((r) => `<b>${label}</b>, α = ${signed(+r.x.toPrecision(4))}<br>${told(r)}`), hovertemplate: "%{text}<extra></extra>",
  }]);
}

function tracesOfOverlay() {
  const asr = (r) => `ASR ${percent(r.value)}<br>${intervalText(r)}`;
  return [
    ...data.runs.flatMap(({ pieces }, number) => curveOf(number, pieces, { name: true, told: asr })),
    ...data.measures.flatMap((measure, panel) => {
      const unit = measure.kind === "perplexity" ? "" : " %";
      const told = (r) => `${measure.label} ${r.value.toFixed(1)}${unit}<br>${intervalText(r, unit)}`;
      return measure.runs.flatMap(({ run, pieces }) => curveOf(run, pieces, { axis: axisOf(panel), name: false, told }));
    }),
  ];
}

function layoutOfOverlay() {
  const narrow = isNarrow();
  const last = data.measures.length ? axisOf(data.measures.length - 1) : "y";
  const { shapes, annotations, ...over } = layoutOverAlpha([upper(), 1], last);
  if (data.between) {
    shapes.push({ type: "line", x0: 1, x1: 1, yref: "paper", y0: upper(), y1: 1, layer: "below", line: { color: colour("--soft"), width: 1.2, dash: "dot" } });
    annotations.push({
      x: 1, yref: "paper", y: 1, yanchor: "bottom", showarrow: false, text: "other model", font: { size: 11, color: colour("--soft") },
    });
  }
  const panels = data.measures.map((measure, panel) => {
    const perplexity = measure.kind === "perplexity";
    const courses = measure.runs.flatMap(({ pieces }) => pieces.map((readings) => ({ readings })));
    annotations.push({
      xref: "paper", x: 0, yref: "paper", y: domainOf(panel)[1], xanchor: "left", yanchor: "bottom", showarrow: false,
      text: measure.label + (perplexity ? "" : ", %"), font: { size: 12 },
    });
    return [axisOf(panel).replace("y", "yaxis"), {
      ...axisStyle(), domain: domainOf(panel),
      ...(perplexity ? { type: "log", tickvals: thirds, range: decadesOf(courses) } : { range: [-4, 104], dtick: 50 }),
    }];
  });
  return {
    ...over, shapes, annotations, ...Object.fromEntries(panels),
    legend: { orientation: "h", x: 0, xanchor: "left", y: -64 / inner(), yanchor: "top", font: { size: narrow ? 11 : 12 } },
  };
}
