"use strict";
// What the model said at one point, to one probe.

const answersHere = () => state.point.answers[state.probe];

// Go to a point. What was said there may have to be fetched: until then the list is that of the point before.
async function choose(curve, point) {
  state.curve = curve;
  state.point = point;
  showPlace();
  showHere();
  showFilters();
  markHere();
  markMaps();
  if (data.agreement.length) showAgreementHere();
  await showList();
}

function showPlace() {
  const { curve, point } = state;
  const place = curve.measured.findIndex((step) => step.point === point);
  const text = stepText(curve, curve.measured[place]);
  $("direction").value = String(curve.number);
  $("alpha").max = String(curve.measured.length - 1);
  $("alpha").value = String(place);
  $("alpha-label").textContent = curve.kind === "checkpoints" ? "Checkpoint" : "Distance α";
  $("alpha-text").textContent = (curve.kind === "checkpoints" ? String(curve.measured[place].at) : text.replace("α = ", "")) +
    (point.isOrigin ? ", the origin" : data.marks.filter((mark) => points[mark.point] === point).map((mark) => `, the ${mark.label}`).join(""));
  $("alpha").setAttribute("aria-valuetext", text);
  $("back").disabled = place === 0;
  $("forward").disabled = place === curve.measured.length - 1;
  $("to-origin").disabled = point.isOrigin || !origin;
}

// The point of a curve that lies nearest to an effective α.
const nearestOn = (curve, x) => curve.measured.reduce((best, other) =>
  Math.abs(other.point.effective[0] - x) < Math.abs(best.point.effective[0] - x) ? other : best).point;

// Go to a point: on the curve that is being followed, if it lies there.
const goTo = (point) => choose(curveOf(point), point);

// Go to a point and unfold one answer there.
async function visit(curve, point, number) {
  state.open.add(number);
  if (state.outcome || state.search) {
    state.outcome = null;
    state.search = $("search").value = "";
  }
  await choose(curve, point);
  const details = $("list").querySelector(`details[data-number="${number}"]`);
  if (!details || state.point !== point) return;
  $("browser").scrollIntoView({ block: "start" });
  $("list").scrollTop = details.offsetTop;
  details.querySelector("summary").focus({ preventScroll: true });
}

function step(by) {
  const next = state.curve.measured[state.curve.measured.findIndex(({ point }) => point === state.point) + by];
  if (next) choose(state.curve, next.point);
}

function countsOf(point) {
  const found = Object.fromEntries(known().map((outcome) => [outcome, 0]));
  for (const answer of point.answers[state.probe]) found[answer.outcome] += 1;
  return found;
}

// The figure of the chosen point, and of the pinned one beside it.
function showHere() {
  const before = pinnedHere();
  $("pinned-here").hidden = !before;
  $("here-name").hidden = !before;
  if (before) {
    $("pinned-name").textContent = `Pinned: ${placeOf(before)}`;
    $("here-name").textContent = `Here: ${placeOf(state.point)}`;
    showFigure("pinned", before);
  }
  $("pin").textContent = state.pinned === state.point ? "Unpin" : state.pinned ? "Pin this instead" : "Pin this point";
  $("unpin").hidden = !before;
  showFigure("here", state.point);
}

function showFigure(where, point) {
  const [said, bar] = [$(`${where}-asr`), $(`${where}-bar`)];
  const here = figureOf(point);
  const { harmful } = data.probes[state.probe];
  bar.replaceChildren();
  if (!here) {
    const asked = point.answers[state.probe].length;
    said.textContent = asked ? `The ${data.judges[0]} judge has not read the answers here yet.` : "Not asked here: this probe is asked at the models alone.";
    if (!asked) return;
  } else {
    said.replaceChildren(
      element("strong", "", `${harmful ? "ASR" : "Over-refusal"} ${percent(here.value)}`),
      ` ${here.count} of ${here.n} ${harmful ? "not refused" : "refused"}, 95 % interval ${here.low.toFixed(1)} to ${here.high.toFixed(1)} %` +
        (point.waypoint === null ? "" : `; ${(100 * point.off).toFixed(0)} % of its squared distance from the origin is off the ${onPlane ? "plane" : "line"}`) +
        (data.judges.length > 1 ? ` (${data.judges[0]} judge)` : ""),
    );
  }
  for (const [outcome, count] of Object.entries(countsOf(point))) {
    if (!count) continue;
    const part = element("span", outcome);
    part.style.flexGrow = String(count);
    bar.append(part);
  }
}

const CHANGED = "changed";
const isShown = (answer) => state.outcome === null || (state.outcome === CHANGED ? hasChanged(answer) : answer.outcome === state.outcome);

