// One request: its row in the list, and its answer, verdicts and strips once it is expanded.

import { element, parent, swatch } from "./dom.js";
import { asPinned, outcomeOf, pinnedBeside, placeOf, state } from "./selection.js";
import { strips } from "./strips.js";

/** @import { Answer, Verdict } from "./run.js" */

/** @type {Record<string, string>} */
const finishes = {
  stop: "ended its turn", length: "cut at the length limit", settled: "stopped early: the judge could already tell",
  noise: "stopped early: what was written is noise", "no prompt": "not asked: the attack found no prompt",
};

/**
 * Return the row of a request.
 * @param {Answer} answer
 */
export function row(answer) {
  const before = asPinned(answer);
  const summary = parent("summary", "", element("span", "number", String(answer.number + 1)),
    ...(before ? [named(outcomeOf(before)), element("span", "turns", "→")] : []),
    named(outcomeOf(answer)), element("span", "gist", state.reveal ? answer.prompt : ""), element("span", "finish", `${answer.said?.tokens} tokens`));
  const body = element("div", "body");
  const details = parent("details", "", summary, body);
  details.dataset.number = String(answer.number);
  details.dataset.outcome = outcomeOf(answer);
  const fill = () => {
    if (!body.hasChildNodes()) body.append(...contentOf(answer));
  };
  details.addEventListener("toggle", () => {
    const others = [...state.open].filter((number) => number !== answer.number);
    state.open = new Set(details.open ? [...others, answer.number] : others);
    if (details.open) fill();
  });
  if (state.open.has(answer.number)) {
    fill();
    details.open = true;
  }
  return details;
}

/**
 * The maps under expanded answers have new points; the answers themselves did not change.
 * @param {HTMLElement} body
 * @param {number} number
 */
export function renewStrips(body, number) {
  body.querySelectorAll(":scope > .strip").forEach((old) => old.remove());
  body.append(...strips(number));
}

/** @param {Answer} answer */
function contentOf(answer) {
  const before = asPinned(answer);
  const hidden = element("p", "saw", `Hidden. Switch on “Show prompts and answers” to read ${before ? "both" : "it"}.`);
  const asked = [element("h4", "", "Prompt"), quoted(answer.prompt, "")];
  const strip = [element("h4", "", "This request at every point"), ...strips(answer.number)];
  if (before) return [...(state.reveal ? asked : [hidden]), besidePinned(before, answer), ...strip];
  const parts = state.reveal ? [...asked, ...thoughtOf(answer), element("h4", "", "Answer"), quoted(textOf(answer), reasonIn(answer))] : [hidden];
  return [...parts, ...judged(answer), ...strip];
}

/**
 * @param {Answer} before
 * @param {Answer} answer
 */
function besidePinned(before, answer) {
  /** @param {string} title @param {Answer} each */
  const side = (title, each) => parent("section", "", element("h4", "", title), named(outcomeOf(each)),
    ...(state.reveal ? [...thoughtOf(each), quoted(textOf(each), reasonIn(each))] : []), ...judged(each));
  const pinned = pinnedBeside() ?? state.point;
  return parent("div", "pair", side(`Pinned, ${placeOf(pinned)}`, before), side(`Here, ${placeOf(state.point)}`, answer));
}

/**
 * What a reasoning model wrote before its answer, folded: no judge reads it.
 * @param {Answer} answer
 */
function thoughtOf(answer) {
  const thought = answer.said?.thought;
  if (!thought) return [];
  const told = thought.isEnded ? "" : ", not ended by the model";
  return [parent("details", "thought", element("summary", "", `Thought, ${thought.tokens} tokens${told}; not judged`), quoted(thought.text, ""))];
}

/** @param {Answer} answer */
export const textOf = (answer) => answer.said?.text ?? "";

/** @param {string} outcome */
const named = (outcome) => parent("span", "outcome", swatch(outcome), outcome);

/**
 * How an answer ended, and the verdicts.
 * @param {Answer} answer
 */
function judged(answer) {
  const spoken = `${answer.said?.tokens} tokens, ${finishes[answer.said?.finish ?? ""]}.`;
  const [{ judge, outcome, reason }, ...others] = answer.verdicts;
  if (others.length) return [element("p", "saw", spoken), verdictsOf(answer)];
  return [element("p", "saw", `${spoken} ${judge} judge: ${outcome}${state.reveal && reason ? `, because of “${reason}”` : ""}.`)];
}

/** @param {Answer} answer */
const verdictsOf = (answer) => parent("ul", "verdicts", ...answer.verdicts.map((verdict) =>
  parent("li", "", chip(verdict), ...(state.reveal && verdict.reason ? [element("span", "reason", `“${verdict.reason}”`)] : []))));

/**
 * A verdict: colour, judge, outcome and, where the judge states one, the probability of compliance.
 * @param {Verdict} verdict
 */
export function chip({ judge, outcome, probability }) {
  const stated = probability === null ? [] : [element("span", "who", `P(complied) ${probability.toFixed(2)}`)];
  return parent("span", "chip", swatch(outcome), element("span", "who", judge), outcome, ...stated);
}

/**
 * The words of an answer that decided a verdict: the chosen judge's, else any other's.
 * @param {Answer} answer
 */
const reasonIn = (answer) => [answer.verdicts[state.judge], ...answer.verdicts]
  .map(({ reason }) => reason).find((reason) => reason && textOf(answer).includes(reason)) ?? "";

/**
 * A text, with a part of it marked.
 * @param {string} text
 * @param {string} marked
 */
function quoted(text, marked) {
  const block = element("p", "text");
  block.dir = "auto";
  if (text.length > 1000) block.tabIndex = 0; // it scrolls
  const at = marked ? text.indexOf(marked) : -1;
  if (!text) block.append(element("em", "", "(empty)"));
  else if (at < 0) block.textContent = text;
  else block.append(text.slice(0, at), element("mark", "", marked), text.slice(at + marked.length));
  return block;
}
