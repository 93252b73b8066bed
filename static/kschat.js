// The page: a conversation of two users. socketio.js carries events to and from the server.
// Received data is put into the document as text, never as markup.

import {Late, Lost, Socket, TooLarge} from "./kschat/socketio.js";

const KEPT_MESSAGES = 500; // elements in the document; the oldest are removed
const KNOWN_MIDS = 2000; // ids that show whether a delivery is a repeat
const TRIES = 5; // automatic attempts to send one message, each on a new connection, before the user is asked
const TITLE = document.title;

const chat = document.getElementById("chat");
const {uid, rid, random} = chat.dataset;
const [statusLine, notice, scroll, empty, list, newer, form, text] =
  ["status", "notice", "scroll", "empty", "messages", "newer", "compose", "text"].map((id) => document.getElementById(id));

let token = chat.dataset.tokenId;
let asked = null; // the token that the page was fetched again for
let unread = 0;
let sent = 0;
const known = new Set();
const waiting = new Set(); // own messages without an answer, oldest first

const address = new URL("socket.io/", document.baseURI);
address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
const socket = new Socket(address, {namespace: "/kschat", query: {ksId: uid}, auth: () => ({token, goodbye: 1})});

// Connection

function show(state, words) {
  statusLine.dataset.state = state;
  statusLine.textContent = words;
}

function tellNotice(words) {
  notice.hidden = !words;
  notice.textContent = words;
}

socket.on("connect", () => {
  asked = null;
  show("connected", "Connected");
  tellNotice("");
  for (const message of waiting) deliver(message);
});

socket.on("disconnect", (reason, seconds, wasOpen) => {
  if (wasOpen || statusLine.dataset.state === "connecting") show("lost", "Connection lost, trying again…");
  statusLine.title = `${reason}; next try in ${seconds.toFixed(1)} s`;
});

socket.on("refused", async (why) => {
  if (why !== "Authentication error") {
    show("refused", "Not connected");
    tellNotice(`The server refuses this page: ${why}.`);
    return;
  }
  // The token may have expired, or the demo was restarted with another secret: fetch the page again for a new one.
  const fresh = asked === token ? "" : await freshToken();
  asked = fresh || token;
  if (fresh && fresh !== token) {
    token = fresh;
    socket.connect();
    return;
  }
  show("refused", "Not connected");
  tellNotice("The server does not accept this page’s token. It may have expired, or belong to another user: "
    + "open the page again from your application.");
});

async function freshToken() {
  try {
    const response = await fetch(location.href, {cache: "no-store"});
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    return page.getElementById("chat")?.dataset.tokenId ?? "";
  } catch {
    return "";
  }
}

socket.on("Goodbye", (goodbye) => {
  if (Number.isFinite(goodbye?.retryIn)) socket.waitBeforeNext(Math.max(0, goodbye.retryIn) + Math.random());
});

window.addEventListener("online", () => { if (statusLine.dataset.state === "lost") socket.connect(); });
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  count(0);
  if (statusLine.dataset.state === "lost") socket.connect();
});

// Messages

/** One message in the document: {element, state(name, words, retry)}. */
function bubble(words, {own, from, time}) {
  const element = document.createElement("li");
  element.className = own ? "own" : "other";
  // The side shows the sender, so the name is for screen readers only; a third user's name is shown to everybody.
  const by = element.appendChild(document.createElement("bdi"));
  by.className = own || from === rid ? "unseen" : "from";
  by.textContent = own ? "You: " : `${from}: `;
  const body = element.appendChild(document.createElement("p"));
  body.dir = "auto";
  body.textContent = words;
  const foot = element.appendChild(document.createElement("small"));

  const atEnd = isAtEnd();
  empty.hidden = true;
  list.append(element);
  while (list.childElementCount > KEPT_MESSAGES) list.firstElementChild.remove();
  if (own || atEnd) toEnd();
  else newer.hidden = false;

  return {
    setTime: (milliseconds) => { foot.replaceChildren(clock(milliseconds)); },
    setState: (state, said, retry) => {
      const stays = isAtEnd(); // the new line may be higher than the one before
      element.dataset.state = state;
      foot.textContent = said;
      if (retry) foot.append(retryButton(retry));
      if (stays) toEnd();
    },
  };
}

