// The open conversation: its messages, what can be done with one, and the field below them.
//
// The document holds a window of some dozen messages, which moves along the list in memory. All of a frame's changes are drawn in one
// batch: first it reads where things are, then it writes, and only if the reader is in the middle of the conversation does it read once
// more, to keep the message under the eye where it was.

import {Refused} from "../kschat/chat.js";
import {safeType} from "../kschat/store.js";
import {Messages, button, byId, make, onceAFrame} from "./texts.js";

/** @import {ChatApi, Conversation, FilePart, Message, MessageChanges} from "../kschat/types.js" */
/** @import {Texts} from "./texts.js" */

const MOST = 80; // messages in the document: a window of 1,000 pixels shows some 25
const STEP = 30; // messages that come in at an edge, and go at the other
const NEAR = 40; // pixels from the end that count as the end
const AHEAD = 1.5; // heights of the window that are drawn before they are seen
const GAP = 5 * 60_000; // milliseconds after which a person's next message begins another row
const BACK = 12; // pages of older messages that are loaded at once, to open a conversation where its unread messages begin
const LONGEST_PAUSE = 100; // milliseconds between two drawings
const COUNTED = 1000; // unread messages that the server counts: there may be more
const FAR = 300; // unread messages beyond which those around the first one are loaded, rather than all that are newer

export class ConversationView {
  /** @type {string|null} */ #id = null;
  /** @type {Map<string, HTMLLIElement>} */ #elements = new Map();
  /** The window's bounds in the list, the last one excluded. */
  #from = 0;
  #to = 0;
  #hasEnd = true; // whether the list's last message was in the window when it was drawn: more may have come since
  #atEnd = true;
  #lastTop = 0; // where the last look found it
  #missed = 0; // messages of others below the window that this view was told about
  /** @type {string|null} */ #divider = null; // the key of the first unread message
  /** What was unread when it was opened: how many messages, and the newest. @type {{count: number, newest: string}|null} */ #unread = null;
  #sought = false; // whether it is known where these begin
  #pages = 0; // that were loaded to find it
  #notBefore = 0; // when it may be drawn again
  #opening = false; // whether what is in memory may not be the newest
  #settled = false; // whether it was drawn with what is unread
  #away = false; // whether the divider is before what came while nobody looked
  #busy = false; // a page is being fetched
  #toEnd = false; // the next drawing goes to the end
  #toDivider = false; // or rather to where the unread messages begin, if that is further up
  #drawSoon;
  #lookSoon;

