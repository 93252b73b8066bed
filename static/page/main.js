// The page: a list of conversations beside the open one, on the client module in ../kschat/.
//
// Hooks for tests and styles, which stay as they are:
//   #chat[data-uid][data-view=list|conversation]   #status[data-state]   #conversations [data-id]   #title   #subtitle
//   #messages > li[data-key][data-state].own/.other with .text .quote .picture .file .tick .day .divider .more .why
//   [data-do=react|emoji|reply|copy|edit|delete|retry|discard|more|load]   .reaction[data-emoji]   #picker
//   #text #send #attach #file #attachments #replying #notice   #newer #search #results #back #info #new #start
//   #settings-button #settings #keys-button #keys #live #welcome #empty
//
// This file holds the list of conversations, and what belongs to the whole page: the token, the address, the connection in words, keys.
// talk.js has the open conversation, texts.js the texts and the helpers that make elements. Few files mean few requests before the page
// can be used; dialogs.js, notices.js and ../kschat/pictures.js are fetched later.

import {Chat} from "../kschat/chat.js";
import {clean} from "../kschat/store.js";
import {Composer, ConversationView} from "./talk.js";
import {Texts, applyTexts, applyTheme, avatar, button, byId, make, onceAFrame, paint, readSettings, writeSettings} from "./texts.js";

/** @import {ChatApi, Conversation, Message, Status} from "../kschat/types.js" */
/** @import {Key} from "./texts.js" */

// The list of conversations, and what a search finds in place of it

const ROWS = 60; // rows at first, and more each time that the end comes near
const FOUND = 30; // messages that a search shows
const SEARCHED = 1000; // milliseconds after which a search looks at what has arrived

class ConversationList {
  /** @type {Map<string, HTMLElement>} */ #rows = new Map();
  /** @type {Set<string>} */ #stale = new Set();
  #most = ROWS;
  /** @type {string|null} */ #current = null;
  #sought = ""; // the words whose results are shown
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #searching;
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
    if (words !== this.#sought) {
      this.#sought = words;
      if (searching) this.#drawResults(words);
    } else if (searching) { // a search goes through all messages in memory: not once a frame
      this.#searching ??= setTimeout(() => {
        this.#searching = undefined;
        if (this.words) this.#drawResults(this.words);
      }, SEARCHED);
    }
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
    const last = make("span", "last");
    last.dir = "auto";
    second.append(last, make("span", "badge"));
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
    time.dir = "auto";
    if (last) time.dateTime = new Date(last.time).toISOString();
    const dot = part(".presence");
    dot.hidden = conversation.room || id === chat.user;
    dot.dataset.online = presence?.online === null || !presence ? "unknown" : String(presence.online);
    // Screen readers do not read the dot.
    dot.textContent = presence?.online ? texts.say("online") : "";
    part(".name").title = conversation.room ? "" : presenceWords(id);
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
    if (last.deleted) return [...nodes, make("em", "", texts.say("deleted"))];
    const kind = last.file ? (last.file.type.startsWith("image/") ? "picture" : "file") : null;
    const words = oneLine(last.text) || (kind === "file" ? last.file?.name ?? "" : "");
    nodes.push(make("bdi", "", !kind ? words : words ? `${texts.say(kind)}: ${words}` : texts.say(kind)));
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
      const name = clean(words);
      row.append(avatar(words, name), make("bdi", "name", texts.say(words.startsWith("#") ? "joinRoom" : "startWith", {name})));
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
    const focused = this.results.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement) : null;
    this.results.replaceChildren(...items);
    if (!focused) return;
    const {id, start, key} = focused.dataset;
    const rows = this.#focusable();
    (rows.find(({dataset}) => dataset.key === key && (dataset.id ?? dataset.start) === (id ?? start)) ?? rows[0] ?? this.search).focus();
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

// The page

const ASK_PARENT = 10_000; // milliseconds that an embedding page has to give a token
const MOST_NAMES = 5000; // that an embedding page may give
const LATER = 5000; // milliseconds after which what is needed later is fetched
const NARROW = matchMedia("(max-width: 45rem)");
const TITLE = document.title;

