"use strict";
// What the page holds, and the words for it.

// One entry an answer: what the chosen judge said decides filters and colours. The figures are always the first one's.
const answersOf = (rows, prompts) => rows.map(([number, text, finish, tokens, ...verdicts]) => ({
  number, tokens,
  prompt: prompts[number] ?? "",
  text: data.texts[text],
  finish: data.finishes[finish],
  get outcome() { return this.verdicts[state.judge].outcome; },
  // -1 stands for what a judge has not read yet
  verdicts: data.judges.map((judge, n) => ({
    judge, outcome: data.outcomes[verdicts[3 * n]] ?? "unread", reason: data.reasons[verdicts[3 * n + 1]] ?? "", probability: verdicts[3 * n + 2],
  })),
}));
// A point knows its number, for plotly's events; by probe, its figure and its answers.
const points = data.points.map((point, number) => ({
  ...point, number,
  isOrigin: point.waypoint === null && point.coords.every((value) => value === 0),
  answers: point.answers.map((rows, probe) => answersOf(rows, data.probes[probe].prompts)),
}));
// A curve is a way through points: a line, a row of a plane, the checkpoints. Its steps are where it was to be measured.
const curves = data.curves.map((curve, number) => {
  const steps = curve.grid.map((at, n) => ({ at, point: points[curve.points[n]] ?? null }));
  return { ...curve, number, steps, measured: steps.filter((step) => step.point), complete: steps.every((step) => step.point) };
}).filter((curve) => curve.measured.length);
const lines = curves.filter((curve) => curve.kind === "line");
const checkpoints = curves.find((curve) => curve.kind === "checkpoints");
const origin = points.find((point) => point.isOrigin);
// Only outcomes that the chosen judge knows: the keyword judge has two.
const knownTo = [];
const known = () => (knownTo[state.judge] ??= [...data.outcomes, "unread"].filter((outcome) =>
  points.some((point) => point.answers.some((all) => all.some((answer) => answer.outcome === outcome)))));

const finishes = {
  stop: "ended its turn", length: "cut at the length limit", settled: "stopped: the judge could already tell",
};

const state = {
  curve: curves[0], point: null, probe: 0, judge: data.finest, outcome: null, search: "", reveal: false,
  open: new Set(), // prompts whose answer stays unfolded while the point changes
};

// The step of a curve at which a point lies; lines share the origin.
const stepOf = (curve, point) => curve.measured.find((step) => step.point === point);
const stepText = (curve, step) => {
  if (curve.kind === "checkpoints") return `checkpoint ${step.at}`;
  return `α = ${signed(step.at)}`;
};
const figureOf = (point, probe = state.probe) => point.figures[probe];

// Where a point is, and what the first probe gave there, for a plotly label: numbers and fixed words.
function hover(point) {
  const figure = figureOf(point, 0);
  const curve = curves.find((other) => other.kind !== "checkpoints" && stepOf(other, point));
  let where;
  if (point.waypoint !== null) where = `checkpoint ${point.waypoint + 1}`;
  else if (point.isOrigin) where = "origin: the model under test";
  else if (onPlane) where = `α = ${signed(point.coords[0])}, β = ${signed(point.coords[1])}`;
  else where = `${curve.label}, α = ${signed(point.coords[0])}`;
  if (!figure) return `<b>${where}</b><br>not judged yet`;
  const off = point.waypoint === null ? "" : `<br>${(100 * point.off).toFixed(0)} % of its squared distance is off the ${onPlane ? "plane" : "line"}`;
  return `<b>${where}</b><br>ASR ${percent(figure.value)}<br>${intervalText(figure)}` +
    `<br>${figure.count} of ${figure.n} not refused${off}`;
}
