// The form in which a person labels answers, one at a time. A label is stored before the next answer is shown.

import { $, button } from "./dom.js";
import { payloadOf } from "./source.js";

/** @import { LabelPayload } from "./payload.js" */

/** @type {LabelPayload} */
const form = payloadOf();
const { answers } = form;
/** @type {number[]} */
const given = [];
let at = 0;
let pending = 0;
/** @type {Promise<void>} */
let last = Promise.resolve();

const names = new Map([["refused", "Refused"], ["complied", "Complied"], ["incoherent", "Incoherent"], ["partial", "Partial refusal"]]);
const firstOpen = () => {
  const open = answers.findIndex(({ label, skipped }) => label === null && !skipped);
  return open >= 0 ? open : answers.findIndex(({ label }) => label === null);
};

function show() {
  const labelled = answers.filter(({ label }) => label !== null).length;
  const answer = answers[at];
  $("shown").textContent = `${labelled} of ${answers.length} labelled${answer ? "" : ": done. Close this page, and end the command with Ctrl-C."}`;
  $("choices").hidden = !answer;
  $("answer").hidden = !answer;
  $("answer").open = false;
  $("request").textContent = answer ? answer.prompt : "";
  $("text").textContent = answer ? answer.text : "";
  const words = answer ? answer.text.trim().split(/\s+/) : [];
  $("gist").textContent = words.slice(0, 12).join(" ").slice(0, 160) + (words.length > 12 ? ` … (${words.length - 12} more words)` : "");
}

/**
 * Store a label of an answer; the page goes on only when it is stored.
 * @param {number} place
 * @param {string | null} label
 * @param {boolean} skipped
 */
async function store(place, label, skipped) {
  try {
    const response = await fetch("/label", {
      method: "POST",
      credentials: "omit",
      headers: { "Content-Type": "application/json", "X-Safescape-Token": form.token },
      body: JSON.stringify({ place, label, skipped }),
    });
    if (!response.ok) throw new Error((await response.text()).slice(0, 300));
    answers[place] = { ...answers[place], label, skipped };
    $("following").textContent = "";
    return true;
  } catch (error) {
    $("following").textContent = `Not stored: ${error instanceof Error ? error.message : error}`;
    return false;
  }
}

/**
 * Do something after all that is pending.
 * @param {() => Promise<void>} action
 */
function queue(action) {
  pending += 1;
  last = last.then(action).finally(() => { pending -= 1; });
}

/**
 * Label the answer that is shown. While a label is being stored, the next answer is not: a further label is ignored.
 * @param {string | null} label
 */
function give(label) {
  if (pending || !answers[at]) return;
  queue(async () => {
    if (!await store(at, label, label === null)) return;
    given.push(at);
    at = firstOpen();
    if (label === null && at === given.at(-1)) at = answers.findIndex((each, place) => each.label === null && place > at);
    show();
  });
}

function undo() {
  queue(async () => {
    const place = given.at(-1);
    if (place === undefined || !await store(place, null, false)) return;
    given.pop();
    at = place;
    show();
  });
}

$("choices").append(
  ...form.labels.map((label) => button("", names.get(label) ?? label, () => give(label))),
  button("", "Skip", () => give(null)),
  button("", "Back", undo),
);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const label = form.labels.find((each) => each.startsWith(event.key));
  if (label && event.key.length === 1) give(label);
  else if (event.key === "s") give(null);
  else if (event.key === "u") undo();
  else if (event.key === " " && !(event.target instanceof HTMLButtonElement) && !(event.target instanceof HTMLElement && event.target.closest("summary"))) {
    event.preventDefault();
    $("answer").open = !$("answer").open;
  }
});
$("browser").hidden = false;
at = firstOpen();
show();
