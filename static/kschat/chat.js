// The client of a kschat daemon, for any page: conversations, messages, outbox, history, presence.
//
//   import {Chat} from "./kschat/chat.js";
//   const chat = new Chat({user: "alice", token});
//   chat.on("change", (changes) => …);
//   await chat.start();
//
// Its types are in types.js: `Chat` is the `ChatApi` there.

import {Link} from "./link.js";
import {
  Database, LIMITS, Outbox, Refused, Store, clean, midAt, newId, placeOf, quotation, read, refusal, sizeOf, stateOf, write,
} from "./store.js";

/** @import {ChatApi, Changes, Conversation, Draft, Environment, FilePart, Limits, Message, Options, Presence} from "./types.js" */
/** @import {Entry, Record_} from "./store.js" */

export {Refused} from "./store.js";

const PAGE = 100; // messages a page of History
const CATCH_UP = 5; // pages that may lie between what is here and what is new; beyond, only the newest are loaded
const NEWEST = 3; // times that the newest page is asked for, while more comes
const GUESSES = 70; // pages that are asked for at most to find what comes right after a message
const RECEIPTS = 10; // conversations that end with a message of the user's own, whose receipts are asked for
const TYPING_SHOWN = 4000, TYPING_SAID = 2000; // milliseconds
const TYPING_PASSED = 1000; // milliseconds in which the server passes on one from one user to another (typing_interval)
const REFRESH = 1000; // milliseconds for which reasons to ask for the list of conversations are gathered
const RECONCILE = 3000; // milliseconds after which a tab that follows looks whether what waits was sent by another
const HEADROOM = 300; // bytes of a packet that are not `msg`

/** @returns {Environment} */
function browser() {
  const page = globalThis.document ?? null;
  const soon = typeof MessageChannel === "function" ? new MessageChannel() : null;
  /** @type {(() => void)[]} */
  const waiting = [];
  if (soon && page) soon.port1.onmessage = () => { waiting.shift()?.(); };
  return {
    WebSocket: globalThis.WebSocket, indexedDB: globalThis.indexedDB ?? null, locks: globalThis.navigator?.locks ?? null,
    BroadcastChannel: page ? globalThis.BroadcastChannel ?? null : null,
    setTimeout: (run, milliseconds) => setTimeout(run, milliseconds), clearTimeout: (timer) => { clearTimeout(timer); },
    now: () => performance.now(), time: () => Date.now(), random: Math.random,
    frame: (run) => {
      if (!page) setTimeout(run, 0);
      else if (page.visibilityState === "hidden") { waiting.push(run); soon?.port2.postMessage(0); }
      else {
        let done = false;
        const once = () => { if (!done) { done = true; run(); } };
        requestAnimationFrame(once);
        setTimeout(once, 200); // a window that is covered draws no frames
      }
    },
    visible: () => page?.visibilityState !== "hidden", online: () => globalThis.navigator?.onLine !== false,
    events: typeof window === "undefined" ? null : window, page,
  };
}

