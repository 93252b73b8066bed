// Conversations and their messages in memory, bounded; and what changed since the page was last told.

import {read} from "./content.js";

/** @import {Changes, Conversation, Limits, Message, MessageChanges, Presence, Problem} from "./types.js" */

/** @type {Limits} */
export const LIMITS = {
  conversations: 500, openMessages: 2000, closedMessages: 100, fileBytes: 60_000_000,
  outboxMessages: 500, outboxBytes: 50_000_000, drafts: 100, draftLength: 20_000, watched: 500, names: 2000,
};

/** @typedef {{info: Conversation, list: Message[], mids: Map<string, Message>, fresh: boolean, edges: string[], counted: string, readMid: string, peerRead: string, peerDelivered: string, typingUntil: number}} Record_ */

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

  /** What changed; from now on it is gathered anew. @returns {Changes} */
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
      list: [], mids: new Map(), fresh: false, edges: [], counted: "", readMid: "", peerRead: "", peerDelivered: "", typingUntil: 0,
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

  /** A message of the server as the page sees it. @param {any} item @param {string} [cid] @returns {Message} */
  message(item, cid) {
    const from = String(item.uId), conversation = this.conversationOf(item);
    if (typeof item.name === "string" && item.name) {
      this.#names.delete(from);
      this.#names.set(from, item.name.slice(0, 64));
      if (this.#names.size > this.limits.names) this.#names.delete(/** @type {string} */ (this.#names.keys().next().value));
    }
    const {text, quote, file} = read(item.msg);
    const mid = typeof item.mid === "string" ? item.mid : `~${item.msgTime}-${cid ?? crypto.randomUUID()}`;
    const record = this.#records.get(conversation);
    const own = from === this.user;
    /** @type {Message["state"]} */
    const state = !own ? "received" : record && record.peerRead >= mid ? "read" : record && record.peerDelivered >= mid ? "delivered" : "sent";
    const time = Number(item.msgTime) || 0;
    /** @type {Message} */
    const message = {key: cid ?? mid, mid, conversation, from, own, time, state, problem: null, text, file, msg: item.msg, reply: null};
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
    if (message.mid !== null) {
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
      for (let at = gone.length; at > 0; at -= 100) record.edges.push(gone[at]?.mid ?? "");
      info.hasNewer = true;
    }
    for (const {mid} of gone) if (mid !== null) mids.delete(mid);
    this.#dropped(record, gone);
    this.touch(info.id);
  }

  /** Everything that was sent goes; what waits stays. @param {Record_} record */
  reset(record) {
    const gone = record.list.filter(({mid}) => mid !== null);
    record.list.splice(0, record.list.length, ...record.list.filter(({mid}) => mid === null));
    record.mids.clear();
    record.edges = [];
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

  /** Without a connection nobody knows who is online. */
  forgetPresence() {
    for (const [id, {lastSeen}] of this.#presence) this.setPresence(id, {online: null, lastSeen});
  }

  /** @param {string} id @returns {Presence|null} */
  presenceOf(id) { return this.#presence.get(id) ?? null; }
}