function retryButton(retry) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Try again";
  button.addEventListener("click", () => { retry(); text.focus(); }, {once: true});
  return button;
}

function clock(milliseconds) {
  let when = new Date(milliseconds ?? NaN);
  if (Number.isNaN(when.getTime())) when = new Date();
  const element = document.createElement("time");
  element.dateTime = when.toISOString();
  element.textContent = when.toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"});
  return element;
}

function isAtEnd() { return scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40; }

function toEnd() {
  scroll.scrollTop = scroll.scrollHeight;
  newer.hidden = true;
}

/** What a message says, for any JSON value or binary that another client may have sent. */
function wordsOf(value) {
  if (typeof value === "string") return value;
  if (value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`;
  return JSON.stringify(value, (key, inner) => (inner instanceof ArrayBuffer ? `[${inner.byteLength} bytes]` : inner), 1)
    ?? "";
}

function send(words) {
  const time = Date.now();
  sent += 1;
  const payload = {
    uId: uid,
    pId: rid,
    msg: words,
    rno: Number(random) + sent,
    time: Math.floor(time / 1000), // seconds, as the tutorial's page
    cid: crypto.getRandomValues(new Uint32Array(4)).join("-"), // makes a retry harmless
  };
  const message = {payload, ...bubble(words, {own: true}), tries: 0, underWay: false};
  waiting.add(message);
  deliver(message);
}

async function deliver(message) {
  if (message.underWay) return;
  message.setState("pending", socket.connected ? "Sending…" : "Waiting for the connection…");
  if (!socket.connected) return;
  if (message.tries++ >= TRIES) {
    fail(message, "Not sent: the connection was lost each time.");
    return;
  }
  message.underWay = true;
  try {
    settle(message, await socket.request("Send", message.payload));
  } catch (error) {
    if (error instanceof Late) fail(message, "No answer from the server.");
    else if (error instanceof TooLarge) fail(message, "Too long for this server.");
    else if (!(error instanceof Lost)) throw error;
    else message.setState("pending", "Waiting for the connection…"); // "connect" sends it again
  } finally {
    message.underWay = false;
  }
}

function settle(message, answer) {
  if (answer?.ER) {
    fail(message, answer.WHY ?? "The server refused it.");
    return;
  }
  waiting.delete(message);
  message.setState("sent", "");
  message.setTime(answer?.msgTime);
}

function fail(message, why) {
  waiting.delete(message);
  message.setState("failed", why, () => {
    message.tries = 0;
    waiting.add(message);
    deliver(message);
  });
}

/** Whether this id is new. The oldest ids are forgotten first. */
function isNew(mid) {
  if (mid === undefined) return true;
  if (known.has(mid)) return false;
  known.add(mid);
  if (known.size > KNOWN_MIDS) known.delete(known.values().next().value);
  return true;
}

socket.on("RESPRECEIVER", (received, ack) => {
  if (received?.ER) tellNotice("The server cannot receive messages at the moment.");
  for (const message of Array.isArray(received?.MSG) ? received.MSG : []) {
    if (!message || !isNew(message.mid)) continue;
    const own = String(message.uId) === uid && uid !== rid;
    bubble(wordsOf(message.msg), {own, from: String(message.uId)}).setTime(message.msgTime);
    if (document.hidden) count(unread + 1);
  }
  ack?.(); // it is on the page now
});

// A refused message without an ack of its own; the ack has said why already.
socket.on("RESPSEND", () => {});

function count(messages) {
  unread = messages;
  document.title = unread ? `(${unread}) ${rid} · ${TITLE}` : `${rid} · ${TITLE}`;
}

// Writing

function fit() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const words = text.value.trim();
  if (!words) return;
  text.value = "";
  fit();
  send(words);
  text.focus();
});

text.addEventListener("input", fit);
text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});

newer.addEventListener("click", toEnd);
scroll.addEventListener("scroll", () => {
  if (isAtEnd()) newer.hidden = true;
});
// The keyboard of a phone makes the window lower: the newest message stays in sight.
window.visualViewport?.addEventListener("resize", () => { if (newer.hidden) toEnd(); });

count(0);
text.focus({preventScroll: true});
show("connecting", "Connecting…");
socket.connect();
