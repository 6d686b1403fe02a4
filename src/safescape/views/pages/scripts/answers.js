// The answers at the selected point, to one probe: where it is, its figure, the filters, the list.

import { row, renewStrips, textOf } from "./answer.js";
import { $, button, element, find, intervalText, offer, percent, swatch } from "./dom.js";
import { curves, data, isPlane, load, offText, origin, placeText, points, subspaceText } from "./run.js";
import {
  CHANGED, answersOn, asPinned, goTo, hasChanged, known, onChange, outcomeOf, pinnedBeside, placeOf, selectCurve, state, step, togglePin, update,
} from "./selection.js";
import { messageOf } from "./source.js";

/** @import { Answer, Curve, Point } from "./run.js" */

/** Show the section, and connect its controls. */
export function beginAnswers() {
  $("browser").hidden = false;
  offerChoices();
  if (isPlane) $("direction-label").textContent = "Row";
  // a browser may restore these on reload
  $("reveal").checked = false;
  $("search").value = "";
  $("probe").value = "0";
  $("judge").addEventListener("change", () => update({ judge: Number($("judge").value) }));
  $("probe").addEventListener("change", () => update({ probe: Number($("probe").value), open: new Set() }));
  $("direction").addEventListener("change", () => selectCurve(curves[Number($("direction").value)]));
  $("alpha").addEventListener("input", () => update({ point: state.curve.steps[Number($("alpha").value)].point }));
  $("search").addEventListener("input", () => update({ search: $("search").value }));
  $("reveal").addEventListener("change", () => update({ reveal: $("reveal").checked }));
  $("back").addEventListener("click", () => step(-1));
  $("forward").addEventListener("click", () => step(1));
  $("to-origin").addEventListener("click", () => origin && goTo(origin));
  $("pin").addEventListener("click", togglePin);
  $("unpin").addEventListener("click", () => {
    update({ pinned: null });
    $("pin").focus();
  });
  onChange(["curve", "point"], showPlace);
  onChange(["point", "pinned", "probe", "judge"], showFigures);
  onChange(["point", "pinned", "probe", "judge", "outcome"], showFilters);
  onChange(["point", "pinned", "probe", "judge", "outcome", "search", "reveal"], showList);
}

/** Offer the present choices. */
export function offerChoices() {
  offer("direction", curves.map((curve) => curve.label + (curve.places.length === curve.steps.length ? "" : ", unfinished")));
  offer("judge", data.judges);
  offer("probe", data.probes.map(({ name }) => name));
  $("judge").value = String(state.judge);
}

/**
 * Take in new points: the list stays as it is, unless verdicts on the answers that it shows changed.
 * @param {Point} shown - The point before they came.
 * @param {Point | null} pinned
 */
export function renewAnswers(shown, pinned) {
  offerChoices();
  showPlace();
  showFigures();
  showFilters();
  if ($("list").dataset.point !== String(state.point.id) || state.point.seen !== shown.seen || state.pinned?.seen !== pinned?.seen) {
    showList();
    return;
  }
  const focused = document.activeElement;
  for (const details of $("list").querySelectorAll("details[open]")) {
    const body = find(".body", details);
    if (!body) continue;
    const label = body.contains(focused) && focused?.getAttribute("aria-label");
    renewStrips(body, Number(details.getAttribute("data-number")));
    if (label) find(`[aria-label="${CSS.escape(label)}"]`, body)?.focus({ preventScroll: true });
  }
}

/**
 * Go to a point and expand one answer there.
 * @param {{ curve: Curve, point: Point, number: number, probe?: number }} place
 */
export async function visit({ curve, point, number, probe = state.probe }) {
  const open = new Set(probe === state.probe ? state.open : []).add(number);
  $("search").value = "";
  await update({ curve, point, probe, open, outcome: null, search: "" });
  const details = find(`#list details[data-number="${number}"]`);
  if (!details || state.point !== point) return;
  $("browser").scrollIntoView({ block: "start" });
  $("list").scrollTop = details.offsetTop;
  find("summary", details)?.focus({ preventScroll: true });
}

function showPlace() {
  const { curve, point } = state;
  const place = curve.steps.findIndex((other) => other.point === point);
  const { at } = curve.steps[place];
  const text = placeText(curve, at);
  const isTrajectory = curve.kind === "checkpoints";
  const names = data.marks.filter((mark) => points[mark.point] === point).map((mark) => `, the ${mark.label}`);
  $("direction").value = String(curves.indexOf(curve));
  $("alpha").max = String(curve.steps.length - 1);
  $("alpha").value = String(place);
  $("alpha").setAttribute("aria-valuetext", text);
  $("alpha-label").textContent = isTrajectory ? "Checkpoint" : "Distance α";
  $("alpha-text").textContent = (isTrajectory ? String(at) : text.replace("α = ", "")) + (point.isOrigin ? ", the origin" : names.join(""));
  $("back").disabled = place === 0;
  $("forward").disabled = place === curve.steps.length - 1;
  $("to-origin").disabled = point.isOrigin || !origin;
}

