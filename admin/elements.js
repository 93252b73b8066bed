// Makes elements, and fills tables. Text is text: nothing here parses markup.

/**
 * The element with that id; the document has it.
 *
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 * @returns {E}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The document has no element #${id}.`);
  return /** @type {E} */ (element);
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [className]
 * @param {...(string|Node)} content
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, className = "", ...content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

/** A name that others chose: it keeps its direction and its spaces to itself. @param {string} name */
export function nameOf(name) { return make("bdi", "name", name); }

/** @param {string} label @param {() => void} act @param {string} [className] */
export function button(label, act, className = "") {
  const element = make("button", className, label);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
}

/** Sets the text where it differs, so that nothing is announced twice. @param {HTMLElement} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Fills the body of a table. The first cell of a row is its header. Rows are changed in place, so that what is selected or scrolled to stays.
 *
 * @param {HTMLElement} body
 * @param {(string|Node)[][]} rows
 */
export function fillRows(body, rows) {
  while (body.children.length > rows.length) body.lastElementChild?.remove();
  rows.forEach((cells, index) => {
    let row = body.children[index];
    if (!row) body.append(row = make("tr"));
    while (row.children.length > cells.length) row.lastElementChild?.remove();
    cells.forEach((content, column) => {
      let cell = /** @type {HTMLTableCellElement} */ (row.children[column]);
      if (!cell) {
        cell = make(column ? "td" : "th");
        if (!column) cell.scope = "row";
        row.append(cell);
      }
      const text = typeof content === "string" ? content : content.textContent ?? "";
      if (typeof content !== "string" && content instanceof HTMLButtonElement) cell.replaceChildren(content);
      else if (cell.textContent !== text) cell.replaceChildren(content);
    });
  });
}
