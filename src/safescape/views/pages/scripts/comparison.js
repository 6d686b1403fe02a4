// The page of a comparison. A served one follows its runs.

import { draw, redraw } from "./charts.js";
import { $ } from "./dom.js";
import { heightOfMultiples, layoutOfMultiples, tracesOfMultiples } from "./multiples.js";
import { heightOfOverlay, layoutOfOverlay, tracesOfOverlay } from "./overlay.js";
import { follow, isServed, payloadOf, replaceParts } from "./source.js";

/** @import { ComparisonPayload } from "./payload.js" */

/** @type {ComparisonPayload} */
let data = payloadOf();

function traces() {
  if (data.planes) return tracesOfMultiples(data.planes, data.limit.value);
  return data.lines ? tracesOfOverlay(data.lines) : [];
}

function layout() {
  const { lines, planes } = data;
  $("plot").style.height = `${planes ? heightOfMultiples(planes) : lines ? heightOfOverlay(lines) : 0}px`;
  if (planes) return layoutOfMultiples(planes);
  return lines ? layoutOfOverlay(data, lines) : {};
}

draw({ traces, layout });
if (isServed) {
  follow(`/events${location.search}`, (next) => {
    data = payloadOf(next);
    replaceParts(next);
    redraw();
  });
}
