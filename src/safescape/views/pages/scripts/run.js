// The run: its points, curves and answers. A served page takes in new data while the run grows.

import { intervalText, percent, signed } from "./dom.js";
import { answersAt, payloadOf } from "./source.js";

/** @import { CurveData, LinesData, OpinionData, PlaneData, PointData, RunPayload } from "./payload.js" */
/**
 * @typedef {object} Verdict
 * @property {string} judge
 * @property {string} outcome
 * @property {number | null} probability - That the answer complied, if the judge states it.
 * @property {string} reason
 *
 * @typedef {{ text: string, tokens: number, isEnded: boolean }} Thought - What a reasoning model wrote before its answer.
 *
 * @typedef {object} Answer
 * @property {number} number - The request's number in its probe.
 * @property {string} prompt
 * @property {Verdict[]} verdicts - One a judge.
 * @property {{ text: string, finish: string, tokens: number, thought: Thought | null } | null} said - Null until it is loaded.
 *
 * @typedef {Omit<PointData, "answers"> & { number: number, seen: string, isOrigin: boolean, answers: Answer[][] }} Point
 * `number` is its place in the payload, `seen` changes with its verdicts; figures and answers are by probe.
 *
 * @typedef {{ at: number, point: Point | null }} Place
 * @typedef {{ at: number, point: Point }} Step
 * @typedef {Omit<CurveData, "points"> & { number: number, places: Place[], steps: Step[] }} Curve
 * `places` is its whole grid, `steps` are those that are measured.
 */

/** @type {RunPayload} */
export let data = payloadOf();
/** @type {Point[]} */
export let points = [];
/** @type {Curve[]} The curves of which a point is measured. */
export let curves;
/** @type {Curve[]} */
export let lines;
/** @type {Curve | undefined} */
export let checkpoints;
/** @type {Point | undefined} */
export let origin;
/** @type {Map<string, Point>} */
let byCoords;

/**
 * Take in a payload. Points whose verdicts did not change keep their loaded answers.
 * @param {RunPayload} given
 */
export function take(given) {
  const had = new Map(points.map((point) => [point.id, point]));
  data = given;
  points = data.points.map((point, number) => {
    const seen = JSON.stringify([data.judges, point.answers]);
    const old = had.get(point.id);
    return {
      ...point, number, seen,
      isOrigin: point.waypoint === null && point.coords.every((value) => value === 0),
      answers: old?.seen === seen ? old.answers : point.answers.map((opinions, probe) => answersOf(opinions, data.probes[probe].prompts)),
    };
  });
  curves = data.curves.map((curve, number) => {
    const places = curve.grid.map((at, n) => ({ at, point: points[curve.points[n] ?? -1] ?? null }));
    return { ...curve, number, places, steps: places.filter(/** @returns {place is Step} */ (place) => place.point !== null) };
  }).filter((curve) => curve.steps.length);
  lines = curves.filter((curve) => curve.kind === "line");
  checkpoints = curves.find((curve) => curve.kind === "checkpoints");
  origin = points.find((point) => point.isOrigin);
  byCoords = new Map(points.filter((point) => point.waypoint === null).map((point) => [point.coords.join(), point]));
}

/**
 * @param {OpinionData[]} opinions
 * @param {string[]} prompts
 * @returns {Answer[]}
 */
function answersOf(opinions, prompts) {
  return Array.from(opinions[0].outcomes, (_, number) => ({
    number,
    prompt: prompts[number] ?? "",
    verdicts: data.judges.map((judge, n) => ({
      judge, outcome: data.outcomes[Number(opinions[n].outcomes[number])] ?? "unread", probability: opinions[n].probabilities?.[number] ?? null, reason: "",
    })),
    said: null,
  }));
}

take(data);

/** @returns {LinesData} What is drawn of a run over lines. */
export const linesData = () => /** @type {LinesData} */ (data.lines);

/** @returns {PlaneData} What is drawn of a run over a plane. */
export const planeData = () => /** @type {PlaneData} */ (data.plane);

export const isPlane = data.plane !== null;

/** @param {number[]} coords */
export const pointAt = (...coords) => byCoords.get(coords.join());

/** The answers that were loaded last: enough to go back and forth. */
const loading = new Map();
const KEPT = 48;

/**
 * Load what the model said at a point.
 * @param {Point} point
 */
export async function load(point) {
  if (point.answers.every((all) => all.every((answer) => answer.said))) return;
  const key = `${point.id} ${point.seen}`;
  const pending = loading.get(key) ?? answersAt(data.run, point.id);
  loading.delete(key);
  loading.set(key, pending);
  for (const old of [...loading.keys()].slice(0, -KEPT)) loading.delete(old);
  let block;
  try {
    block = await pending;
  } catch (error) {
    loading.delete(key);
    throw error;
  }
  for (const [probe, all] of point.answers.entries()) {
    for (const answer of all) {
      const row = block.answers[probe][answer.number];
      if (!row) continue;
      const [text, finish, tokens, thought, thoughtTokens, isEnded, ...reasons] = row;
      answer.said = {
        text: block.texts[text], finish: block.finishes[finish], tokens,
        thought: thought < 0 ? null : { text: block.texts[thought], tokens: thoughtTokens, isEnded: isEnded === 1 },
      };
      for (const verdict of answer.verdicts) verdict.reason = block.reasons[reasons[block.judges.indexOf(verdict.judge)]] ?? "";
    }
  }
}

/**
 * Return the step of a curve at which a point lies; lines share the origin.
 * @param {Curve} curve
 * @param {Point} point
 */
export const stepOf = (curve, point) => curve.steps.find((step) => step.point === point);

/**
 * @param {Curve} curve
 * @param {number} at
 */
export const placeText = (curve, at) => (curve.kind === "checkpoints" ? `checkpoint ${at}` : `α = ${signed(at)}`);

/** The label of a curve without its seed.
 * @param {Curve} curve
 */
export const shortLabel = (curve) => curve.label.split(" (")[0];

/**
 * Return the point of a curve that lies nearest to an effective α.
 * @param {Curve} curve
 * @param {number} x
 */
export const nearestOn = (curve, x) => curve.steps.reduce((best, other) =>
  Math.abs(other.point.effective[0] - x) < Math.abs(best.point.effective[0] - x) ? other : best).point;

/** The share of a checkpoint's distance that the drawing cannot show.
 * @param {Point} point
 */
export const offText = (point) => `${(100 * point.off).toFixed(0)} % of its squared distance`;

/** The text after it: what a checkpoint is off of. */
export const subspaceText = isPlane ? "plane" : "line";

/**
 * Return a point's label for plotly: where it is, and the first probe's figure.
 * @param {Point} point
 */
export function hover(point) {
  const figure = point.figures[0];
  const [alpha, beta] = point.coords;
  const curve = curves.find((other) => other.kind !== "checkpoints" && stepOf(other, point));
  let where;
  if (point.waypoint !== null) where = `checkpoint ${point.waypoint + 1}`;
  else if (point.isOrigin) where = "origin: the model under test";
  else if (isPlane) where = `α = ${signed(alpha)}, β = ${signed(beta)}`;
  else where = `${curve?.label}, α = ${signed(alpha)}`;
  if (!figure) return `<b>${where}</b><br>not judged yet`;
  const off = point.waypoint === null ? "" : `<br>${offText(point)} is off the ${subspaceText}`;
  return `<b>${where}</b><br>ASR ${percent(figure.value)}<br>${intervalText(figure)}<br>${figure.count} of ${figure.n} not refused${off}`;
}
