"use strict";
// Two points side by side: one is pinned, another is chosen, and every request shows both of its answers.

// The pinned point, where it is not the chosen one.
const pinnedHere = () => (state.pinned && state.pinned !== state.point ? state.pinned : null);
// The answer to the same request at the pinned point, if it was asked there.
const asPinned = (answer) => pinnedHere()?.answers[state.probe][answer.number] ?? null;
const hasChanged = (answer) => {
  const before = asPinned(answer);
  return before !== null && before.outcome !== answer.outcome;
};

function pin(point) {
  state.pinned = point;
  showHere();
  showFilters();
  redraw();
  return showList();
}

const togglePin = () => pin(state.pinned === state.point ? null : state.point);

function beginPinned() {
  $("pin").addEventListener("click", togglePin);
  $("unpin").addEventListener("click", () => {
    pin(null);
    $("pin").focus();
  });
}

function besidePinned(before, answer) {
  const pair = element("div", "pair");
  pair.append(...[[before, state.pinned], [answer, state.point]].map(([each, point], n) => {
    const side = element("section");
    side.append(element("h4", "", `${n ? "Here" : "Pinned"}, ${placeOf(point)}`), named(each.outcome));
    if (state.reveal) side.append(quoted(each.text, reasonIn(each)));
    side.append(...judgedOf(each));
    return side;
  }));
  if (!state.reveal) return [element("p", "saw", "Hidden. Switch on “Show what was asked and answered” to read both."), pair];
  return [element("h4", "", "Asked"), quoted(answer.prompt, ""), pair];
}
