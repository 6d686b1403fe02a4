"use strict";
// How far judges agree, point by point, and the answers on which they do not.

const sought = { pair: 0, cell: null, few: true };
const pairText = ({ judges, probe }) => judges.map((judge) => data.judges[judge]).join(" × ") +
  (new Set(data.agreement.map((other) => other.probe)).size > 1 ? `, “${data.probes[probe].name}”` : "");
const pairHere = () => data.agreement[sought.pair];
const FEW = 12;
const MOST = 200;

function beginJudges() {
  if (!data.agreement.length) return;
  $("disagreement").hidden = false;
  fillPairs();
  $("pair").addEventListener("change", (event) => {
    Object.assign(sought, { pair: Number(event.target.value), cell: null, few: true });
    showJudges();
  });
  $("more").addEventListener("click", () => {
    sought.few = false;
    showDisputes();
    $("disputes").querySelector("button")?.focus();
  });
}

const fillPairs = () => fill("pair", data.agreement.map((pair, number) => [number, pairText(pair)]));

// All that the section shows of the chosen pair.
function showJudges() {
  if (!data.agreement.length) return;
  showCrossed();
  showAgreementHere();
  showDisputes();
}

// What the one judge called what the other called what; a cell leads to its answers.
function showCrossed() {
  const { judges: [one, other], table } = pairHere();
  const shownOf = (count) => data.outcomes.map((_, n) => n).filter((n) => count(n) > 0);
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const rows = shownOf((n) => sum(table[n]));
  const columns = shownOf((n) => sum(table.map((row) => row[n])));
  const head = element("tr");
  const heading = (text, scope) => {
    const made = element("th", "", text);
    made.scope = scope;
    return made;
  };
  head.append(heading(`${data.judges[one]} ↓  ${data.judges[other]} →`, "col"), ...columns.map((n) => heading(data.outcomes[n], "col")));
  const body = rows.map((row) => {
    const line = element("tr");
    line.append(heading(data.outcomes[row], "row"), ...columns.map((column) => {
      const cell = element("td");
      const count = table[row][column];
      if (row === column || !count) {
        cell.textContent = String(count);
        return cell;
      }
      const button = element("button", "", String(count));
      button.type = "button";
      const chosen = sought.cell?.join() === [row, column].join();
      button.setAttribute("aria-pressed", String(chosen));
      button.setAttribute("aria-label", `${count} answers: ${data.judges[one]} ${data.outcomes[row]}, ${data.judges[other]} ${data.outcomes[column]}`);
      button.addEventListener("click", () => {
        Object.assign(sought, { cell: chosen ? null : [row, column], few: true });
        showCrossed();
        showDisputes();
        $("crossed").querySelector(`[data-cell="${row},${column}"]`).focus();
      });
      button.dataset.cell = `${row},${column}`;
      cell.append(button);
      return cell;
    }));
    return line;
  });
  $("crossed").replaceChildren(head, ...body);
}

// One bar a point of the curve that is being followed: the share of answers on which the two differ.
function showAgreementHere() {
  const { at } = pairHere();
  const said = (point) => {
    const [n, agree, kappa] = at[point.number] ?? [0, null, null];
    if (!n) return "no answer that both judges scored";
    return `the judges agree on ${Math.round((agree * n) / 100)} of ${n} answers (${percent(agree)}), ${kappa === null ? "κ not defined: both say one and the same" : `κ = ${kappa.toFixed(2).replace("-", "−")}`}`;
  };
  const curve = state.curve;
  const step = stepOf(curve, state.point);
  $("agree-here").textContent = `At ${state.point.isOrigin ? "the origin" : stepText(curve, step)}${state.point.isOrigin || curve.kind === "checkpoints" ? "" : `, ${curve.label}`}: ${said(state.point)}.`;
  const strip = element("div", "strip bars");
  strip.append(element("span", "of", curve.label.split(" (")[0]));
  for (const { at: alpha, point } of curve.steps) {
    const [n, agree] = (point && at[point.number]) ?? [0];
    if (!n) {
      strip.append(element("span", "gap"));
      continue;
    }
    const bar = element("button");
    bar.type = "button";
    bar.style.setProperty("--share", `${100 - agree}%`);
    bar.title = `${stepText(curve, { at: alpha })}: ${said(point)}`;
    bar.setAttribute("aria-label", bar.title);
    if (point === state.point) bar.setAttribute("aria-current", "true");
    bar.addEventListener("click", () => {
      choose(curve, point);
      $("agree-strip").querySelector('[aria-current="true"]')?.focus({ preventScroll: true });
    });
    strip.append(bar);
  }
  const scale = element("div", "strip");
  scale.append(element("span", "of", curve.kind === "checkpoints" ? "" : "α"), ends(curve));
  $("agree-strip").replaceChildren(strip, scale);
}

