"use strict";
// The keyboard, wherever the reader is on the page. The list of keys is in the template; `?` opens it.

// Here keys have a meaning of their own.
const isTyping = (target) => target.matches("input:not([type=checkbox]), select, textarea") || target.closest(".scroll, dialog[open]");

// The next curve at the same distance: on a plane the row above or below.
function cross(by) {
  const next = curves[curves.indexOf(state.curve) + by];
  if (next) choose(next, nearestOn(next, state.point.effective[0]));
}

const keys = {
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  "[": () => cross(-1),
  "]": () => cross(1),
  o: () => origin && goTo(origin),
  p: () => togglePin(),
  "?": () => $("keys").showModal(),
};

function beginKeys() {
  addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.altKey || event.metaKey || isTyping(event.target)) return;
    event.preventDefault();
    act();
  });
  $("show-keys").addEventListener("click", keys["?"]);
  $("close-keys").addEventListener("click", () => $("keys").close());
}