const app = byId("chat");
const user = app.dataset.uid ?? "";
const token = app.dataset.tokenId ?? "";
const demo = app.dataset.demo === "1";
const query = new URLSearchParams(location.search);
const settings = readSettings();

// The token leaves the document and the address bar before anything else runs.
app.dataset.tokenId = "";
query.delete("token");
history.replaceState(history.state, "", address(query.get("rid")));

const texts = new Texts(query.get("lang") || settings.language || (document.documentElement.lang !== "en" ? document.documentElement.lang : navigator.language));
applyTexts(texts);
applyTheme(settings.theme);

/** By id, as the embedding page gives them. @type {Map<string, string>} */
const names = new Map();
/** @type {ChatApi} */
const chat = new Chat({user, token, renew, names});
const tell = {
  /** @param {string} words */
  problem(words) {
    const notice = byId("notice");
    notice.hidden = !words;
    if (notice.textContent !== words) notice.textContent = words;
  },
  read: () => { markRead(); },
};
const view = new ConversationView(chat, texts, tell);
const composer = new Composer(chat, texts, tell);
const list = new ConversationList(chat, texts, select);

// The address and the token

/** @param {string|null} rid  The page's address for a conversation, without a token. */
function address(rid) {
  const next = new URLSearchParams(query);
  if (rid) next.set("rid", rid);
  else next.delete("rid");
  return `?${next}`;
}

/** Another token: from the demo's server, or from the page that embeds this one. @returns {Promise<string|null>} */
async function renew() {
  if (demo) {
    const response = await fetch(new URL(`demo/token?uid=${encodeURIComponent(user)}`, document.baseURI), {cache: "no-store"});
    return response.ok ? (await response.json()).token ?? null : null;
  }
  if (parent === window) return null;
  return new Promise((resolve) => {
    const done = (/** @type {string|null} */ answer) => {
      removeEventListener("message", heard);
      clearTimeout(timer);
      resolve(answer);
    };
    const heard = (/** @type {MessageEvent} */ event) => {
      if (event.source === parent && event.data?.kschat === "token" && typeof event.data.token === "string") done(event.data.token);
    };
    const timer = setTimeout(() => { done(null); }, ASK_PARENT);
    addEventListener("message", heard);
    // The question holds no secret, and frame-ancestors decides who may embed the page.
    parent.postMessage({kschat: "token", user}, "*");
  });
}

// Names that the page around this one gives: {kschat: "names", names: {id: name}}, in answer to "ready" or at any time.
if (parent !== window) {
  addEventListener("message", ({source, data}) => {
    if (source !== parent || data?.kschat !== "names" || typeof data.names !== "object") return;
    for (const [id, name] of Object.entries(data.names ?? {})) {
      if (typeof name !== "string" || (!names.has(id) && names.size >= MOST_NAMES)) continue;
      names.set(id, name.slice(0, 128));
    }
    list.redraw();
    view.reset();
    drawHeader(true);
    drawOwn();
  });
  parent.postMessage({kschat: "ready", user}, "*");
}

// Which conversation is open

/**
 * Opens a conversation. On a phone it takes the whole screen, and going back in the browser's history closes it.
 *
 * @param {string} id
 * @param {string} [key]  A message of it to show.
 */
async function select(id, key) {
  if (id !== query.get("rid")) {
    const from = query.get("rid");
    query.set("rid", id);
    // A replaced entry keeps its state: the entry before it may be of another site.
    if (from && !NARROW.matches) history.replaceState(history.state, "", address(id));
    else history.pushState({inside: true}, "", address(id));
  }
  await show(id, key);
}

/** @param {string|null} id @param {string} [key] */
async function show(id, key) {
  app.dataset.view = id ? "conversation" : "list";
  byId("welcome").hidden = id !== null;
  byId("conversation").hidden = id === null;
  list.mark(id);
  if (id === null) {
    view.hide();
    composer.show(null);
    drawHeader();
    return;
  }
  if (view.id !== id) {
    composer.show(id);
    drawHeader();
    if (!key) composer.begin();
    byId("conversation").classList.toggle("in-room", id.startsWith("#"));
    join(id);
    await view.show(id);
    if (view.id !== id) return;
    composer.draftChanged();
    drawHeader();
  }
  if (key) view.goTo(key);
  markRead();
}

/** @type {Set<string>} */
const joined = new Set();

