// The page: a list of conversations beside the open one, on the client module in ../kschat/.
//
// Hooks for tests and styles, which stay as they are:
//   #chat[data-uid][data-view=list|conversation]   #status[data-state]   #conversations [data-id]   #title   #subtitle
//   #messages > li[data-key][data-state].own/.other with .text .quote .picture .file .tick .day .divider .more .why
//   [data-do=reply|copy|retry|edit|discard|more|load]   #text #send #attach #file #attachments #replying #notice
//   #newer #search #results #back #info #new #start #settings-button #settings #keys-button #keys #live #welcome #empty
//
// This file holds what belongs to the whole page: the token, the address, the connection in words, keys. dialogs.js and notices.js are
// fetched when they are needed, so that the first paint waits for nothing that it does not show.

import {Chat} from "../kschat/chat.js";
import {Composer} from "./composer.js";
import {ConversationView} from "./conversation.js";
import {byId, onceAFrame, paint} from "./dom.js";
import {ConversationList} from "./list.js";
import {Texts} from "./texts.js";

/** @import {ChatApi, Status} from "../kschat/types.js" */
/** @import {Key} from "./texts.js" */

const SETTINGS = "kschat.settings";
const ASK_PARENT = 10_000; // milliseconds that an embedding page has to give a token
const NARROW = matchMedia("(max-width: 45rem)");

/** What the user chose; never a token. @typedef {{theme?: string, language?: string, sound?: boolean, notify?: boolean}} Settings */

/** @returns {Settings} */
export function readSettings() {
  try {
    return JSON.parse(localStorage.getItem(SETTINGS) ?? "{}") ?? {};
  } catch {
    return {}; // storage is forbidden, or another program wrote there
  }
}

/** @param {Settings} settings */
export function writeSettings(settings) {
  try {
    localStorage.setItem(SETTINGS, JSON.stringify(settings));
  } catch {
    // They hold for this visit.
  }
}

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

const html = document.documentElement;
const texts = new Texts(query.get("lang") || settings.language || (html.lang !== "en" ? html.lang : navigator.language));
applyTexts();
applyTheme(settings.theme);

/** @type {ChatApi} */
const chat = new Chat({user, token, renew});
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
/** @type {import("./notices.js").Notices|null} */
let notices = null;

// Words and looks

/** The template's English, in the language of the page. */
function applyTexts() {
  html.lang = texts.language;
  html.dir = texts.direction;
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = texts.say(/** @type {Key} */ (/** @type {HTMLElement} */ (element).dataset.text));
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    const words = texts.say(/** @type {Key} */ (/** @type {HTMLElement} */ (element).dataset.label));
    element.setAttribute("aria-label", words);
    if (element instanceof HTMLButtonElement) element.title = words;
    if (element instanceof HTMLInputElement || element instanceof HTMLTextAreaElement) element.placeholder = words;
  }
}

/** @param {string} [theme] */
export function applyTheme(theme) {
  if (theme === "light" || theme === "dark") html.dataset.theme = theme;
  else delete html.dataset.theme;
}

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
    // No secret is in the question; who may embed the page, frame-ancestors says.
    parent.postMessage({kschat: "token", user}, "*");
  });
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
    history[from && !NARROW.matches ? "replaceState" : "pushState"]({inside: true}, "", address(id));
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
    if (!key) composer.focus();
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

/** Joins a room once in a visit, as soon as there is a connection. @param {string|null} id */
async function join(id) {
  if (!id?.startsWith("#") || joined.has(id) || chat.status.state !== "connected") return;
  joined.add(id);
  try {
    await chat.join(id);
    if (view.id === id) await chat.open(id);
  } catch (error) {
    joined.delete(id);
    if (chat.status.state === "connected" && view.id === id) tell.problem(error instanceof Error ? error.message : String(error));
  }
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
  if (id === null || document.hidden || !view.atEnd) return;
  const conversation = chat.conversation(id);
  if (conversation?.loaded && conversation.unread) chat.read(id);
}

/** @param {string} id */
function nameOf(id) { return id === user ? texts.say("self") : chat.name(id); }

