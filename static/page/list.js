// The list of conversations, and what a search finds in place of it.

import {avatar, byId, make, onceAFrame, paint} from "./dom.js";

/** @import {ChatApi, Conversation, Message} from "../kschat/types.js" */
/** @import {Texts} from "./texts.js" */

const ROWS = 60; // rows at first, and more each time that the end comes near
const FOUND = 30; // messages that a search shows

export class ConversationList {
  /** @type {Map<string, HTMLElement>} */ #rows = new Map();
  /** @type {Set<string>} */ #stale = new Set();
  #most = ROWS;
  /** @type {string|null} */ #current = null;
  #drawSoon;

  /**
   * @param {ChatApi} chat
   * @param {Texts} texts
   * @param {(id: string, key?: string) => void} open
   */
  constructor(chat, texts, open) {
    this.chat = chat;
    this.texts = texts;
    this.open = open;
    this.list = byId("conversations");
    this.results = byId("results");
    /** @type {HTMLInputElement} */
    this.search = byId("search");
    this.none = byId("none");
    this.#drawSoon = onceAFrame(() => this.#draw());
    for (const place of [this.list, this.results]) {
      place.addEventListener("click", (event) => { this.#clicked(event); });
      place.addEventListener("keydown", (event) => { this.#key(event); });
    }
    this.search.addEventListener("input", () => { this.#drawSoon(); });
    this.search.addEventListener("keydown", (event) => { this.#searchKey(event); });
    const scroller = byId("side-scroll");
    scroller.addEventListener("scroll", () => {
      if (this.#most >= this.chat.conversations.length) return;
      if (scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight > 400) return;
      this.#most += ROWS;
      this.#drawSoon();
    }, {passive: true});
  }

  /** @param {boolean} order @param {Iterable<string>} ids */
  changed(order, ids) {
    for (const id of ids) this.#stale.add(id);
    if (order || this.#stale.size) this.#drawSoon();
  }

  /** All again: other texts, names, or another day. */
  redraw() {
    for (const id of this.#rows.keys()) this.#stale.add(id);
    this.#drawSoon();
  }

  /** Marks the open one. @param {string|null} id */
  mark(id) {
    this.#current = id;
    this.redraw();
  }

  get words() { return this.search.value.trim(); }

  clearSearch() {
    this.search.value = "";
    this.#drawSoon();
  }

  focusRow() {
    const row = this.#rows.get(this.#current ?? "") ?? this.#focusable()[0];
    row?.focus();
    return Boolean(row);
  }

  /** The conversation before or after the open one. @param {number} step */
  beside(step) {
    const all = this.chat.conversations;
    const index = all.findIndex(({id}) => id === this.#current);
    return all[index < 0 ? 0 : index + step]?.id ?? null;
  }

  #draw() {
    const {words} = this;
    const searching = words !== "";
    this.list.hidden = searching;
    this.results.hidden = !searching;
    if (searching) this.#drawResults(words);
    const shown = this.chat.conversations.slice(0, this.#most);
    this.none.hidden = searching || shown.length > 0;
    const wanted = new Set(shown.map(({id}) => id));
    for (const [id, row] of this.#rows) {
      if (wanted.has(id)) continue;
      row.parentElement?.remove();
      this.#rows.delete(id);
    }
    const focused = document.activeElement;
    /** @type {Element|null} */
    let next = this.list.firstElementChild;
    for (const conversation of shown) {
      let row = this.#rows.get(conversation.id);
      if (!row) {
        row = this.#row(conversation);
        this.#rows.set(conversation.id, row);
        make("li", "", row);
        this.#fill(row, conversation);
      } else if (this.#stale.has(conversation.id)) {
        this.#fill(row, conversation);
      }
      const item = /** @type {Element} */ (row.parentElement);
      if (item === next) next = next.nextElementSibling;
      else this.list.insertBefore(item, next);
    }
    this.#stale.clear();
    this.#rove();
    // A row that moved up keeps the focus.
    if (focused instanceof HTMLElement && focused !== document.activeElement && this.list.contains(focused)) focused.focus();
  }

  /** @param {Conversation} conversation */
  #row({id}) {
    const row = make("button", "row");
    row.type = "button";
    row.dataset.id = id;
    const face = make("span", "face", avatar(id, this.chat.name(id)));
    face.append(make("span", "presence"));
    const first = make("span", "line");
    first.append(make("bdi", "name"), make("time", ""));
    const second = make("span", "line");
    second.append(make("span", "last"), make("span", "badge"));
    const body = make("span", "body");
    body.append(first, second);
    row.append(face, body);
    return row;
  }

  /** @param {HTMLElement} row @param {Conversation} conversation */
  #fill(row, conversation) {
    const {texts, chat} = this;
    const {id, last, unread, presence} = conversation;
    const part = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (row.querySelector(selector));
    const name = id === chat.user ? texts.say("self") : chat.name(id);
    paint(part(".avatar"), id, chat.name(id));
    part(".name").textContent = name;
    const time = /** @type {HTMLTimeElement} */ (part("time"));
    time.textContent = last ? texts.when(last.time) : "";
    if (last) time.dateTime = new Date(last.time).toISOString();
    const dot = part(".presence");
    dot.hidden = conversation.room || id === chat.user;
    dot.dataset.online = presence?.online === null || !presence ? "unknown" : String(presence.online);
    // A dot alone says nothing to those who listen.
    dot.textContent = presence?.online ? texts.say("online") : "";
    const line = part(".last");
    line.replaceChildren(...this.#lastWords(conversation, last));
    row.toggleAttribute("data-typing", conversation.typing);
    const badge = part(".badge");
    badge.className = unread ? "badge unread" : "badge";
    badge.textContent = unread ? (unread >= 1000 ? "999+" : String(unread)) : "";
    if (unread) badge.setAttribute("aria-label", unread >= 1000 ? texts.say("unreadMany") : texts.say("unread", {n: unread}));
    else badge.removeAttribute("aria-label");
    badge.setAttribute("role", unread ? "img" : "presentation");
    if (id === this.#current) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }

  /** @param {Conversation} conversation @param {Message|null} last @returns {Node[]} */
  #lastWords(conversation, last) {
    const {texts, chat} = this;
    if (conversation.typing) return [make("em", "is-typing", texts.say("typing"))];
    if (conversation.draft && conversation.id !== this.#current) {
      return [make("strong", "is-draft", `${texts.say("draft")}: `), make("bdi", "", oneLine(conversation.draft))];
    }
    if (!last) return [make("bdi", "", conversation.room ? texts.say("aRoom") : "")];
    const nodes = [];
    if (last.own && conversation.id !== chat.user) {
      const tick = make("span", "tick");
      tick.dataset.state = last.state;
      nodes.push(tick, make("span", "", texts.say("from", {name: texts.say("you")})));
    } else if (conversation.room) {
      nodes.push(make("bdi", "", texts.say("from", {name: chat.name(last.from)})));
    }
    const kind = last.file ? (last.file.type.startsWith("image/") ? "picture" : "file") : null;
    const words = oneLine(last.text) || (kind ? texts.say(kind) : "");
    nodes.push(make("bdi", "", kind && last.text ? `${texts.say(kind)}: ${words}` : words));
    return nodes;
  }

  // Searching

  /** @param {string} words */
  #drawResults(words) {
    const {chat, texts} = this;
    const sought = words.toLocaleLowerCase();
    const items = [];
    const people = chat.conversations.filter(({id}) => id.toLowerCase().includes(sought) || chat.name(id).toLocaleLowerCase().includes(sought));
    for (const conversation of people.slice(0, FOUND)) {
      const row = this.#row(conversation);
      this.#fill(row, conversation);
      items.push(make("li", "", row));
    }
    if (words.length <= 128 && !chat.conversation(words)) {
      const row = make("button", "row start");
      row.type = "button";
      row.dataset.start = words;
      row.append(avatar(words, words), make("bdi", "name", texts.say(words.startsWith("#") ? "joinRoom" : "startWith", {name: words})));
      items.push(make("li", "", row));
    }
    const messages = chat.search(words).slice(0, FOUND);
    if (messages.length) items.push(make("li", "heading", texts.say("foundMessages")));
    for (const message of messages) {
      const row = make("button", "row");
      row.type = "button";
      row.dataset.id = message.conversation;
      row.dataset.key = message.key;
      const first = make("span", "line");
      first.append(make("bdi", "name", chat.name(message.conversation)), make("time", "", texts.when(message.time)));
      const body = make("span", "body", first);
      body.append(make("bdi", "last", around(message.text, sought)));
      row.append(avatar(message.conversation, chat.name(message.conversation)), body);
      items.push(make("li", "", row));
    }
    items.push(make("li", "aside", messages.length || people.length ? texts.say("foundLoaded") : texts.say("nothingFound", {words})));
    this.results.replaceChildren(...items);
  }

  /** @param {KeyboardEvent} event */
  #searchKey(event) {
    if (event.isComposing) return;
    if (event.key === "ArrowDown") {
      const row = this.#focusable()[0];
      if (!row) return;
      event.preventDefault();
      row.focus();
    } else if (event.key === "Enter" && this.words) {
      event.preventDefault();
      this.#drawResults(this.words);
      /** @type {HTMLElement|null} */ (this.results.querySelector(".row"))?.click();
    } else if (event.key === "Escape" && this.search.value) {
      event.preventDefault();
      event.stopPropagation();
      this.clearSearch();
    }
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    const row = event.target instanceof Element ? /** @type {HTMLElement|null} */ (event.target.closest(".row")) : null;
    if (!row) return;
    const {id, start, key} = row.dataset;
    const chosen = id ?? start;
    if (!chosen) return;
    if (!key) this.clearSearch();
    this.open(chosen, key);
  }

  // Keys: one row takes the focus, the arrows move it.

  #focusable() {
    const place = this.results.hidden ? this.list : this.results;
    return /** @type {HTMLElement[]} */ ([...place.querySelectorAll(".row")]);
  }

  #rove() {
    const rows = [...this.#rows.values()];
    const focused = rows.find((row) => row === document.activeElement) ?? this.#rows.get(this.#current ?? "") ?? /** @type {HTMLElement|null} */ (this.list.querySelector(".row"));
    for (const row of rows) row.tabIndex = row === focused ? 0 : -1;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const rows = this.#focusable();
    const index = rows.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    /** @type {Record<string, number>} */
    const places = {ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: rows.length - 1};
    if (index < 0 || !(event.key in places) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const next = rows[places[event.key]];
    if (next) {
      next.tabIndex = 0;
      rows[index].tabIndex = -1;
      next.focus();
    } else if (event.key === "ArrowUp") {
      this.search.focus();
    }
  }
}

/** @param {string} text */
function oneLine(text) { return text.slice(0, 200).replace(/\s+/g, " ").trim(); }

/** The part of a text that has the words. @param {string} text @param {string} sought */
function around(text, sought) {
  const at = Math.max(0, text.toLocaleLowerCase().indexOf(sought) - 30);
  return `${at ? "…" : ""}${oneLine(text.slice(at))}`;
}
