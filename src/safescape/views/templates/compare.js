"use strict";
// Draws the comparison.

const traces = () => (onPlane ? tracesOfMultiples() : tracesOfOverlay());

function layout() {
  $("plot").style.height = `${onPlane ? heightOfMultiples() : heightOfOverlay()}px`;
  return onPlane ? layoutOfMultiples() : layoutOfOverlay();
}

draw();