function showFilters() {
  const count = countsOf(state.point);
  if (pinnedHere()) count[CHANGED] = answersHere().filter(hasChanged).length;
  else if (state.outcome === CHANGED) state.outcome = null;
  const buttons = [null, ...known(), ...(pinnedHere() ? [CHANGED] : [])].map((outcome) => {
    const button = element("button");
    button.type = "button";
    button.dataset.outcome = outcome ?? "all";
    button.setAttribute("aria-pressed", String(state.outcome === outcome));
    if (outcome && outcome !== CHANGED) button.append(element("span", `swatch ${outcome}`));
    button.append(outcome ? `${outcome} ${count[outcome]}` : `all ${answersHere().length}`);
    button.addEventListener("click", () => {
      state.outcome = outcome;
      showFilters();
      showList();
      $("filters").querySelector('[aria-pressed="true"]').focus();
    });
    return button;
  });
  $("filters").replaceChildren(...buttons);
}

async function showList() {
  const { point } = state;
  const before = pinnedHere();
  $("list").setAttribute("aria-busy", "true");
  let problem = null;
  try {
    await Promise.all([saidAt(point), before && saidAt(before)]);
  } catch (error) {
    problem = error;
  }
  // the reader may have gone on meanwhile
  if (state.point !== point || pinnedHere() !== before) return;
  $("list").removeAttribute("aria-busy");
  if (problem) {
    $("list").replaceChildren(element("p", "none", `What was said here cannot be shown: ${problem.message}`));
    return;
  }
  const sought = state.search.toLowerCase();
  const all = answersHere();
  const holds = (answer) => answer && [answer.prompt, answer.text].some((text) => text.toLowerCase().includes(sought));
  const shown = all.filter((answer) => isShown(answer) && (!sought || holds(answer) || holds(asPinned(answer))));
  $("hidden-note").hidden = state.reveal;
  $("shown").textContent = shown.length === all.length ? "" : `${shown.length} of ${all.length} answers`;
  $("list").replaceChildren(...shown.map(row));
  $("list").dataset.point = String(point.id);
  if (!shown.length) $("list").append(element("p", "none", "No answer matches."));
}

function row(answer) {
  const details = element("details");
  details.dataset.number = String(answer.number);
  details.dataset.outcome = answer.outcome;
  const summary = element("summary");
  const before = asPinned(answer);
  summary.append(element("span", "number", String(answer.number + 1)));
  if (before) summary.append(named(before.outcome), element("span", "turns", "→"));
  summary.append(named(answer.outcome));
  summary.append(element("span", "gist", state.reveal ? answer.prompt : ""));
  summary.append(element("span", "finish", `${answer.tokens} tokens`));
  const body = element("div", "body");
  details.append(summary, body);
  const fill = () => {
    if (!body.hasChildNodes()) body.append(...inside(answer));
  };
  details.addEventListener("toggle", () => {
    if (details.open) {
      state.open.add(answer.number);
      fill();
    } else {
      state.open.delete(answer.number);
    }
  });
  if (state.open.has(answer.number)) {
    fill();
    details.open = true;
  }
  return details;
}

function named(outcome) {
  const made = element("span", "outcome");
  made.append(element("span", `swatch ${outcome}`), outcome);
  return made;
}

function inside(answer) {
  const before = asPinned(answer);
  const strip = [element("h4", "", "This request at every point"), ...strips(answer.number)];
  if (before) return [...besidePinned(before, answer), ...strip];
  const parts = [];
  if (state.reveal) {
    parts.push(element("h4", "", "Asked"), quoted(answer.prompt, ""));
    parts.push(element("h4", "", "Answered"), quoted(answer.text, reasonIn(answer)));
  } else {
    parts.push(element("p", "saw", "Hidden. Switch on “Show what was asked and answered” to read it."));
  }
  return [...parts, ...judgedOf(answer), ...strip];
}

// How an answer ended and what was said of it.
function judgedOf(answer) {
  const spoken = `${answer.tokens} tokens, ${finishes[answer.finish]}.`;
  if (answer.verdicts.length > 1) return [element("p", "saw", spoken), verdictsOf(answer)];
  const [{ judge, outcome, reason }] = answer.verdicts;
  return [element("p", "saw", `${spoken} ${judge} judge: ${outcome}${state.reveal && reason ? `, saw “${reason}”` : ""}.`)];
}

// What every judge said, one a line.
function verdictsOf(answer) {
  const list = element("ul", "verdicts");
  for (const verdict of answer.verdicts) {
    const item = element("li");
    item.append(chip(verdict));
    if (state.reveal && verdict.reason) item.append(element("span", "reason", `“${verdict.reason}”`));
    list.append(item);
  }
  return list;
}

