"use strict";
// A served page follows its run: when there is more, it reads itself again, takes in the new data, and puts the parts that
// Python wrote in the place of the old ones. Where the reader stands, and what he has unfolded, stays.

const follow = () => isServed && keepUp(`/events?${new URLSearchParams({ run: data.run })}`, renew);

function renew(next) {
  const { curve, point, pinned, judge } = state;
  const chosen = data.judges[judge];
  take(JSON.parse(next.getElementById("data").textContent));
  renewParts(next);
  const again = (old) => (old && points.find((other) => other.id === old.id)) ?? null;
  state.judge = data.judges.includes(chosen) ? data.judges.indexOf(chosen) : data.finest;
  state.point = again(point) ?? origin ?? curves[0].measured[0].point;
  state.pinned = again(pinned);
  state.curve = curves.find((other) => other.label === curve.label && stepOf(other, state.point)) ?? curveOf(state.point);
  fillChoices();
  showPlace();
  showHere();
  showFilters();
  const isListed = $("list").dataset.point === String(state.point.id);
  if (isListed && state.point.seen === point.seen && state.pinned?.seen === pinned?.seen) renewStrips();
  else showList();
  if (onPlane) fillLayers();
  fillMaps();
  paintMaps();
  markMaps();
  if (data.agreement.length) {
    fillPairs();
    showJudges();
  }
  size();
  redraw();
}

function renewParts(next) {
  if (!$("judges") && next.getElementById("judges")) {
    $("provenance").before(document.importNode(next.getElementById("judges"), true));
    beginJudges();
  }
  replaceParts(next);
}

// The maps under unfolded answers have new points; the answers themselves are as they were.
function renewStrips() {
  const focused = document.activeElement;
  for (const details of $("list").querySelectorAll("details[open]")) {
    const body = details.querySelector(".body");
    const had = body.contains(focused) && focused.getAttribute("aria-label");
    for (const old of body.querySelectorAll(":scope > .strip")) old.remove();
    body.append(...strips(Number(details.dataset.number)));
    if (had) body.querySelector(`[aria-label="${CSS.escape(had)}"]`)?.focus({ preventScroll: true });
  }
}
