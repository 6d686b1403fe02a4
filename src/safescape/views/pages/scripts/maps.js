// Every request at every point of a line: one map a curve, one row a request, those that break first on top. A plane has
// too many points for it; there the strips under an answer are a map of that request.

import { visit } from "./answers.js";
import { $, colour, element, onScheme, parent, swatch } from "./dom.js";
import { curves, data, isPlane, placeText, points } from "./run.js";
import { answersOn, known, onChange, outcomeOf, state } from "./selection.js";
import { ends } from "./strips.js";

/** @import { Curve, Step } from "./run.js" */
/** @typedef {{ curve: Curve, canvas: HTMLCanvasElement, cursor: HTMLElement }} RequestMap */

/** @type {RequestMap[]} */
let maps = [];
/** @type {number[]} The request of each row. */
let order = [];

export function beginMaps() {
  renewMaps();
  new ResizeObserver(paintMaps).observe($("maps"));
  onScheme(paintMaps);
  onChange(["judge", "probe"], paintMaps);
  onChange(["point"], markMaps);
}

/** Make a map of every curve there is now. */
export function renewMaps() {
  maps = (isPlane ? [] : curves.filter((curve) => curve.steps.length > 1)).map(mapOf);
  $("maps-block").hidden = !maps.length;
  $("maps").replaceChildren(...maps.map(({ curve, canvas, cursor }) => parent("figure", "",
    element("figcaption", "", curve.kind === "checkpoints" ? curve.label : `${curve.label}, over α`), parent("div", "stack", canvas, cursor), ends(curve))));
  paintMaps();
  markMaps();
}

/**
 * @param {Curve} curve
 * @returns {RequestMap}
 */
function mapOf(curve) {
  const map = { curve, canvas: element("canvas"), cursor: element("span", "cursor") };
  map.canvas.addEventListener("mousemove", (event) => {
    const { place, number, answer } = cellAt(map, event);
    map.canvas.style.cursor = answer ? "pointer" : "default";
    map.canvas.title = answer ? `request ${number + 1}, ${placeText(curve, place.at)}: ${outcomeOf(answer)}` : "not measured";
  });
  map.canvas.addEventListener("click", (event) => {
    const { place, number, answer } = cellAt(map, event);
    if (answer) visit({ curve, point: /** @type {Step} */ (place).point, number });
  });
  return map;
}

/**
 * @param {RequestMap} map
 * @param {MouseEvent} event
 */
function cellAt({ curve, canvas }, event) {
  const box = canvas.getBoundingClientRect();
  /** @param {number} share @param {number} cells */
  const cell = (share, cells) => Math.min(cells - 1, Math.max(0, Math.floor(share * cells)));
  const place = curve.places[cell((event.clientX - box.left) / box.width, curve.places.length)];
  const number = order[cell((event.clientY - box.top) / box.height, order.length)];
  return { place, number, answer: place.point && answersOn(place.point)[number] };
}

/**
 * Return the requests of a probe by how many points they broke at, so that all its maps have the same order. Those that
 * broke into noise come after those that broke into compliance.
 * @param {number} probe
 */
function orderOf(probe) {
  const broken = data.probes[probe].harmful ? "complied" : "refused";
  const fragile = data.probes[probe].prompts.map(() => 0);
  for (const point of points) {
    for (const answer of point.answers[probe]) {
      const outcome = outcomeOf(answer);
      if (outcome === broken) fragile[answer.number] += 1;
      else if (outcome === "incoherent") fragile[answer.number] += 1e-4;
    }
  }
  return fragile.map((_, number) => number).sort((a, b) => fragile[b] - fragile[a] || a - b);
}

function paintMaps() {
  if (!maps.length) return;
  $("maps-legend").replaceChildren(...known().map((outcome) => parent("span", "entry", swatch(outcome), outcome)));
  const colours = Object.fromEntries(known().map((outcome) => [outcome, colour(`--${outcome}`)]));
  order = orderOf(state.probe);
  const rows = new Map(order.map((number, row) => [number, row]));
  for (const { curve, canvas } of maps) {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((size) => Math.round(size * ratio));
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    if (!context) return;
    const columns = curve.places.length;
    const gap = height / order.length >= 9 * ratio ? ratio : 0;
    curve.places.forEach(({ point }, column) => {
      const left = Math.round((column * width) / columns);
      const right = Math.round(((column + 1) * width) / columns);
      for (const answer of point ? answersOn(point) : []) {
        const row = rows.get(answer.number) ?? 0;
        const top = Math.round((row * height) / order.length);
        const bottom = Math.round(((row + 1) * height) / order.length);
        context.globalAlpha = outcomeOf(answer) === "refused" ? 0.45 : 1;
        context.fillStyle = colours[outcomeOf(answer)];
        context.fillRect(left, top, right - left - ratio, Math.max(1, bottom - top - gap));
      }
    });
  }
}

function markMaps() {
  for (const { curve, cursor } of maps) {
    const column = curve.places.findIndex(({ point }) => point === state.point);
    cursor.hidden = column < 0;
    cursor.style.left = `${(100 * column) / curve.places.length}%`;
    cursor.style.width = `${100 / curve.places.length}%`;
  }
}