function showFigures() {
  const before = pinnedBeside();
  $("probe").value = String(state.probe);
  $("pinned-here").hidden = $("here-name").hidden = $("unpin").hidden = !before;
  $("pin").textContent = state.pinned === state.point ? "Unpin" : state.pinned ? "Pin this instead" : "Pin this point";
  if (before) {
    $("pinned-name").textContent = `Pinned: ${placeOf(before)}`;
    $("here-name").textContent = `Here: ${placeOf(state.point)}`;
    showFigure("pinned", before);
  }
  showFigure("here", state.point);
}

/**
 * @param {string} where
 * @param {Point} point
 */
function showFigure(where, point) {
  const [text, bar] = [$(`${where}-asr`), $(`${where}-bar`)];
  const figure = point.figures[state.probe];
  const { harmful } = data.probes[state.probe];
  const [judge, ...others] = data.judges;
  bar.replaceChildren();
  if (figure) {
    text.replaceChildren(
      element("strong", "", `${harmful ? "ASR" : "Over-refusal"} ${percent(figure.value)}`),
      ` ${figure.count} of ${figure.n} ${harmful ? "not refused" : "refused"}, ${intervalText(figure)}`,
      point.waypoint === null ? "" : `; ${offText(point)} from the origin is off the ${subspaceText}`,
      others.length ? ` (${judge} judge)` : "",
    );
  } else if (answersOn(point).length) {
    text.textContent = `The ${judge} judge has not read the answers here yet.`;
  } else {
    text.textContent = "Not measured here: this probe is asked at the named models alone.";
  }
  for (const [outcome, count] of countsOn(point)) {
    if (!count) continue;
    const part = element("span", outcome);
    part.style.flexGrow = String(count);
    bar.append(part);
  }
}

/** @param {Point} point */
function countsOn(point) {
  const found = new Map(known().map((outcome) => [outcome, 0]));
  for (const answer of answersOn(point)) found.set(outcomeOf(answer), (found.get(outcomeOf(answer)) ?? 0) + 1);
  return found;
}

function showFilters() {
  const all = answersOn(state.point);
  const counts = countsOn(state.point);
  if (pinnedBeside()) counts.set(CHANGED, all.filter(hasChanged).length);
  if (state.outcome && !counts.has(state.outcome)) state.outcome = null;
  const filters = [null, ...counts.keys()].map((outcome) => {
    const made = button("", "", async () => {
      await update({ outcome });
      find('#filters [aria-pressed="true"]')?.focus();
    });
    made.dataset.outcome = outcome ?? "all";
    made.setAttribute("aria-pressed", String(state.outcome === outcome));
    if (outcome && outcome !== CHANGED) made.append(swatch(outcome));
    made.append(outcome ? `${outcome} ${counts.get(outcome)}` : `all ${all.length}`);
    return made;
  });
  $("filters").replaceChildren(...filters);
}

/** @param {Answer} answer */
const isShown = (answer) => state.outcome === null || (state.outcome === CHANGED ? hasChanged(answer) : outcomeOf(answer) === state.outcome);

/**
 * @param {Answer | null} answer
 * @param {string} sought
 */
const holds = (answer, sought) => answer !== null && [answer.prompt, textOf(answer)].some((text) => text.toLowerCase().includes(sought));

async function showList() {
  const { point } = state;
  const before = pinnedBeside();
  const list = $("list");
  list.setAttribute("aria-busy", "true");
  let problem = "";
  try {
    await Promise.all([load(point), before && load(before)]);
  } catch (error) {
    problem = messageOf(error);
  }
  // the reader may have gone on meanwhile
  if (state.point !== point || pinnedBeside() !== before) return;
  list.removeAttribute("aria-busy");
  if (problem) {
    list.replaceChildren(element("p", "none", `The answers at this point cannot be shown: ${problem}`));
    return;
  }
  const sought = state.search.toLowerCase();
  const all = answersOn(point);
  const shown = all.filter((answer) => isShown(answer) && (!sought || holds(answer, sought) || holds(asPinned(answer), sought)));
  $("hidden-note").hidden = state.reveal;
  $("shown").textContent = shown.length === all.length ? "" : `${shown.length} of ${all.length} answers`;
  list.replaceChildren(...shown.map(row));
  list.dataset.point = String(point.id);
  if (!shown.length) list.append(element("p", "none", "No answer matches."));
}
