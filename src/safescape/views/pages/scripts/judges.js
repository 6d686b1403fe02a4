// How far judges agree, point by point, and the answers on which they differ.

import { chip } from "./answer.js";
import { visit } from "./answers.js";
import { $, button, element, find, offer, parent, percent } from "./dom.js";
import { data, placeText, points, stepOf } from "./run.js";
import { curveThrough, onChange, placeOf, state, update } from "./selection.js";
import { scaleStrip, stripOf } from "./strips.js";

/** @import { Answer, Point } from "./run.js" */
/** @type {{ pair: number, cell: [number, number] | null, few: boolean }} */
const sought = { pair: 0, cell: null, few: true };

const FEW = 12;
const MOST = 200;

const pairHere = () => data.agreement[sought.pair];

/** Show the section, if a pair of judges is compared. */
export function beginJudges() {
  onChange(["curve", "point"], () => {
    if (data.agreement.length) showAgreementHere();
  });
  onChange(["reveal"], () => {
    if (data.agreement.length) showDisputes();
  });
  connectJudges();
}

/** Connect the section's controls; a served page gets the section with its second judge. */
export function connectJudges() {
  if (!data.agreement.length) return;
  $("disagreement").hidden = false;
  $("pair").addEventListener("change", () => {
    Object.assign(sought, { pair: Number($("pair").value), cell: null, few: true });
    renewJudges();
  });
  $("more").addEventListener("click", () => {
    sought.few = false;
    showDisputes();
    find("#disputes button")?.focus();
  });
  renewJudges();
}

/** Show the chosen pair, from the present data. */
export function renewJudges() {
  if (!data.agreement.length) return;
  const severalProbes = new Set(data.agreement.map(({ probe }) => probe)).size > 1;
  offer("pair", data.agreement.map(({ judges, probe }) =>
    judges.map((judge) => data.judges[judge]).join(" × ") + (severalProbes ? `, “${data.probes[probe].name}”` : "")));
  showCrossed();
  showAgreementHere();
  showDisputes();
}

// The table of the one judge's outcomes by the other's; a cell leads to its answers.
function showCrossed() {
  const { judges, table } = pairHere();
  const [one, other] = judges.map((judge) => data.judges[judge]);
  /** @param {number[]} counts */
  const some = (counts) => counts.some((count) => count > 0);
  const outcomes = data.outcomes.map((_, n) => n);
  const rows = outcomes.filter((n) => some(table[n]));
  const columns = outcomes.filter((n) => some(table.map((row) => row[n])));
  /** @param {string} text @param {"row" | "col"} scope */
  const heading = (text, scope) => Object.assign(element("th", "", text), { scope });
  const head = parent("tr", "", heading(`${one} ↓  ${other} →`, "col"), ...columns.map((n) => heading(data.outcomes[n], "col")));
  const body = rows.map((row) => parent("tr", "", heading(data.outcomes[row], "row"), ...columns.map((column) => {
    const count = table[row][column];
    if (row === column || !count) return element("td", "", String(count));
    const cell = `${row},${column}`;
    const isChosen = sought.cell?.join() === cell;
    const made = button("", String(count), () => {
      Object.assign(sought, { cell: isChosen ? null : [row, column], few: true });
      showCrossed();
      showDisputes();
      find(`#crossed [data-cell="${cell}"]`)?.focus();
    });
    made.dataset.cell = cell;
    made.setAttribute("aria-pressed", String(isChosen));
    made.setAttribute("aria-label", `${count} answers: ${one} ${data.outcomes[row]}, ${other} ${data.outcomes[column]}`);
    return parent("td", "", made);
  })));
  $("crossed").replaceChildren(head, ...body);
}

