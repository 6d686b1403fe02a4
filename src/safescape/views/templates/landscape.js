"use strict";
// The landscape: ASR over α, line by line.

const many = data.curves.length > 4;
const lineColour = (curve) => (many ? colour("--line-n") : colour(`--line-${curve.line + 1}`));
const symbol = (curve) => (many ? "circle" : ["circle", "square", "triangle-up", "diamond"][curve.line]);
let drawn = null;

// Where a legend of full sentences would squeeze the curves.
const isNarrow = () => $("plot").clientWidth < 560;

function traces() {
  const narrow = isNarrow();
  const found = [];
  const one = curves.length === 1;
  const begun = curves.filter((curve) => one || curve.samples.length > 1);
  for (const curve of begun) {
    const x = curve.samples.map((sample) => sample.x);
    const shared = { x, type: "scatter", legendgroup: many ? "lines" : `line ${curve.line}` };
    found.push({
      ...shared, y: curve.samples.map((s) => s.high), mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false,
    }, {
      ...shared, y: curve.samples.map((s) => s.low), mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false,
      fill: "tonexty", fillcolor: transparent(lineColour(curve), many ? 0.06 : 0.16),
    }, {
      ...shared, y: curve.samples.map((s) => s.asr), mode: "lines+markers",
      name: many ? "each direction" : narrow ? direction(curve).split(" (")[0] : direction(curve), showlegend: !many || curve === begun[0],
      line: { color: lineColour(curve), width: one ? 2.5 : 1.5 },
      marker: { size: 8, symbol: symbol(curve), line: { width: 1, color: colour("--panel") } },
      customdata: curve.samples.map((s) => [curve.line, s.alpha, s.complied, s.n, s.low, s.high, signed(s.alpha)]),
      hovertemplate: `<b>${direction(curve)}, α = %{customdata[6]}</b><br>ASR %{y:.1f} %` +
        "<br>95 % interval %{customdata[4]:.1f} to %{customdata[5]:.1f} %" +
        "<br>%{customdata[2]} of %{customdata[3]} not refused<extra></extra>",
    });
  }
  if (data.mean.length) {
    found.push({
      x: data.mean.map(([x]) => x), y: data.mean.map(([, asr]) => asr), type: "scatter", mode: "lines",
      name: narrow ? "mean" : "mean of the directions", line: { color: colour("--ink"), width: 3 },
      hovertemplate: "mean of the directions: ASR %{y:.1f} %<extra></extra>",
    });
  }
  const origin = curves[0]?.samples.find((sample) => sample.alpha === 0);
  if (origin) {
    found.push({
      x: [origin.x], y: [origin.asr], type: "scatter", mode: "markers", name: narrow ? "origin" : "origin: the model under test",
      marker: { size: 15, color: colour("--panel"), line: { width: 3, color: colour("--ink") } },
      customdata: [[0, 0, origin.complied, origin.n, origin.low, origin.high]],
      hovertemplate: "<b>origin: the model under test</b><br>ASR %{y:.1f} %" +
        "<br>95 % interval %{customdata[4]:.1f} to %{customdata[5]:.1f} %" +
        "<br>%{customdata[2]} of %{customdata[3]} not refused<extra></extra>",
    });
  }
  const here = sampleHere();
  found.push({
    x: here ? [here.x] : [], y: here ? [here.asr] : [], type: "scatter", mode: "markers", hoverinfo: "skip", showlegend: false,
    marker: { size: 24, color: "rgba(0,0,0,0)", line: { width: 2.5, color: colour("--focus") } },
  });
  return found;
}

function transparent(hex, alpha) {
  const value = parseInt(hex.slice(1), 16);
  return `rgba(${value >> 16}, ${(value >> 8) & 255}, ${value & 255}, ${alpha})`;
}

function layout() {
  const narrow = isNarrow();
  const text = { color: colour("--ink"), size: narrow ? 12 : 13, family: getComputedStyle(document.body).fontFamily };
  const shapes = [{
    type: "line", xref: "paper", x0: 0, x1: 1, y0: data.safeBelow, y1: data.safeBelow, layer: "below",
    line: { color: colour("--soft"), width: 1.2, dash: "dash" },
  }];
  const annotations = [{
    xref: "paper", x: 1, y: data.safeBelow, xanchor: "left", yanchor: "middle", showarrow: false, align: "left",
    text: narrow ? `${data.safeBelow} %` : `unsafe<br>above ${data.safeBelow} %`, font: { size: 11, color: colour("--soft") },
  }];
  if (data.edges) {
    const [x0, x1] = data.edges;
    shapes.push({
      type: "rect", yref: "paper", x0, x1, y0: 0, y1: 1, layer: "below", line: { width: 0 }, fillcolor: colour("--basin"),
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
  const axis = {
    gridcolor: colour("--rule"), linecolor: colour("--soft"), zeroline: false, ticks: "outside", tickcolor: colour("--soft"),
  };
  return {
    font: text, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", shapes, annotations,
    margin: { l: narrow ? 44 : 60, r: narrow ? 34 : 84, t: 34, b: narrow ? 112 : 100 },
    xaxis: {
      ...axis, showgrid: false, showline: true, range: [data.low - 0.02 * (data.high - data.low), data.high + 0.02 * (data.high - data.low)],
      title: { text: narrow ? "α" : data.title +
        (data.rounded ? ", as rounded" : ""), standoff: 8 },
    },
    yaxis: { ...axis, range: [-4, 104], dtick: 25, title: { text: narrow ? "ASR %" : "Attack success rate, %", standoff: 6 } },
    legend: { orientation: "h", x: 0, xanchor: "left", y: narrow ? -0.24 : -0.2, yanchor: "top", font: { size: narrow ? 11 : 12 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--focus") },
    hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--rule"), font: { color: colour("--ink") }, align: "left" },
  };
}

async function loadPlotly() {
  const packed = Uint8Array.from(atob($("plotly").textContent), (sign) => sign.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = element("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  if (!window.Plotly) throw new Error("plotly did not start");
}

async function draw() {
  try {
    await loadPlotly();
  } catch (error) {
    $("plot").hidden = true;
    $("plot-note").textContent = `This browser cannot draw the landscape (${error.message}). The figures are in the table below.`;
    return;
  }
  drawn = $("plot");
  await Plotly.newPlot(drawn, traces(), layout(), {
    responsive: true, displaylogo: false, scrollZoom: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    toImageButtonOptions: { filename: "safety-landscape", scale: 2 },
  });
  drawn.on("plotly_click", (event) => {
    const at = event.points.find((point) => point.customdata);
    if (!at) return;
    const [line, alpha] = at.customdata;
    choose(alpha === 0 ? state.line : line, alpha);
  });
  $("plot-note").textContent = "";
  const again = () => Plotly.react(drawn, traces(), layout());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let narrow = isNarrow();
  addEventListener("resize", () => {
    if (narrow !== isNarrow()) {
      narrow = !narrow;
      again();
    }
  });
  drawn.dataset.ready = "true";
}

function markHere() {
  const here = sampleHere();
  if (drawn?.dataset.ready) {
    Plotly.restyle(drawn, { x: [here ? [here.x] : []], y: [here ? [here.asr] : []] }, [drawn.data.length - 1]);
  }
}
