"use strict";
// What the model said at one point.

const sampleHere = () => curveOf(state.line)?.samples.find((sample) => sample.alpha === state.alpha);
const answersHere = () => points.get(key(state.line, state.alpha)) ?? [];

function choose(line, alpha) {
  state.line = line;
  state.alpha = alpha;
  const samples = curveOf(line).samples;
  const place = samples.findIndex((sample) => sample.alpha === alpha);
  $("direction").value = String(line);
  $("alpha").max = String(samples.length - 1);
  $("alpha").value = String(place);
  $("alpha-text").textContent = signed(alpha) + (alpha === 0 ? ", the origin" : "");
  $("alpha").setAttribute("aria-valuetext", `α = ${signed(alpha)}`);
  $("back").disabled = place === 0;
  $("forward").disabled = place === samples.length - 1;
  $("to-origin").disabled = alpha === 0 || !samples.some((sample) => sample.alpha === 0);
  showHere();
  showFilters();
  showList();
  markHere();
  markMaps();
}

// Go to a point and unfold one answer there.
function visit(line, alpha, number) {
  state.open.add(number);
  if (state.outcome || state.search) {
    state.outcome = null;
    state.search = $("search").value = "";
  }
  choose(line, alpha);
  const details = $("list").querySelector(`details[data-number="${number}"]`);
  $("browser").scrollIntoView({ block: "start" });
  $("list").scrollTop = details.offsetTop;
  details.querySelector("summary").focus({ preventScroll: true });
}

function step(by) {
  const samples = curveOf(state.line).samples;
  const next = samples[samples.findIndex((sample) => sample.alpha === state.alpha) + by];
  if (next) choose(state.line, next.alpha);
}

function counts() {
  const found = Object.fromEntries(data.outcomes.map((outcome) => [outcome, 0]));
  for (const answer of answersHere()) found[answer.outcome] += 1;
  return found;
}

function showHere() {
  const here = sampleHere();
  const line = $("here-asr");
  line.replaceChildren(
    element("strong", "", `ASR ${percent(here.asr)}`),
    ` ${here.complied} of ${here.n} not refused, 95 % interval ${here.low.toFixed(1)} to ${here.high.toFixed(1)} %`,
  );
  const bar = $("here-bar");
  bar.replaceChildren();
  for (const [outcome, count] of Object.entries(counts())) {
    if (!count) continue;
    const part = element("span", outcome);
    part.style.flexGrow = String(count);
    bar.append(part);
  }
}

function showFilters() {
  const count = counts();
  const buttons = [null, ...known].map((outcome) => {
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
    parts.push(element("h4", "", "Answered"), quoted(answer.text, answer.verdicts[0].reason));
  } else {
    parts.push(element("p", "saw", "Hidden. Switch on “Show what was asked and answered” to read it."));
  }
  const verdicts = answer.verdicts.map((verdict) =>
    `${verdict.judge} judge: ${verdict.outcome}` + (state.reveal && verdict.reason ? `, saw “${verdict.reason}”` : ""));
  parts.push(element("p", "saw", `${answer.tokens} tokens, ${finishes[answer.finish]}. ${verdicts.join("; ")}.`));
  parts.push(element("h4", "", "This request at every point"), ...strips(answer.number));
  return parts;
}

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

function strips(number) {
  const scale = element("div", "strip");
  const ends = element("span", "end");
  ends.setAttribute("aria-hidden", "true");
  ends.append(...[`α = ${signed(data.low)}`, "0", signed(data.high)].map((text) => element("span", "", text)));
  scale.append(element("span", "of"), ends);
  return [...curves.filter((curve) => curve.samples.length > 1 || curves.length === 1).map((curve) => {
    const strip = element("div", "strip");
    strip.append(element("span", "of", direction(curve).split(" (")[0]));
    for (const alpha of curve.grid) {
      const answer = points.get(key(curve.line, alpha))?.find((other) => other.number === number);
      if (!answer) {
        strip.append(element("span", "gap"));
        continue;
      }
      const cell = element("button", answer.outcome);
      cell.type = "button";
      cell.title = `α = ${signed(alpha)}: ${answer.outcome}`;
      cell.setAttribute("aria-label", `${direction(curve)}, ${cell.title}`);
      const here = alpha === state.alpha && (curve.line === state.line || alpha === 0);
      if (here) cell.setAttribute("aria-current", "true");
      cell.addEventListener("click", () => {
        choose(curve.line, alpha);
        const again = $("list").querySelector(`details[data-number="${number}"]`);
        (again?.querySelector('.strip button[aria-current="true"]') ?? $("alpha")).focus({ preventScroll: true });
      });
      strip.append(cell);
    }
    return strip;
  }), scale];
}

function begin() {
  const first = curves.find((curve) => curve.samples.length);
  if (!first) return;
  $("browser").hidden = false;
  $("direction").append(...curves.map((curve) => {
    const option = element("option", "", direction(curve) + (curve.complete ? "" : ", unfinished"));
    option.value = String(curve.line);
    return option;
  }));
  $("direction-field").hidden = curves.length === 1;
  $("direction").addEventListener("change", (event) => {
    const line = Number(event.target.value);
    const samples = curveOf(line).samples;
    const nearest = samples.reduce((best, sample) =>
      Math.abs(sample.alpha - state.alpha) < Math.abs(best.alpha - state.alpha) ? sample : best);
    choose(line, nearest.alpha);
  });
  $("alpha").addEventListener("input", (event) => choose(state.line, curveOf(state.line).samples[event.target.value].alpha));
  $("back").addEventListener("click", () => step(-1));
  $("forward").addEventListener("click", () => step(1));
  $("to-origin").addEventListener("click", () => choose(state.line, 0));
  $("search").addEventListener("input", (event) => {
    state.search = event.target.value;
    showList();
  });
  $("reveal").addEventListener("change", (event) => {
    state.reveal = event.target.checked;
    showList();
  });
  $("reveal").checked = false; // a browser may restore it on reload
  $("search").value = "";
  beginMaps();
  const origin = first.samples.find((sample) => sample.alpha === 0) ?? first.samples[0];
  choose(first.line, origin.alpha);
}

begin();
draw();