/** Whom the user has blocked, for the words below the name. @type {Set<string>} */
let blocked = new Set();

async function readBlocked() {
  const ids = await chat.blocked().catch(() => null); // not connected any more, or a server without a store
  if (ids) setBlocked(ids);
}

/** @param {string[]} ids */
function setBlocked(ids) {
  blocked = new Set(ids);
  drawHeader();
}

/** Joins a room once in a visit, as soon as there is a connection. @param {string|null} id */
async function join(id) {
  if (!id?.startsWith("#") || joined.has(id) || chat.status.state !== "connected") return;
  joined.add(id);
  try {
    await chat.join(id);
    if (view.id === id) await chat.open(id);
  } catch (error) {
    joined.delete(id);
    if (chat.status.state === "connected" && view.id === id) tell.problem(texts.why(error, "join"));
  }
}

/** Closes a room that the user has left; opened again, it is joined again. @param {string} id */
function left(id) {
  joined.delete(id);
  if (query.get("rid") !== id) return;
  query.delete("rid");
  history.replaceState(null, "", address(null));
  show(null).then(() => { list.focusRow(); });
}

function back() {
  if (history.state?.inside) {
    history.back();
    return;
  }
  query.delete("rid");
  history.replaceState(null, "", address(null));
  show(null).then(() => { list.focusRow(); });
}

addEventListener("popstate", () => {
  const rid = new URLSearchParams(location.search).get("rid");
  if (rid) query.set("rid", rid);
  else query.delete("rid");
  show(rid).then(() => { if (!rid) list.focusRow(); });
});

/** What is on the screen, in a tab that is seen, is read. */
function markRead() {
  const {id} = view;
  if (id === null || document.hidden || !view.isRead) return;
  const conversation = chat.conversation(id);
  if (conversation?.loaded) chat.read(id);
}

/** @param {string} id */
function nameOf(id) { return id === user ? texts.say("self") : chat.name(id); }

function drawOwn() {
  paint(byId("own-face"), user, chat.name(user));
  byId("own-name").textContent = chat.name(user);
}

/** @param {boolean} [renamed]  Whether names may have changed. */
function drawHeader(renamed = false) {
  const {id} = view.id === null ? {id: query.get("rid")} : view;
  const title = byId("title"), subtitle = byId("subtitle");
  if (!id) return;
  const conversation = chat.conversation(id);
  const name = nameOf(id);
  if (renamed || byId("conversation").dataset.id !== id || title.textContent !== name) {
    byId("conversation").dataset.id = id;
    title.textContent = name;
    paint(byId("face"), id, chat.name(id));
    byId("text").setAttribute("aria-label", texts.say("messageTo", {name}));
    byId("empty-words").textContent = id === user ? "" : texts.say("noMessagesHint", {name});
    byId("info").setAttribute("aria-label", `${texts.say("details")}: ${name}`);
    const other = /** @type {HTMLAnchorElement|null} */ (document.getElementById("other-side")); // in the demo alone
    if (other) {
      other.hidden = id === user || id.startsWith("#");
      other.href = `?${new URLSearchParams({uid: id, rid: user})}`;
      other.textContent = texts.say("openAs", {name: clean(id)});
    }
  }
  const words = conversation?.typing ? texts.say("typing") : presenceWords(id);
  if (subtitle.textContent !== words) subtitle.textContent = words;
  subtitle.toggleAttribute("data-typing", Boolean(conversation?.typing));
}

/** @param {string} id */
function presenceWords(id) {
  if (id === user) return "";
  if (id.startsWith("#")) return texts.say("aRoom");
  if (blocked.has(id)) return texts.say("isBlocked");
  const presence = chat.conversation(id)?.presence;
  if (presence?.online) return texts.say("online");
  if (!presence?.lastSeen) return presence?.online === false ? texts.say("isOffline") : "";
  const {lastSeen} = presence;
  if (Date.now() - lastSeen < 60_000) return texts.say("lastSeenNow");
  return texts.say("lastSeen", {when: texts.say("at", {day: texts.day(lastSeen, true), time: texts.time(lastSeen)})});
}

// The connection

/** @type {ReturnType<typeof setInterval>|undefined} */
let counting;

