// A page that says why there is no other one. It becomes a run's page when the run's first point is measured.

import { payloadOf } from "./source.js";

/** @import { NoticePayload } from "./payload.js" */

/** @type {NoticePayload} */
const { run } = payloadOf();
if (run !== null) {
  new EventSource(`/events?${new URLSearchParams({ run })}`).addEventListener("version", (event) => {
    if (event.data !== document.documentElement.dataset.version) location.reload();
  });
}
