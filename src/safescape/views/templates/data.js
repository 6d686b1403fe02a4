"use strict";
// What the page holds, and the words for it. Prompts and answers are hostile text: they reach the page through
// textContent alone, and never a plotly label.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const element = (tag, className, text) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const signed = (value) => (value === 0 ? "0" : (value < 0 ? "−" : "+") + String(+Math.abs(value).toPrecision(6)));
const percent = (value) => value.toFixed(1) + " %";
const direction = (curve) => curve.label;

// One entry an answer: what the first judge said decides filters and colours, as it decides the figures.
const answersOf = (point) => point.answers.map(([number, text, finish, tokens, ...verdicts]) => ({
  number, tokens,
  prompt: data.prompts[number] ?? "",
  text: data.texts[text],
  finish: data.finishes[finish],
  outcome: data.outcomes[verdicts[0]],
  verdicts: data.judges.map((judge, n) => ({
    judge, outcome: data.outcomes[verdicts[2 * n]], reason: data.reasons[verdicts[2 * n + 1]],
  })),
}));
const key = (line, alpha) => (alpha === 0 ? "origin" : `${line}:${alpha}`);
const points = new Map(data.points.map((point) => [key(point.line, point.alpha), answersOf(point)]));
const curves = data.curves.filter((curve) => curve.samples.length);
const curveOf = (line) => curves.find((curve) => curve.line === line);
// Only outcomes that the run knows: the keyword judge has two.
const known = data.outcomes.filter((outcome) => [...points.values()].some((all) => all.some((a) => a.outcome === outcome)));

const finishes = {
  stop: "ended its turn", length: "cut at the length limit", settled: "stopped: the judge could already tell",
};

const state = {
  line: 0, alpha: 0, outcome: null, search: "", reveal: false,
  open: new Set(), // prompts whose answer stays unfolded while the point changes
};
