// Asks before something is done.

import {byId, setText} from "./elements.js";

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {string} name  Whom it is about.
 * @property {string} text
 * @property {string} action  What the button says that does it.
 * @property {boolean} [danger]
 * @property {string} [missing]  Asks for a text too; this is said where there is none.
 */

/**
 * Whether it is to be done: null if not, else the text that was asked for, or "".
 *
 * @param {Question} question
 * @returns {Promise<string|null>}
 */
export function confirmed({title, name, text, action, danger = false, missing}) {
  /** @type {HTMLDialogElement} */ const dialog = byId("confirm");
  /** @type {HTMLTextAreaElement} */ const field = byId("confirm-text");
  /** @type {HTMLButtonElement} */ const yes = byId("confirm-yes");
  const why = byId("confirm-why");
  byId("confirm-title").textContent = title;
  byId("confirm-name").textContent = name;
  byId("confirm-words").textContent = text;
  byId("confirm-field").hidden = missing === undefined;
  field.value = "";
  setText(why, "");
  yes.textContent = action;
  yes.classList.toggle("danger", danger);
  return new Promise((done) => {
    /** @type {string|null} */
    let answer = null;
    const agree = () => {
      if (missing !== undefined && !field.value.trim()) {
        setText(why, missing);
        field.focus();
        return;
      }
      answer = field.value;
      dialog.close();
    };
    const leave = () => { dialog.close(); };
    const no = byId("confirm-no");
    yes.addEventListener("click", agree);
    no.addEventListener("click", leave);
    dialog.addEventListener("close", () => {
      yes.removeEventListener("click", agree);
      no.removeEventListener("click", leave);
      done(answer);
    }, {once: true});
    dialog.showModal();
    // What does harm is not a key press away.
    (missing === undefined ? no : field).focus();
  });
}
