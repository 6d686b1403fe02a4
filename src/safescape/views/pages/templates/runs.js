"use strict";
// The list of runs, which follows what is measured. Ticks stay.

const $ = (id) => document.getElementById(id);
const ticked = () => [...document.querySelectorAll("#shelf input:checked")].map(({ value }) => value);
const showTicked = () => { $("compare").disabled = ticked().length < 2; };

function renew(next) {
  const kept = ticked();
  const { activeElement: focused } = document;
  const row = focused.closest("[data-run]")?.dataset.run;
  const made = document.importNode(next.querySelector("[data-part=runs]"), true);
  for (const box of made.querySelectorAll("input")) box.checked = kept.includes(box.value);
  document.querySelector("[data-part=runs]").replaceWith(made);
  if (row !== undefined) made.querySelector(`[data-run="${CSS.escape(row)}"] ${focused.tagName}`)?.focus({ preventScroll: true });
  showTicked();
}

$("shelf").addEventListener("change", showTicked);
showTicked();
keepUp("/events", renew);
