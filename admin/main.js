// The admin page: asks the HTTP API for the counts of all daemons every two seconds, and shows them.
//
// api.js asks, figures.js computes, chart.js draws, users.js looks up users and acts on them, texts.js has the texts.

import {Api, ApiError, storeKey, storedKey} from "./api.js";
import {Chart} from "./chart.js";
import {button, byId, fillRows, make, nameOf, setText} from "./elements.js";
import {Lost, QUEUES, REFUSALS, earlier, fresh, pointOf, quantile, refusalsOf, sentRate} from "./figures.js";
import {age, clock, has, number, say, size} from "./texts.js";
import {Users} from "./users.js";

/** @import {Counts, DaemonCounts} from "./api.js" */
/** @import {Point} from "./figures.js" */
/** @import {Key} from "./texts.js" */

const EVERY = 2; // seconds between two looks
const SLOW = 10; // seconds, once the daemon has not answered for a while
const SPAN = 300; // seconds that the charts show
const SET_BACK = 60; // seconds by which an answer is older than the one before only if a clock was set back
const MAX_AGE = 1; // seconds that an answer may be old: all who look within them share one

/** The charts and their lines, each a figure of the points. */
const CHARTS = /** @type {const} */ ([
  ["messages", ["acknowledged", "written", "delivered"]],
  ["latency", ["p50", "p99"]],
  ["sockets", ["sockets", "users"]],
  ["queues", QUEUES],
  ["refusals", REFUSALS],
]);

/** What stands above the charts: a word for it, and how it is written. @type {[string, (point: Point) => string][]} */
const TILES = [
  ["Daemons", ({figures}) => number(figures.daemons)],
  ["Sockets", ({figures}) => number(figures.sockets)],
  ["Users online", ({figures}) => number(figures.users)],
  ["Messages/s", ({figures}) => number(figures.acknowledged)],
  ["p50 (ms)", ({figures}) => number(figures.p50)],
  ["p99 (ms)", ({figures}) => number(figures.p99)],
  ["Waiting", ({figures}) => number(figures.messages_waiting)],
  ["Refusals/s", ({figures}) => number(refusalRate(figures))],
];

/** @param {Point["figures"]} figures */
function refusalRate(figures) {
  return (figures.refused ?? null) === null ? null : REFUSALS.reduce((sum, kind) => sum + (figures[kind] ?? 0), 0);
}

/** @param {Point} point */
function isGap({figures}) { return !Object.keys(figures).length; }

class Board {
  /** @type {Api|null} */ #api = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #timer;
  /** @type {Point[]} */ #points = [];
  /** @type {Counts|null} */ #last = null;
  #lost = new Lost();
  #failures = 0;
  #paused = false;
  #asking = false;
  /** @type {number|null} */ #pointed = null; // the time that is pointed at, or chosen
  #said = ""; // the problems as they are shown
  #tiles;
  #charts;
  #users = new Users(explained);