  /**
   * @param {ChatApi} chat
   * @param {Texts} texts
   * @param {{problem: (words: string) => void, read: () => void}} tell
   */
  constructor(chat, texts, tell) {
    this.chat = chat;
    this.texts = texts;
    this.tell = tell;
    this.rendering = new Messages(texts, chat.user, (id) => chat.name(id), safeType);
    this.scroll = byId("scroll");
    this.list = byId("messages");
    this.top = byId("top");
    this.newer = byId("newer");
    this.empty = byId("empty");
    this.above = make("p", "above");
    this.above.hidden = true;
    const mark = button(texts.say("markRead"), {className: "link"});
    mark.addEventListener("click", async () => {
      const id = this.#id;
      await this.jump();
      if (id === null || this.#id !== id) return;
      this.chat.read(id);
      this.scroll.focus({preventScroll: true});
    });
    this.above.append(make("span"), mark);
    byId("notice").before(this.above);
    this.#drawSoon = onceAFrame(() => { this.#drawPaced(); });
    this.#lookSoon = onceAFrame(() => this.#look());
    this.scroll.addEventListener("scroll", this.#lookSoon, {passive: true});
    this.newer.addEventListener("click", () => { this.jump(); });
    // A picture that has loaded, the keyboard of a phone, a composer that grows: the end stays in sight.
    const sizes = new ResizeObserver(() => { if (this.#atEnd && this.#id !== null) this.#pin(); else this.#lookSoon(); });
    sizes.observe(this.scroll);
    sizes.observe(this.list);
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.#away = false; });
  }

  /** The id of the conversation that is shown. */
  get id() { return this.#id; }

  get atEnd() { return this.#atEnd; }

  /** Whether its newest message is on the screen, and what was unread has its divider: if that is further up, not all was seen. */
  get isRead() { return this.#atEnd && this.#settled && this.#sought; }

  /** Shows another conversation, at its end or at the first unread message. @param {string} id */
  async show(id) {
    this.hide();
    this.#id = id;
    this.#toEnd = true;
    this.#toDivider = true;
    this.#atEnd = true;
    this.#opening = true; // what is in memory is shown at once; it may not be the newest
    this.#draw();
    try {
      await this.chat.open(id);
    } catch {
      if (this.#id === id) this.tell.problem(this.texts.say("notLoaded"));
    }
    if (this.#id !== id) return;
    this.#opening = false;
    this.#toEnd ||= this.#atEnd;
    this.#drawSoon();
  }

  /** Shows none. */
  hide() {
    if (this.#id !== null) this.chat.close(this.#id);
    this.#id = null;
    this.#clear();
    this.#divider = this.#unread = null;
    this.#sought = this.#opening = this.#settled = this.#away = false;
    this.#pages = 0;
    this.#missed = 0;
    this.above.hidden = true;
  }

  /** Draws it again as a whole, in other words or names. */
  reset() {
    this.#clear();
    this.#toEnd ||= this.#atEnd;
    this.#drawSoon();
  }

  #clear() {
    for (const element of this.#elements.values()) this.rendering.free(element);
    this.#elements.clear();
    this.list.replaceChildren();
    this.#from = this.#to = 0;
  }

  /** What the module says is different. @param {MessageChanges|undefined} changes @param {boolean} fields  Whether the conversation's fields are. */
  changed(changes, fields) {
    if (!this.#id) return;
    // Where the list is another one, what is drawn may be of it already: the next drawing keeps what is still there.
    for (const message of changes?.added ?? []) {
      if (message.own && (message.state === "waiting" || message.state === "sending")) {
        this.#toEnd = true;
        this.#toDivider = false;
        this.#divider = null;
      } else if (!message.own && this.#isLast(message)) {
        if (!this.#atEnd) this.#missed += 1;
        else if (document.hidden && this.#settled && !this.#away) {
          this.#away = true;
          this.#divider = message.key;
        }
      }
    }
    if (changes || fields) this.#drawSoon();
  }

  /** Whether it is one of the newest, not of a page of older ones. @param {Message} message */
  #isLast(message) {
    const list = this.#messages();
    const end = list[this.#to - 1];
    return !end || message.time >= end.time;
  }

  /** @returns {readonly Message[]} */
  #messages() { return this.#id === null ? [] : this.chat.messages(this.#id); }

  // Drawing

  /** Where the window's first and last message are now: messages may have come before them, and gone. */
  #locate(/** @type {readonly Message[]} */ list) {
    const children = this.list.children;
    const find = (/** @type {Element|undefined|null} */ element) => {
      const message = element ? this.rendering.messageOf(/** @type {HTMLElement} */ (element)) : null;
      return message ? list.indexOf(message) : -1;
    };
    let first = -1, last = -1;
    for (let index = 0; first < 0 && index < children.length; index++) first = find(children[index]);
    for (let index = children.length - 1; last < 0 && index >= 0; index--) last = find(children[index]);
    this.#from = Math.max(0, first);
    this.#to = Math.max(this.#from, last + 1);
    return first >= 0;
  }

  /** While messages come faster than they can be drawn, half of the time is left to keys and to scrolling. */
  #drawPaced() {
    const begin = performance.now();
    if (begin < this.#notBefore) {
      this.#drawSoon();
      return;
    }
    this.#draw();
    const end = performance.now();
    this.#notBefore = end + Math.min(end - begin, LONGEST_PAUSE);
  }

  /** One batch. */
  #draw() {
    const id = this.#id;
    if (id === null) return;
    const conversation = this.chat.conversation(id);
    const list = this.#messages();
    const wasThere = this.#locate(list);
    const missing = this.#opening ? null : this.#missing(conversation, list);
    if (missing) {
      if (!this.#busy) {
        this.#pages += 1;
        this.#fetch(id, missing.readUpTo ? this.chat.around(id, missing.readUpTo) : this.chat.older(id));
      }
      return; // it is drawn when that has come
    }
    const toEnd = this.#toEnd || this.#atEnd;
    if (toEnd || !wasThere) {
      this.#to = list.length;
      this.#from = Math.max(0, this.#to - MOST);
    } else if (this.#to - this.#from < MOST) {
      this.#to = Math.min(list.length, this.#from + MOST);
    }
    const first = toEnd && this.#toDivider && this.#divider ? list.findIndex(({key}) => key === this.#divider) : -1;
    if (first >= 0 && first < this.#from) {
      this.#from = Math.max(0, first - STEP / 2);
      this.#to = Math.min(list.length, this.#from + MOST);
    }
    const anchor = toEnd || !wasThere ? null : this.#anchor();
    this.#arrange(list);
    this.empty.hidden = list.length > 0 || !conversation?.loaded;
    this.top.hidden = list.length === 0;
    this.#topWords(conversation);
    if (anchor) this.#restore(anchor);
    else if (toEnd && this.#toDivider && this.#openAtDivider(list)) this.#atEnd = false;
    else this.#pin();
    this.#toEnd = false;
    if (conversation?.loaded && !this.#opening) {
      this.#settled = true;
      this.#toDivider = false;
    }
    this.#buttonWords(conversation);
    this.#aboveWords(conversation);
    this.#lookSoon();
  }

  /** How many are unread, while it is not known where they begin. @param {Conversation|undefined} conversation */
  #aboveWords(conversation) {
    const unread = this.#settled && !this.#sought ? conversation?.unread ?? 0 : 0;
    this.above.hidden = !unread;
    if (!unread) return;
    const words = unread >= COUNTED ? this.texts.say("unreadMany") : this.texts.say("unread", {n: unread});
    const said = /** @type {HTMLElement} */ (this.above.firstElementChild);
    if (said.textContent !== words) said.textContent = words;
  }

  /** Puts the window's messages into the document: what is there already stays. @param {readonly Message[]} list */
  #arrange(list) {
    this.#hasEnd = this.#to === list.length;
    const wanted = new Set();
    for (let index = this.#from; index < this.#to; index++) wanted.add(list[index].key);
    for (const [key, element] of this.#elements) {
      if (wanted.has(key)) continue;
      this.rendering.free(element);
      element.remove();
      this.#elements.delete(key);
    }
    /** @type {ChildNode|null} */
    let next = this.list.firstChild;
    for (let index = this.#from; index < this.#to; index++) {
      const message = list[index];
      const place = this.#place(list, index);
      let element = this.#elements.get(message.key);
      if (element && this.rendering.messageOf(element) !== message) {
        this.rendering.free(element);
        element.remove();
        if (next === element) next = this.list.childNodes[index - this.#from] ?? null;
        element = undefined;
      }
      if (element) {
        this.rendering.update(element, place);
      } else {
        element = this.rendering.make(message, place);
        this.#elements.set(message.key, element);
      }
      if (element === next) next = next.nextSibling;
      else this.list.insertBefore(element, next);
    }
  }

  /** @param {readonly Message[]} list @param {number} index */
  #place(list, index) {
    const message = list[index], before = list[index - 1];
    const day = !before || !this.texts.isSameDay(before.time, message.time);
    const divider = message.key === this.#divider;
    const head = day || divider || before.from !== message.from || message.time - before.time > GAP;
    return {day, head, divider};
  }

  /**
   * Seeks the first message that was unread when the conversation was opened. It may be further up than what is loaded: then it is found
   * when that is.
   *
   * @param {Conversation|undefined} conversation
   * @param {readonly Message[]} list
   * @returns {{readUpTo: string|null}|null}  What must come before anything is drawn: a page of older messages, or, if there are very many,
   *   the messages around the last one that was read. null: nothing.
   */
  #missing(conversation, list) {
    if (!conversation?.loaded || this.#sought) return null;
    const {readUpTo, hasOlder, hasNewer} = conversation;
    if (!conversation.unread) { // none, or all are read meanwhile
      this.#sought = true;
      return null;
    }
    this.#unread ??= {count: conversation.unread, newest: list.findLast(({own, mid}) => !own && mid !== null)?.mid ?? ""};
    const {count, newest} = this.#unread;
    const others = list.filter(({own, mid}) => !own && mid !== null && mid <= newest);
    let first = null;
    if (count < COUNTED && !hasNewer) first = others[others.length - count];
    if (!first && readUpTo !== null && (list[0]?.mid ?? "") <= readUpTo) first = others.find(({mid}) => mid !== null && mid > readUpTo);
    first ??= hasOlder ? null : others[0];
    if (first || !hasOlder) {
      this.#sought = true;
      if (!this.#away) this.#divider = first?.key ?? null;
      return null;
    }
    if (hasNewer || this.#pages >= BACK || this.#settled) return null;
    if (count > FAR && readUpTo !== null) return {readUpTo};
    return count < COUNTED ? {readUpTo: null} : null;
  }

  /** Shows the first unread message near the top, if it is further up than a screen. @param {readonly Message[]} list */
  #openAtDivider(list) {
    const element = this.#divider ? this.#elements.get(this.#divider) : null;
    if (!element) return false;
    const top = element.getBoundingClientRect().top - this.scroll.getBoundingClientRect().top + this.scroll.scrollTop;
    if (this.#to === list.length && this.scroll.scrollHeight - top < this.scroll.clientHeight) return false;
    this.scroll.scrollTop = top - NEAR;
    return true;
  }

  /** The first message that can be seen, and where: before the document is changed. */
  #anchor() {
    const edge = this.scroll.getBoundingClientRect().top;
    const children = this.list.children;
    let low = 0, high = children.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (children[middle].getBoundingClientRect().bottom > edge) high = middle;
      else low = middle + 1;
    }
    // The next few as well: the first may go.
    const held = [];
    for (let index = low; index < Math.min(low + 3, children.length); index++) {
      held.push({element: children[index], top: children[index].getBoundingClientRect().top});
    }
    return held;
  }

  /** @param {{element: Element, top: number}[]} held */
  #restore(held) {
    const kept = held.find(({element}) => element.isConnected);
    if (!kept) return;
    const moved = kept.element.getBoundingClientRect().top - kept.top;
    if (Math.abs(moved) >= 1) this.scroll.scrollTop += moved;
  }

  #pin() {
    this.scroll.scrollTop = this.scroll.scrollHeight;
    this.#lastTop = this.scroll.scrollTop;
    this.#atEnd = true;
  }

  /** @param {Conversation|undefined} conversation */
  #topWords(conversation) {
    const words = conversation?.loading || this.#busy ? "loading" : conversation?.loaded && !conversation.hasOlder && this.#from === 0
      ? (conversation.room ? "beginningRoom" : "beginning") : null;
    const text = words ? this.texts.say(words) : "";
    if (this.top.textContent !== text) this.top.textContent = text;
  }

  /** @param {Conversation|undefined} conversation */
  #buttonWords(conversation) {
    const away = !this.#atEnd || Boolean(conversation?.hasNewer) || !this.#hasEnd;
    if (!away) this.#missed = 0;
    const missed = Math.max(this.#missed, conversation?.missed ?? 0, conversation?.unread ?? 0);
    if (this.newer.hidden === away) this.newer.hidden = !away;
    const count = missed ? this.texts.say("jumpCount", {n: missed < COUNTED ? this.texts.number.format(missed) : "999+"}) : "";
    const shown = /** @type {HTMLElement} */ (this.newer.firstElementChild);
    if (shown.textContent !== count) shown.textContent = count;
    this.newer.setAttribute("aria-label", `${this.texts.say("jump")}${count ? ` (${count})` : ""}`);
  }

  // Scrolling

  /** After scrolling: where it stands, and whether more must come in at an edge. */
  #look() {
    const id = this.#id;
    if (id === null) return;
    const {scrollTop, scrollHeight, clientHeight} = this.scroll;
    const conversation = this.chat.conversation(id);
    const list = this.#messages();
    const below = scrollHeight - scrollTop - clientHeight;
    const grew = this.#atEnd && below >= NEAR && scrollTop >= this.#lastTop; // nobody scrolled up: a picture came
    this.#lastTop = scrollTop;
    if (grew && this.#hasEnd) {
      this.#pin();
      return;
    }
    this.#atEnd = below < NEAR && this.#hasEnd && !conversation?.hasNewer;
    if (this.#atEnd) this.tell.read();
    this.#buttonWords(conversation);
    if (scrollTop < clientHeight * AHEAD && this.#older(id, conversation, list)) return;
    if (below < clientHeight * AHEAD && !this.#atEnd) this.#later(id, conversation, list);
  }

  /**
   * @param {string} id
   * @param {Conversation|undefined} conversation
   * @param {readonly Message[]} list
   * @returns {boolean} Whether older ones come in.
   */
  #older(id, conversation, list) {
    if (this.#from > 0) {
      const from = Math.max(0, this.#from - STEP);
      this.#move(from, Math.min(this.#to, from + MOST), list);
      return true;
    }
    if (!conversation?.hasOlder || !conversation.loaded || this.#busy) return false;
    this.#fetch(id, this.chat.older(id));
    return true;
  }

  /** @param {string} id @param {Conversation|undefined} conversation @param {readonly Message[]} list */
  #later(id, conversation, list) {
    if (this.#to < list.length) {
      const to = Math.min(list.length, this.#to + STEP);
      this.#move(Math.max(this.#from, to - MOST), to, list);
    } else if (conversation?.hasNewer && !this.#busy) {
      this.#fetch(id, this.chat.newer(id));
    }
  }

  /** @param {number} from @param {number} to @param {readonly Message[]} list */
  #move(from, to, list) {
    const anchor = this.#anchor();
    this.#from = from;
    this.#to = to;
    this.#arrange(list);
    this.#topWords(this.chat.conversation(this.#id ?? ""));
    this.#restore(anchor);
    this.#lookSoon();
  }

  /** @param {string} id @param {Promise<unknown>} page */
  async #fetch(id, page) {
    this.#busy = true;
    this.#topWords(this.chat.conversation(id));
    try {
      await page;
    } catch {
      // The next scrolling, or the connection when it is back, tries again.
      if (this.#id === id) this.#pages = BACK;
      await new Promise((resolve) => { setTimeout(resolve, 1000); });
    } finally {
      this.#busy = false;
      this.#drawSoon(); // another conversation may have waited for it
    }
  }

  /** To the newest message. */
  async jump() {
    const id = this.#id;
    if (id === null) return;
    this.#missed = 0;
    if (this.chat.conversation(id)?.hasNewer) {
      try {
        await this.chat.newest(id);
      } catch {
        this.tell.problem(this.texts.say("notLoaded"));
        return;
      }
    }
    if (this.#id !== id) return;
    this.#toEnd = true;
    this.#draw();
  }

  /** Shows one message that is in memory, and gives it the focus. @param {string} key */
  goTo(key) {
    const list = this.#messages();
    const index = list.findIndex((message) => message.key === key || message.mid === key);
    if (index < 0) return false;
    this.#to = Math.min(list.length, index + MOST / 2);
    this.#from = Math.max(0, this.#to - MOST);
    this.#toEnd = false;
    this.#atEnd = false;
    this.#arrange(list);
    const element = this.#elements.get(list[index].key);
    element?.scrollIntoView({block: "center"});
    element?.focus({preventScroll: true});
    element?.classList.add("found");
    setTimeout(() => element?.classList.remove("found"), 1600);
    this.#lookSoon();
    return true;
  }

  /** @param {EventTarget|null} target  What stands in a message's element. */
  messageAt(target) {
    const element = target instanceof Element ? /** @type {HTMLLIElement|null} */ (target.closest("#messages > li")) : null;
    const message = element ? this.rendering.messageOf(element) : null;
    return element && message ? {element, message} : null;
  }

  /** Moves the focus among messages. @param {Element|null} from @param {number} step */
  moveFocus(from, step) {
    const element = from?.closest("#messages > li");
    const next = element ? (step < 0 ? element.previousElementSibling : element.nextElementSibling) : this.list.lastElementChild;
    if (!(next instanceof HTMLElement)) return false;
    next.focus();
    return true;
  }
}

// Writing a message: the field, its draft, pictures and files, the message that it answers

const MOST_FILES = 10; // at once

/** @typedef {{part: FilePart, url: string, element: HTMLElement}} Attachment */

/**
 * What is being written in one conversation, but for its draft, which the module keeps.
 *
 * @typedef {object} Writing
 * @property {Message|null} reply
 * @property {Message|null} editing
 * @property {string} edited  The words of what is being edited.
 * @property {Attachment[]} attachments
 * @property {boolean} isChanging  Whether the server has been given the edited words, and has not answered.
 * @property {number} preparing  Pastes, drops and choices whose files are not attached yet.
 * @property {boolean} isDue  Whether it is sent as soon as what is attached is prepared.
 */

/** @returns {Writing} */
function nothing() { return {reply: null, editing: null, edited: "", isChanging: false, attachments: [], preparing: 0, isDue: false}; }

export class Composer {
  /** @type {string|null} */ #id = null;
  /** Of the open conversation. */
  #now = nothing();
  /** Of the others, while the page lives. @type {Map<string, Writing>} */
  #others = new Map();

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
      const words = event.clipboardData?.getData("text/plain") ?? "";
      // A table or a text is copied with a picture of itself; a file may be copied with its name.
      if (!files.length || words && !files.some(({name}) => words.includes(name))) return;
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
    const {reply, editing, attachments, preparing} = this.#now;
    this.#now.isDue = false; // what is no longer looked at is not sent
    this.#now.edited = editing ? this.text.value : "";
    if (this.#id !== null && (reply || editing || attachments.length || preparing)) this.#others.set(this.#id, this.#now);
    this.#id = id;
    this.#now = this.#others.get(id ?? "") ?? nothing();
    this.#others.delete(id ?? "");
    this.text.value = this.#now.editing ? this.#now.edited : this.#draft();
    this.#above();
    this.#previews();
    this.#fit();
    this.tell.problem("");
  }

  focus() { this.text.focus({preventScroll: true}); }

  /** When a conversation is opened. Not by touch: there the field's keyboard would cover half of it. */
  begin() {
    if (matchMedia("(pointer: coarse)").matches) byId("scroll").focus({preventScroll: true});
    else this.focus();
  }

  /** Another tab, or the start, may have brought a draft. */
  draftChanged() {
    if (this.#id === null || this.#now.editing) return;
    const draft = this.#draft();
    if (draft === this.text.value) return;
    this.text.value = draft;
    this.#fit();
  }

  /** @param {Message} message */
  reply(message) {
    if (this.#now.editing) this.text.value = this.#draft();
    Object.assign(this.#now, {reply: message, editing: null});
    this.#above();
    this.#fit();
    this.focus();
  }

  /** Takes back a message that was not sent, or changes one that was. @param {Message} message */
  edit(message) {
    Object.assign(this.#now, {reply: null, editing: message});
    this.text.value = message.text;
    this.#above();
    this.#fit();
    this.focus();
  }

  /** Gives up the reply, the editing, or what is attached; whether there was any. */
  cancel() {
    const {reply, editing, attachments} = this.#now;
    const was = Boolean(reply || editing || attachments.length);
    if (editing) this.text.value = this.#draft();
    for (const attachment of attachments) URL.revokeObjectURL(attachment.url);
    Object.assign(this.#now, {reply: null, editing: null, attachments: [], isDue: false});
    this.#above();
    this.#previews();
    this.#fit();
    if (was) this.focus();
    return was;
  }

  #draft() { return this.#id === null ? "" : this.chat.conversation(this.#id)?.draft ?? ""; }

  /** What stands above the field: the message that is answered, or edited. */
  #above() {
    const {reply, editing} = this.#now;
    const message = reply ?? editing;
    this.replying.hidden = !message;
    if (!message) return;
    const title = editing ? this.texts.say(editing.mid === null ? "editing" : "editingSent")
      : this.texts.say("replyTo", {name: message.own ? this.texts.say("you") : this.chat.name(message.from)});
    const words = message.text || message.file?.name || "";
    const said = make("div", "said", make("strong", "", title));
    said.append(make("bdi", "", words.slice(0, 200)));
    this.replying.replaceChildren(said, button(this.texts.say("cancel"), {icon: "close", className: "icon-button", action: "cancel"}));
  }

  #previews() {
    this.previews.replaceChildren(...this.#now.attachments.map(({element}) => element));
    this.previews.hidden = !this.#now.attachments.length;
  }

  #typed() {
    this.#fit();
    const id = this.#id;
    if (id === null) return;
    if (!this.#now.editing) this.chat.setDraft(id, this.text.value);
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
    const {editing, attachments} = this.#now;
    this.#now.isDue = this.#now.preparing > 0;
    // Another tab may have sent it, or given it up: then the words are a message of their own.
    if (id !== null && editing && (editing.mid !== null || editing.state === "failed" && this.chat.messages(id).includes(editing))) {
      this.#change(editing, words);
      return;
    }
    if (id === null || this.#now.isDue || !words && !attachments.length) return;
    this.tell.problem("");
    try {
      this.#sendAll(id, words);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.tell.problem(this.#why(error));
    }
    this.#above();
    this.#previews();
    this.#fit();
    this.focus();
  }

  /** Changes a message. The words stay in the field until the server has them. @param {Message} message @param {string} words */
  async #change(message, words) {
    const writing = this.#now;
    if (writing.isChanging || !words && !message.file) return;
    writing.isChanging = true;
    this.tell.problem("");
    try {
      if (message.mid === null || words !== message.text) await this.chat.edit(message, words);
    } catch (error) {
      const tooLarge = error instanceof Refused && error.problem.code === "too large";
      if (writing === this.#now) this.tell.problem(tooLarge ? this.#why(error) : this.texts.why(error, "change"));
      return;
    } finally {
      writing.isChanging = false;
    }
    if (writing === this.#now && this.text.value.trim() !== words || writing.editing !== message) return; // changed again meanwhile, or given up
    writing.editing = null;
    if (writing !== this.#now) return;
    this.text.value = this.#draft();
    this.#above();
    this.#fit();
    this.focus();
  }

  /**
   * The words with the first file, then each other file. What is sent leaves the field at once: a file that is refused stays, with those
   * after it.
   *
   * @param {string} id
   * @param {string} words
   * @throws {Refused}
   */
  #sendAll(id, words) {
    const {attachments} = this.#now;
    const [first] = attachments;
    const reply = this.#now.reply ?? undefined;
    const text = {...(words && {text: words}), ...(reply && {reply})};
    const said = () => {
      if (!this.#now.editing) this.chat.setDraft(id, "");
      this.#now.reply = this.#now.editing = null;
      this.text.value = this.#draft();
    };
    const sent = () => { URL.revokeObjectURL(attachments.shift()?.url ?? ""); };
    try {
      this.chat.send(id, {...text, ...(first && {file: first.part})});
      said();
    } catch (error) {
      if (!(first && words && error instanceof Refused && error.problem.code === "too large")) throw error;
      // Words and file may fit in two messages.
      this.chat.send(id, text);
      said();
      this.chat.send(id, {file: first.part});
    }
    if (first) sent();
    while (attachments[0]) {
      this.chat.send(id, {file: attachments[0].part});
      sent();
    }
  }

  /** @param {Refused} refused */
  #why({problem}) {
    if (problem.code === "too large") return this.texts.say("tooLong", {limit: this.texts.size(this.chat.limit)});
    return this.texts.say(`problem ${problem.code}`);
  }

  // Pictures and files

  /** @param {File[]} files */
  async attach(files) {
    if (this.#id === null) return;
    const writing = this.#now; // of this conversation, though another may be open when they are ready
    this.tell.problem(files.length > MOST_FILES ? this.texts.say("tooMany", {n: MOST_FILES}) : "");
    writing.preparing += 1;
    let isComplete = false;
    try {
      const loaded = await import("../kschat/pictures.js").catch(() => null);
      if (!loaded) {
        this.tell.problem(this.texts.say("notLoaded"));
        return;
      }
      isComplete = files.length <= MOST_FILES;
      for (const file of files.slice(0, MOST_FILES)) {
        const name = file.name || this.texts.say("file");
        try {
          const part = await loaded.prepare(file, this.chat.limit);
          this.#preview(writing, part);
        } catch (error) {
          isComplete = false;
          if (error instanceof Refused && error.problem.code === "too large") {
            this.tell.problem(this.texts.say("tooLarge", {name, size: this.texts.size(file.size), limit: this.texts.size(this.chat.limit)}));
          } else {
            this.tell.problem(this.texts.say("unreadable", {name}));
          }
        }
      }
    } finally {
      writing.preparing -= 1;
      writing.isDue &&= isComplete; // the user looks at an incomplete set before it is sent
      if (writing.isDue && !writing.preparing) this.#send();
    }
    if (writing === this.#now) this.focus();
  }

  /** @param {Writing} writing @param {FilePart} part */
  #preview(writing, part) {
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
      writing.attachments = writing.attachments.filter((other) => other !== attachment);
      URL.revokeObjectURL(url);
      this.#previews();
      this.focus();
    });
    writing.attachments.push(attachment);
    if (writing === this.#now) this.#previews();
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