function drawStatus() {
  const {status} = chat;
  const line = byId("status");
  line.dataset.state = status.state;
  const words = statusWords(status);
  const said = byId("status-words");
  if (said.textContent !== words) said.textContent = words;
  const again = byId("try-now");
  again.hidden = !(status.state === "waiting" || (status.state === "refused" && status.again) || status.state === "ended");
  again.textContent = texts.say(status.state === "ended" ? "reload" : "tryNow");
  clearInterval(counting);
  const left = Number(status.retryAt) - Date.now() + performance.now(); // by a clock that nobody sets
  const count = () => {
    const seconds = status.retryAt === null ? null : Math.ceil((left - performance.now()) / 1000);
    byId("countdown").textContent = status.state !== "waiting" || seconds === null ? ""
      : seconds > 0 ? texts.say("inSeconds", {n: seconds}) : texts.say("nextTry");
  };
  count();
  if (status.state === "waiting") counting = setInterval(count, 1000);
}

/** @param {Status} status */
function statusWords({state, code}) {
  if (state === "waiting") {
    /** @type {Record<string, Key>} */
    const reasons = {drain: "waitingDrain", slow: "waitingSlow", rate: "waitingRate", "too large": "waitingLarge"};
    return texts.say(reasons[code] ?? "waiting");
  }
  if (state === "refused") {
    /** @type {Record<string, Key>} */
    const reasons = {token: "refusedToken", revoked: "refusedRevoked", replaced: "refusedReplaced"};
    return `${texts.say("notConnected")}. ${texts.say(reasons[code] ?? "refused")}`;
  }
  return texts.say(state);
}

// What the module says

chat.on("change", (changes) => {
  if (changes.status) {
    drawStatus();
    join(view.id);
    if (chat.status.state === "connected") {
      readBlocked();
      renewPush();
    }
  }
  list.changed(changes.order, changes.conversations);
  const {id} = view;
  if (id !== null) {
    const fields = changes.conversations.has(id);
    view.changed(changes.messages.get(id), fields);
    if (fields) {
      drawHeader();
      composer.draftChanged();
    }
  }
  for (const {code} of changes.problems) {
    if (code === "drafts" && !byId("notice").hidden) continue; // what is there is worse
    tell.problem(texts.say(`problem ${code}`));
  }
  if (changes.arrived.length) {
    announce(changes.arrived);
    if (!document.hasFocus()) notices().then((one) => { one?.arrived(changes.arrived); });
  }
  markRead();
  count();
});

/** The title with the number of unread messages. */
function count() {
  let unread = 0;
  for (const conversation of chat.conversations) unread += conversation.unread;
  const title = unread ? `(${unread >= 1000 ? "999+" : unread}) ${TITLE}` : TITLE; // as the list says it
  if (document.title !== title) document.title = title;
}

// The live region gathers messages: under load it says how many came instead of reading each one.

/** @type {Message[]} */
let unsaid = [];
/** @type {ReturnType<typeof setTimeout>|undefined} */
let saying;

/** @param {Message[]} messages */
function announce(messages) {
  for (const message of messages) if (unsaid.length < 1000) unsaid.push(message);
  saying ??= setTimeout(() => {
    saying = undefined;
    const people = new Set(unsaid.map(({conversation}) => conversation));
    const [first] = unsaid;
    const words = unsaid.length <= 2
      ? unsaid.map((message) => texts.say("oneNew", {name: chat.name(message.from), text: message.text.slice(0, 300) || texts.say("file")})).join("\n")
      : people.size === 1 ? texts.say("manyNew", {n: unsaid.length, name: chat.name(first.conversation)})
        : texts.say("manyNewMany", {n: unsaid.length, m: people.size});
    unsaid = [];
    byId("live").textContent = words;
  }, 1000);
}

// Messages: what can be done with one

const EMOJI = ["👍", "❤️", "😂", "😮", "😢", "🙏"];
const acts = byId("acts");
const picker = byId("picker");
const actButton = (/** @type {string} */ name) => /** @type {HTMLButtonElement} */ (acts.querySelector(`[data-do=${name}]`));

for (const emoji of EMOJI) {
  const choice = button(emoji, {action: "emoji"});
  choice.dataset.emoji = emoji;
  picker.append(choice);
}