/** @implements {ChatApi} */
export class Chat {
  /** @type {Options} */ #options;
  /** @type {Environment} */ #environment;
  /** @type {Limits} */ #limits;
  /** @type {Set<(changes: Changes) => void>} */ #listeners = new Set();
  /** @type {Map<string, Message>} */ #pending = new Map();
  /** @type {{item: any, from: "live"|"carbon"|"update"}[]} */ #incoming = [];
  /** @type {(() => void)[]} */ #acks = [];
  /** @type {Map<string, Promise<any>>} */ #loading = new Map();
  /** When typing was told, and how long it is not told again. @type {Map<string, {at: number, wait: number}>} */ #said = new Map();
  /** @type {string[]} */ #extra = [];
  /** @type {Map<string, any>} */ #state = new Map();
  /** What changed before the state was read. @type {Set<string>} */ #unkept = new Set();
  #isRestoring = false;
  #isRestored = false;
  /** The newest place in the user's inbox that this device was told of, and that at the last loss of the connection. */
  #offset = 0;
  #missedFrom = 0;
  /** By message, the place in the inbox of its last change. @type {WeakMap<Message, number>} */ #changed = new WeakMap();
  #due = false;
  #refreshing = false;
  #wasConnected = false;
  #watched = "";

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
    this.user = String(options.user);
    const environment = this.#environment = {...browser(), ...options.environment};
    this.#limits = {...LIMITS, ...options.limits};
    const url = new URL(options.url ?? "socket.io/", globalThis.document?.baseURI);
    url.protocol = url.protocol === "https:" || url.protocol === "wss:" ? "wss:" : "ws:";
    this.store = new Store(this.user, this.#limits, () => { this.#schedule(); });
    const name = `kschat ${url.host}${url.pathname} ${this.user}`;
    this.database = new Database(options.keep === false ? null : environment.indexedDB, name, () => {
      this.store.problem({code: "storage", words: "This browser keeps nothing: what is not sent is lost when the page is closed.", again: false});
    });
    this.link = new Link({
      url, user: this.user, token: options.token, renew: options.renew ?? null, environment, name, shared: options.shared !== false,
      hear: (event, payload, ack) => { this.#hear(event, payload, ack); },
      tell: (status) => {
        this.store.changes.status = true;
        this.#schedule();
        // Whose token was refused sees nothing of what is kept here. While the server can't be asked, the tab is believed.
        if (["connected", "waiting", "offline"].includes(status.state)) void this.#restore();
        else if (["token", "revoked"].includes(status.code) && !this.#isRestoring) this.outbox.withdraw();
        if (status.state === "connected") this.#connected();
        else if (this.#wasConnected) {
          this.#wasConnected = false;
          this.#missedFrom = this.#offset;
          for (const record of this.store.all()) {
            if (record.fresh) record.sure = record.list.findLast(({mid}) => mid !== null)?.mid ?? "";
            record.fresh = false;
          }
          this.store.forgetPresence();
        }
      },
      note: (note) => { this.#note(note); },
      leads: (leads) => { this.outbox.sends = leads; this.outbox.run(); },
    });
    this.outbox = new Outbox(this.user, this.link, this.database, environment, {
      added: (entry) => { this.#shown(entry); },
      state: (entry, state) => {
        const message = this.#pending.get(entry.cid);
        if (!message) return;
        Object.assign(message, {state, problem: entry.failed});
        if (message.msg !== entry.msg) this.#fill(message, entry);
        this.store.alter(message);
      },
      sent: (entry, answer) => { this.#sent(entry.cid, answer); },
      gone: (entry) => { this.#gone(entry.cid); },
      problem: (problem) => { this.store.problem(problem); },
    });
  }

  get status() { return this.link.status; }
  get limit() { return this.link.limit; }
  get leader() { return this.link.leader; }
  get conversations() { return this.store.conversations; }

  /** @param {"change"} _event @param {(changes: Changes) => void} listener */
  on(_event, listener) {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  }

  async start() {
    await this.database.open();
    const {page, events, indexedDB} = this.#environment;
    if (page && !indexedDB && this.#options.keep !== false) this.database.failed();
    page?.addEventListener("visibilitychange", this.#seen);
    events?.addEventListener("focus", this.#seen);
    events?.addEventListener("pagehide", this.#hold);
    this.link.start();
  }

  /** Takes over what this browser keeps of the user. */
  async #restore() {
    if (this.#isRestoring) return;
    this.#isRestoring = true;
    const unreadable = () => { this.store.problem({code: "storage", words: "What this browser kept cannot be read.", again: false}); };
    try {
      for (const [id, kept] of Object.entries((await this.database.get("kept")) ?? {})) {
        this.#state.set(id, kept);
        this.#known(id, kept);
      }
    } catch {
      unreadable();
    }
    this.#isRestored = true;
    for (const id of this.#unkept) this.#keep(id);
    this.#unkept.clear();
    await this.outbox.load().catch(unreadable);
    if (this.status.state === "connected") this.#connected();
  }

  stop() {
    this.#hold();
    this.#environment.page?.removeEventListener("visibilitychange", this.#seen);
    this.#environment.events?.removeEventListener("focus", this.#seen);
    this.#environment.events?.removeEventListener("pagehide", this.#hold);
    this.outbox.sends = false;
    this.link.stop();
    this.database.close();
  }

  connect() { this.link.connect(); }
  /** @param {string} token */
  setToken(token) { this.link.setToken(token); }
  /** @param {boolean} [all] */
  async logout(all = false) {
    await this.link.request("Logout", ...(all ? [{all: true}] : [])).catch(() => null); // no answer: the connection has ended
    this.#forget();
    await this.database.remove("state", "kept").catch(() => null); // there is nothing, then
    this.link.note({logout: true});
    this.stop();
  }

  /** What is kept beside the outbox. */
  #forget() {
    this.#state.clear();
    this.#isDue = false;
  }

  /** @param {string} id */
  name(id) {
    const {names} = this.#options;
    const given = typeof names === "function" ? names(id) : names instanceof Map ? names.get(id)
      : names && Object.hasOwn(names, id) ? /** @type {Record<string, string>} */ (names)[id] : null;
    // An id of invisible characters alone is shown as their code points.
    return clean(given || this.store.nameOf(id) || id) || [...id].map((one) => `U+${one.codePointAt(0)?.toString(16)}`).join(" ");
  }

  /** @param {string} id */
  conversation(id) { return this.store.find(id)?.info; }
  /** @param {string} id */
  messages(id) { return this.store.find(id)?.list ?? []; }

  /** @param {string} id @returns {Promise<Conversation>} */
  async open(id) {
    const record = this.store.record(id);
    record.info.open = true;
    record.info.readUpTo = record.readMid || null;
    this.#watch();
    await this.#freshen(record).catch(() => null); // offline: with what there is
    return record.info;
  }

  /** @param {string} id */
  close(id) {
    const record = this.store.find(id);
    if (!record) return;
    record.info.open = false;
    if (record.info.hasNewer) {
      this.store.reset(record);
      record.fresh = false;
    } else this.store.trim(record);
    this.store.touch(id);
  }

  /** Loads the newest messages where they are not, and what was missed. @param {Record_} record @returns {Promise<void>} */
  #freshen(record) {
    if (record.fresh || !this.#isRestored || this.status.state !== "connected") return Promise.resolve();
    return this.#once(record, async () => {
      const {sure} = record;
      record.fresh = true; // what comes from now on is added
      if (record.info.hasNewer) return; // `newer` and `newest` get what was missed
      let page = await this.#page(record.info.id);
      const pages = [page.MSG];
      const oldest = () => String(page.MSG[0]?.mid);
      while (sure && page.more && oldest() > sure && pages.length < CATCH_UP) {
        page = await this.#page(record.info.id, oldest());
        pages.unshift(page.MSG);
      }
      if (!page.more) record.info.hasOlder = false;
      else if (!sure || oldest() > sure) {
        // Messages may be missing between these pages and what is in memory: the backlog starts with its oldest message, and has none of
        // the user's own.
        this.store.dropBefore(record, oldest());
        record.info.hasOlder = true;
      }
      for (const item of pages.flat()) this.#add(item, "page");
      record.info.loaded = true;
      this.store.trim(record);
    }).catch((error) => {
      record.fresh = false;
      throw error;
    });
  }

  /** One loading of a conversation at a time. @template T @param {Record_} record @param {() => Promise<T>} run @returns {Promise<T>} */
  #once(record, run) {
    const {id} = record.info;
    const before = this.#loading.get(id) ?? Promise.resolve();
    record.info.loading = true;
    this.store.touch(id);
    const loading = before.catch(() => null).then(run).finally(() => {
      if (this.#loading.get(id) === loading) this.#loading.delete(id);
      record.info.loading = this.#loading.has(id);
      this.store.touch(id);
    });
    this.#loading.set(id, loading);
    return loading;
  }

  /** @param {string} pId @param {string} [before] @param {number} [limit] @returns {Promise<{MSG: any[], more: boolean}>} */
  async #page(pId, before, limit = PAGE) {
    const answer = await this.#ask("History", {pId, limit, ...(before ? {before} : {})});
    return {MSG: Array.isArray(answer?.MSG) ? answer.MSG : [], more: Boolean(answer?.more)};
  }

  /** @param {string} event @param {any} [payload] */
  async #ask(event, payload) {
    const answer = await this.link.request(event, payload);
    if (answer?.ER) throw new Refused(refusal(answer).problem);
    return answer;
  }

  /** @param {string} id */
  async older(id) {
    const record = this.store.record(id);
    if (!record.info.loaded) await this.#freshen(record);
    return this.#once(record, async () => {
      const oldest = record.list.find(({mid}) => mid !== null);
      if (!record.info.hasOlder || !oldest?.mid) return 0;
      const page = await this.#page(id, oldest.mid);
      record.info.hasOlder = page.more;
      for (const item of page.MSG) this.#add(item, "page");
      this.store.trim(record, "new");
      return page.MSG.length;
    });
  }

  /** @param {string} id */
  async newer(id) {
    const record = this.store.record(id);
    return this.#once(record, async () => {
      const newest = record.list.findLast(({mid}) => mid !== null)?.mid;
      if (!record.info.hasNewer || !newest) return 0;
      const {missed} = record.info;
      const next = await this.#after(record, newest);
      if (!next) {
        await this.#toNewest(record);
        return record.list.length;
      }
      let came = 0;
      if (next.isEnd) this.#atNewest(record, next.MSG, missed);
      for (const item of next.MSG) if (this.#add(item, "page")) came += 1;
      this.store.trim(record, "old");
      return came;
    });
  }

  /** @param {string} id */
  async newest(id) {
    const record = this.store.record(id);
    if (record.info.hasNewer) await this.#once(record, () => this.#toNewest(record));
  }

  /** @param {string} id @param {string} mid */
  async around(id, mid) {
    const record = this.store.record(id);
    await this.#once(record, async () => {
      const {missed} = record.info;
      const page = await this.#page(id, midAt(placeOf(mid) + 1n));
      const next = await this.#after(record, mid, page.MSG);
      if (!next) throw new Error("What follows was not found.");
      this.store.reset(record);
      Object.assign(record.info, {hasOlder: page.more, hasNewer: true, loaded: true, missed});
      // What came live meanwhile was dropped with the rest.
      if (next.isEnd && String(record.info.last?.mid ?? "") <= String(next.MSG.at(-1)?.mid ?? mid)) this.#atNewest(record, next.MSG, missed);
      for (const item of [...page.MSG, ...next.MSG]) this.#add(item, "page");
    });
  }

  /** The newest page in place of what is in memory. @param {Record_} record */
  async #toNewest(record) {
    let page, missed;
    let tries = 0;
    do {
      ({missed} = record.info);
      page = await this.#page(record.info.id);
      this.#take();
    } while (record.info.missed > missed && ++tries < NEWEST); // what the user wrote, say, is stored meanwhile
    missed = record.info.missed;
    this.store.reset(record);
    Object.assign(record.info, {hasOlder: page.more, hasNewer: true, missed});
    this.#atNewest(record, page.MSG, missed);
    for (const item of page.MSG) this.#add(item, "page");
  }