// The answers on which the pair differs, those first on which it differs most: by what both state as the probability that
// the answer complied; then by how many of all judges stand against the most; then by what the outcomes alone say. Of
// equals the one nearest to the origin comes first.
function disputes() {
  const { judges: [one, other], probe } = pairHere();
  const found = [];
  for (const point of points) {
    for (const answer of point.answers[probe]) {
      const pair = [answer.verdicts[one], answer.verdicts[other]];
      const [mine, theirs] = pair.map(({ outcome }) => outcome);
      if (mine === theirs || pair.some(({ outcome }) => outcome === "unread")) continue;
      const chosen = sought.cell ? mine === data.outcomes[sought.cell[0]] && theirs === data.outcomes[sought.cell[1]] : !pair.some(({ outcome }) => outcome === "unscored");
      if (!chosen) continue;
      const apart = (values) => Math.max(...values) - Math.min(...values);
      const stated = pair.map(({ probability }) => probability);
      const said = answer.verdicts.map(({ outcome }) => outcome).filter((outcome) => outcome !== "unscored" && outcome !== "unread");
      const most = Math.max(0, ...data.outcomes.map((outcome) => said.filter((each) => each === outcome).length));
      const implied = pair.map(({ outcome, probability }) => probability ?? Number(outcome === "complied"));
      found.push({ point, answer, key: [stated.includes(null) ? 0 : apart(stated), said.length - most, apart(implied), -Math.hypot(...point.effective)] });
    }
  }
  const order = (a, b) => b.key.map((value, n) => value - a.key[n]).find((less) => Math.abs(less) > 1e-9) ?? 0;
  return found.sort(order);
}

function showDisputes() {
  const { probe } = pairHere();
  const all = disputes();
  // few: each request once, or one that breaks everywhere would fill the list
  const seen = new Set();
  const once = ({ answer: { number } }) => !seen.has(number) && seen.add(number);
  const shownNow = sought.few ? all.filter(once).slice(0, FEW) : all.slice(0, MOST);
  const of = sought.cell ? `where ${pairHere().judges.map((judge, n) => `${data.judges[judge]} says ${data.outcomes[sought.cell[n]]}`).join(" and ")}` : "on which they differ";
  const which = sought.few ? "each request once, the widest apart first" : "the widest apart first";
  $("disputes-note").textContent = all.length ? `${shownNow.length} of ${all.length} answers ${of}, ${which}. Choose one to read it. P(complied) is how probable a judge holds it that the answer complied.` : `No answers ${sought.cell ? of : "on which they differ"}.`;
  $("more").hidden = shownNow.length === all.length || !sought.few;
  $("disputes").replaceChildren(...shownNow.map(({ point, answer }) => {
    const item = element("li");
    const button = element("button", "dispute");
    button.type = "button";
    button.append(element("span", "place", `request ${answer.number + 1}, ${placeOf(point)}`));
    for (const verdict of answer.verdicts) button.append(chip(verdict));
    if (state.reveal) button.append(element("span", "gist", answer.prompt));
    button.addEventListener("click", () => {
      if (state.probe !== probe) chooseProbe(probe);
      visit(curveOf(point), point, answer.number);
    });
    item.append(button);
    return item;
  }));
}

// What one judge said of an answer: colour, name, outcome and, where it states one, the probability of compliance.
function chip({ judge, outcome, probability }) {
  const made = element("span", "chip");
  made.append(element("span", `swatch ${outcome}`), element("span", "who", judge), outcome);
  if (probability !== null) made.append(element("span", "who", `P(complied) ${probability.toFixed(2)}`));
  return made;
}