  constructor() {
    this.status = byId("status");
    /** @type {HTMLInputElement} */
    this.slider = byId("moment");
    /** @type {HTMLButtonElement} */
    this.pause = byId("pause");
    this.#tiles = TILES.map(([title]) => {
      const value = make("dd");
      byId("tiles").append(make("div", "", make("dt", "", title), value));
      return value;
    });
    this.#charts = CHARTS.map(([name, figures]) => {
      const lines = figures.map((figure) => ({label: say(`line ${figure}`), value: (/** @type {number} */ index) => this.#points[index].figures[figure] ?? null}));
      const title = say(`chart ${name}`);
      const words = {
        number,
        begin: say("axisBegin", {n: SPAN / 60}),
        end: say("axisEnd"),
        label: (/** @type {{label: string, now: string, most: string}[]} */ described) => {
          const said = described.map((line) => say("chartLine", line)).join("; ");
          return say("chartLabel", {title, span: say("span", {n: SPAN / 60}), lines: this.#points.length ? said : say("chartEmpty")});
        },
      };
      const chart = new Chart(title, lines, words, (part) => { this.#pointAt(part); });
      byId("charts").append(chart.element);
      return chart;
    });
    this.slider.addEventListener("input", () => {
      const index = Number(this.slider.value);
      this.#pointed = index >= this.#points.length - 1 ? null : this.#points[index].time;
      this.#draw();
    });
    this.pause.addEventListener("click", () => {
      this.#paused = !this.#paused;
      this.pause.setAttribute("aria-pressed", String(this.#paused));
      this.#resume();
    });
    byId("leave").addEventListener("click", () => { this.close(""); });
    byId("login").addEventListener("submit", (event) => {
      event.preventDefault();
      /** @type {HTMLInputElement} */
      const field = byId("key");
      this.open(field.value.trim());
      field.value = "";
    });
    document.addEventListener("visibilitychange", () => { this.#resume(); });
  }

  /** Looks with this key from now on. @param {string} key */
  open(key) {
    this.#api = new Api(key);
    this.#forget();
    this.#say("opening", say("opening"));
    setText(byId("login-why"), "");
    byId("session").hidden = false;
    this.#resume();
  }

  /** Forgets the key, and asks for another. @param {string} why */
  close(why) {
    this.#api = null;
    clearTimeout(this.#timer);
    storeKey("");
    this.#forget();
    this.#users.use(null);
    byId("board").hidden = true;
    byId("session").hidden = true;
    byId("login").hidden = false;
    setText(byId("login-why"), why);
    byId("key").focus();
  }

  #forget() {
    this.#points = [];
    this.#last = null;
    this.#lost = new Lost();
    this.#failures = 0;
    this.#pointed = null;
  }

  /** A look now, and again and again, unless it is paused or nobody sees it. */
  #resume() {
    clearTimeout(this.#timer);
    if (!this.#api) return;
    if (this.#paused) this.#say("paused", say("paused"));
    else if (document.hidden) this.#say("paused", say("hidden"));
    else if (!this.#asking) this.#look();
  }

  async #look() {
    const api = this.#api;
    if (!api) return;
    this.#asking = true;
    /** @type {unknown} */ let failure = null;
    /** @type {Counts|null} */ let found = null;
    try {
      found = await api.ask("counts", {max_age: MAX_AGE});
    } catch (error) {
      failure = error;
    }
    this.#asking = false;
    if (api !== this.#api) { // another key meanwhile
      this.#resume();
      return;
    }
    if (found) this.#found(api, found);
    else this.#failed(failure);
    if (!this.#api) return;
    if (this.#paused || document.hidden) this.#resume();
    else this.#timer = setTimeout(() => { this.#look(); }, (this.#failures > 3 ? SLOW : EVERY) * 1000);
  }

  /** @param {Api} api @param {Counts} found */
  #found(api, found) {
    if (byId("board").hidden) {
      storeKey(api.key);
      byId("login").hidden = true;
      byId("board").hidden = false;
      this.#users.use(api);
    }
    this.#failures = 0;
    this.#say("live", say("live", {n: EVERY}));
    // After its clock was set back there is nothing to compare with.
    if (this.#last && found.time < this.#last.time - SET_BACK) this.#forget();
    const before = this.#last;
    // The answer may be one that was shown already, or, behind a proxy, another daemon's with a clock that is a bit behind.
    if (!before || found.time > before.time) {
      this.#lost.look(found);
      this.#last = found;
      this.#points.push(pointOf(before, found));
      this.#points = this.#points.filter(({time}) => time > found.time - SPAN);
      setText(byId("updated"), say("updated", {time: clock(found.time)}));
      this.#draw();
      this.#tables(before, found);
    }
    this.#problems("");
  }

  /** @param {unknown} error */
  #failed(error) {
    this.#failures += 1;
    this.#say("bad", say("bad"));
    if (error instanceof ApiError && (error.kind === "key" || error.kind === "scope")) {
      this.close(explained(error));
      return;
    }
    if (byId("board").hidden) {
      setText(byId("login-why"), explained(error));
      return;
    }
    // The charts have a gap there.
    const last = this.#points.at(-1);
    if (last && !isGap(last)) this.#points.push({time: last.time, figures: {}, refusals: {}});
    const why = error instanceof ApiError && error.kind === "lost" ? say("lost", {time: clock(this.#last?.time ?? 0)}) : explained(error);
    this.#problems(why);
    this.#draw();
  }

  /** @param {"opening"|"live"|"paused"|"bad"} state @param {string} words */
  #say(state, words) {
    this.status.dataset.state = state;
    setText(this.status, words);
  }

  /** @param {number|null} part  Of the charts' width. */
  #pointAt(part) {
    const last = this.#points.at(-1);
    if (!last) return;
    const wanted = part === null ? null : last.time - SPAN * (1 - part);
    this.#pointed = wanted;
    this.#draw();
  }

  /** The number of the point that is shown: the one that is pointed at, else the newest that has figures. */
  get #shown() {
    const wanted = this.#pointed;
    if (wanted === null) return this.#points.length - 1;
    let best = 0;
    this.#points.forEach(({time}, index) => { if (Math.abs(time - wanted) < Math.abs(this.#points[best].time - wanted)) best = index; });
    return best;
  }

  #draw() {
    const last = this.#points.at(-1);
    if (!last) return;
    const shown = this.#shown, point = this.#points[shown];
    const places = this.#points.map(({time}) => 1 - (last.time - time) / SPAN);
    for (const chart of this.#charts) chart.show(places, shown);
    const known = this.#points.findLast((one) => !isGap(one)) ?? last;
    TILES.forEach(([, value], index) => { setText(this.#tiles[index], value(known)); });
    this.slider.max = String(this.#points.length - 1);
    this.slider.value = String(shown);
    const isLast = shown === this.#points.length - 1;
    const figures = TILES.slice(1, 6).map(([title, value]) => `${title} ${value(point)}`).join(", ");
    const words = say("moment", {time: isLast ? say("shownNow") : clock(point.time), figures});
    this.slider.setAttribute("aria-valuetext", words);
    setText(byId("moment-words"), words);
  }

  /** @param {Counts|null} before @param {Counts} now */
  #tables(before, now) {
    const seconds = before ? now.time - before.time : 0;
    const lost = this.#lost.all;
    const rows = now.daemons.map((daemon) => {
      const then = earlier(before, daemon);
      const took = [fresh(daemon, then)];
      const [p50, p99] = [0.5, 0.99].map((part) => quantile(took, part)).map((found) => number(found === null ? null : found * 1000));
      const down = Object.entries(daemon.services).filter(([, up]) => !up).map(([name]) => name);
      return [
        nameOf(daemon.name), daemon.version, age(now.time - daemon.since), number(daemon.connections), number(daemon.sockets), number(daemon.users),
        number(sentRate(daemon, then, seconds)), p50, p99, down.length ? say("down", {names: down.join(", ")}) : say("ok"),
      ];
    });
    const nothing = Array(8).fill(say("none"));
    fillRows(byId("daemons"), [...rows, ...lost.map(([name]) => [nameOf(name), ...nothing, say("notAnswering")])]);
    const queue = (/** @type {DaemonCounts} */ {queues}, /** @type {string} */ name) => number(queues[name] ?? 0);
    const counted = ["messages_waiting", "batches_in_flight", "reads_waiting", "reads_in_flight", "handshakes_waiting", "forwards", "ask_waiting", "ask_in_flight", "ask_held"];
    fillRows(byId("queues"), now.daemons.map((daemon) => [
      nameOf(daemon.name), ...counted.map((name) => queue(daemon, name)), size(daemon.queues.buffered_bytes ?? 0),
    ]));
    this.#refusals(now);
  }

  /** @param {Counts} now */
  #refusals(now) {
    /** @type {Map<string, {lately: number, all: number}>} */
    const found = new Map();
    for (const daemon of now.daemons) {
      for (const [reason, count] of Object.entries(refusalsOf(daemon))) {
        const known = found.get(reason) ?? {lately: 0, all: 0};
        found.set(reason, {...known, all: known.all + count});
      }
    }
    for (const {refusals} of this.#points) {
      for (const [reason, count] of Object.entries(refusals)) {
        const known = found.get(reason);
        if (known) known.lately += count;
      }
    }
    const rows = [...found].filter(([, {all}]) => all).sort(([, one], [, other]) => other.lately - one.lately || other.all - one.all);
    byId("refusals-table").hidden = !rows.length;
    byId("no-refusals").hidden = rows.length > 0;
    setText(byId("no-refusals"), say("noRefusals"));
    fillRows(byId("refusals"), rows.map(([reason, {lately, all}]) => {
      const [kind, name] = reason.split("/", 2);
      return [has(reason) ? say(reason) : name.replaceAll("_", " "), say(/** @type {Key} */ (`kind ${kind}`)), number(lately), number(all)];
    }));
  }

  /** @param {string} first  What is wrong with this page's own daemon. */
  #problems(first) {
    /** @type {{text: string, gone?: string}[]} */
    const problems = first ? [{text: first}] : [];
    const last = this.#last;
    for (const daemon of last?.daemons ?? []) {
      for (const [service, up] of Object.entries(daemon.services)) {
        const key = `down ${service}`;
        if (!up) problems.push({text: say(has(key) ? key : "down other", {name: daemon.name, service})});
      }
    }
    if (last && !last.complete) problems.push({text: say("incomplete")});
    for (const [name, time] of this.#lost.all) problems.push({text: say("gone", {name, time: clock(time)}), gone: name});
    // Only what changed is drawn, and so announced.
    const said = JSON.stringify(problems);
    if (said === this.#said) return;
    this.#said = said;
    const list = byId("problems");
    list.replaceChildren(...problems.map(({text, gone}) => {
      const item = make("li", "", make("span", "", text));
      if (gone !== undefined) {
        const dismiss = button(say("dismiss"), () => {
          this.#lost.dismiss(gone);
          this.#problems(first);
          if (this.#last) this.#tables(null, this.#last);
        }, "plain small");
        dismiss.setAttribute("aria-label", say("dismissLabel", {name: gone}));
        item.append(dismiss);
      }
      return item;
    }));
    if (!problems.length) list.append(make("li", "fine", say("noProblems")));
  }
}

/** An error in words. @param {unknown} error */
function explained(error) {
  if (!(error instanceof ApiError)) return String(error);
  switch (error.kind) {
    case "lost": return say("lostAtFirst");
    case "key": return say("badKey");
    case "scope": return say("noScope", {detail: error.detail});
    case "strange": return say("strange", {status: error.status});
    default: return say("refused", {detail: error.detail});
  }
}

const board = new Board();
const key = storedKey();
if (key) board.open(key);