  /**
   * The newest page is there, unless something came while it was on its way.
   *
   * @param {Record_} record
   * @param {any[]} page
   * @param {number} missed  Its `missed` before.
   */
  #atNewest({info}, page, missed) {
    this.#take();
    if (info.missed > missed && String(info.last?.mid) > String(page.at(-1)?.mid ?? "")) return;
    Object.assign(info, {hasNewer: false, missed: 0});
  }

  /**
   * What comes right after a message. History has pages before a mid alone: where a page must end that reaches back to this message is
   * guessed, by how densely messages lie there, and guessed again by halves.
   *
   * @param {Record_} record
   * @param {string} mid
   * @param {{mid?: any}[]} [before]  Messages before it.
   * @returns {Promise<{MSG: any[], isEnd: boolean}|null>}  null: it was not found.
   */
  async #after({info, list}, mid, before = list) {
    const place = placeOf(mid);
    const last = info.last?.mid ? placeOf(info.last.mid) : place;
    const dense = before.filter((one) => typeof one.mid === "string" && one.mid <= mid).slice(-PAGE / 4);
    let span = dense.length ? 4n * (place - placeOf(String(dense[0]?.mid))) : 0n;
    if (span <= 0n) span = 1n;
    let isEmpty = place; // up to here nothing comes after it
    let beyond = 0n; // before here something does, and a page that ends here does not reach back; 0: unknown
    let upto = place + span;
    /** The page whose first message may be the one right after it. @type {{MSG: any[], isEnd: boolean}|null} */
    let held = null;
    for (let guess = 0; guess < GUESSES; guess++) {
      /** @type {boolean} */
      const isEnd = !beyond && !held && upto > last;
      const page = await this.#page(info.id, isEnd ? undefined : midAt(upto));
      const MSG = page.MSG.filter((item) => String(item.mid) > mid);
      if (!page.more || MSG.length < page.MSG.length) {
        if (held || MSG.length || isEnd) return {MSG: [...MSG, ...held?.MSG ?? []], isEnd: held?.isEnd ?? isEnd};
        isEmpty = upto;
        span *= 4n;
        upto = beyond ? (isEmpty + beyond) / 2n + 1n : place + span;
      } else if (!held) {
        held = {MSG, isEnd};
        upto = placeOf(String(MSG[0].mid));
      } else {
        held = null;
        beyond = placeOf(String(MSG[0].mid));
        upto = (isEmpty + beyond) / 2n + 1n;
      }
    }
    return null;
  }

  /** @param {string} id @param {Draft} draft */
  send(id, {text = "", reply, file}) {
    const msg = write(text, reply ? quotation(reply) : null, file ?? null);
    const bytes = sizeOf(msg);
    if (bytes + HEADROOM > this.limit) throw tooLarge();
    if (this.outbox.entries.size >= this.#limits.outboxMessages || this.outbox.bytes + bytes > this.#limits.outboxBytes) {
      throw new Refused({code: "full", words: "Too many messages wait to be sent.", again: true});
    }
    const cid = newId();
    // A message clears the typing sign at the peer. Further typing is announced as soon as the server would pass it on.
    const said = this.#said.get(id);
    if (said) said.wait = TYPING_PASSED;
    const time = this.#environment.time();
    const seq = Math.max(time * 1000, this.outbox.seq + 1);
    this.outbox.put({seq, cid, pId: id, msg, time, bytes, failed: null});
    const message = this.#pending.get(cid);
    if (!message) throw new Error("the message is not there");
    void this.newest(id).catch(() => null); // who writes is at the end; without a connection that waits
    return message;
  }

  /** @param {Entry} entry */
  #shown(entry) {
    const conversation = entry.pId;
    const record = this.store.record(conversation);
    /** @type {Message} */
    const message = {
      key: entry.cid, mid: null, conversation, from: this.user, own: true, time: entry.time, state: "waiting", problem: null,
      text: "", deleted: false, edited: false, file: null, reply: null, msg: undefined, reactions: {},
    };
    this.#fill(message, entry);
    this.#pending.set(entry.cid, message);
    this.store.insert(message);
    this.store.trim(record);
  }

  /** @param {Message} message @param {Entry} entry */
  #fill(message, entry) {
    const {text, quote, file} = read(entry.msg);
    Object.assign(message, {msg: entry.msg, text, file, reply: quote === null ? null : {text: quote, mid: null}});
  }

  /** @param {Message} message */
  retry(message) {
    const entry = this.outbox.entries.get(message.key);
    if (entry?.failed) this.outbox.put({...entry, failed: null});
  }

  /** @param {Message} message @param {string} text */
  async edit(message, text) {
    const entry = this.outbox.entries.get(message.key);
    if (entry && message.state === "sending") return;
    if (message.file && !message.file.data) await this.load(message);
    const msg = write(text, message.reply?.text ?? null, message.file);
    if (sizeOf(msg) + HEADROOM > this.limit) throw tooLarge();
    if (!entry) return this.#change("edit", message, {msg});
    // The old text may have reached the server: the new one needs a cid of its own.
    this.outbox.discard(entry.cid);
    this.outbox.put({...entry, cid: newId(), msg, bytes: sizeOf(msg), failed: null});
  }

  /** @param {Message} message */
  delete(message) { return this.#change("delete", message, {}); }
  /** @param {Message} message @param {string} emoji */
  react(message, emoji) { return this.#change("react", message, {emoji}); }

  /** @param {"edit"|"delete"|"react"} kind @param {Message} message @param {{msg?: unknown, emoji?: string}} what */
  async #change(kind, {mid, conversation}, what) {
    if (mid === null) throw new Refused({code: "invalid", words: "It is not sent yet.", again: false});
    const event = {edit: "Edit", delete: "Delete", react: "React"}[kind];
    const {at} = await this.#ask(event, {mid, pId: conversation, ...what});
    const update = {kind, mid, uId: this.user, pId: conversation, at, ...what};
    this.#update(update);
    this.link.note({update}); // the server tells the other connections
  }

  /** @param {Message} message */
  discard(message) { if (message.state !== "sending") this.outbox.discard(message.key); }

  /** @param {Message} message */
  async load(message) {
    if (!message.file || message.file.data || !message.mid) return message.file;
    const {MSG} = await this.#page(message.conversation, midAt(placeOf(message.mid) + 1n), 1); // those before the next place: a page of one
    const item = MSG.find(({mid}) => mid === message.mid);
    if (!item) throw new Refused({code: "not available", words: "The server no longer has it.", again: false});
    message.msg = item.msg;
    message.file = read(item.msg).file;
    this.store.alter(message);
    return message.file;
  }

  /** @param {string} id */
  read(id) {
    const record = this.store.find(id);
    if (!record) return;
    const {list, info, readMid} = record;
    // Up to the newest, whoever wrote it, for this browser; the server is told of what others wrote.
    const newest = list.findLast(({mid}) => mid !== null)?.mid ?? info.last?.mid;
    if (!newest) return;
    const isLast = newest >= String(info.last?.mid ?? ""); // else there is more that is not loaded yet, and unread
    if (readMid >= newest && !(isLast && info.unread)) return;
    const mid = list.findLast((one) => one.mid !== null && !one.own)?.mid ?? (info.last?.own ? null : info.last?.mid) ?? null;
    const isNews = mid !== null && (info.unread > 0 || mid > readMid);
    this.#isRead(id, newest);
    this.link.note({read: id, mid: newest});
    if (!isNews || mid.startsWith("~")) return; // the latter: a server that keeps nothing
    void this.#ask("Read", {pId: id, mid}).catch(() => null); // said again with the next one
  }

  /** @param {string} id @param {string} mid */
  #isRead(id, mid) {
    const record = this.store.record(id);
    record.readMid = record.readMid > mid ? record.readMid : mid;
    if (record.readMid >= String(record.info.last?.mid ?? "")) record.info.unread = 0;
    this.#keep(id);
    this.store.touch(id);
  }

  /** Another device has read up to there. What came after it is still unread. @param {string} id @param {string} mid */
  #readElsewhere(id, mid) {
    this.#take(); // messages that came before this event are counted before it
    const record = this.store.find(id);
    if (!record || mid <= record.readMid) return;
    this.#isRead(id, mid);
    if (String(record.info.last?.mid ?? "") <= mid) return;
    record.info.unread = record.list.filter((one) => !one.own && one.mid !== null && one.mid > mid).length;
    this.#refresh(REFRESH); // the server knows it better
  }

  /** @param {string} id */
  typing(id) {
    const now = this.#environment.now();
    const said = this.#said.get(id);
    if (id.startsWith("#") || (said && now - said.at < said.wait)) return;
    if (this.#said.size > 100) this.#said.clear();
    this.#said.set(id, {at: now, wait: TYPING_SAID});
    this.link.emit("Typing", {pId: id});
  }

  /** @param {string} id @param {string} text */
  setDraft(id, text) {
    const record = this.store.record(id);
    record.info.draft = text; // whole while this page lives; what is kept is bounded
    this.link.note({draft: id, text: record.info.draft});
    this.#keep(id);
    this.store.touch(id);
  }

  #isDue = false;
  #keepsNone = false;
  /** Drafts, and how far conversations were read, in one value. @param {string} id */
  #keep(id) {
    const record = this.store.find(id);
    if (!record) return;
    if (!this.#isRestored) {
      this.#unkept.add(id);
      return;
    }
    this.#state.delete(id);
    const {readMid, peerRead, peerDelivered, info: {draft}} = record;
    this.#state.set(id, {draft: draft.slice(0, this.#limits.draftLength), readMid, peerRead, peerDelivered});
    if (this.#state.size > this.#limits.drafts) {
      // The oldest without a draft: how far it was read, the server knows too.
      const [oldest] = [...this.#state].find(([, kept]) => !kept.draft) ?? [...this.#state.keys()];
      this.#state.delete(/** @type {string} */ (oldest));
    }
    if (this.#isDue) return;
    this.#isDue = true;
    this.#environment.setTimeout(this.#hold, 100);
  }

  /** Writes what is due, also when the page goes away before its time. */
  #hold = () => {
    if (!this.#isDue) return;
    this.#isDue = false;
    this.database.put("state", Object.fromEntries(this.#state), "kept").then(() => { this.#keepsNone = false; }, () => {
      if (this.#keepsNone) return; // said already
      this.#keepsNone = true;
      this.store.problem({code: "drafts", words: "This browser keeps no drafts: they are lost when the page is closed.", again: false});
    });
  };

  /** @param {string} id @param {any} kept */
  #known(id, {draft = "", readMid = "", peerRead = "", peerDelivered = ""}) {
    const record = this.store.record(id);
    const newer = (/** @type {string} */ one, /** @type {string} */ other) => (one > other ? one : other);
    record.readMid = newer(record.readMid, readMid);
    record.peerRead = newer(record.peerRead, peerRead);
    record.peerDelivered = newer(record.peerDelivered, peerDelivered);
    record.info.draft ||= draft; // unless the user has written already
    if (record.info.open) record.info.readUpTo ??= readMid || null;
    this.store.touch(id);
  }

  /** @param {string[]} ids */
  watch(ids) {
    this.#extra = ids;
    this.#watch();
  }

  #watch() {
    const ids = new Set(this.#extra);
    for (const {id, room, open} of this.conversations) if (open && !room) ids.add(id);
    for (const {id, room} of this.conversations) {
      if (ids.size >= this.#limits.watched) break;
      if (!room && id !== this.user) ids.add(id);
    }
    const list = [...ids].slice(0, this.#limits.watched);
    const now = [...list].sort().join("\n");
    if (now === this.#watched) return;
    this.#watched = now;
    this.link.watch(list);
  }

  /** @param {string} id */
  presence(id) { return this.store.presenceOf(id); }

  /** @param {string} room @returns {Promise<Conversation>} */
  async join(room) {
    const id = room.startsWith("#") ? room : `#${room}`;
    await this.#ask("Join", {room: id});
    const record = this.store.record(id);
    // An earlier History was answered as for a user who is not a member: with nothing.
    record.fresh = false;
    record.sure = "";
    if (record.info.open) await this.#freshen(record).catch(() => null); // asked again at the next opening
    return record.info;
  }

  /** @param {string} room */
  async leave(room) { await this.#ask("Leave", {room}); }
  /** @param {string} id */
  async block(id) { await this.#ask("Block", {pId: id}); }
  /** @param {string} id */
  async unblock(id) { await this.#ask("Unblock", {pId: id}); }
  async blocked() { return /** @type {string[]} */ ((await this.#ask("Blocked")).ids); }

  async pushKey() { return /** @type {string} */ ((await this.#ask("PushKey")).key); }
  /** @param {PushSubscription} subscription */
  async pushSubscribe(subscription) { await this.#ask("PushSubscribe", subscription.toJSON()); }
  /** @param {string} endpoint */
  async pushUnsubscribe(endpoint) { await this.#ask("PushUnsubscribe", {endpoint}); }

  /** @param {string} words @param {string} [id] */
  search(words, id) {
    const sought = words.toLocaleLowerCase();
    /** @type {Message[]} */
    const found = [];
    if (!sought) return found;
    for (const record of this.store.all()) {
      if (id !== undefined && record.info.id !== id) continue;
      for (const one of record.list) if (one.text.toLocaleLowerCase().includes(sought) || one.file?.name.toLocaleLowerCase().includes(sought)) found.push(one);
    }
    return found.sort((a, b) => b.time - a.time);
  }

  /** @param {number} [offset] @returns {AsyncGenerator<Message[]>} */
  async *inbox(offset = 0) {
    for (let more = true; more;) {
      const page = await this.#ask("Sync", {offset});
      more = Boolean(page.more) && page.MSG.length > 0;
      offset = page.MSG.at(-1)?.offset ?? offset;
      if (page.MSG.length) yield page.MSG.map((/** @type {any} */ item) => this.store.message(item));
    }
  }

  #connected() {
    if (!this.#isRestored || this.#wasConnected) return;
    this.#wasConnected = true;
    this.#watched = "";
    void this.#conversations().then(() => this.#askReceipts()); // first, so that each page of messages comes with its unread count
    for (const record of this.store.all()) if (record.info.open) void this.#freshen(record).catch(() => null); // at the next connection
    if (this.#missedFrom) void this.#catchUp(this.#missedFrom).catch(() => null);
    // Unreadable: that was said when it was restored.
    if (this.leader) void this.outbox.refresh().catch(() => null);
    else this.#environment.setTimeout(() => { void this.outbox.reconcile().catch(() => null); }, RECONCILE);
    this.outbox.run();
  }

  /** What was changed while this device was away. The server tells it once, and it may have told another device of the user. @param {number} offset */
  async #catchUp(offset) {
    for (let pages = 0; pages < CATCH_UP; pages++) {
      const {MSG, more} = await this.#ask("Sync", {offset});
      for (const item of MSG) if (item.kind) this.#incoming.push({item, from: "update"});
      this.#schedule();
      offset = MSG.at(-1)?.offset ?? offset;
      if (!more || !MSG.length) return;
    }
    // Too much: what is in memory is loaded again, the newest page of what is open excepted, which has just been.
    for (const record of this.store.all()) {
      const from = record.list.findLast(({mid}, index) => mid !== null && index <= record.list.length - PAGE)?.mid;
      if (record.info.open) {
        if (from) this.store.dropBefore(record, from);
        record.info.hasOlder ||= Boolean(from);
      } else {
        this.store.reset(record);
        record.fresh = false;
      }
    }
  }

  /** Receipts are told to who is connected. Those of the newest messages in the list are asked for: they come before the answer. */
  async #askReceipts() {
    const unread = this.conversations.filter(({id, room, open, last}) => !room && !open && id !== this.user && last?.own && last.mid && last.state !== "read");
    for (const {id} of unread.slice(0, RECEIPTS)) await this.#page(id, undefined, 1).catch(() => null); // at the next connection
  }

  /** The user looks at this page again. What other devices have read is not told to a device that is offline or slow. */
  #seen = () => { if (this.#environment.visible() && this.status.state === "connected") this.#refresh(0); };

  /** Asks for the list of conversations, soon. @param {number} wait */
  #refresh(wait) {
    if (this.#refreshing) return;
    this.#refreshing = true;
    this.#environment.setTimeout(() => {
      this.#refreshing = false;
      void this.#conversations();
    }, wait);
  }

  #conversations() {
    return this.#ask("Conversations").then((list) => { this.#list(list); }, () => { this.#watch(); }); // relay mode has none
  }

  /** @param {any} list */
  #list(list) {
    for (const {pId, last, unread} of Array.isArray(list) ? [...list].reverse() : []) {
      const record = this.store.record(String(pId));
      const {info} = record;
      // The server's count has every message up to `last`, whenever that message arrives here.
      record.counted = String(last?.mid ?? "");
      info.unread = last?.mid && record.readMid >= last.mid ? 0 : Number(unread) || 0;
      if (last && (!info.last?.mid || String(last.mid) > info.last.mid)) {
        info.last = this.store.message(last);
        info.time = info.last.time;
        this.store.order();
      } else if (last && info.last && info.last.mid === String(last.mid)) this.store.renew(info.last, last);
      this.store.touch(info.id);
    }
    this.#watch();
  }

  /** @param {string} event @param {any} payload @param {() => void} [ack] */
  #hear(event, payload, ack) {
    if (event === "RESPRECEIVER" || event === "RESPCARBON") {
      for (const item of Array.isArray(payload?.MSG) ? payload.MSG : []) {
        if (!item) continue;
        this.#incoming.push({item, from: event === "RESPRECEIVER" ? "live" : "carbon"});
        this.#offset = Math.max(this.#offset, Number(item.offset) || 0);
      }
      if (ack) this.#acks.push(ack);
      if (event === "RESPCARBON") this.#refresh(REFRESH);
      this.#schedule();
      return;
    }
    ack?.();
    if (event === "RESPUPDATE") {
      this.#incoming.push({item: payload, from: "update"}); // in its order among the messages
      this.#offset = Math.max(this.#offset, Number(payload?.offset) || 0);
      this.#schedule();
    } else if (event === "RESPSTATUS") this.#receipt(payload);
    else if (event === "RESPPRESENCE") this.store.setPresence(String(payload.id), {online: payload.online ?? null, lastSeen: payload.lastSeen ?? null});
    else if (event === "RESPTYPING") this.#types(String(payload.uId));
    else if (event === "RESPREAD") this.#readElsewhere(String(payload.pId), String(payload.mid));
  }

  /** @param {string} id */
  #types(id) {
    const record = this.store.find(id);
    if (!record) return;
    record.typingUntil = this.#environment.now() + TYPING_SHOWN;
    if (!record.info.typing) {
      record.info.typing = true;
      this.store.touch(id);
      this.#untype(record, TYPING_SHOWN);
    }
  }

  /** @param {Record_} record @param {number} wait */
  #untype(record, wait) {
    this.#environment.setTimeout(() => {
      const left = record.typingUntil - this.#environment.now();
      if (left > 0) return this.#untype(record, left);
      record.info.typing = false;
      this.store.touch(record.info.id);
    }, wait);
  }

  /** @param {{pId: unknown, mid: string, STATUS: number}} receipt */
  #receipt({pId, mid, STATUS}) {
    const record = this.store.find(String(pId));
    if (!record) return;
    if (STATUS === 3) {
      if (mid > record.peerRead) record.peerRead = mid;
    } else if (STATUS === 2) {
      if (mid > record.peerDelivered) record.peerDelivered = mid;
    } else return;
    // What was written earlier has arrived, or was read, too.
    for (let at = record.list.length - 1; at >= 0; at--) {
      const one = /** @type {Message} */ (record.list[at]);
      if (!one.own || one.mid === null || one.mid > mid) continue;
      const state = stateOf(record, one.mid);
      if (one.state === state) break;
      one.state = state;
      this.store.alter(one);
    }
    const {last} = record.info; // the list of conversations brought it, if its messages are not loaded
    if (last?.own && last.mid !== null && last.state !== stateOf(record, last.mid)) {
      last.state = stateOf(record, last.mid);
      this.store.touch(record.info.id);
    }
    this.#keep(record.info.id);
  }

  /** @param {any} note */
  #note(note) {
    if (note.outbox) this.outbox.hear(note.outbox);
    else if (note.sending) {
      const message = this.#pending.get(note.sending);
      if (message) { message.state = "sending"; this.store.alter(message); }
    } else if (note.sent) {
      this.outbox.take(note.sent);
      this.#sent(note.sent, note.answer);
    } else if (note.discarded) {
      this.outbox.take(note.discarded);
      this.#gone(note.discarded);
    } else if (note.update) {
      this.#update(note.update);
    } else if (note.logout) {
      this.#forget();
      this.stop();
    } else if (note.read) this.#isRead(note.read, note.mid);
    else if (note.draft) {
      this.store.record(note.draft).info.draft = note.text;
      this.#keep(note.draft); // each tab keeps all drafts in one value: this one's must not undo another's
      this.store.touch(note.draft);
    }
  }

  /** @param {string} cid @param {any} answer */
  #sent(cid, answer) {
    const message = this.#pending.get(cid);
    if (!message) return;
    this.#pending.delete(cid);
    const record = this.store.record(message.conversation);
    const mid = typeof answer?.mid === "string" ? answer.mid : `~${answer?.msgTime}-${cid}`;
    const twin = record.mids.get(mid);
    if (twin && twin !== message) this.store.remove(twin); // it came by History or, to oneself, by RESPRECEIVER
    message.mid = mid;
    message.time = Number(answer?.msgTime) || message.time;
    message.problem = null;
    message.state = stateOf(record, mid);
    if (record.info.hasNewer) {
      // It lies beyond what is in memory.
      this.store.remove(message);
      record.info.missed += 1;
      this.#isLast(record, message);
      return;
    }
    record.mids.set(mid, message);
    // Its place is before what is not sent, by its mid.
    const at = record.list.lastIndexOf(message);
    const after = record.list[at + 1], before = record.list[at - 1];
    if ((after && after.mid !== null && after.mid < mid) || (before && (before.mid === null || before.mid > mid))) {
      record.list.splice(at, 1);
      let to = record.list.length;
      while (to > 0 && (record.list[to - 1]?.mid === null || String(record.list[to - 1]?.mid) > mid)) to -= 1;
      record.list.splice(to, 0, message);
      if (to !== at) Object.assign(this.store.of(message.conversation), {reset: true});
    }
    this.store.alter(message);
    this.store.last(record);
  }

  /** @param {string} cid */
  #gone(cid) {
    const message = this.#pending.get(cid);
    this.#pending.delete(cid);
    if (message) this.store.remove(message);
  }

  /** `RESPUPDATE`. One may come twice, or late, and may be about a message that is not in memory. @param {any} update */
  #update(update) {
    if (typeof update?.mid !== "string") return;
    const record = this.store.find(this.store.conversationOf(update));
    const {last} = record?.info ?? {};
    for (const message of new Set([record?.mids.get(update.mid), last?.mid === update.mid ? last : null])) {
      const offset = Number(update.offset) || 0;
      if (!message || (offset && offset <= (this.#changed.get(message) ?? 0))) continue;
      if (offset) this.#changed.set(message, offset);
      this.store.update(message, update);
    }
  }

  /**
   * A message of the server, once.
   *
   * @param {any} item
   * @param {"live"|"carbon"|"page"} from  A page has what is now: what was changed meanwhile is taken from there.
   * @returns {boolean} Whether it is new here.
   */
  #add(item, from) {
    const live = from === "live";
    const id = this.store.conversationOf(item);
    const record = this.store.record(id);
    const mid = typeof item.mid === "string" ? item.mid : null;
    const known = mid === null ? undefined : record.mids.get(mid);
    if (known) {
      if (from === "page") this.store.renew(known, item);
      return false;
    }
    if (id === this.user && live && this.#isEcho(record, item)) return false;
    const message = this.store.message(item);
    const {info} = record;
    const oldest = live && info.hasOlder && info.loaded ? record.list[0]?.mid ?? null : null;
    if (oldest !== null && mid !== null && mid < oldest) {
      // Missed, and from before what is loaded: `older` gets it, with what lies between.
      this.#count(record, message);
      return true;
    }
    if (from !== "page" && info.hasNewer) {
      if (String(message.mid) > String(info.last?.mid ?? "")) {
        info.missed += 1;
        this.#isLast(record, message);
      }
      this.#count(record, message);
      return true;
    }
    this.store.insert(message);
    if (live) this.#count(record, message);
    return true;
  }

  /** @param {Record_} record @param {Message} message */
  #isLast({info}, message) {
    info.last = message;
    info.time = message.time;
    this.store.order();
    this.store.touch(info.id);
  }

  /** To oneself: it comes back before its ack. @param {Record_} record @param {any} item */
  #isEcho(record, item) {
    const sending = record.list.find(({mid, state}) => mid === null && state === "sending");
    if (!sending || String(item.uId) !== this.user) return false;
    const {text, file} = read(item.msg);
    return sending.text === text && sending.file?.size === file?.size;
  }

  /** @param {Record_} record @param {Message} message */
  #count(record, message) {
    if (message.own) return;
    record.info.typing = false;
    const mid = String(message.mid);
    if (mid > record.readMid && mid > record.counted && record.info.unread < 1000) record.info.unread += 1;
    this.store.changes.arrived.push(message);
    this.store.touch(record.info.id);
  }

  #schedule() {
    if (this.#due) return;
    this.#due = true;
    this.#environment.frame(() => { this.#flush(); });
  }

  /** What came is put in its place. */
  #take() {
    /** @type {Set<Record_>} */
    const grown = new Set();
    for (const {item, from} of this.#incoming.splice(0)) {
      if (from === "update") this.#update(item);
      else if (this.#add(item, from)) {
        const record = this.store.find(this.store.conversationOf(item));
        if (record) grown.add(record);
      }
    }
    for (const record of grown) this.store.trim(record, "old");
    if (grown.size) this.#watch();
  }

  /** Once a frame: what came is put in its place, then the page is told, then the server. */
  #flush() {
    this.#take();
    this.#due = false;
    const changes = this.store.take();
    for (const ack of this.#acks.splice(0)) ack();
    for (const listener of this.#listeners) {
      try {
        listener(changes);
      } catch (error) {
        reportFault(error);
      }
    }
  }
}

/** A fault of the page's listener must not stop the module. @param {unknown} error */
function reportFault(error) {
  if (typeof globalThis.reportError === "function") globalThis.reportError(error);
  else setTimeout(() => { throw error; });
}

function tooLarge() {
  return new Refused({code: "too large", words: "Too long for this server.", again: false});
}
