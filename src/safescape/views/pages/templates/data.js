"use strict";
// What the page holds, and the words for it. A served page takes in new data while its run grows.

// One entry an answer: what the chosen judge said decides filters and colours. The figures are always the first one's.
// What was asked is known at once; what was answered is filled in by `saidAt`.
function answersOf(opinions, prompts) {
  return Array.from(opinions[0].outcomes, (_, number) => ({
    number,
    prompt: prompts[number] ?? "",
    get outcome() { return this.verdicts[state.judge].outcome; },
    verdicts: data.judges.map((judge, n) => ({
      judge, outcome: data.outcomes[opinions[n].outcomes[number]] ?? "unread", probability: opinions[n].probabilities?.[number] ?? null,
    })),
  }));
}

let points, curves, lines, checkpoints, origin, pointAt, knownTo;

// Take in what a run is now.
function take(given) {
  const had = new Map(points?.map((point) => [point.id, point]));
  data = given;
  // A point knows its number, for plotly's events, and its id, which stays while a run grows; by probe, its figure and its
  // answers.
  points = data.points.map((point, number) => {
    const seen = JSON.stringify([data.judges, point.answers]);
    const old = had.get(point.id);
    return {
      ...point, number, seen,
      isOrigin: point.waypoint === null && point.coords.every((value) => value === 0),
      answers: old?.seen === seen ? old.answers : point.answers.map((opinions, probe) => answersOf(opinions, data.probes[probe].prompts)),
    };
  });
  // A curve is a way through points: a line, a row of a plane, the checkpoints. Its steps are where it was to be measured.
  curves = data.curves.map((curve, number) => {
    const steps = curve.grid.map((at, n) => ({ at, point: points[curve.points[n]] ?? null }));
    return { ...curve, number, steps, measured: steps.filter((step) => step.point), complete: steps.every((step) => step.point) };
  }).filter((curve) => curve.measured.length);
  lines = curves.filter((curve) => curve.kind === "line");
  checkpoints = curves.find((curve) => curve.kind === "checkpoints");
  origin = points.find((point) => point.isOrigin);
  pointAt = new Map(points.filter((point) => point.waypoint === null).map((point) => [point.coords.join(), point]));
  knownTo = [];
}

// Only outcomes that the chosen judge knows: the keyword judge has two.
const known = () => (knownTo[state.judge] ??= [...data.outcomes, "unread"].filter((outcome) =>
  points.some((point) => point.answers.some((all) => all.some((answer) => answer.outcome === outcome)))));

// What was said at points, those that were looked at last: enough to go back and forth.
const read = new Map();
const KEPT = 48;

// Fill in what was said at a point: of each answer its text, how it ended and the judges' reasons.
async function saidAt(point) {
  if (point.answers.every((all) => all.every((answer) => "text" in answer))) return;
  const key = `${point.id} ${point.seen}`;
  const pending = read.get(key) ?? source.said(data.run, point.id);
  read.delete(key);
  read.set(key, pending);
  for (const old of [...read.keys()].slice(0, -KEPT)) read.delete(old);
  let said;
  try {
    said = await pending;
  } catch (error) {
    read.delete(key);
    throw error;
  }
  said.answers.forEach((rows, probe) => rows.forEach(([text, finish, tokens, ...reasons], number) => {
    const answer = point.answers[probe][number];
    if (!answer) return;
    Object.assign(answer, { text: said.texts[text], finish: said.finishes[finish], tokens });
    for (const verdict of answer.verdicts) verdict.reason = said.reasons[reasons[said.judges.indexOf(verdict.judge)]] ?? "";
  }));
}

const finishes = {
  stop: "ended its turn", length: "cut at the length limit", settled: "stopped: the judge could already tell",
};

take(data);
const state = {
  curve: curves[0], point: null, pinned: null, probe: 0, judge: data.finest, outcome: null, search: "", reveal: false,
  open: new Set(), // prompts whose answer stays unfolded while the point changes
};

// The step of a curve at which a point lies; lines share the origin.
const stepOf = (curve, point) => curve.measured.find((step) => step.point === point);
const stepText = (curve, step) => {
  if (curve.kind === "checkpoints") return `checkpoint ${step.at}`;
  return `α = ${signed(step.at)}`;
};
const figureOf = (point, probe = state.probe) => point.figures[probe];
const curveOf = (point) => (stepOf(state.curve, point) ? state.curve : curves.find((curve) => stepOf(curve, point)));

// Where a point is, in words.
function placeOf(point) {
  if (point.isOrigin) return "origin";
  const curve = curveOf(point);
  const at = stepText(curve, stepOf(curve, point));
  return curve.kind === "checkpoints" ? at : `${at}, ${curve.label.split(" (")[0]}`;
}

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
