// What the scripts find on the page, as far as they use it.

/** A trace or a layout, as plotly reads it. */
type Figure = Record<string, unknown>;

interface Trace extends Figure {
  x: unknown[];
  type?: string;
  name?: string;
}

/** What plotly says of a point that was clicked. */
interface Clicked {
  customdata: number;
  data: Trace;
  pointIndex?: [number, number];
  pointNumber: [number, number];
  x: number;
}

/** The element that plotly has drawn into. */
interface Plot extends HTMLElement {
  data: Trace[];
  on(name: "plotly_click", act: (event: { points: Clicked[] }) => void): void;
}

declare namespace Plotly {
  function newPlot(plot: HTMLElement, traces: Figure[], layout: Figure, options: Figure): Promise<Plot>;
  function react(plot: HTMLElement, traces: Figure[], layout: Figure): Promise<Plot>;
  function restyle(plot: HTMLElement, change: Figure, traces: number[]): Promise<Plot>;
}

/** The elements by id that are more than an HTMLElement. */
interface Controls {
  alpha: HTMLInputElement;
  answer: HTMLDetailsElement;
  back: HTMLButtonElement;
  compare: HTMLButtonElement;
  direction: HTMLSelectElement;
  forward: HTMLButtonElement;
  judge: HTMLSelectElement;
  keys: HTMLDialogElement;
  layer: HTMLSelectElement;
  pair: HTMLSelectElement;
  plot: Plot;
  probe: HTMLSelectElement;
  reveal: HTMLInputElement;
  search: HTMLInputElement;
  surface: HTMLButtonElement;
  "to-origin": HTMLButtonElement;
}
