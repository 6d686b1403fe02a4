"use strict";
// Where a page has things from that it does not hold as data: the file that it is, or the server that shows it.

const isServed = document.documentElement.dataset.home === "server";
const block = (id) => Uint8Array.from(atob(document.getElementById(id).textContent), (sign) => sign.charCodeAt(0));
const unpacked = (bytes) => new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();

async function fetched(address) {
  let response;
  try {
    response = await fetch(address, { credentials: "omit" });
  } catch {
    throw new Error("the server does not answer; start safescape view again, then reload this page");
  }
  if (!response.ok) throw new Error((await response.text()).slice(0, 500));
  return response.text();
}

const source = isServed ? {
  plotly: () => fetched("/plotly.js"),
  said: async (run, id) => JSON.parse(await fetched(`/answers?${new URLSearchParams({ run, point: id })}`)),
} : {
  plotly: () => unpacked(block("plotly")),
  said: async (_, id) => JSON.parse(await unpacked(block(`said-${id}`))),
};

// Read this page again whenever the server has more, and hand it to `renew`. What is wrong is said under the heading.
function keepUp(address, renew) {
  const say = (text) => { document.getElementById("following").textContent = text; };
  let shown = document.documentElement.dataset.version;
  let newest = shown;
  let isReading = false;
  let events = null;

  async function catchUp() {
    if (isReading) return;
    isReading = true;
    try {
      while (newest !== shown) {
        const asked = newest;
        const next = new DOMParser().parseFromString(await fetched(location.href), "text/html");
        renew(next);
        shown = next.documentElement.dataset.version;
        if (newest === asked) newest = shown; // what came while it was read is in it
      }
      say("");
    } catch (error) {
      say(`Not up to date: ${error.message}`);
    }
    isReading = false;
  }

  function listen() {
    events = new EventSource(address);
    events.addEventListener("version", (event) => {
      newest = event.data;
      catchUp();
    });
    events.addEventListener("gone", (event) => {
      events.close();
      say(event.data);
    });
    events.addEventListener("error", () => say("The server does not answer: what you see is what it said last. Start safescape view again; the page goes on by itself."));
    events.addEventListener("open", () => say(""));
  }

  // a browser keeps few connections to one server: a page that nobody sees gives its own back
  document.addEventListener("visibilitychange", () => {
    events?.close();
    if (!document.hidden) listen();
  });
  listen();
}

// Put the parts that Python wrote, each of which has a name, in the place of the old ones.
function replaceParts(next) {
  for (const part of document.querySelectorAll("[data-part]")) {
    const other = next.querySelector(`[data-part="${part.dataset.part}"]`);
    if (!other || other.outerHTML === part.outerHTML) continue;
    const made = document.importNode(other, true);
    const scrolled = [...part.querySelectorAll(".scroll")].map(({ scrollTop, scrollLeft }) => [scrollTop, scrollLeft]);
    part.replaceWith(made);
    made.querySelectorAll(".scroll").forEach((box, n) => { [box.scrollTop, box.scrollLeft] = scrolled[n] ?? [0, 0]; });
  }
}
