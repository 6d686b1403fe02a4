"use strict";
// Draws the comparison; a served one follows its runs.

const traces = () => (onPlane ? tracesOfMultiples() : tracesOfOverlay());

function layout() {
  $("plot").style.height = `${onPlane ? heightOfMultiples() : heightOfOverlay()}px`;
  return onPlane ? layoutOfMultiples() : layoutOfOverlay();
}

function renew(next) {
  data = JSON.parse(next.getElementById("data").textContent);
  replaceParts(next);
  redraw();
}

draw();
if (isServed) keepUp(`/events${location.search}`, renew);