// What a judge saw in the text: the chosen one, else any that names words of it.
const reasonIn = (answer) => [answer.verdicts[state.judge], ...answer.verdicts]
  .map(({ reason }) => reason).find((reason) => reason && answer.text.includes(reason)) ?? "";

// The text, with what the judge saw in it marked.
function quoted(text, saw) {
  const block = element("p", "text");
  block.dir = "auto";
  if (text.length > 1000) block.tabIndex = 0; // it scrolls
  const at = saw ? text.indexOf(saw) : -1;
  if (!text) block.append(element("em", "", "(empty)"));
  else if (at < 0) block.textContent = text;
  else block.append(text.slice(0, at), element("mark", "", saw), text.slice(at + saw.length));
  return block;
}

// One strip a curve; on a plane, together, a map.
function strips(number) {
  const shown = curves.filter((curve) => curve.measured.length > 1 || curves.length === 1);
  const scale = (curve) => {
    const strip = element("div", "strip");
    strip.append(element("span", "of", curve.kind === "checkpoints" ? "" : "α"), ends(curve));
    return strip;
  };
  return shown.flatMap((curve, place) => {
    const strip = element("div", onPlane && curve.kind === "row" ? "strip dense" : "strip");
    strip.append(element("span", "of", curve.label.split(" (")[0]));
    for (const step of curve.steps) {
      const answer = step.point?.answers[state.probe][number];
      if (!answer) {
        strip.append(element("span", "gap"));
        continue;
      }
      const cell = element("button", answer.outcome);
      cell.type = "button";
      cell.title = `${stepText(curve, step)}: ${answer.outcome}`;
      cell.setAttribute("aria-label", `${curve.label}, ${cell.title}`);
      if (step.point === state.point) cell.setAttribute("aria-current", "true");
      if (step.point === state.pinned) cell.classList.add("pinned");
      cell.addEventListener("click", async () => {
        await choose(curve, step.point);
        const again = $("list").querySelector(`details[data-number="${number}"]`);
        (again?.querySelector('.strip button[aria-current="true"]') ?? $("alpha")).focus({ preventScroll: true });
      });
      strip.append(cell);
    }
    // lines have the same ends; checkpoints have ends of their own
    const last = shown[place + 1]?.kind !== curve.kind;
    return last ? [strip, scale(curve)] : [strip];
  });
}

function chooseProbe(probe) {
  state.probe = probe;
  state.open.clear();
  $("probe").value = String(probe);
  paintMaps();
}

// Offer a choice of what there is now; what was chosen stays.
function fill(select, entries) {
  const { value } = $(select);
  $(select).replaceChildren(...entries.map(([number, text]) => {
    const option = element("option", "", text);
    option.value = String(number);
    return option;
  }));
  $(select).value = entries.some(([number]) => String(number) === value) ? value : String(entries[0][0]);
  $(`${select}-field`).hidden = entries.length === 1;
}

function fillChoices() {
  fill("direction", curves.map((curve) => [curve.number, curve.label + (curve.complete ? "" : ", unfinished")]));
  fill("judge", data.judges.map((judge, number) => [number, judge]));
  $("judge").value = String(state.judge);
  fill("probe", data.probes.map(({ name }, number) => [number, name]));
}

function beginAnswers() {
  $("browser").hidden = false;
  fillChoices();
  if (onPlane) $("direction-field").querySelector("label").textContent = "Row";
  $("judge").addEventListener("change", (event) => {
    state.judge = Number(event.target.value);
    if (state.outcome !== CHANGED && !known().includes(state.outcome)) state.outcome = null;
    paintMaps();
    choose(state.curve, state.point);
  });
  $("direction").addEventListener("change", (event) => {
    const curve = curves.find((other) => other.number === Number(event.target.value));
    choose(curve, nearestOn(curve, state.point.effective[0]));
  });
  $("probe").addEventListener("change", (event) => {
    chooseProbe(Number(event.target.value));
    choose(state.curve, state.point);
  });
  $("alpha").addEventListener("input", (event) => choose(state.curve, state.curve.measured[event.target.value].point));
  $("back").addEventListener("click", () => step(-1));
  $("forward").addEventListener("click", () => step(1));
  $("to-origin").addEventListener("click", () => goTo(origin));
  $("search").addEventListener("input", (event) => {
    state.search = event.target.value;
    showList();
  });
  $("reveal").addEventListener("change", (event) => {
    state.reveal = event.target.checked;
    showList();
    if (data.agreement.length) showDisputes();
  });
  $("reveal").checked = false; // a browser may restore it on reload
  $("search").value = "";
  $("probe").value = "0";
}