/** Whether the server has it, so that it can be changed, and reacted to. Where nothing is kept, none can. @param {Message} message */
function isStored({mid, deleted}) { return mid !== null && !mid.startsWith("~") && !deleted; }

/** Whether it is a text, or a file with words, of the user's own. @param {Message} message */
function isEditable(message) { return message.own && isStored(message) && (typeof message.msg === "string" || message.file !== null); }

function showActs() {
  const {element, message} = view.messageAt(pointed) ?? {};
  const bubble = element?.querySelector(":scope > .bubble");
  if (bubble && message && message.state !== "failed" && !message.deleted) {
    if (acts.parentElement !== bubble) {
      pick(false);
      bubble.append(acts);
    }
    actButton("react").hidden = !isStored(message);
    actButton("edit").hidden = !isEditable(message);
    actButton("delete").hidden = !message.own || !isStored(message);
  }
  const time = /** @type {HTMLElement|null} */ (bubble?.querySelector(".meta time") ?? null);
  if (time && message) time.title = `${texts.day(message.time)}, ${texts.time(message.time)}`;
}

const placeActs = onceAFrame(showActs);

/** Shows the reactions to choose from, or no longer. @param {boolean} shown */
function pick(shown) {
  picker.hidden = !shown;
  actButton("react").ariaExpanded = String(shown);
  const mine = shown ? ownReaction(view.messageAt(acts)?.message) : null;
  for (const choice of /** @type {NodeListOf<HTMLElement>} */ (picker.querySelectorAll("button"))) choice.ariaPressed = String(choice.dataset.emoji === mine);
}

/** @param {Message} [message] */
function ownReaction(message) { return Object.entries(message?.reactions ?? {}).find(([, users]) => users.includes(user))?.[0] ?? null; }

/** @type {EventTarget|null} */
let pointed = null;
view.list.addEventListener("pointerleave", () => {
  if (view.list.contains(document.activeElement)) return;
  pick(false);
  app.append(acts);
});
for (const kind of ["pointerover", "focusin", "click"]) {
  view.list.addEventListener(kind, (event) => {
    pointed = event.target;
    placeActs();
  }, {passive: true});
}

view.list.addEventListener("click", (event) => {
  if (!(event.target instanceof Element)) return;
  const quote = event.target.closest("[data-mid]");
  if (quote instanceof HTMLElement && quote.dataset.mid) view.goTo(quote.dataset.mid);
  const action = event.target.closest("[data-do]");
  const at = view.messageAt(event.target);
  if (action instanceof HTMLElement && at) act(action.dataset.do ?? "", at, action.dataset.emoji);
});

/** @param {string} action @param {{element: HTMLElement, message: Message}} at @param {string} [emoji] */
async function act(action, {element, message}, emoji = "") {
  if (message.deleted) return;
  if (action === "react") {
    pick(picker.hidden);
    /** @type {HTMLElement} */ (picker.hidden ? actButton("react") : picker.firstElementChild).focus();
  } else if (action === "emoji") {
    if (picker.contains(document.activeElement)) element.focus();
    pick(false);
    await changed(chat.react(message, ownReaction(message) === emoji ? "" : emoji));
  } else if (action === "delete") {
    openDialog("delete", message);
  } else if (action === "reply") composer.reply(message);
  else if (action === "copy") await copy(message.text);
  else if (action === "edit") composer.edit(message);
  else if (action === "more") view.rendering.toggle(element);
  else if (action === "load") await chat.load(message).catch(() => { tell.problem(texts.say("notLoaded")); });
  else if (action === "retry" || action === "discard") {
    chat[action](message);
    composer.focus();
  }
}

/** Says why a message was not changed, if it was not. @param {Promise<void>} asked */
async function changed(asked) {
  tell.problem("");
  await asked.catch((error) => { tell.problem(texts.why(error, "change")); });
}

/** @param {string} text */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    byId("live").textContent = texts.say("copied");
  } catch {
    tell.problem(texts.say("copyFailed"));
  }
}

// Keys

/** What a key does with the message that has the focus. @type {Record<string, string>} */
const KEYS = {r: "reply", c: "copy", e: "edit", "+": "react", Delete: "delete", Backspace: "delete"};

