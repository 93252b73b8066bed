// Writing a message: the field, its draft, pictures and files, the message that it answers.

import {Refused} from "../kschat/chat.js";
import {button, byId, make} from "./dom.js";

/** @import {ChatApi, FilePart, Message} from "../kschat/types.js" */
/** @import {Texts} from "./texts.js" */

const MOST_FILES = 10; // at once

/** @typedef {{part: FilePart, url: string, element: HTMLElement}} Attachment */

export class Composer {
  /** @type {string|null} */ #id = null;
  /** @type {Message|null} */ #reply = null;
  /** @type {Message|null} */ #editing = null;
  /** @type {Attachment[]} */ #attachments = [];
  #preparing = 0;

  /**
   * @param {ChatApi} chat
   * @param {Texts} texts
   * @param {{problem: (words: string) => void}} tell
   */
  constructor(chat, texts, tell) {
    this.chat = chat;
    this.texts = texts;
    this.tell = tell;
    /** @type {HTMLFormElement} */
    this.form = byId("compose");
    /** @type {HTMLTextAreaElement} */
    this.text = byId("text");
    /** @type {HTMLInputElement} */
    this.file = byId("file");
    this.previews = byId("attachments");
    this.replying = byId("replying");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.text.addEventListener("input", () => { this.#typed(); });
    this.text.addEventListener("keydown", (event) => {
      // In the middle of a composed character Enter belongs to the input method.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.form.requestSubmit();
    });
    this.text.addEventListener("paste", (event) => {
      const files = [...event.clipboardData?.files ?? []];
      if (!files.length) return;
      event.preventDefault();
      this.attach(files);
    });
    byId("attach").addEventListener("click", () => { this.file.click(); });
    this.file.addEventListener("change", () => {
      this.attach([...this.file.files ?? []]);
      this.file.value = "";
    });
    this.#dropping(byId("talk"));
    this.replying.addEventListener("click", (event) => {
      if (event.target instanceof Element && event.target.closest("[data-do=cancel]")) this.cancel();
    });
  }

  /** Goes to another conversation, with its draft. @param {string|null} id */
  show(id) {
    this.#forget();
    this.#id = id;
    this.text.value = id === null ? "" : this.chat.conversation(id)?.draft ?? "";
    this.#fit();
    this.tell.problem("");
  }

  focus() { this.text.focus({preventScroll: true}); }

  /** Another tab, or the start, may have brought a draft. */
  draftChanged() {
    if (this.#id === null || this.#editing || document.activeElement === this.text && this.text.value) return;
    const draft = this.chat.conversation(this.#id)?.draft ?? "";
    if (draft === this.text.value) return;
    this.text.value = draft;
    this.#fit();
  }

  /** @param {Message} message */
  reply(message) {
    this.#editing = null;
    this.#reply = message;
    const name = message.own ? this.texts.say("you") : this.chat.name(message.from);
    this.#above(this.texts.say("replyTo", {name}), message.text || message.file?.name || "");
    this.focus();
  }

  /** Takes back a message that was not sent. @param {Message} message */
  edit(message) {
    this.#reply = null;
    this.#editing = message;
    this.text.value = message.text;
    this.#above(this.texts.say("editing"), message.text);
    this.#fit();
    this.focus();
  }

  /** Gives up the reply, the editing, or what is attached; whether there was any. */
  cancel() {
    const was = Boolean(this.#reply || this.#editing || this.#attachments.length);
    if (this.#editing) this.text.value = this.#id === null ? "" : this.chat.conversation(this.#id)?.draft ?? "";
    this.#forget();
    this.#fit();
    if (was) this.focus();
    return was;
  }

  #forget() {
    this.#reply = this.#editing = null;
    this.replying.hidden = true;
    for (const {url} of this.#attachments) if (url) URL.revokeObjectURL(url);
    this.#attachments = [];
    this.previews.replaceChildren();
    this.previews.hidden = true;
  }

  /** @param {string} title @param {string} words */
  #above(title, words) {
    const said = make("div", "said", make("strong", "", title));
    said.append(make("bdi", "", words.slice(0, 200)));
    this.replying.replaceChildren(said, button(this.texts.say("cancel"), {icon: "close", className: "icon-button", action: "cancel"}));
    this.replying.hidden = false;
  }

  #typed() {
    this.#fit();
    const id = this.#id;
    if (id === null) return;
    if (!this.#editing) this.chat.setDraft(id, this.text.value);
    if (this.text.value) this.chat.typing(id);
    this.tell.problem("");
  }

  /** Where the browser can, the style sheet makes the field as high as its text. */
  #fit() {
    if (CSS.supports("field-sizing", "content")) return;
    this.text.style.height = "auto";
    this.text.style.height = `${this.text.scrollHeight}px`;
  }

  #send() {
    const id = this.#id;
    const words = this.text.value.trim();
    if (id === null || this.#preparing || !words && !this.#attachments.length) return;
    try {
      if (this.#editing) {
        this.chat.edit(this.#editing, words);
      } else {
        const [first, ...others] = this.#attachments;
        const reply = this.#reply ?? undefined;
        this.chat.send(id, {...(words && {text: words}), ...(reply && {reply}), ...(first && {file: first.part})});
        for (const {part} of others) this.chat.send(id, {file: part});
      }
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.tell.problem(this.#why(error));
      return;
    }
    const edited = this.#editing;
    this.#forget();
    this.tell.problem("");
    this.text.value = edited ? this.chat.conversation(id)?.draft ?? "" : "";
    if (!edited) this.chat.setDraft(id, "");
    this.#fit();
    this.focus();
  }

  /** @param {Refused} refused */
  #why({problem}) {
    if (problem.code === "too large") return this.texts.say("tooLong", {limit: this.texts.size(this.chat.limit)});
    return this.texts.say(`problem ${problem.code}`);
  }

  // Pictures and files

  /** @param {File[]} files */
  async attach(files) {
    const id = this.#id;
    if (id === null) return;
    this.tell.problem("");
    this.#preparing += 1;
    try {
      const {prepare} = await import("../kschat/pictures.js");
      for (const file of files.slice(0, MOST_FILES)) {
        const name = file.name || this.texts.say("file");
        try {
          const part = await prepare(file, this.chat.limit);
          if (this.#id !== id) return;
          this.#preview(part);
        } catch (error) {
          if (error instanceof Refused && error.problem.code === "too large") {
            this.tell.problem(this.texts.say("tooLarge", {name, size: this.texts.size(file.size), limit: this.texts.size(this.chat.limit)}));
          } else {
            this.tell.problem(this.texts.say("unreadable", {name}));
          }
        }
      }
    } finally {
      this.#preparing -= 1;
    }
    this.focus();
  }

  /** @param {FilePart} part */
  #preview(part) {
    const element = make("li", "attachment");
    let url = "";
    if (part.type.startsWith("image/") && part.data) {
      url = URL.createObjectURL(new Blob([part.data], {type: part.type}));
      const image = make("img");
      image.src = url;
      image.alt = "";
      element.append(image);
    }
    element.append(make("bdi", "file-name", part.name), make("span", "file-size", this.texts.size(part.size)));
    const remove = button(this.texts.say("remove", {name: part.name}), {icon: "close", className: "icon-button", action: "remove"});
    element.append(remove);
    const attachment = {part, url, element};
    remove.addEventListener("click", () => {
      this.#attachments = this.#attachments.filter((other) => other !== attachment);
      if (url) URL.revokeObjectURL(url);
      element.remove();
      this.previews.hidden = !this.#attachments.length;
      this.focus();
    });
    this.#attachments.push(attachment);
    this.previews.append(element);
    this.previews.hidden = false;
  }

  /** @param {HTMLElement} place */
  #dropping(place) {
    let inside = 0; // dragenter and dragleave come for each element within
    const hasFiles = (/** @type {DragEvent} */ event) => Boolean(event.dataTransfer?.types.includes("Files"));
    const show = () => place.toggleAttribute("data-dropping", inside > 0 && this.#id !== null);
    place.addEventListener("dragenter", (event) => { if (hasFiles(event)) { inside += 1; show(); } });
    place.addEventListener("dragleave", (event) => { if (hasFiles(event)) { inside = Math.max(0, inside - 1); show(); } });
    // A file that is dropped beside the conversation must not replace the page.
    addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
    addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      inside = 0;
      show();
      if (event.target instanceof Node && place.contains(event.target)) this.attach([...event.dataTransfer?.files ?? []]);
    });
  }
}
