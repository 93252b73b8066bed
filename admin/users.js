// Looks up a user, lists who is online, and acts on a user.

import {ApiError} from "./api.js";
import {confirmed} from "./dialog.js";
import {button, byId, fillRows, make, nameOf, setText} from "./elements.js";
import {clock, say} from "./texts.js";

/** @import {Api, OnlineUsers, Presences, Sockets} from "./api.js" */

/**
 * @typedef {object} Action
 * @property {"disconnect"|"revoke"|"lift"|"notice"} name
 * @property {string} operation
 * @property {(user: string, text: string) => object} body
 * @property {boolean} danger
 */

/** @type {Action[]} */
const ACTIONS = [
  {name: "disconnect", operation: "disconnect", body: (user) => ({user}), danger: true},
  {name: "revoke", operation: "revoke", body: (user) => ({user}), danger: true},
  {name: "lift", operation: "revoke", body: (user) => ({user, lift: true}), danger: false},
  // With an id of its own, so that a proxy that repeats the request stores nothing twice.
  {name: "notice", operation: "notice", body: (user, text) => ({user, text, cid: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`}), danger: false},
];

const PAGE = 100; // users of one page of the list
const MOST = 2000; // users that are listed at once

export class Users {
  /** @type {Api|null} */ #api = null;
  #user = "";
  /** @type {string|null} */ #next = null;
  #listed = 0;
  #asked = 0; // so that only the newest answer is shown

  /** @param {(error: unknown) => string} explain  An error in words. */
  constructor(explain) {
    this.explain = explain;
    /** @type {HTMLInputElement} */
    this.field = byId("user-id");
    byId("user-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#look(this.field.value);
    });
    byId("online-list").addEventListener("click", () => { this.#list(true); });
    byId("online-more").addEventListener("click", () => { this.#list(false); });
    const place = byId("user-actions");
    for (const action of ACTIONS) {
      const made = button(say(action.name), () => { this.#act(action); }, action.danger ? "danger" : "plain");
      made.dataset.do = action.name;
      place.append(made);
    }
  }

  /** Ask with this key from now on; without one, forget what is shown. @param {Api|null} api */
  use(api) {
    this.#api = api;
    this.#asked += 1;
    this.#user = "";
    this.field.value = "";
    byId("user").hidden = true;
    byId("online").replaceChildren();
    this.#next = null;
    this.#listed = 0;
    byId("online-more").hidden = true;
    for (const id of ["user-answer", "user-why", "online-words"]) setText(byId(id), "");
  }

  /** @param {string} user */
  async #look(user) {
    const api = this.#api, number = ++this.#asked;
    if (!api) return;
    setText(byId("user-answer"), "");
    if (!user || [...user].length > 128 || user.startsWith("#")) {
      setText(byId("user-why"), say("badUser"));
      return;
    }
    try {
      const [presences, sockets] = await Promise.all([api.ask("presence", {users: [user]}), api.ask("sockets", {user})]);
      if (number !== this.#asked) return;
      setText(byId("user-why"), "");
      this.#show(user, presences, sockets);
    } catch (error) {
      if (number === this.#asked) setText(byId("user-why"), this.explain(error));
    }
  }

  /** @param {string} user @param {Presences} presences @param {Sockets} found */
  #show(user, presences, found) {
    const {online, lastSeen} = presences.users[user] ?? {online: null, lastSeen: null};
    const count = found.sockets.length;
    this.#user = user;
    byId("user").hidden = false;
    byId("user-name").replaceChildren(nameOf(user));
    const words = [online === null ? say("unknown") : say(online ? "online" : "offline")];
    if (!online) words.push(lastSeen === null ? say("neverSeen") : say("lastSeen", {time: clock(lastSeen / 1000)}));
    words.push(count === 0 ? say("noSockets") : count === 1 ? say("oneSocket") : say("sockets", {n: count}));
    if (!found.complete) words.push(say("socketsIncomplete"));
    setText(byId("user-state"), words.join(" · "));
    byId("user-sockets").hidden = count === 0;
    const rows = found.sockets.map(({id, address, revision, since}) => [id, address, String(revision), since ? clock(since) : say("none")]);
    fillRows(byId("user-sockets-rows"), rows);
  }

  /** @param {Action} action */
  async #act({name, operation, body, danger}) {
    const api = this.#api, user = this.#user;
    if (!api) return;
    const text = await confirmed({
      title: say(`${name}Title`), name: user, text: say(`${name}Text`), action: say(name), danger,
      missing: name === "notice" ? say("noticeEmpty") : undefined,
    });
    if (text === null || api !== this.#api) return;
    const answer = byId("user-answer");
    setText(answer, "");
    let said;
    try {
      await api.ask(operation, body(user, text));
      said = say(`${name}Done`);
    } catch (error) {
      said = error instanceof ApiError && error.kind === "lost" ? say("unsure") : say("failed", {why: this.explain(error)});
    }
    if (api !== this.#api || user !== this.#user) return;
    await this.#look(user);
    setText(answer, said);
  }

  /** @param {boolean} begin  From the first user on. */
  async #list(begin) {
    const api = this.#api, place = byId("online"), words = byId("online-words");
    if (!api) return;
    const after = begin ? null : this.#next;
    /** @type {OnlineUsers} */
    let found;
    try {
      found = await api.ask("online", {limit: PAGE, ...(after === null ? {} : {after})});
    } catch (error) {
      setText(words, this.explain(error));
      return;
    }
    if (api !== this.#api) return;
    if (begin) {
      place.replaceChildren();
      this.#listed = 0;
    }
    for (const user of found.users) {
      const one = button("", () => {
        this.field.value = user;
        this.#look(user);
        this.field.focus();
      }, "plain small");
      one.append(nameOf(user));
      place.append(make("li", "", one));
    }
    this.#listed += found.users.length;
    this.#next = found.next;
    byId("online-more").hidden = found.next === null || this.#listed >= MOST;
    const said = !this.#listed ? say("nobodyOnline") : say(found.next === null ? "listed" : "listedMore", {n: this.#listed});
    setText(words, found.complete ? said : `${said} ${say("onlineIncomplete")}`);
  }
}
