// Keyboard navigation. The list of keys is in the template; `?` opens it.

import { $ } from "./dom.js";
import { curves, origin } from "./run.js";
import { goTo, selectCurve, state, step, togglePin } from "./selection.js";

// here keys have a meaning of their own
/** @param {Element} target */
const isTyping = (target) => target.matches("input:not([type=checkbox]), select, textarea") || target.closest(".scroll, dialog[open]");

/** @param {number} by - To the row above or below on a plane, to the direction before or after on lines. */
const cross = (by) => selectCurve(curves[curves.indexOf(state.curve) + by]);

/** @type {Record<string, () => void>} */
const keys = {
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  "[": () => cross(-1),
  "]": () => cross(1),
  o: () => origin && goTo(origin),
  p: togglePin,
  "?": () => $("keys").showModal(),
};

export function beginKeys() {
  addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.altKey || event.metaKey || (event.target instanceof Element && isTyping(event.target))) return;
    event.preventDefault();
    act();
  });
  $("show-keys").addEventListener("click", keys["?"]);
  $("close-keys").addEventListener("click", () => $("keys").close());
}
