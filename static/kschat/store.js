// What this user has: what messages say, conversations and messages in memory, and the outbox, which IndexedDB keeps. Everything is bounded.
//
// One file, so that a page is there after few requests.

import {Lost, TooLarge} from "./socketio.js";

/** @import {Changes, Conversation, Environment, FilePart, Limits, Message, MessageChanges, Presence, Problem} from "./types.js" */
/** @import {Link} from "./link.js" */

// What `msg` says: text, quotation, picture or file. A text is a plain string, so that every client can read it.

const QUOTED = 200; // characters of a quotation
const DEEP = 20; // levels of JSON that are shown

/** What can't be sent; `problem` says why. */
export class Refused extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.words);
    this.problem = problem;
  }
}

/** @param {unknown} value @returns {ArrayBuffer|null} */
function bytesOf(value) {
  if (value instanceof ArrayBuffer) return value;
  if (ArrayBuffer.isView(value)) return /** @type {ArrayBuffer} */ (value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength));
  return null;
}

/** @param {any} value @param {number} [level] @returns {any} */
function plain(value, level = 0) {
  const bytes = bytesOf(value);
  if (bytes) return `[${bytes.byteLength} bytes]`;
  if (value === null || typeof value !== "object") return value;
  if (level > DEEP) return "…";
  if (Array.isArray(value)) return value.map((inner) => plain(inner, level + 1));
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner, level + 1)]));
}

