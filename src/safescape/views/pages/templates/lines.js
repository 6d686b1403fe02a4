"use strict";
// The landscape over lines: ASR over α, line by line or probe by probe; beneath it what the answers are, then
// over-refusal and capability.

const isCrowd = () => lines.length > styles.length;

function tracesOfLines() {
  return [...(data.courses.length ? probeTraces() : directionTraces()), ...strictTraces(), ...modelTraces(), ...stackTraces(), ...measureTraces()];
}

function directionTraces() {
  const narrow = isNarrow();
  const one = lines.length === 1;
  const many = isCrowd();
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
    x: [point.effective[0]], y: [figureOf(point, 0)?.value ?? null], type: "scatter", mode: "markers", name,
    marker: { size: symbol === "circle" ? 15 : 13, symbol, color: colour("--panel"), line: { width: 3, color: colour("--ink") } },
    customdata: [point.number], text: [hover(point)], hovertemplate: "%{text}<extra></extra>",
  });
  if (origin) mark(origin, narrow ? "origin" : "origin: the model under test", "circle");
  for (const { label, point } of data.marks) mark(points[point], label, "diamond");
  if (checkpoints) found.push({ ...trajectory(), y: checkpoints.measured.map(({ point }) => figureOf(point, 0)?.value ?? null) });
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

// The ASR of which compliance alone counts, where the ASR also counts noise.
function strictTraces() {
  return (data.stack?.strict ?? []).map((piece, n) => ({
    x: piece.map((r) => r.x), y: piece.map((r) => r.value), type: "scatter", mode: "lines", legendgroup: "strict", showlegend: n === 0,
    name: isNarrow() ? "strict ASR" : "strict ASR, complied alone", line: { color: colour("--complied"), width: 2, dash: "dash" }, customdata: [],
    text: piece.map((r) => `strict ASR ${percent(r.value)}<br>${intervalText(r)}`), hovertemplate: "%{text}<extra></extra>",
  }));
}

// What the answers are, stacked: told apart by colour, by their order, and noise by its hatching.
function stackTraces() {
  if (!data.stack) return [];
  const ink = { refused: 0.3, complied: 1, incoherent: 0.75, unscored: 0.6 };
  return data.stack.pieces.flatMap(({ x, percent: shares }, n) => Object.keys(shares).map((outcome) => {
    const fill = transparent(colour(`--${outcome}`), ink[outcome]);
    const said = x.map((at, place) => `<b>α = ${signed(+at.toPrecision(4))}</b>` +
      Object.entries(shares).map(([name, values]) => `<br>${name} ${percent(values[place])}`).join(""));
    return {
      x, y: shares[outcome], type: "scatter", mode: "lines", yaxis: "y4", stackgroup: `answers ${n}`, legendgroup: outcome, name: outcome,
      showlegend: n === 0, line: { width: 0.5, color: colour("--soft") }, fillcolor: fill, text: said,
      ...(outcome === "incoherent" && { fillpattern: { shape: "/", size: 7, solidity: 0.2, bgcolor: fill, fgcolor: colour("--ink"), fgopacity: 0.5 } }),
      hovertemplate: "%{text}<extra></extra>",
    };
  }));
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

// The ring around the chosen point, and where it lies among the answers.
function hereOnLines(point) {
  const x = point.effective[0];
  return [
    ...(data.stack ? [{ x: [x, x], y: [0, 100] }] : []),
    { x: [x], y: [figureOf(point, 0)?.value ?? null] },
  ];
}

// From the top: where each panel lies, in shares of the height.
function panelsOfLines() {
  const below = [data.stack && "stack", data.measures.length && "measures"].filter(Boolean);
  const found = { asr: [[0, 1], [0.44, 1], [0.58, 1]][below.length] };
  if (below.length === 1) found[below[0]] = [0, 0.33];
  if (below.length === 2) Object.assign(found, { stack: [0.285, 0.47], measures: [0, 0.2] });
  return found;
}

function layoutOfLines() {
  const narrow = isNarrow();
  const { asr: upper, stack, measures } = panelsOfLines();
  const { shapes, annotations, ...over } = layoutOverAlpha(upper, measures ? "y2" : stack ? "y4" : "y");
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
  if (stack) {
    annotations.push({
      xref: "paper", x: 0, xanchor: "left", yref: "paper", y: stack[1] + 0.005, yanchor: "bottom", showarrow: false,
      text: narrow ? `as the “${data.stack.judge}” judge sees them` : `What the answers are, as the “${data.stack.judge}” judge sees them${data.stack.shown}`,
      font: { size: 12, color: colour("--ink") },
    });
  }
  const axis = axisStyle();
  const texts = data.measures.filter((measure) => measure.kind === "perplexity");
  return {
    ...over, shapes, annotations,
    ...(stack && {
      yaxis4: { ...axis, domain: stack, range: [0, 100], dtick: 50, showgrid: false, title: { text: narrow ? "%" : "answers, %", standoff: 6 } },
    }),
    ...(measures && {
      yaxis2: { ...axis, domain: measures, range: [-4, 104], dtick: 50, title: { text: narrow ? "%" : "rate, %", standoff: 6 } },
      yaxis3: {
        ...axis, overlaying: "y2", side: "right", type: "log", showgrid: false, dtick: 1, anchor: "x", range: decadesOf(texts),
        title: { text: narrow ? "" : "perplexity", standoff: 6 }, visible: texts.length > 0,
      },
    }),
    legend: { orientation: "h", x: 0, xanchor: "left", y: stack || measures ? -0.6 / (measures && stack ? 7 : 5) : narrow ? -0.24 : -0.2, yanchor: "top", font: { size: narrow ? 11 : 12 } },
  };
}