// One bar a point of the current curve: the share of answers on which the two differ.
function showAgreementHere() {
  const { at } = pairHere();
  const { curve, point } = state;
  /** @param {Point} there */
  const text = (there) => {
    const [n, agree, kappa] = at[there.number] ?? [0, null, null];
    if (!n || agree === null) return "no answer that both judges scored";
    const coefficient = kappa === null ? "κ is not defined: both give one and the same outcome" : `κ = ${kappa.toFixed(2).replace("-", "−")}`;
    return `the judges agree on ${Math.round((agree * n) / 100)} of ${n} answers (${percent(agree)}), ${coefficient}`;
  };
  const where = point.isOrigin ? "the origin" : placeText(curve, stepOf(curve, point)?.at ?? 0);
  $("agree-here").textContent = `At ${where}${point.isOrigin || curve.kind === "checkpoints" ? "" : `, ${curve.label}`}: ${text(point)}.`;
  const bars = stripOf(curve, "strip bars", (step) => {
    const [n, agree] = at[step.point.number] ?? [0, null];
    if (!n || agree === null) return null;
    const title = `${placeText(curve, step.at)}: ${text(step.point)}`;
    return {
      className: "", title, label: title, share: 100 - agree,
      act: () => {
        update({ point: step.point });
        find('#agree-strip [aria-current="true"]')?.focus({ preventScroll: true });
      },
    };
  });
  $("agree-strip").replaceChildren(bars, scaleStrip(curve));
}

/**
 * Return the answers on which the pair differs, the widest apart first: by the difference of the probabilities of
 * compliance that both state; then by how many of all judges differ from the majority; then by the difference that
 * the outcomes alone imply; of equals the one nearest to the origin.
 */
function disputes() {
  const { judges: [one, other], probe } = pairHere();
  /** @type {{ point: Point, answer: Answer, key: number[] }[]} */
  const found = [];
  /** @param {number[]} values */
  const apart = (values) => Math.max(...values) - Math.min(...values);
  for (const point of points) {
    for (const answer of point.answers[probe]) {
      const pair = [answer.verdicts[one], answer.verdicts[other]];
      const [mine, theirs] = pair.map(({ outcome }) => outcome);
      if (mine === theirs || pair.some(({ outcome }) => outcome === "unread")) continue;
      const isSought = sought.cell ? sought.cell.map((n) => data.outcomes[n]).join() === `${mine},${theirs}` : !pair.some(({ outcome }) => outcome === "unscored");
      if (!isSought) continue;
      const stated = pair.map(({ probability }) => probability).filter((probability) => probability !== null);
      const scored = answer.verdicts.map(({ outcome }) => outcome).filter((outcome) => outcome !== "unscored" && outcome !== "unread");
      const most = Math.max(0, ...data.outcomes.map((outcome) => scored.filter((each) => each === outcome).length));
      const implied = pair.map(({ outcome, probability }) => probability ?? Number(outcome === "complied"));
      found.push({ point, answer, key: [stated.length === 2 ? apart(stated) : 0, scored.length - most, apart(implied), -Math.hypot(...point.effective)] });
    }
  }
  return found.sort((a, b) => b.key.map((value, n) => value - a.key[n]).find((less) => Math.abs(less) > 1e-9) ?? 0);
}

function showDisputes() {
  const { judges, probe } = pairHere();
  const all = disputes();
  // at first each request once, or one that breaks everywhere would fill the list
  const seen = new Set();
  const first = all.filter(({ answer: { number } }) => !seen.has(number) && seen.add(number));
  const shown = sought.few ? first.slice(0, FEW) : all.slice(0, MOST);
  const cell = sought.cell ?? [];
  const of = sought.cell ? `where ${judges.map((judge, n) => `${data.judges[judge]} says ${data.outcomes[cell[n]]}`).join(" and ")}` : "on which they differ";
  const order = sought.few ? "each request once, the widest apart first" : "the widest apart first";
  $("disputes-note").textContent = all.length ? `${shown.length} of ${all.length} answers ${of}, ${order}. Choose one to read it. P(complied) is the probability of compliance that a judge states.` : `No answers ${of}.`;
  $("more").hidden = shown.length === all.length || !sought.few;
  $("disputes").replaceChildren(...shown.map(({ point, answer }) => {
    const made = button("dispute", "", () => visit({ curve: curveThrough(point), point, number: answer.number, probe }));
    made.append(element("span", "place", `request ${answer.number + 1}, ${placeOf(point)}`), ...answer.verdicts.map(chip));
    if (state.reveal) made.append(element("span", "gist", answer.prompt));
    return parent("li", "", made);
  }));
}