/** A name as it is shown: without what turns the direction of the text around it, or starts another line. @param {string} name */
export function clean(name) { return name.replace(/[\u0000-\u001f\u007f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, ""); }

/** What a message says. @param {any} msg @returns {{text: string, quote: string|null, file: FilePart|null}} */
export function read(msg) {
  if (typeof msg === "string") return {...split(msg), file: null};
  const bytes = bytesOf(msg);
  if (bytes) return {text: "", quote: null, file: {name: "file", type: "", size: bytes.byteLength, data: bytes}};
  const file = msg?.file;
  if (file && typeof file === "object" && typeof file.name === "string" && (bytesOf(file.data) || file.data === null)) {
    const data = bytesOf(file.data);
    /** @type {FilePart} */
    const part = {
      name: clean(file.name.slice(0, 255).split(/[\\/]/).at(-1) ?? "") || "file",
      type: typeof file.type === "string" ? file.type.slice(0, 100) : "",
      size: data?.byteLength ?? (Number.isSafeInteger(file.size) ? file.size : 0),
      data,
    };
    if (file.width > 0 && file.height > 0) Object.assign(part, {width: Number(file.width), height: Number(file.height)});
    return {...split(typeof msg.text === "string" ? msg.text : ""), file: part};
  }
  if (typeof msg?.text === "string" && Object.keys(msg).length === 1) return {...split(msg.text), file: null};
  return {text: JSON.stringify(plain(msg), null, 1) ?? "", quote: null, file: null};
}

/** The same of a message of the server, which may have been edited or deleted, or be cut for a list. @param {any} item */
function said(item) {
  const deleted = Boolean(item.deleted);
  return {...read(deleted ? "" : item.cut && item.msg === null ? "…" : item.msg), deleted, edited: Boolean(item.edited) && !deleted};
}

/** Who reacted how. @param {any} reactions  As of the server. @returns {Record<string, string[]>} */
function reactionsOf(reactions) {
  return Object.fromEntries(Object.entries(reactions ?? {}).map(([emoji, users]) => [emoji, /** @type {any[]} */ (users).map(String)]));
}

// What can come right after a message: History has the messages before a mid, which need not be a message's. Mids sort by time, and their
// first 16 digits are enough for that.

/** @param {string} mid @returns {bigint} */
export function placeOf(mid) { return BigInt(`0x${mid.slice(0, 16)}`); }

/** The least mid at that place. @param {bigint} place @returns {string} */
export function midAt(place) { return `${place.toString(16).padStart(16, "0")}00000000`; }

/** @param {string} text @returns {{text: string, quote: string|null}} */
function split(text) {
  const lines = text.split("\n");
  let quoted = 0;
  while (quoted < lines.length && lines[quoted]?.startsWith("> ")) quoted++;
  if (!quoted || quoted === lines.length) return {text, quote: null};
  return {text: lines.slice(quoted).join("\n"), quote: lines.slice(0, quoted).map((line) => line.slice(2)).join("\n")};
}

/** The quotation of a message: who wrote it, and its beginning. @param {Message} message */
export function quotation(message) {
  const words = (message.text || message.file?.name || "").split(/\s+/u).join(" ").trim();
  const cut = [...words].slice(0, QUOTED).join("");
  return `${message.from.replace(/\s+/gu, " ")}: ${cut}${cut.length < words.length ? "…" : ""}`;
}

/** `msg` for a draft. @param {string} text @param {string|null} quote @param {FilePart|null} file @returns {unknown} */
export function write(text, quote, file) {
  const words = quote === null ? text : `${quote.split("\n").map((line) => `> ${line}`).join("\n")}\n${text}`;
  if (!file) return words;
  const {name, type, size, data, width, height} = file;
  return {text: words, file: {name, type, size, data, ...(width && height ? {width, height} : {})}};
}

/** Bytes that it takes on the wire, near enough and never too few. @param {any} value @returns {number} */
export function sizeOf(value) {
  const bytes = bytesOf(value);
  if (bytes) return bytes.byteLength + 100;
  if (typeof value === "string") return new TextEncoder().encode(JSON.stringify(value)).length;
  if (value === null || typeof value !== "object") return 24;
  return Object.entries(value).reduce((sum, [key, inner]) => sum + key.length * 3 + 4 + sizeOf(inner), 2);
}

/** The type to open a received file as: pictures, sound and plain text; everything else is only to be saved. @param {string} type */
export function safeType(type) {
  return /^(image\/(png|jpeg|gif|webp|avif)|audio\/(mpeg|ogg|wav|webm|mp4)|video\/(mp4|webm|ogg))$/.test(type) ? type : "application/octet-stream";
}

// Conversations and their messages in memory, and what changed since the page was last told.

/** @type {Limits} */
export const LIMITS = {
  conversations: 500, openMessages: 2000, closedMessages: 100, fileBytes: 60_000_000,
  outboxMessages: 500, outboxBytes: 50_000_000, drafts: 100, draftLength: 20_000, watched: 500, names: 2000,
};

/** @typedef {{info: Conversation, list: Message[], mids: Map<string, Message>, fresh: boolean, sure: string, counted: string, readMid: string, peerRead: string, peerDelivered: string, typingUntil: number}} Record_ */

/** An id that no other message has. (`crypto.randomUUID` is missing on pages without HTTPS.) */
export function newId() { return [...crypto.getRandomValues(new Uint32Array(4))].join("-"); }

/** The state of a message of the user's own that the server has. @param {Record_|undefined} record @param {string} mid */
export function stateOf(record, mid) {
  return record && mid <= record.peerRead ? "read" : record && mid <= record.peerDelivered ? "delivered" : "sent";
}

/** @returns {Changes} */
function nothing() {
  return {status: false, order: false, conversations: new Set(), messages: new Map(), arrived: [], problems: []};
}

export class Store {
  /** @type {Map<string, Record_>} */ #records = new Map();
  /** @type {Map<string, string>} */ #names = new Map();
  /** @type {Map<string, Presence>} */ #presence = new Map();
  /** @type {Conversation[]|null} */ #sorted = null;
  /** @type {Message[]} */ #files = [];
  #bytes = 0;
  changes = nothing();

  /** @param {string} user @param {Limits} limits @param {() => void} changed Called when there is something to tell. */
  constructor(user, limits, changed) {
    this.user = user;
    this.limits = limits;
    this.changed = changed;
  }

  /** What changed since the last call. @returns {Changes} */
  take() {
    const changes = this.changes;
    this.changes = nothing();
    if (changes.order) this.#sorted = null;
    return changes;
  }

  /** @returns {readonly Conversation[]} */
  get conversations() {
    return this.#sorted ??= [...this.#records.values()].map(({info}) => info).sort((a, b) => b.time - a.time || (a.id < b.id ? -1 : 1));
  }

  /** @param {string} id @returns {Record_|undefined} */
  find(id) { return this.#records.get(id); }

  /** @returns {Iterable<Record_>} */
  all() { return this.#records.values(); }

  /** @param {string} id @returns {Record_} */
  record(id) {
    const known = this.#records.get(id);
    if (known) return known;
    /** @type {Record_} */
    const made = {
      info: {
        id, room: id.startsWith("#"), last: null, time: 0, unread: 0, readUpTo: null, presence: this.#presence.get(id) ?? null, typing: false,
        open: false, loaded: false, loading: false, hasOlder: true, hasNewer: false, missed: 0, draft: "",
      },
      list: [], mids: new Map(), fresh: false, sure: "", counted: "", readMid: "", peerRead: "", peerDelivered: "", typingUntil: 0,
    };
    this.#records.set(id, made);
    this.order();
    if (this.#records.size > this.limits.conversations) this.#forget(made);
    return made;
  }

  /** @param {Record_} but */
  #forget(but) {
    let oldest = null;
    for (const record of this.#records.values()) {
      if (record === but || record.info.open || record.list.some(({mid}) => mid === null)) continue;
      if (!oldest || record.info.time < oldest.info.time) oldest = record;
    }
    if (oldest) this.#records.delete(oldest.info.id);
  }

  order() {
    this.#sorted = null;
    this.changes.order = true;
    this.changed();
  }

  /** @param {string} id */
  touch(id) {
    this.changes.conversations.add(id);
    this.changed();
  }

  /** @param {string} id @returns {MessageChanges} */
  of(id) {
    let changes = this.changes.messages.get(id);
    if (!changes) this.changes.messages.set(id, changes = {added: [], changed: [], removed: [], reset: false});
    this.changed();
    return changes;
  }

  /** @param {Message} message */
  alter(message) {
    const changes = this.of(message.conversation);
    if (!changes.added.includes(message) && !changes.changed.includes(message)) changes.changed.push(message);
    this.touch(message.conversation);
  }

  /** @param {Problem} problem */
  problem(problem) {
    this.changes.problems.push(problem);
    this.changed();
  }

  /** Which conversation a message of the server belongs to. @param {any} item @returns {string} */
  conversationOf(item) {
    const to = String(item.pId), from = String(item.uId);
    return to.startsWith("#") || from === this.user ? to : from;
  }

  /**
   * What the server has now of a message that is in memory: it may have been edited or deleted, or have other reactions.
   *
   * @param {Message} message
   * @param {any} item  Of `History` or `Conversations`. In a list it may be cut: it is then no better than what is loaded.
   */
  renew(message, item) {
    const reactions = reactionsOf(item.reactions);
    if (JSON.stringify(reactions) !== JSON.stringify(message.reactions)) {
      message.reactions = reactions;
      this.alter(message);
    }
    const isLoaded = this.find(message.conversation)?.mids.get(String(message.mid)) === message;
    if ((item.edited || item.deleted) && !(item.cut && isLoaded)) this.#say(message, item);
  }

  /** A message says something else now. @param {Message} message @param {any} item */
  #say(message, item) {
    const {text, deleted, edited, file, quote} = said(item);
    if (message.deleted === deleted && message.edited === edited && message.text === text && message.file?.size === file?.size) return;
    if (message.file?.data) {
      this.#bytes -= message.file.data.byteLength;
      this.#files = this.#files.filter((one) => one !== message);
    }
    Object.assign(message, {text, deleted, edited, file, msg: item.msg, reply: quote === null ? null : {text: quote, mid: message.reply?.mid ?? null}});
    this.#weigh(message);
    this.alter(message);
  }

  /** `RESPUPDATE`: what somebody changed of a message. @param {Message} message @param {any} update */
  update(message, {kind, uId, at, msg, emoji}) {
    if (message.deleted) return;
    if (kind === "edit") this.#say(message, {msg, edited: at});
    else if (kind === "delete") {
      message.reactions = {};
      this.#say(message, {msg: null, deleted: at});
    } else if (kind === "react") {
      const user = String(uId);
      /** @type {[string, string[]][]} */
      const all = Object.entries(message.reactions).map(([one, users]) => [one, users.filter((other) => other !== user)]);
      const same = all.find(([one]) => one === emoji);
      if (same) same[1].push(user);
      else if (emoji && typeof emoji === "string") all.push([emoji, [user]]);
      message.reactions = Object.fromEntries(all.filter(([, users]) => users.length));
      this.alter(message);
    }
  }

  /** A message of the server as the page sees it. @param {any} item @returns {Message} */
  message(item) {
    const from = String(item.uId), conversation = this.conversationOf(item);
    if (typeof item.name === "string" && item.name) {
      this.#names.delete(from);
      this.#names.set(from, item.name.slice(0, 64));
      if (this.#names.size > this.limits.names) this.#names.delete(/** @type {string} */ (this.#names.keys().next().value));
    }
    const {text, deleted, edited, quote, file} = said(item);
    const mid = typeof item.mid === "string" ? item.mid : `~${item.msgTime}-${newId()}`;
    const record = this.#records.get(conversation);
    const own = from === this.user;
    const state = own ? stateOf(record, mid) : "received";
    const time = Number(item.msgTime) || 0;
    /** @type {Message} */
    const message = {
      key: mid, mid, conversation, from, own, time, state, problem: null, text, deleted, edited, file, msg: item.msg, reply: null,
      reactions: reactionsOf(item.reactions),
    };
    if (quote !== null) message.reply = {text: quote, mid: this.#answered(record, quote)};
    return message;
  }

  /** @param {Record_|undefined} record @param {string} quote @returns {string|null} */
  #answered(record, quote) {
    if (!record) return null;
    for (let at = record.list.length - 1, looked = 0; at >= 0 && looked < 300; at--, looked++) {
      const one = /** @type {Message} */ (record.list[at]);
      const words = one.text.trim() || one.file?.name || "";
      if (quote.startsWith(`${one.from}: ${words.split(/\s+/u).join(" ").slice(0, 60)}`)) return one.mid;
    }
    return null;
  }

  /** @param {string} id @returns {string|undefined} */
  nameOf(id) { return this.#names.get(id); }

  /** Puts a message at its place. Messages without a mid are last. @param {Message} message */
  insert(message) {
    const record = this.record(message.conversation);
    const {list, mids} = record;
    let at = list.length;
    // What was kept from before is read after something was written: it was written earlier.
    if (message.mid === null) while (at > 0 && list[at - 1]?.mid === null && Number(list[at - 1]?.time) > message.time) at -= 1;
    else {
      while (at > 0) {
        const before = /** @type {Message} */ (list[at - 1]);
        if (before.mid !== null && before.mid < message.mid) break;
        at -= 1;
        if (list.length - at > 8 && at > 0) { // far from the end: by halves
          let low = 0, high = at;
          while (low < high) {
            const middle = (low + high) >> 1;
            const mid = list[middle]?.mid ?? null;
            if (mid !== null && mid < message.mid) low = middle + 1;
            else high = middle;
          }
          at = low;
          break;
        }
      }
      mids.set(message.mid, message);
    }
    if (at === list.length) list.push(message);
    else list.splice(at, 0, message);
    this.of(message.conversation).added.push(message);
    this.#weigh(message);
    this.last(record);
  }

  /** @param {Message} message */
  #weigh(message) {
    const bytes = message.file?.data?.byteLength ?? 0;
    if (!bytes) return;
    this.#files.push(message);
    this.#bytes += bytes;
    for (let at = 0; this.#bytes > this.limits.fileBytes && at < this.#files.length - 1;) {
      const oldest = /** @type {Message} */ (this.#files[at]);
      if (oldest.mid === null) { at += 1; continue; }
      this.#files.splice(at, 1);
      this.#bytes -= oldest.file?.data?.byteLength ?? 0;
      if (oldest.file) oldest.file.data = null;
      oldest.msg = null;
      this.alter(oldest);
    }
  }

  /** @param {Record_} record */
  last(record) {
    const {info, list} = record;
    const newest = list.at(-1);
    if (newest && !info.hasNewer && newest !== info.last && (newest.mid === null || !info.last?.mid || newest.mid >= info.last.mid)) {
      info.last = newest;
      if (info.time !== newest.time) {
        info.time = newest.time;
        this.order();
      }
    }
    this.touch(info.id);
  }

  /** @param {Message} message */
  remove(message) {
    const record = this.find(message.conversation);
    if (!record) return;
    const at = record.list.lastIndexOf(message);
    if (at < 0) return;
    record.list.splice(at, 1);
    if (message.mid !== null && record.mids.get(message.mid) === message) record.mids.delete(message.mid);
    this.#dropped(record, [message]);
    if (record.info.last === message) {
      record.info.last = record.list.at(-1) ?? null;
      this.touch(record.info.id);
    }
  }

  /** @param {Record_} record @param {Message[]} messages */
  #dropped(record, messages) {
    const changes = this.of(record.info.id);
    const gone = new Set(messages);
    const wereNew = new Set(changes.added.filter((one) => gone.has(one)));
    if (wereNew.size) changes.added = changes.added.filter((one) => !gone.has(one));
    changes.changed = changes.changed.filter((one) => !gone.has(one));
    changes.removed.push(...messages.filter((one) => !wereNew.has(one)));
    const files = messages.filter(({file}) => file?.data);
    if (files.length) {
      this.#files = this.#files.filter((one) => !gone.has(one));
      for (const {file} of files) this.#bytes -= file?.data?.byteLength ?? 0;
    }
  }

  /** Drops what is beyond the bound: the oldest, or where older ones were loaded, the newest. @param {Record_} record @param {"old"|"new"} end */
  trim(record, end = "old") {
    const {info, list, mids} = record;
    const most = info.open ? this.limits.openMessages : this.limits.closedMessages;
    if (list.length <= most) return;
    /** @type {Message[]} */
    let gone = [];
    if (end === "old") {
      gone = list.splice(0, list.length - most);
      const unsent = gone.filter(({mid}) => mid === null);
      list.unshift(...unsent);
      gone = gone.filter(({mid}) => mid !== null);
      info.hasOlder = true;
    } else {
      const unsent = list.filter(({mid}) => mid === null);
      const kept = list.filter(({mid}) => mid !== null);
      gone = kept.splice(most);
      list.splice(0, list.length, ...kept, ...unsent);
      info.hasNewer = true;
    }
    for (const {mid} of gone) if (mid !== null) mids.delete(mid);
    this.#dropped(record, gone);
    this.touch(info.id);
  }

  /** What is older goes. @param {Record_} record @param {string} mid */
  dropBefore(record, mid) {
    const gone = record.list.filter((one) => one.mid !== null && one.mid < mid);
    if (!gone.length) return;
    const kept = record.list.filter((one) => one.mid === null || one.mid >= mid);
    record.list.splice(0, record.list.length, ...kept);
    for (const one of gone) if (one.mid !== null) record.mids.delete(one.mid);
    this.#dropped(record, gone);
    this.touch(record.info.id);
  }

  /** Everything that was sent goes; what waits stays. @param {Record_} record */
  reset(record) {
    const gone = record.list.filter(({mid}) => mid !== null);
    record.list.splice(0, record.list.length, ...record.list.filter(({mid}) => mid === null));
    record.mids.clear();
    record.sure = "";
    this.#dropped(record, gone);
    const changes = this.of(record.info.id);
    Object.assign(changes, {added: [], changed: [], removed: [], reset: true});
    Object.assign(record.info, {hasNewer: false, hasOlder: true, missed: 0});
    this.touch(record.info.id);
  }

  /** @param {string} id @param {Presence} presence */
  setPresence(id, presence) {
    this.#presence.set(id, presence);
    if (this.#presence.size > 2 * this.limits.watched) this.#presence.delete(/** @type {string} */ (this.#presence.keys().next().value));
    const record = this.find(id);
    if (record) record.info.presence = presence;
    this.touch(id);
  }

  /** Without a connection it is unknown who is online. */
  forgetPresence() {
    for (const [id, {online, lastSeen}] of this.#presence) if (online !== null) this.setPresence(id, {online: null, lastSeen});
  }

  /** @param {string} id @returns {Presence|null} */
  presenceOf(id) { return this.#presence.get(id) ?? null; }
}

// What is not acknowledged yet, kept in IndexedDB; and drafts. One message of a conversation is sent at a time, so that their order stays.

/** @typedef {{seq: number, cid: string, pId: string, msg: any, time: number, bytes: number, failed: Problem|null}} Entry */

const TRIES = 5; // connections that may be lost while one message is sent, before the user is asked
const SHORTEST = 1, LONGEST = 30; // seconds between tries while the server is busy
const SETTLED = 2000; // milliseconds after which what another tab wrote is kept

/** @typedef {{store: "outbox"|"state", run: (store: IDBObjectStore) => IDBRequest, done: () => void, failed: (error: any) => void}} Write */

/**
 * Two stores of one database, or of memory where there is none. What is written in one task is one transaction, which is committed at the
 * end of the task: all of it is kept, even if the page ends right then.
 */
export class Database {
  /** @type {IDBDatabase|null} */ #db = null;
  /** @type {Write[]} */ #writes = [];
  /** @param {IDBFactory|null} factory @param {string} name @param {() => void} failed */
  constructor(factory, name, failed) {
    this.factory = factory;
    this.name = name;
    this.failed = failed;
  }

  /** @returns {Promise<void>} */
  open() {
    return new Promise((resolve) => {
      if (!this.factory) return resolve();
      try {
        const opening = this.factory.open(this.name, 1);
        opening.onupgradeneeded = () => {
          opening.result.createObjectStore("outbox", {keyPath: "cid"});
          opening.result.createObjectStore("state");
        };
        opening.onsuccess = () => {
          this.#db = opening.result;
          this.#db.onversionchange = () => { this.close(); };
          resolve();
        };
        opening.onerror = opening.onblocked = () => { this.failed(); resolve(); };
      } catch {
        this.failed(); // a browser that forbids it
        resolve();
      }
    });
  }

  get isOpen() { return this.#db !== null; }

  /** @param {"outbox"|"state"} store @param {(store: IDBObjectStore) => IDBRequest} run @returns {Promise<any>} */
  #read(store, run) {
    return new Promise((resolve, reject) => {
      this.#flush(); // what was written before it is read
      if (!this.#db) return resolve(undefined);
      const transaction = this.#db.transaction(store, "readonly");
      const request = run(transaction.objectStore(store));
      transaction.oncomplete = () => { resolve(request.result); };
      transaction.onerror = transaction.onabort = () => { reject(transaction.error ?? new Error("IndexedDB failed")); };
    });
  }

  /** @param {"outbox"|"state"} store @param {(store: IDBObjectStore) => IDBRequest} run @returns {Promise<void>} */
  #write(store, run) {
    return new Promise((done, failed) => {
      if (!this.#db) return done();
      if (!this.#writes.length) queueMicrotask(() => { this.#flush(); });
      this.#writes.push({store, run, done, failed});
    });
  }

  #flush() { if (this.#writes.length) this.#commit(this.#writes.splice(0)); }

  /** @param {Write[]} writes  In their order. */
  #commit(writes) {
    /** @type {IDBTransaction} */
    let transaction;
    /** @type {unknown} */
    let fault = null;
    try {
      if (!this.#db) throw new Error("the database was closed");
      transaction = this.#db.transaction(["outbox", "state"], "readwrite");
    } catch (error) {
      for (const {failed} of writes) failed(error);
      return;
    }
    transaction.oncomplete = () => { for (const {done} of writes) done(); };
    transaction.onabort = () => {
      // What has no room must not take the rest with it.
      if (writes.length > 1) for (const one of writes) this.#commit([one]);
      else for (const {failed} of writes) failed(transaction.error ?? fault ?? new Error("IndexedDB failed"));
    };
    try {
      for (const {store, run} of writes) run(transaction.objectStore(store));
      transaction.commit?.();
    } catch (error) {
      fault = error; // it can't be cloned, or the transaction is over already
      try {
        transaction.abort();
      } catch {
        // It is over: `onabort` follows.
      }
    }
  }

  /** @param {"outbox"|"state"} store @returns {Promise<any[]>} */
  async values(store) { return (await this.#read(store, (one) => one.getAll())) ?? []; }
  /** @param {string} key @returns {Promise<any>} */
  get(key) { return this.#read("state", (one) => one.get(key)); }
  /** @param {"outbox"|"state"} store @param {any} value @param {string} [key] */
  put(store, value, key) { return this.#write(store, (one) => one.put(value, key)); }
  /** @param {"outbox"|"state"} store @param {string} key */
  remove(store, key) { return this.#write(store, (one) => one.delete(key)); }

  close() {
    this.#flush();
    this.#db?.close(); // after what was begun
    this.#db = null;
  }
}

/** What a refusal means. @param {any} answer @returns {{problem: Problem, wait: number|null}} */
export function refusal(answer) {
  const words = typeof answer?.WHY === "string" ? answer.WHY : "The server refused it.";
  const retryIn = Number.isFinite(answer?.retryIn) ? Math.max(0, answer.retryIn) : null;
  switch (answer?.ER) {
    case 1: return {problem: {code: "invalid", words, again: false}, wait: null};
    case 4: return {problem: {code: "slow down", words, again: true}, wait: retryIn};
    case 5: return {problem: {code: "too large", words, again: false}, wait: null};
    case 6: return {problem: {code: "not allowed", words, again: false}, wait: null};
    case 2: case 3: case 7: case 8: return {problem: {code: "not available", words, again: true}, wait: -1};
    default: return {problem: {code: "unknown", words, again: true}, wait: null};
  }
}

export class Outbox {
  /** @type {Map<string, Entry>} */ entries = new Map();
  /** @type {Set<string>} */ #busy = new Set();
  /** @type {Map<string, number>} */ #tries = new Map();
  /** Those that are not known to be kept: not yet, or they could not be. @type {Set<string>} */ #unkept = new Set();
  /** The greatest that was given, by any tab, and before a reload: the order stays, whatever this device's clock does. */ seq = 0;
  #bytes = 0;
  #tells = false;
  #keeps = true;
  #isLoaded = false;
  sends = false;

  /**
   * @param {string} user @param {Link} link @param {Database} database @param {Environment} environment
   * @param {{state: (entry: Entry, state: "waiting"|"sending"|"failed") => void, sent: (entry: Entry, answer: any) => void,
   *   gone: (entry: Entry) => void, added: (entry: Entry) => void, problem: (problem: Problem) => void}} tell
   */
  constructor(user, link, database, environment, tell) {
    this.user = user;
    this.link = link;
    this.database = database;
    this.environment = environment;
    this.tell = tell;
  }

  get bytes() { return this.#bytes; }

  /** Reads what was kept. Nothing is sent, or told to the other tabs, before. */
  async load() {
    this.#tells = true;
    for (const entry of this.entries.values()) {
      this.link.note({outbox: entry});
      if (!this.#keeps) this.#keep(entry);
    }
    this.#keeps = true;
    try {
      const kept = /** @type {Entry[]} */ (await this.database.values("outbox"));
      for (const entry of kept.sort((a, b) => a.seq - b.seq)) this.hear(entry);
      const inOrder = [...this.entries.values()].sort((a, b) => a.seq - b.seq);
      this.entries = new Map(inOrder.map((entry) => [entry.cid, entry]));
    } finally {
      this.#isLoaded = true;
      this.run();
    }
  }

  /** Removes what another tab has sent, or given up, while this one did not listen to the others. */
  async reconcile() {
    if (!this.#isLoaded || !this.database.isOpen) return;
    const now = this.environment.time();
    const cids = [...this.entries.values()].filter(({cid, time}) => !this.#unkept.has(cid) && now - time > SETTLED).map(({cid}) => cid);
    if (!cids.length) return;
    const kept = new Set((await this.database.values("outbox")).map(({cid}) => cid));
    for (const cid of cids) {
      const entry = kept.has(cid) ? undefined : this.take(cid);
      if (entry) this.tell.gone(entry);
    }
  }

  /** Takes over what another tab has kept while this one did not listen to it. */
  async refresh() {
    if (!this.#isLoaded) return;
    const known = new Set(this.entries.keys()); // one of these may be sent before the answer
    for (const entry of await this.database.values("outbox")) if (!known.has(entry.cid) && !this.entries.has(entry.cid)) this.hear(entry);
  }

  /** An entry that another tab wrote, or that was kept. @param {Entry} entry */
  hear(entry) {
    const before = this.entries.get(entry.cid);
    this.#bytes += entry.bytes - (before?.bytes ?? 0);
    this.seq = Math.max(this.seq, entry.seq);
    this.entries.set(entry.cid, entry);
    if (!before) this.tell.added(entry);
    this.tell.state(entry, entry.failed ? "failed" : "waiting");
    this.run();
  }

  /** @param {Entry} entry */
  put(entry) {
    this.hear(entry);
    if (this.#tells) this.link.note({outbox: entry});
    if (this.#keeps) this.#keep(entry);
  }

  /** @param {Entry} entry */
  #keep(entry) {
    this.#unkept.add(entry.cid);
    this.database.put("outbox", entry).then(() => { this.#unkept.delete(entry.cid); }, (/** @type {any} */ error) => {
      const quota = error?.name === "QuotaExceededError";
      this.tell.problem({code: quota ? "quota" : "storage", words: quota ? "This device has no room left: keep the page open until the message is sent."
        : "This browser keeps nothing: keep the page open until the message is sent.", again: false});
    });
  }

  /** Keeps nothing that is written with a token that was refused: another tab would send it. */
  withdraw() {
    this.#keeps = false;
    for (const cid of this.entries.keys()) void this.database.remove("outbox", cid).catch(() => null); // nor was it kept
  }

  /** @param {string} cid @returns {Entry|undefined} */
  take(cid) {
    const entry = this.entries.get(cid);
    if (!entry) return undefined;
    this.entries.delete(cid);
    this.#unkept.delete(cid);
    this.#tries.delete(cid);
    this.#bytes -= entry.bytes;
    return entry;
  }

  /** @param {string} cid */
  remove(cid) {
    const entry = this.take(cid);
    void this.database.remove("outbox", cid).catch(() => { /* sent again after a reload, and known by its cid */ });
    return entry;
  }

  /** @param {string} cid */
  discard(cid) {
    const entry = this.remove(cid);
    if (!entry) return;
    this.link.note({discarded: cid});
    this.tell.gone(entry);
  }

  /** Sends what waits, where this tab leads and is connected. */
  run() {
    if (!this.sends || !this.#isLoaded || this.link.status.state !== "connected") return;
    const heads = new Map();
    for (const entry of this.entries.values()) if (!entry.failed && !heads.has(entry.pId)) heads.set(entry.pId, entry);
    for (const entry of heads.values()) if (!this.#busy.has(entry.pId)) void this.#send(entry);
  }

  /** @param {Entry} entry */
  async #send(entry) {
    const {cid, pId} = entry;
    const tries = (this.#tries.get(cid) ?? 0) + 1;
    this.#tries.set(cid, tries);
    this.#busy.add(pId);
    this.tell.state(entry, "sending");
    this.link.note({sending: cid});
    let wait = 0;
    try {
      const payload = {uId: this.user, pId, msg: entry.msg, rno: entry.seq % 1e9, time: Math.floor(entry.time / 1000), cid};
      const answer = await this.link.request("Send", payload);
      if (!answer?.ER) {
        if (this.remove(cid)) this.tell.sent(entry, answer);
        this.link.note({sent: cid, answer});
      } else {
        const {problem, wait: asked} = refusal(answer);
        if (asked === null) this.#fail(entry, problem);
        else wait = asked >= 0 ? asked : Math.min(LONGEST, SHORTEST * 2 ** Math.min(tries - 1, 5));
      }
    } catch (error) {
      if (error instanceof TooLarge) this.#fail(entry, {code: "too large", words: "Too long for this server.", again: false});
      else if (tries >= TRIES) this.#fail(entry, {code: "connection", words: "The connection was lost each time it was sent.", again: true});
      else if (!(error instanceof Lost)) this.link.giveUp(); // no answer in time: a new connection, and the same cid
    }
    if (this.entries.get(cid) === entry && !entry.failed) {
      this.tell.state(entry, "waiting");
      this.link.note({outbox: entry});
    }
    const next = () => {
      this.#busy.delete(pId);
      this.run();
    };
    if (wait) this.environment.setTimeout(next, wait * 1000);
    else next();
  }

  /** @param {Entry} entry @param {Problem} problem */
  #fail(entry, problem) {
    if (!this.entries.has(entry.cid)) return;
    this.#tries.delete(entry.cid);
    this.put({...entry, failed: problem});
  }
}
