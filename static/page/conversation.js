// The open conversation: its messages on the screen, a window of some dozens that moves along the list in memory.
//
// All of a frame's changes are drawn in one batch: first it reads where things are, then it writes, and only if the reader
// is in the middle of the conversation does it read once more, to keep the message under the eye where it was.

import {byId, onceAFrame} from "./dom.js";
import {Messages} from "./message.js";

/** @import {ChatApi, Conversation, Message, MessageChanges} from "../kschat/types.js" */
/** @import {Texts} from "./texts.js" */

const MOST = 80; // messages in the document: a window of 1,000 pixels shows some 25
const STEP = 30; // messages that come in at an edge, and go at the other
const NEAR = 40; // pixels from the end that count as the end
const AHEAD = 1.5; // heights of the window that are drawn before they are seen
const GAP = 5 * 60_000; // milliseconds after which a person's next message begins another row

export class ConversationView {
  /** @type {string|null} */ #id = null;
  /** @type {Map<string, HTMLLIElement>} */ #elements = new Map();
  /** The window's bounds in the list, the last one excluded. */
  #from = 0;
  #to = 0;
  #atEnd = true;
  #lastTop = 0; // where the last look found it
  #missed = 0; // messages of others below the window that this view was told about
  /** @type {string|null} */ #divider = null; // the key of the first unread message
  #dividerOf = ""; // the conversation whose divider was sought
  #busy = false; // a page is being fetched
  #toEnd = false; // the next drawing goes to the end
  /** @type {HTMLElement|null} */ #goTo = null;
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
    this.rendering = new Messages(texts, (id) => chat.name(id));
    this.scroll = byId("scroll");
    this.list = byId("messages");
    this.top = byId("top");
    this.newer = byId("newer");
    this.empty = byId("empty");
    this.#drawSoon = onceAFrame(() => this.#draw());
    this.#lookSoon = onceAFrame(() => this.#look());
    this.scroll.addEventListener("scroll", this.#lookSoon, {passive: true});
    this.newer.addEventListener("click", () => { this.jump(); });
    // A picture that has loaded, the keyboard of a phone, a composer that grows: the end stays in sight.
    const sizes = new ResizeObserver(() => { if (this.#atEnd && this.#id !== null) this.#pin(); else this.#lookSoon(); });
    sizes.observe(this.scroll);
    sizes.observe(this.list);
  }

  /** The id of the conversation that is shown. */
  get id() { return this.#id; }

  get atEnd() { return this.#atEnd; }

  /** Shows another conversation, at its end or at the first unread message. @param {string} id */
  async show(id) {
    this.hide();
    this.#id = id;
    this.#toEnd = true;
    this.#atEnd = true;
    this.#draw();
    try {
      await this.chat.open(id);
    } catch {
      if (this.#id === id) this.tell.problem(this.texts.say("notLoaded"));
    }
    if (this.#id === id) this.reset();
  }

  /** Shows none. */
  hide() {
    if (this.#id !== null) this.chat.close(this.#id);
    this.#id = null;
    this.#clear();
    this.#divider = null;
    this.#dividerOf = "";
    this.#missed = 0;
    this.#goTo = null;
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
    if (changes?.reset) this.#clear();
    for (const message of changes?.added ?? []) {
      if (message.own && (message.state === "waiting" || message.state === "sending")) {
        this.#toEnd = true;
        this.#divider = null;
      } else if (!message.own && !this.#atEnd && this.#isLast(message)) {
        this.#missed += 1;
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

  /** One batch. */
  #draw() {
    const id = this.#id;
    if (id === null) return;
    const conversation = this.chat.conversation(id);
    const list = this.#messages();
    const wasThere = this.#locate(list);
    const toEnd = this.#toEnd || (this.#atEnd && !this.#goTo);
    if (toEnd || !wasThere) {
      this.#to = list.length;
      this.#from = Math.max(0, this.#to - MOST);
    } else if (this.#to - this.#from < MOST) {
      this.#to = Math.min(list.length, this.#from + MOST);
    }
    this.#findDivider(conversation, list);
    const anchor = toEnd || !wasThere ? null : this.#anchor();
    this.#arrange(list);
    this.empty.hidden = list.length > 0 || !conversation?.loaded;
    this.top.hidden = list.length === 0;
    this.#topWords(conversation);
    if (anchor) this.#restore(anchor);
    else if (this.#toEnd && this.#openAtDivider(list)) this.#atEnd = false;
    else this.#pin();
    this.#toEnd = false;
    this.#buttonWords(conversation, list);
    this.#lookSoon();
  }

  /** Puts the window's messages into the document: what is there already stays. @param {readonly Message[]} list */
  #arrange(list) {
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
    const day = !before || new Date(before.time).toDateString() !== new Date(message.time).toDateString();
    const divider = message.key === this.#divider;
    const head = day || divider || before.from !== message.from || message.time - before.time > GAP;
    return {day, head, divider};
  }

  /** Seeks the first unread message, once a visit. @param {Conversation|undefined} conversation @param {readonly Message[]} list */
  #findDivider(conversation, list) {
    if (!conversation?.loaded || this.#dividerOf === conversation.id || !list.length) return;
    this.#dividerOf = conversation.id;
    const {readUpTo} = conversation;
    const others = list.filter((message) => !message.own && message.mid && (readUpTo === null || message.mid > readUpTo));
    if (readUpTo === null && conversation.unread === 0) return;
    const first = readUpTo === null ? others[Math.max(0, others.length - conversation.unread)] : others[0];
    this.#divider = first?.key ?? null;
  }

  /** Shows the first unread message near the top, if it is further up than a screen. @param {readonly Message[]} list */
  #openAtDivider(list) {
    const element = this.#divider ? this.#elements.get(this.#divider) : null;
    if (!element || !list.length) return false;
    const above = this.scroll.scrollHeight - element.offsetTop;
    if (above < this.scroll.clientHeight) return false;
    this.scroll.scrollTop = element.offsetTop - 40;
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

  /** @param {Conversation|undefined} conversation @param {readonly Message[]} list */
  #buttonWords(conversation, list) {
    const away = !this.#atEnd || Boolean(conversation?.hasNewer) || this.#to < list.length;
    if (!away) this.#missed = 0;
    const missed = Math.max(this.#missed, conversation?.missed ?? 0);
    if (this.newer.hidden === away) this.newer.hidden = !away;
    const count = missed ? this.texts.say("jumpCount", {n: this.texts.number.format(missed)}) : "";
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
    if (grew && this.#to === list.length) {
      this.#pin();
      return;
    }
    this.#atEnd = below < NEAR && this.#to === list.length && !conversation?.hasNewer;
    if (this.#atEnd) this.tell.read();
    this.#buttonWords(conversation, list);
    if (scrollTop < clientHeight * AHEAD) this.#older(id, conversation, list);
    else if (below < clientHeight * AHEAD) this.#later(id, conversation, list);
  }

  /** @param {string} id @param {Conversation|undefined} conversation @param {readonly Message[]} list */
  #older(id, conversation, list) {
    if (this.#from > 0) {
      const from = Math.max(0, this.#from - STEP);
      this.#move(from, Math.min(this.#to, from + MOST), list);
    } else if (conversation?.hasOlder && conversation.loaded && !this.#busy) {
      this.#fetch(id, this.chat.older(id));
    }
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

  /** @param {string} id @param {Promise<number>} page */
  async #fetch(id, page) {
    this.#busy = true;
    this.#topWords(this.chat.conversation(id));
    try {
      await page;
    } catch {
      // The next scrolling, or the connection when it is back, tries again.
      await new Promise((resolve) => { setTimeout(resolve, 1000); });
    } finally {
      this.#busy = false;
      if (this.#id === id) this.#drawSoon();
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
    this.#divider = null;
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

