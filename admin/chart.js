// A chart of a few lines over time, as SVG. It knows no figures: which there are and how they are written is said by who makes it.
//
// What it shows is in words too: its label names each line with its newest and its greatest value, and the legend has the values of the
// moment that is pointed at.

import {make, setText} from "./elements.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600, HEIGHT = 140; // of the drawing, which is stretched

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {(index: number) => number|null} value  Of the point with that number; null makes a gap.
 *
 * @typedef {object} Words
 * @property {(value: number|null) => string} number
 * @property {string} begin  What the axis of time says at its begin.
 * @property {string} end
 * @property {(lines: {label: string, now: string, most: string}[]) => string} label  Of the whole chart.
 */

/** The end of a scale that shows this value: 1, 2 or 5 with noughts. @param {number} value */
export function scaleEnd(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return (/** @type {number} */ ([1, 2, 5, 10].find((part) => part * power >= value))) * power;
}

/** @param {string} name @param {Record<string, string|number>} attributes */
function draw(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}

export class Chart {
  /** @type {Line[]} */ #lines;
  /** @type {Element[]} */ #paths;
  /** @type {HTMLElement[]} */ #values = [];
  #most = make("span", "most");
  #cursor = draw("line", {class: "cursor", y1: 0, y2: HEIGHT, visibility: "hidden"});
  #svg = draw("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img"});

  /**
   * @param {string} title
   * @param {Line[]} lines
   * @param {Words} words
   * @param {(part: number|null) => void} pointed  Where the pointer is, from 0 to 1; null when it leaves.
   */
  constructor(title, lines, words, pointed) {
    this.#lines = lines;
    this.words = words;
    for (const part of [0, 0.5, 1]) this.#svg.append(draw("line", {class: "grid", x1: 0, x2: WIDTH, y1: part * HEIGHT, y2: part * HEIGHT}));
    this.#paths = lines.map((_, index) => draw("path", {class: `line l${index}`}));
    this.#svg.append(...this.#paths, this.#cursor);
    const legend = make("ul", "legend");
    lines.forEach(({label}, index) => {
      const value = make("strong");
      const swatch = draw("svg", {class: "swatch", viewBox: "0 0 24 6", "aria-hidden": "true"});
      swatch.append(draw("path", {class: `line l${index}`, d: "M0 3H24"}));
      legend.append(make("li", "", swatch, `${label} `, value));
      this.#values.push(value);
    });
    const plot = make("div", "plot", this.#svg, this.#most, make("span", "begin", words.begin), make("span", "end", words.end));
    plot.addEventListener("pointermove", (event) => {
      const {left, width} = plot.getBoundingClientRect();
      pointed(Math.min(1, Math.max(0, (event.clientX - left) / width)));
    });
    plot.addEventListener("pointerleave", () => { pointed(null); });
    /** The chart, to be put into the document. */
    this.element = make("figure", "chart", make("figcaption", "", title), plot, legend);
  }

  /**
   * Draws the points.
   *
   * @param {number[]} places  Of each point, from 0 (the oldest that is shown) to 1 (now).
   * @param {number} shown  The number of the point whose values the legend has; the last one has no mark in the drawing.
   */
  show(places, shown) {
    const values = this.#lines.map(({value}) => places.map((_, index) => value(index)));
    const most = Math.max(0, ...values.flat().map((value) => value ?? 0));
    const end = scaleEnd(most);
    setText(this.#most, this.words.number(end));
    values.forEach((line, number) => {
      let path = "", pen = "M";
      line.forEach((value, index) => {
        if (value === null) {
          pen = "M";
          return;
        }
        // A point between two gaps is a dot.
        const alone = pen === "M" && (line[index + 1] ?? null) === null;
        path += `${pen}${(places[index] * WIDTH).toFixed(1)} ${(HEIGHT - (value / end) * HEIGHT).toFixed(1)}${alone ? "h1" : ""}`;
        pen = "L";
      });
      this.#paths[number].setAttribute("d", path);
      setText(this.#values[number], this.words.number(line[shown] ?? null));
    });
    const marked = shown >= 0 && shown < places.length - 1;
    this.#cursor.setAttribute("visibility", marked ? "visible" : "hidden");
    if (marked) for (const side of ["x1", "x2"]) this.#cursor.setAttribute(side, (places[shown] * WIDTH).toFixed(1));
    const described = this.#lines.map(({label}, number) => {
      const known = values[number].filter((value) => value !== null);
      return {label, now: this.words.number(values[number].at(-1) ?? null), most: this.words.number(known.length ? Math.max(...known) : null)};
    });
    this.#svg.setAttribute("aria-label", this.words.label(described));
  }
}