view.scroll.addEventListener("keydown", (event) => {
  const at = view.messageAt(event.target);
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (picker.contains(document.activeElement) && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
    const isNext = (event.key === "ArrowRight") === (document.documentElement.dir !== "rtl");
    const next = isNext ? document.activeElement?.nextElementSibling : document.activeElement?.previousElementSibling;
    if (next instanceof HTMLElement) next.focus();
    event.preventDefault();
  } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
    if (!at && event.key === "ArrowDown") return;
    if (view.moveFocus(at?.element ?? null, event.key === "ArrowUp" ? -1 : 1)) event.preventDefault();
    else if (event.key === "ArrowDown") composer.focus();
  } else if (at && event.target === at.element && Object.hasOwn(KEYS, event.key)) {
    const action = KEYS[event.key];
    if (action === "react" && !isStored(at.message) || action === "edit" && !isEditable(at.message)) return;
    if (action === "delete" && !(at.message.own && isStored(at.message))) return;
    event.preventDefault();
    if (action === "react") {
      pointed = at.element;
      showActs();
    }
    act(action, at);
  }
});

addEventListener("keydown", (event) => {
  if (event.isComposing || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  const writing = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement;
  if (event.key === "Escape") {
    if (!picker.hidden) {
      const {element} = view.messageAt(acts) ?? {};
      pick(false);
      element?.focus();
      return;
    }
    if (composer.cancel()) return;
    if (list.words) list.clearSearch();
    else if (NARROW.matches && view.id !== null) back();
    else if (!view.atEnd) view.jump();
    else list.focusRow();
  } else if (event.key === "?" && !writing) {
    event.preventDefault();
    openDialog("keys");
  } else if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    list.search.focus();
  } else if (event.altKey && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    const next = list.beside(event.key === "ArrowDown" ? 1 : -1);
    event.preventDefault();
    if (next) select(next);
  }
});

// Dialogs and notices, fetched when they are asked for

/** @param {"start"|"settings"|"keys"|"details"|"delete"} name @param {Message} [message] */
async function openDialog(name, message) {
  const loaded = await import("./dialogs.js").catch(() => null);
  if (!loaded) notFetched();
  else new loaded.Dialogs({
    chat, texts, settings, select, left, setBlocked, applyTheme, writeSettings: () => { writeSettings(settings); }, notices,
    remove: (one) => { changed(chat.delete(one)); },
  }).open(name, view.id, message);
}

/** What is fetched later did not come: there is no connection, or the server is of another release by now. */
function notFetched() { tell.problem(texts.say(chat.status.state === "connected" ? "outdated" : "notLoaded")); }

for (const [button, name] of /** @type {const} */ ([
  ["new", "start"], ["settings-button", "settings"], ["keys-button", "keys"], ["info", "details"], ["new-too", "start"],
])) {
  byId(button).addEventListener("click", () => { openDialog(name); });
}
byId("back").addEventListener("click", back);
byId("try-now").addEventListener("click", () => {
  if (chat.status.state === "ended") location.reload();
  else chat.connect();
});
document.addEventListener("visibilitychange", markRead);

/** @type {Promise<import("./notices.js").Notices|null>|null} */
let noticing = null;

function notices() {
  return noticing ??= import("./notices.js").then(({Notices}) => new Notices(chat, texts, settings, select), () => noticing = null);
}

let pushRenewed = false;

/** Once a visit: the server or the browser may have forgotten that pushes were wanted. */
async function renewPush() {
  if (pushRenewed || !settings.push) return;
  pushRenewed = true;
  await (await notices())?.push.renew();
}

// Presence and days go on while nothing happens.
let day = new Date().toDateString();
setInterval(() => {
  drawHeader();
  list.redraw();
  const now = new Date().toDateString();
  if (now !== day) view.reset(); // what was today is yesterday
  day = now;
}, 60_000);

drawOwn();
drawStatus();
show(query.get("rid"));
await chat.start();
composer.draftChanged();

// Not needed for reading and writing. Fetched now, it is still there when the server is down.
setTimeout(() => {
  notices();
  Promise.all([import("./dialogs.js"), import("../kschat/pictures.js")]).catch(() => {}); // asked for again when it is needed
}, LATER);
