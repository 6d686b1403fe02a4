"use strict";
// A page that says why there is none yet. Of a run whose first point is being measured it becomes that run's page.

const { run } = JSON.parse(document.getElementById("data").textContent);
if (run !== null) {
  const events = new EventSource(`/events?${new URLSearchParams({ run })}`);
  events.addEventListener("version", (event) => {
    if (event.data !== document.documentElement.dataset.version) location.reload();
  });
}