function drawHeader() {
  const {id} = view.id === null ? {id: query.get("rid")} : view;
  const title = byId("title"), subtitle = byId("subtitle");
  if (!id) return;
  const conversation = chat.conversation(id);
  const name = nameOf(id);
  if (byId("conversation").dataset.id !== id || title.textContent !== name) {
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
      other.textContent = texts.say("openAs", {name: id});
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
  byId("try-now").hidden = !(status.state === "waiting" || (status.state === "refused" && status.again) || status.state === "ended");
  clearInterval(counting);
  const count = () => {
    const seconds = status.retryAt === null ? null : Math.ceil((status.retryAt - Date.now()) / 1000);
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
  for (const problem of changes.problems) tell.problem(texts.say(`problem ${problem.code}`));
  if (changes.arrived.length) {
    announce(changes.arrived);
    notices?.arrived(changes.arrived);
  }
  notices?.count();
  markRead();
});

// The live region gathers: under load it says how many came, not each of them.

/** @type {import("../kschat/types.js").Message[]} */
let unsaid = [];
/** @type {ReturnType<typeof setTimeout>|undefined} */
let saying;

/** @param {import("../kschat/types.js").Message[]} messages */
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

const acts = byId("acts");
const placeActs = onceAFrame(() => {
  const {element} = view.messageAt(pointed) ?? {};
  const bubble = element?.querySelector(":scope > .bubble");
  if (bubble && acts.parentElement !== bubble && element?.dataset.state !== "failed") bubble.append(acts);
});
/** @type {EventTarget|null} */
let pointed = null;
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
  if (action instanceof HTMLElement && at) act(action.dataset.do ?? "", at);
});

/** @param {string} action @param {{element: HTMLElement, message: import("../kschat/types.js").Message}} at */
async function act(action, {element, message}) {
  if (action === "reply") composer.reply(message);
  else if (action === "copy") await copy(message.text);
  else if (action === "edit") composer.edit(message);
  else if (action === "more") view.rendering.toggle(element);
  else if (action === "load") await chat.load(message).catch(() => { tell.problem(texts.say("notLoaded")); });
  else if (action === "retry" || action === "discard") {
    chat[action](message);
    composer.focus();
  }
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

view.scroll.addEventListener("keydown", (event) => {
  const at = view.messageAt(event.target);
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "ArrowUp" || event.key === "ArrowDown") {
    if (!at && event.key === "ArrowDown") return;
    if (view.moveFocus(at?.element ?? null, event.key === "ArrowUp" ? -1 : 1)) event.preventDefault();
    else if (event.key === "ArrowDown") composer.focus();
  } else if (at && event.target === at.element && (event.key === "r" || event.key === "c")) {
    event.preventDefault();
    act(event.key === "r" ? "reply" : "copy", at);
  }
});

addEventListener("keydown", (event) => {
  if (event.isComposing || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  const writing = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement;
  if (event.key === "Escape") {
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

/** @param {"start"|"settings"|"keys"|"details"} name */
async function openDialog(name) {
  const {Dialogs} = await import("./dialogs.js");
  new Dialogs({chat, texts, settings, select, applyTheme, writeSettings: () => { writeSettings(settings); }, notices: () => notices})
    .open(name, view.id);
}

for (const [button, name] of /** @type {const} */ ([
  ["new", "start"], ["settings-button", "settings"], ["keys-button", "keys"], ["info", "details"], ["new-too", "start"],
])) {
  byId(button).addEventListener("click", () => { openDialog(name); });
}
byId("back").addEventListener("click", back);
byId("try-now").addEventListener("click", () => { chat.connect(); });
document.addEventListener("visibilitychange", () => {
  markRead();
  notices?.count();
});

// Presence and days go on while nothing happens.
setInterval(() => {
  drawHeader();
  list.redraw();
}, 60_000);

paint(byId("own-face"), user, chat.name(user));
drawStatus();
show(query.get("rid"));
await chat.start();
composer.draftChanged();

// Nothing of this is needed to read and to write.
const {Notices} = await import("./notices.js");
notices = new Notices(chat, texts, settings, select);
notices.count();
// Fetched now, these are there while the server is not.
await Promise.all([import("./dialogs.js"), import("../kschat/pictures.js")]).catch(() => {});
