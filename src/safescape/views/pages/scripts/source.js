// Where a page gets what its payload does not hold: from the file that it is, or from the server that shows it.

import { $ } from "./dom.js";

/** @import { AnswersBlock } from "./payload.js" */

export const isServed = document.documentElement.dataset.home === "server";

/**
 * Return the payload of a page; of this one by default.
 * @param {Document} [page]
 */
export const payloadOf = (page = document) => JSON.parse(page.getElementById("data")?.textContent ?? "null");

/** @param {string} address */
async function fetched(address) {
  let response;
  try {
    response = await fetch(address, { credentials: "omit" });
  } catch {
    throw new Error("the server does not respond; start safescape view again, then reload this page");
  }
  const text = await response.text();
  if (response.ok) return text;
  // where a page was requested, the reason is its detail
  const page = new DOMParser().parseFromString(text, "text/html");
  throw new Error((page.querySelector(".detail")?.textContent ?? text).slice(0, 500));
}

/**
 * Return the text of a gzip-compressed block of this file.
 * @param {string} id
 */
function unpacked(id) {
  const bytes = Uint8Array.from(atob($(id).textContent ?? ""), (sign) => sign.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

/** Return the source of plotly. */
export const plotlySource = () => (isServed ? fetched("/plotly.js") : unpacked("plotly"));

/**
 * Return the answers at a point of a run.
 * @param {string} run
 * @param {number} id
 * @returns {Promise<AnswersBlock>}
 */
export async function answersAt(run, id) {
  const query = new URLSearchParams({ run, point: String(id) });
  return JSON.parse(await (isServed ? fetched(`/answers?${query}`) : unpacked(`answers-${id}`)));
}

/**
 * Reload this page in the background whenever the server has a newer version, and hand it to `renew`. Errors are shown
 * under the heading.
 * @param {string} address
 * @param {(next: Document) => void} renew
 */
export function follow(address, renew) {
  let shown = document.documentElement.dataset.version;
  let newest = shown;
  let isReading = false;
  /** What the server said when it ended the stream: what this page shows is no longer there. It outlasts other messages. */
  let gone = "";
  /** @type {EventSource | null} */
  let events = null;
  /** @param {string} text */
  const say = (text) => { $("following").textContent = gone || text; };

  async function catchUp() {
    if (isReading) return;
    isReading = true;
    try {
      while (newest !== shown) {
        const asked = newest;
        const next = new DOMParser().parseFromString(await fetched(location.href), "text/html");
        renew(next);
        shown = next.documentElement.dataset.version;
        if (newest === asked) newest = shown; // what was written while it was read is in it
      }
      say("");
    } catch (error) {
      say(`Not up to date: ${messageOf(error)}`);
    }
    isReading = false;
  }

  function listen() {
    const opened = new EventSource(address);
    events = opened;
    opened.addEventListener("version", ({ data }) => {
      gone = "";
      newest = data;
      catchUp();
    });
    opened.addEventListener("gone", ({ data }) => {
      opened.close();
      gone = data;
      say("");
    });
    opened.addEventListener("error", () => say("The server does not respond: this page shows what it last received. Start safescape view again; the page reconnects by itself."));
    opened.addEventListener("open", () => say(""));
  }

  // a browser keeps few connections to one server: a hidden page releases its own
  document.addEventListener("visibilitychange", () => {
    events?.close();
    if (!document.hidden) listen();
  });
  listen();
}

/** @param {unknown} error */
export const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/**
 * Replace the named parts of this page that differ in the next version; scroll positions are preserved.
 * @param {Document} next
 */
export function replaceParts(next) {
  for (const part of document.querySelectorAll("[data-part]")) {
    const other = next.querySelector(`[data-part="${part.getAttribute("data-part")}"]`);
    if (!other || other.outerHTML === part.outerHTML) continue;
    const made = document.importNode(other, true);
    const scrolled = [...part.querySelectorAll(".scroll")].map(({ scrollTop, scrollLeft }) => ({ scrollTop, scrollLeft }));
    part.replaceWith(made);
    made.querySelectorAll(".scroll").forEach((box, n) => Object.assign(box, scrolled[n]));
  }
}
