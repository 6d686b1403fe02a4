"use strict";
// Every request at every point: one map a direction, one row a request, those that break first on top.

const maps = [];

// A request's place: by how many of the points it was answered at, so that all maps have the same order.
const fragile = data.prompts.map(() => 0);
for (const answers of points.values()) {
  for (const answer of answers) if (answer.outcome === "complied") fragile[answer.number] += 1;
}
const order = data.prompts.map((_, number) => number).sort((a, b) => fragile[b] - fragile[a] || a - b);

function beginMaps() {
  const shown = curves.filter((curve) => curve.samples.length > 1);
  if (!shown.length) return;
  for (const outcome of known) {
    const entry = element("span", "entry");
    entry.append(element("span", `swatch ${outcome}`), outcome);
    $("maps-legend").append(entry);
  }
  for (const curve of shown) {
    const figure = element("figure");
    const stack = element("div", "stack");
    const canvas = element("canvas");
    const cursor = element("span", "cursor");
    stack.append(canvas, cursor);
    const scale = element("div", "ends");
    scale.append(...[`α = ${signed(data.low)}`, "0", signed(data.high)].map((text) => element("span", "", text)));
    figure.append(element("figcaption", "", direction(curve)), stack, scale);
    $("maps").append(figure);
    const map = { curve, canvas, cursor };
    canvas.addEventListener("mousemove", (event) => {
      const cell = cellAt(map, event);
      canvas.style.cursor = cell.answer ? "pointer" : "default";
      canvas.title = cell.answer ? `request ${cell.number + 1}, α = ${signed(cell.alpha)}: ${cell.answer.outcome}` : "not measured";
    });
    canvas.addEventListener("click", (event) => {
      const cell = cellAt(map, event);
      if (cell.answer) visit(curve.line, cell.alpha, cell.number);
    });
    maps.push(map);
  }
  $("maps-block").hidden = false;
  new ResizeObserver(paintMaps).observe($("maps"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paintMaps);
}

function cellAt({ curve, canvas }, event) {
  const box = canvas.getBoundingClientRect();
  const share = (at, from, size, cells) => Math.min(cells - 1, Math.max(0, Math.floor(((at - from) / size) * cells)));
  const alpha = curve.grid[share(event.clientX, box.left, box.width, curve.grid.length)];
  const number = order[share(event.clientY, box.top, box.height, order.length)];
  return { alpha, number, answer: points.get(key(curve.line, alpha))?.find((answer) => answer.number === number) };
}

function paintMaps() {
  const colours = Object.fromEntries(data.outcomes.map((outcome) => [outcome, colour(`--${outcome}`)]));
  const place = new Map(order.map((number, row) => [number, row]));
  for (const { curve, canvas } of maps) {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const columns = curve.grid.length;
    const gap = height / order.length >= 9 * ratio ? ratio : 0;
    curve.grid.forEach((alpha, column) => {
      const left = Math.round((column * width) / columns);
      const right = Math.round(((column + 1) * width) / columns);
      for (const answer of points.get(key(curve.line, alpha)) ?? []) {
        const row = place.get(answer.number);
        const top = Math.round((row * height) / order.length);
        const bottom = Math.round(((row + 1) * height) / order.length);
        context.globalAlpha = answer.outcome === "refused" ? 0.45 : 1;
        context.fillStyle = colours[answer.outcome];
        context.fillRect(left, top, right - left - ratio, Math.max(1, bottom - top - gap));
      }
    });
  }
}

function markMaps() {
  for (const { curve, cursor } of maps) {
    const column = curve.grid.indexOf(state.alpha);
    cursor.hidden = column < 0 || (curve.line !== state.line && state.alpha !== 0);
    cursor.style.left = `${(100 * column) / curve.grid.length}%`;
    cursor.style.width = `${100 / curve.grid.length}%`;
  }
}
