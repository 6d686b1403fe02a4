// What the reader has selected, and who redraws when it changes.

import { checkpoints, curves, data, nearestOn, origin, placeText, points, shortLabel, stepOf } from "./run.js";

/** @import { Answer, Curve, Point } from "./run.js" */
/**
 * @typedef {object} State
 * @property {Curve} curve
 * @property {Point} point
 * @property {Point | null} pinned - A point whose answers are shown beside those of `point`.
 * @property {number} probe
 * @property {number} judge - Whose outcomes decide filters and colours. The figures are always the first one's.
 * @property {string | null} outcome - The filter.
 * @property {string} search
 * @property {boolean} reveal - Whether prompts and answers are visible.
 * @property {ReadonlySet<number>} open - The requests whose answers are expanded.
 */

const start = origin ?? curves[0]?.steps[0].point;

/** @type {State} */
export const state = {
  curve: curves.find((curve) => stepOf(curve, start)) ?? curves[0], point: start, pinned: null, probe: 0, judge: data.finest, outcome: null, search: "",
  reveal: false, open: new Set(),
};

/** The filter for answers whose outcome is another one than at the pinned point. */
export const CHANGED = "changed";

/** @type {{ keys: (keyof State)[], listener: () => void | Promise<void> }[]} */
const listeners = [];

/**
 * Call `listener` when one of the keys is set.
 * @param {(keyof State)[]} keys
 * @param {() => void | Promise<void>} listener
 */
export const onChange = (keys, listener) => listeners.push({ keys, listener });

/**
 * Set parts of the state. Resolves when everything that depends on them is shown.
 * @param {Partial<State>} change
 */
export async function update(change) {
  Object.assign(state, change);
  await Promise.all(listeners.filter(({ keys }) => keys.some((key) => key in change)).map(({ listener }) => listener()));
}

/**
 * Select a point and the curve that leads through it: the current one, if it does.
 * @param {Point} point
 */
export const goTo = (point) => update({ curve: curveThrough(point), point });

/** @param {number} by */
export function step(by) {
  const next = state.curve.steps[state.curve.steps.findIndex(({ point }) => point === state.point) + by];
  if (next) update({ point: next.point });
}

/**
 * Select a curve, at the point nearest to the current distance.
 * @param {Curve | undefined} curve
 */
export function selectCurve(curve) {
  if (curve) update({ curve, point: nearestOn(curve, state.point.effective[0]) });
}

export const togglePin = () => update({ pinned: state.pinned === state.point ? null : state.point });

/**
 * Take over the selection to a payload that has come since.
 * @param {string} judge - The name of the chosen one before it came.
 */
export function reselect(judge) {
  /** @param {Point | null} old */
  const again = (old) => points.find((point) => point.id === old?.id) ?? null;
  const { label } = state.curve;
  state.judge = data.judges.includes(judge) ? data.judges.indexOf(judge) : data.finest;
  state.point = again(state.point) ?? origin ?? curves[0].steps[0].point;
  state.pinned = again(state.pinned);
  state.curve = curves.find((curve) => curve.label === label && stepOf(curve, state.point)) ?? curveThrough(state.point);
}

/** @param {Point} point */
export const curveThrough = (point) => (stepOf(state.curve, point) ? state.curve : curves.find((curve) => stepOf(curve, point))) ?? curves[0];

/**
 * Return where a point is, in words.
 * @param {Point} point
 */
export function placeOf(point) {
  if (point.isOrigin) return "origin";
  const curve = curveThrough(point);
  const at = placeText(curve, stepOf(curve, point)?.at ?? 0);
  return curve === checkpoints ? at : `${at}, ${shortLabel(curve)}`;
}

/** @param {Answer} answer */
export const outcomeOf = (answer) => answer.verdicts[state.judge].outcome;

/** @param {Point} point */
export const answersOn = (point) => point.answers[state.probe];

/** The pinned point, unless it is the selected one. */
export const pinnedBeside = () => (state.pinned && state.pinned !== state.point ? state.pinned : null);

/**
 * Return the answer to the same request at the pinned point.
 * @param {Answer} answer
 */
export function asPinned(answer) {
  const pinned = pinnedBeside();
  return (pinned && answersOn(pinned)[answer.number]) ?? null;
}

/** @param {Answer} answer */
export function hasChanged(answer) {
  const before = asPinned(answer);
  return before !== null && outcomeOf(before) !== outcomeOf(answer);
}

/** @type {Map<number, string[]>} By judge. */
let knownTo = new Map();
/** @type {Point[]} */
let knownIn = points;

/** Return the outcomes that the chosen judge knows: the keyword judge has two. */
export function known() {
  if (knownIn !== points) [knownIn, knownTo] = [points, new Map()];
  const found = knownTo.get(state.judge) ?? [...data.outcomes, "unread"].filter((outcome) =>
    points.some((point) => point.answers.some((all) => all.some((answer) => outcomeOf(answer) === outcome))));
  knownTo.set(state.judge, found);
  return found;
}
