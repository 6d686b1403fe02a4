"use strict";
// What the model said at one point, to one probe.

const answersHere = () => state.point.answers[state.probe];

function choose(curve, point) {
  state.curve = curve;
  state.point = point;
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
  showHere();
  showFilters();
  showList();
  markHere();
  markMaps();
  if (data.agreement.length) showAgreementHere();
}

// The point of a curve that lies nearest to an effective α.
const nearestOn = (curve, x) => curve.measured.reduce((best, other) =>
  Math.abs(other.point.effective[0] - x) < Math.abs(best.point.effective[0] - x) ? other : best).point;

// Go to a point: on the curve that is being followed, if it lies there.
function goTo(point) {
  choose(stepOf(state.curve, point) ? state.curve : curves.find((curve) => stepOf(curve, point)), point);
}

// Go to a point and unfold one answer there.
function visit(curve, point, number) {
  state.open.add(number);
  if (state.outcome || state.search) {
    state.outcome = null;
    state.search = $("search").value = "";
  }
  choose(curve, point);
  const details = $("list").querySelector(`details[data-number="${number}"]`);
  $("browser").scrollIntoView({ block: "start" });
  $("list").scrollTop = details.offsetTop;
  details.querySelector("summary").focus({ preventScroll: true });
}

function step(by) {
  const next = state.curve.measured[state.curve.measured.findIndex(({ point }) => point === state.point) + by];
  if (next) choose(state.curve, next.point);
}

function counts() {
  const found = Object.fromEntries(known().map((outcome) => [outcome, 0]));
  for (const answer of answersHere()) found[answer.outcome] += 1;
  return found;
}

function showHere() {
  const here = figureOf(state.point);
  $("here-bar").replaceChildren();
  if (!here) {
    const judged = answersHere().length ? `The ${data.judges[0]} judge has not read the answers here yet.` : "Not asked here: this probe is asked at the models alone.";
    $("here-asr").textContent = judged;
    if (!answersHere().length) return;
  }
  const { harmful } = data.probes[state.probe];
  if (here) $("here-asr").replaceChildren(
    element("strong", "", `${harmful ? "ASR" : "Over-refusal"} ${percent(here.value)}`),
    ` ${here.count} of ${here.n} ${harmful ? "not refused" : "refused"}, 95 % interval ${here.low.toFixed(1)} to ${here.high.toFixed(1)} %` +
      (state.point.waypoint === null ? "" : `; ${(100 * state.point.off).toFixed(0)} % of its squared distance from the origin is off the ${onPlane ? "plane" : "line"}`) +
      (data.judges.length > 1 ? ` (${data.judges[0]} judge)` : ""),
  );
  const bar = $("here-bar");
  for (const [outcome, count] of Object.entries(counts())) {
    if (!count) continue;
    const part = element("span", outcome);
    part.style.flexGrow = String(count);
    bar.append(part);
  }
}

function showFilters() {
  const count = counts();
  const buttons = [null, ...known()].map((outcome) => {
    const button = element("button");
    button.type = "button";
    button.dataset.outcome = outcome ?? "all";
    button.setAttribute("aria-pressed", String(state.outcome === outcome));
    if (outcome) button.append(element("span", `swatch ${outcome}`));
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

function showList() {
  const sought = state.search.toLowerCase();
  const all = answersHere();
  const shown = all.filter((answer) =>
    (state.outcome === null || answer.outcome === state.outcome) &&
    (!sought || answer.prompt.toLowerCase().includes(sought) || answer.text.toLowerCase().includes(sought)));
  $("hidden-note").hidden = state.reveal;
  $("shown").textContent = shown.length === all.length ? "" : `${shown.length} of ${all.length} answers`;
  $("list").replaceChildren(...shown.map(row));
  if (!shown.length) $("list").append(element("p", "none", "No answer matches."));
}

function row(answer) {
  const details = element("details");
  details.dataset.number = String(answer.number);
  details.dataset.outcome = answer.outcome;
  const summary = element("summary");
  const outcome = element("span", "outcome");
  outcome.append(element("span", `swatch ${answer.outcome}`), answer.outcome);
  summary.append(element("span", "number", String(answer.number + 1)), outcome);
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

function inside(answer) {
  const parts = [];
  if (state.reveal) {
    parts.push(element("h4", "", "Asked"), quoted(answer.prompt, ""));
    parts.push(element("h4", "", "Answered"), quoted(answer.text, reasonIn(answer)));
  } else {
    parts.push(element("p", "saw", "Hidden. Switch on “Show what was asked and answered” to read it."));
  }
  const spoken = `${answer.tokens} tokens, ${finishes[answer.finish]}.`;
  if (answer.verdicts.length === 1) {
    const [{ judge, outcome, reason }] = answer.verdicts;
    parts.push(element("p", "saw", `${spoken} ${judge} judge: ${outcome}${state.reveal && reason ? `, saw “${reason}”` : ""}.`));
  } else {
    parts.push(element("p", "saw", spoken), verdictsOf(answer));
  }
  parts.push(element("h4", "", "This request at every point"), ...strips(answer.number));
  return parts;
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
      const answer = step.point?.answers[state.probe].find((other) => other.number === number);
      if (!answer) {
        strip.append(element("span", "gap"));
        continue;
      }
      const cell = element("button", answer.outcome);
      cell.type = "button";
      cell.title = `${stepText(curve, step)}: ${answer.outcome}`;
      cell.setAttribute("aria-label", `${curve.label}, ${cell.title}`);
      if (step.point === state.point) cell.setAttribute("aria-current", "true");
      cell.addEventListener("click", () => {
        choose(curve, step.point);
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

function fill(select, entries) {
  $(select).append(...entries.map(([value, text]) => {
    const option = element("option", "", text);
    option.value = String(value);
    return option;
  }));
  $(`${select}-field`).hidden = entries.length === 1;
}

function begin() {
  if (!curves.length) return;
  $("browser").hidden = false;
  fill("direction", curves.map((curve) => [curve.number, curve.label + (curve.complete ? "" : ", unfinished")]));
  if (onPlane) $("direction-field").querySelector("label").textContent = "Row";
  fill("judge", data.judges.map((judge, number) => [number, judge]));
  $("judge").value = String(state.judge);
  $("judge").addEventListener("change", (event) => {
    state.judge = Number(event.target.value);
    if (!known().includes(state.outcome)) state.outcome = null;
    paintMaps();
    choose(state.curve, state.point);
  });
  fill("probe", data.probes.map(({ name }, number) => [number, name]));
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
  beginMaps();
  beginJudges();
  goTo(origin ?? curves[0].measured[0].point);
  showJudges();
}

begin();
drawLandscape();
