// The list of runs, which follows what is measured. The selected runs are preserved.

import { $, find } from "./dom.js";
import { follow } from "./source.js";

/** @returns {HTMLInputElement[]} */
const boxes = () => [.../** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("#run-list input"))];
const selected = () => boxes().filter((box) => box.checked).map(({ value }) => value);
const showSelected = () => { $("compare").disabled = selected().length < 2; };

$("run-list").addEventListener("change", showSelected);
showSelected();
follow("/events", (next) => {
  const kept = selected();
  const focused = document.activeElement;
  const run = focused?.closest("[data-run]")?.getAttribute("data-run");
  const part = next.querySelector("[data-part=runs]");
  if (!part) return;
  find("[data-part=runs]")?.replaceWith(document.importNode(part, true));
  for (const box of boxes()) box.checked = kept.includes(box.value);
  if (run) find(`[data-run="${CSS.escape(run)}"] ${focused?.tagName}`)?.focus({ preventScroll: true });
  showSelected();
});
