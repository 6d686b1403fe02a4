// Elements and the words for figures. Names, prompts and answers are untrusted: they reach the page as text alone.

/**
 * Return the page's element of an id.
 * @template {string} Id
 * @param {Id} id
 * @returns {Id extends keyof Controls ? Controls[Id] : HTMLElement}
 */
export function $(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`this page has no #${id}`);
  return /** @type {Id extends keyof Controls ? Controls[Id] : HTMLElement} */ (found);
}

/**
 * Return the first element that matches.
 * @param {string} selector
 * @param {ParentNode} [within]
 * @returns {HTMLElement | null}
 */
export const find = (selector, within = document) => within.querySelector(selector);

/**
 * Return a new element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} [className]
 * @param {string} [text]
 */
export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/**
 * Return a new element with children.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} className
 * @param {(Node | string)[]} children
 */
export function parent(tag, className, ...children) {
  const made = element(tag, className);
  made.append(...children);
  return made;
}

/**
 * Return a new button.
 * @param {string} className
 * @param {string} text
 * @param {() => void} act
 */
export function button(className, text, act) {
  const made = element("button", className, text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

/** @param {string} outcome */
export const swatch = (outcome) => element("span", `swatch ${outcome}`);

/**
 * Offer a choice of numbered entries; the chosen one stays chosen. With a single entry the field is hidden.
 * @param {"direction" | "judge" | "layer" | "pair" | "probe"} id
 * @param {string[]} entries
 */
export function offer(id, entries) {
  const select = $(id);
  const { value } = select;
  select.replaceChildren(...entries.map((text, number) => {
    const option = element("option", "", text);
    option.value = String(number);
    return option;
  }));
  select.value = Number(value) < entries.length ? value || "0" : "0";
  $(`${id}-field`).hidden = entries.length === 1;
}

/**
 * A colour of the style sheet.
 * @param {string} name
 */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** @param {number} value */
export const signed = (value) => (value === 0 ? "0" : (value < 0 ? "−" : "+") + String(Number(Math.abs(value).toPrecision(6))));

/** @param {number} value */
export const percent = (value) => `${value.toFixed(1)} %`;

/**
 * @param {{ low: number, high: number, unscored?: number }} reading
 * @param {string} [unit]
 */
export const intervalText = ({ low, high, unscored = 0 }, unit = " %") =>
  `95 % interval ${low.toFixed(1)} to ${high.toFixed(1)}${unit}${unscored ? `, ${unscored} unscored` : ""}`;

/** Call `act` when the colours of the page change between light and dark.
 * @param {() => void} act
 */
export const onScheme = (act) => matchMedia("(prefers-color-scheme: dark)").addEventListener("change", act);
