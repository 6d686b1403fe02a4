// The outcome of one request at every point: a strip of cells a curve, and the scale beneath it.

import { $, button, element, find, parent, signed } from "./dom.js";
import { curves, data, isPlane, placeText, shortLabel } from "./run.js";
import { answersOn, outcomeOf, state, update } from "./selection.js";

/** @import { Curve, Step } from "./run.js" */

/**
 * Return the scale of a row of cells: its ends and, between them, the named models.
 * @param {Curve} curve
 */
export function ends(curve) {
  const scale = element("div", "ends");
  scale.setAttribute("aria-hidden", "true");
  const isTrajectory = curve.kind === "checkpoints";
  const last = curve.grid.length - 1;
  curve.grid.forEach((at, place) => {
    const named = !isTrajectory && (at === 0 || (at === 1 && data.between));
    if (place !== 0 && place !== last && !named) return;
    const mark = element("span", place === 0 ? "first" : place === last ? "last" : "", isTrajectory ? String(at) : signed(at));
    mark.style.left = `${place === 0 ? 0 : place === last ? 100 : (100 * (place + 0.5)) / curve.grid.length}%`;
    scale.append(mark);
  });
  return scale;
}

/** @param {Curve} curve */
export const scaleStrip = (curve) => parent("div", "strip", element("span", "of", curve.kind === "checkpoints" ? "" : "α"), ends(curve));

/**
 * Return a strip of cells over a curve's grid.
 * @param {Curve} curve
 * @param {string} className
 * @param {(step: Step) => { className: string, title: string, label: string, act: () => void, share?: number } | null} cellOf - Null: a gap.
 * `share`, in percent, is how far the cell is filled.
 */
export function stripOf(curve, className, cellOf) {
  const cells = curve.places.map((place) => {
    const cell = place.point && cellOf(/** @type {Step} */ (place));
    if (!cell) return element("span", "gap");
    const made = button(cell.className, "", cell.act);
    made.title = cell.title;
    made.setAttribute("aria-label", cell.label);
    if (cell.share !== undefined) made.style.setProperty("--share", `${cell.share}%`);
    if (place.point === state.point) made.setAttribute("aria-current", "true");
    if (place.point === state.pinned) made.classList.add("pinned");
    return made;
  });
  return parent("div", className, element("span", "of", shortLabel(curve)), ...cells);
}

/**
 * Return the strips of a request: one a curve; on a plane, together, they are a map.
 * @param {number} number
 */
export function strips(number) {
  const shown = curves.filter((curve) => curve.steps.length > 1 || curves.length === 1);
  return shown.flatMap((curve, place) => {
    const strip = stripOf(curve, isPlane && curve.kind === "row" ? "strip dense" : "strip", ({ at, point }) => {
      const answer = answersOn(point)[number];
      if (!answer) return null;
      const title = `${placeText(curve, at)}: ${outcomeOf(answer)}`;
      return {
        className: outcomeOf(answer), title, label: `${curve.label}, ${title}`,
        act: async () => {
          await update({ curve, point });
          const again = find(`#list details[data-number="${number}"] .strip button[aria-current="true"]`);
          (again ?? $("alpha")).focus({ preventScroll: true });
        },
      };
    });
    // lines have the same ends; checkpoints have ends of their own
    return shown[place + 1]?.kind === curve.kind ? [strip] : [strip, scaleStrip(curve)];
  });
}
