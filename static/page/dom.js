// Small helpers for the document. Text goes in as text: nothing here parses markup.

/**
 * The element with that id; the template has it.
 *
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 * @returns {E}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The template has no element #${id}.`);
  return /** @type {E} */ (element);
}

/**
 * A new element.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [className]
 * @param {string|Node|null} [content]
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, className, content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (typeof content === "string") element.textContent = content;
  else if (content) element.append(content);
  return element;
}

/**
 * A button; `icon` names a symbol of the template and then `label` is for screen readers and the tooltip.
 *
 * @param {string} label
 * @param {{className?: string, icon?: string, action?: string}} [look]
 */
export function button(label, {className = "", icon, action} = {}) {
  const element = make("button", className, icon ? null : label);
  element.type = "button";
  if (action) element.dataset.do = action;
  if (icon) {
    element.append(drawing(icon));
    element.title = label;
    element.setAttribute("aria-label", label);
  }
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** An icon of the template. @param {string} name */
export function drawing(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

const COLOURS = 10; // classes c0 to c9 of the style sheet

/** @param {string} id  A number that is the same for an id on every device. */
function hash(id) {
  let value = 7;
  for (let index = 0; index < id.length; index++) value = (value * 31 + id.charCodeAt(index)) >>> 0;
  return value;
}

/** The class of an id's colour. @param {string} id */
export function colour(id) { return `c${hash(id) % COLOURS}`; }

const segments = typeof Intl.Segmenter === "function" ? new Intl.Segmenter() : null;

/** The first character as people count them. @param {string} word */
function first(word) {
  for (const {segment} of segments?.segment(word) ?? []) return segment;
  return [...word][0] ?? "";
}

/** A round picture of one or two letters. @param {string} id @param {string} name */
export function avatar(id, name) {
  const element = make("span", "avatar");
  paint(element, id, name);
  return element;
}

/** @param {HTMLElement} element @param {string} id @param {string} name */
export function paint(element, id, name) {
  const words = name.replace(/^#/, "").split(/[\s._-]+/u).filter(Boolean);
  element.className = `avatar ${colour(id)}`;
  element.ariaHidden = "true";
  element.textContent = id.startsWith("#") ? "#" : words.slice(0, 2).map(first).join("").toUpperCase() || first(name);
}

/**
 * Runs `work` once before the next frame, however often it is asked to. In a hidden page, where no frames come, soon.
 *
 * @param {() => void} work
 */
export function onceAFrame(work) {
  let asked = false;
  const run = () => {
    if (!asked) return;
    asked = false;
    work();
  };
  return () => {
    if (asked) return;
    asked = true;
    if (document.hidden) setTimeout(run, 50);
    else requestAnimationFrame(run);
  };
}
