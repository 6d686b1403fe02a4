"use strict";
// Every request at every point: one map a curve, one row a request, those that break first on top. A plane has too many
// points for it; there the strips under an answer are a map of that request.

const maps = [];
let order = [];

// A request's place: by how many of the points it broke at, so that all maps of a probe have the same order. What broke
// into noise comes after what broke into compliance.
function orderOf(probe) {
  const broken = data.probes[probe].harmful ? "complied" : "refused";
  const fragile = data.probes[probe].prompts.map(() => 0);
  for (const point of points) {
    for (const answer of point.answers[probe]) fragile[answer.number] += { [broken]: 1, incoherent: 1e-4 }[answer.outcome] ?? 0;
  }
  return fragile.map((_, number) => number).sort((a, b) => fragile[b] - fragile[a] || a - b);
}

function beginMaps() {
  fillMaps();
  new ResizeObserver(paintMaps).observe($("maps"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paintMaps);
}

function fillMaps() {
  const shown = onPlane ? [] : curves.filter((curve) => curve.measured.length > 1);
  maps.length = 0;
  $("maps").replaceChildren();
  $("maps-block").hidden = !shown.length;
  for (const curve of shown) {
    const figure = element("figure");
    const stack = element("div", "stack");
    const canvas = element("canvas");
    const cursor = element("span", "cursor");
    stack.append(canvas, cursor);
    figure.append(element("figcaption", "", curve.kind === "checkpoints" ? curve.label : `${curve.label}, over α`), stack, ends(curve));
    $("maps").append(figure);
    const map = { curve, canvas, cursor };
    canvas.addEventListener("mousemove", (event) => {
      const { step, number, answer } = cellAt(map, event);
      canvas.style.cursor = answer ? "pointer" : "default";
      canvas.title = answer ? `request ${number + 1}, ${stepText(curve, step)}: ${answer.outcome}` : "not measured";
    });
    canvas.addEventListener("click", (event) => {
      const { step, number, answer } = cellAt(map, event);
      if (answer) visit(curve, step.point, number);
    });
    maps.push(map);
  }
}

// What a row of cells runs over: its ends and, between them, the models that have a name.
function ends(curve) {
  const scale = element("div", "ends");
  scale.setAttribute("aria-hidden", "true");
  const last = curve.grid.length - 1;
  curve.grid.forEach((at, place) => {
    const named = curve.kind !== "checkpoints" && (at === 0 || (at === 1 && data.between));
    if (place !== 0 && place !== last && !named) return;
    const mark = element("span", place === 0 ? "first" : place === last ? "last" : "", curve.kind === "checkpoints" ? String(at) : signed(at));
    mark.style.left = `${place === 0 ? 0 : place === last ? 100 : (100 * (place + 0.5)) / curve.grid.length}%`;
    scale.append(mark);
  });
  return scale;
}

function cellAt({ curve, canvas }, event) {
  const box = canvas.getBoundingClientRect();
  const share = (at, from, size, cells) => Math.min(cells - 1, Math.max(0, Math.floor(((at - from) / size) * cells)));
  const step = curve.steps[share(event.clientX, box.left, box.width, curve.steps.length)];
  const number = order[share(event.clientY, box.top, box.height, order.length)];
  return { step, number, answer: step.point?.answers[state.probe][number] };
}

function paintMaps() {
  if (!maps.length) return;
  $("maps-legend").replaceChildren(...known().map((outcome) => {
    const entry = element("span", "entry");
    entry.append(element("span", `swatch ${outcome}`), outcome);
    return entry;
  }));
  const colours = Object.fromEntries(known().map((outcome) => [outcome, colour(`--${outcome}`)]));
  order = orderOf(state.probe);
  const place = new Map(order.map((number, row) => [number, row]));
  for (const { curve, canvas } of maps) {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const columns = curve.steps.length;
    const gap = height / order.length >= 9 * ratio ? ratio : 0;
    curve.steps.forEach(({ point }, column) => {
      const left = Math.round((column * width) / columns);
      const right = Math.round(((column + 1) * width) / columns);
      for (const answer of point?.answers[state.probe] ?? []) {
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
    const column = curve.steps.findIndex((step) => step.point === state.point);
    cursor.hidden = column < 0;
    cursor.style.left = `${(100 * column) / curve.steps.length}%`;
    cursor.style.width = `${100 / curve.steps.length}%`;
  }
}
