"use strict";
// The landscape over lines: ASR over α, line by line or probe by probe; beneath it over-refusal and capability.

const many = lines.length > styles.length;

function tracesOfLines() {
  return [...(data.courses.length ? probeTraces() : directionTraces()), ...modelTraces(), ...measureTraces()];
}

function directionTraces() {
  const narrow = isNarrow();
  const one = lines.length === 1;
  const begun = lines.filter((curve) => one || curve.measured.length > 1);
  const found = begun.flatMap((curve) => {
    const style = styleOf(curve.number, many);
    const readings = curve.measured.map(({ point }) => ({ x: point.effective[0], ...figureOf(point, 0) }));
    const group = many ? "lines" : `line ${curve.number}`;
    return [...band(readings, style, group, many ? 0.06 : 0.16), {
      x: readings.map((r) => r.x), y: readings.map((r) => r.value), type: "scatter", legendgroup: group, mode: "lines+markers",
      name: many ? "each direction" : narrow ? curve.label.split(" (")[0] : curve.label, showlegend: !many || curve === begun[0],
      line: { color: style.colour, width: one ? 2.5 : 1.5 },
      marker: { size: 8, symbol: style.symbol, line: { width: 1, color: colour("--panel") } },
      customdata: curve.measured.map(({ point }) => point.number),
      text: curve.measured.map(({ point }) => hover(point)), hovertemplate: "%{text}<extra></extra>",
    }];
  });
  if (data.mean.length) {
    found.push({
      x: data.mean.map((r) => r.x), y: data.mean.map((r) => r.value), type: "scatter", mode: "lines",
      name: narrow ? "mean" : "mean of the directions", line: { color: colour("--ink"), width: 3 },
      hovertemplate: "mean of the directions: ASR %{y:.1f} %<extra></extra>",
    });
  }
  return found;
}

function probeTraces() {
  return data.courses.flatMap((course, number) => {
    const style = styleOf(number, false);
    // the curve of a single line leads to its points; a mean has none
    const steps = number === 0 && lines.length === 1 ? lines[0].measured : [];
    const text = course.readings.map((r, n) => steps[n] ? hover(steps[n].point) :
      `<b>probe ${number + 1}</b><br>ASR ${percent(r.value)}<br>${intervalText(r)}`);
    return [...band(course.readings, style, `probe ${number}`, 0.14), {
      x: course.readings.map((r) => r.x), y: course.readings.map((r) => r.value), type: "scatter", mode: "lines+markers",
      name: course.label, legendgroup: `probe ${number}`, line: { color: style.colour, width: 2.5, dash: style.dash },
      marker: { size: 8, symbol: style.symbol, line: { width: 1, color: colour("--panel") } },
      customdata: steps.map(({ point }) => point.number), text, hovertemplate: "%{text}<extra></extra>",
    }];
  });
}

// The models that have a name: the origin, the other one, the checkpoints of a trajectory.
function modelTraces() {
  const narrow = isNarrow();
  const found = [];
  const mark = (point, name, symbol) => found.push({
    x: [point.effective[0]], y: [figureOf(point, 0).value], type: "scatter", mode: "markers", name,
    marker: { size: symbol === "circle" ? 15 : 13, symbol, color: colour("--panel"), line: { width: 3, color: colour("--ink") } },
    customdata: [point.number], text: [hover(point)], hovertemplate: "%{text}<extra></extra>",
  });
  if (origin) mark(origin, narrow ? "origin" : "origin: the model under test", "circle");
  for (const { label, point } of data.marks) mark(points[point], label, "diamond");
  if (checkpoints) found.push({ ...trajectory(), y: checkpoints.measured.map(({ point }) => figureOf(point, 0).value) });
  return found;
}

