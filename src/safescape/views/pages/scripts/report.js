// The page of a run. A served one follows its run.

import { beginAnswers, renewAnswers } from "./answers.js";
import { redraw } from "./charts.js";
import { $ } from "./dom.js";
import { beginJudges, connectJudges, renewJudges } from "./judges.js";
import { beginKeys } from "./keys.js";
import { beginLandscape, renewLandscape } from "./landscape.js";
import { beginMaps, renewMaps } from "./maps.js";
import { curves, data, take } from "./run.js";
import { reselect, state, update } from "./selection.js";
import { follow, isServed, payloadOf, replaceParts } from "./source.js";

/**
 * Take in the next version of this page. The current selection and expanded answers are preserved.
 * @param {Document} next
 */
function renew(next) {
  const { point, pinned, judge } = state;
  const chosen = data.judges[judge];
  take(payloadOf(next));
  const section = document.getElementById("judges") ? null : next.getElementById("judges");
  if (section) $("provenance").before(document.importNode(section, true));
  replaceParts(next);
  reselect(chosen);
  renewAnswers(point, pinned);
  renewLandscape();
  renewMaps();
  if (section) connectJudges();
  else renewJudges();
  redraw();
}

if (curves.length) {
  beginAnswers();
  beginKeys();
  beginMaps();
  beginJudges();
  update({ ...state });
}
beginLandscape();
if (isServed) follow(`/events?${new URLSearchParams({ run: data.run })}`, renew);