// The checkpoints in their order, numbered; where they lie along α.
function trajectory() {
  return {
    x: checkpoints.measured.map(({ point }) => point.effective[0]), type: "scatter", mode: "lines+markers+text",
    name: isNarrow() ? "checkpoints" : "checkpoints of the trajectory", line: { color: colour("--trajectory"), width: 2 },
    marker: { size: 17, color: colour("--trajectory"), line: { width: 1.5, color: colour("--panel") } },
    text: checkpoints.measured.map((step) => String(step.at)), textfont: { size: 10, color: colour("--panel") },
    customdata: checkpoints.measured.map(({ point }) => point.number),
    hovertext: checkpoints.measured.map(({ point }) => hover(point)), hovertemplate: "%{hovertext}<extra></extra>",
  };
}

function measureTraces() {
  const symbols = { over_refusal: "square", accuracy: "triangle-up", perplexity: "triangle-down" };
  return data.measures.flatMap((measure, number) => {
    const style = { colour: colour(`--${measure.kind}`) };
    const axis = measure.kind === "perplexity" ? "y3" : "y2";
    const first = data.measures.findIndex((other) => other.kind === measure.kind) === number;
    const unit = measure.kind === "perplexity" ? "" : " %";
    return [...band(measure.readings, style, `measure ${number}`, 0.14, axis), {
      x: measure.readings.map((r) => r.x), y: measure.readings.map((r) => r.value), type: "scatter", mode: "lines+markers", yaxis: axis,
      name: measure.label, legendgroup: `measure ${number}`, line: { color: style.colour, width: 2, dash: first ? "solid" : "dash" },
      marker: { size: 7, symbol: symbols[measure.kind] },
      customdata: [],
      text: measure.readings.map((r) => `<b>${measure.label} ${r.value.toFixed(1)}${unit}</b><br>${intervalText(r, unit)}`),
      hovertemplate: "%{text}<extra></extra>",
    }];
  });
}

// The ring around the chosen point.
function hereOnLines(point) {
  return { x: [point.effective[0]], y: [figureOf(point, 0).value] };
}

function layoutOfLines() {
  const narrow = isNarrow();
  const measured = data.measures.length > 0;
  const upper = measured ? [0.42, 1] : [0, 1];
  const { shapes, annotations, ...over } = layoutOverAlpha(upper, measured ? "y2" : "y");
  for (const { point } of data.marks) {
    const x = points[point].effective[0];
    shapes.push({ type: "line", x0: x, x1: x, yref: "paper", y0: upper[0], y1: 1, layer: "below", line: { color: colour("--soft"), width: 1.2, dash: "dot" } });
  }
  if (data.edges) {
    const [x0, x1] = data.edges;
    shapes.push({
      type: "rect", yref: "paper", x0, x1, y0: upper[0], y1: 1, layer: "below", line: { width: 0 }, fillcolor: colour("--basin"),
    }, {
      type: "line", yref: "paper", x0, x1, y0: 1.01, y1: 1.01, line: { color: colour("--safe"), width: 3 },
    });
    const inset = 0.19 * (data.high - data.low);
    annotations.push({
      x: Math.min(Math.max((x0 + x1) / 2, data.low + inset), data.high - inset), yref: "paper", y: 1.02, yanchor: "bottom", showarrow: false,
      text: `safe basin, ${signed(+x0.toFixed(2))} to ${signed(+x1.toFixed(2))}`,
      font: { size: 12, color: colour("--safe") },
    });
  }
  const axis = axisStyle();
  const texts = data.measures.filter((measure) => measure.kind === "perplexity");
  return {
    ...over, shapes, annotations,
    ...(measured && {
      yaxis2: { ...axis, domain: [0, 0.34], range: [-4, 104], dtick: 50, title: { text: narrow ? "%" : "rate, %", standoff: 6 } },
      yaxis3: {
        ...axis, overlaying: "y2", side: "right", type: "log", showgrid: false, dtick: 1, anchor: "x", range: decadesOf(texts),
        title: { text: narrow ? "" : "perplexity", standoff: 6 }, visible: texts.length > 0,
      },
    }),
    legend: { orientation: "h", x: 0, xanchor: "left", y: measured ? -0.13 : narrow ? -0.24 : -0.2, yanchor: "top", font: { size: narrow ? 11 : 12 } },
  };
}
