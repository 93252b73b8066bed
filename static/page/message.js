// One message as an element. Everything of a message goes into the document as text; only what this file makes is an element.

import {safeType} from "../kschat/content.js";
import {button, colour, make} from "./dom.js";

/** @import {FilePart, Message} from "../kschat/types.js" */
/** @import {Texts} from "./texts.js" */

const LINES = 18; // lines, and characters, of a message that are shown before "Show more"
const CHARACTERS = 1500;
const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"]);
const LINK = /\bhttps?:\/\/[^\s<>"'`]+/giu;
const CODE = /```(?:[\w+-]*\n)?([\s\S]+?)```|`([^`\n]+)`/gu;
const ONLY_EMOJI = /^(?:\s|\p{Extended_Pictographic}|\p{Emoji_Modifier}|\p{Regional_Indicator}|\u200d|\ufe0f|\u20e3)+$/u;

const TICKS = /** @type {const} */ ({
  waiting: "stateWaiting", sending: "stateSending", sent: "stateSent", delivered: "stateDelivered", read: "stateRead", failed: "stateFailed",
});

/**
 * What stands around a message, so that one that has not changed is left alone.
 *
 * @typedef {object} Place
 * @property {boolean} day  Whether it is the first of its day.
 * @property {boolean} head  Whether it is the first of a row of messages by one person.
 * @property {boolean} divider  Whether the unread ones begin with it.
 */

/** Makes and updates the elements of one conversation, and frees their pictures. */
export class Messages {
  /** @type {WeakMap<HTMLElement, {message: Message, drawn: string, place: string, url: string}>} */
  #known = new WeakMap();
  #expanded = new Set();

  /**
   * @param {Texts} texts
   * @param {(id: string) => string} name
   */
  constructor(texts, name) {
    this.texts = texts;
    this.name = name;
  }

  /** @param {Message} message @param {Place} place */
  make(message, place) {
    const element = make("li");
    element.tabIndex = -1;
    element.dataset.key = message.key;
    this.#known.set(element, {message, drawn: "", place: "", url: ""});
    this.update(element, place);
    return element;
  }

  /** @param {HTMLElement} element */
  messageOf(element) { return this.#known.get(element)?.message ?? null; }

  /** Draws again what is different. @param {HTMLElement} element @param {Place} place */
  update(element, place) {
    const known = this.#known.get(element);
    if (!known) return;
    const {message} = known;
    const drawn = this.#signature(message);
    if (drawn !== known.drawn) {
      const words = known.drawn && known.drawn.split("\0")[0] === drawn.split("\0")[0];
      known.drawn = drawn;
      if (words) this.#foot(element, message);
      else this.#fill(element, message);
    }
    const around = `${place.day}${place.head}${place.divider}`;
    if (around === known.place) return;
    known.place = around;
    element.classList.toggle("head", place.head);
    element.querySelectorAll(":scope > .day, :scope > .divider").forEach((old) => old.remove());
    if (place.divider) element.prepend(make("p", "divider", make("span", "", this.texts.say("newMessages"))));
    if (place.day) element.prepend(make("p", "day", make("span", "", this.texts.day(message.time))));
  }

  /** Gives back what an element that leaves the document holds. @param {HTMLElement} element */
  free(element) {
    const known = this.#known.get(element);
    if (known?.url) URL.revokeObjectURL(known.url);
    if (known) known.url = "";
  }

  /** What decides how it looks: before the NUL the words, after it what changes while it is on its way. @param {Message} message */
  #signature(message) {
    const {file} = message;
    const content = `${message.text}|${message.reply?.text ?? ""}|${file?.name ?? ""}|${Boolean(file?.data)}|${this.#expanded.has(message.key)}`;
    return `${content.replaceAll("\0", "")}\0${message.state}|${message.time}|${message.problem?.code ?? ""}`;
  }

  /** @param {HTMLElement} element @param {Message} message */
  #fill(element, message) {
    const {texts} = this;
    this.free(element);
    const bubble = make("div", "bubble");
    const by = make("bdi", message.own ? "unseen" : `from ${colour(message.from)}`);
    by.textContent = message.own ? texts.say("from", {name: texts.say("you")}) : this.name(message.from);
    bubble.append(by);
    if (message.reply) {
      const quote = make("blockquote", "quote", message.reply.text);
      quote.dir = "auto";
      if (message.reply.mid) quote.dataset.mid = message.reply.mid;
      bubble.append(quote);
    }
    if (message.file) bubble.append(this.#file(element, message, message.file));
    if (message.text) bubble.append(...this.#words(message));
    bubble.append(make("span", "meta"));
    const old = element.querySelector(":scope > .bubble");
    const acts = old?.querySelector("#acts");
    if (acts) bubble.append(acts);
    if (old) old.replaceWith(bubble);
    else element.append(bubble);
    this.#foot(element, message);
  }

  /** The time, the tick, and what to do about a refused one. @param {HTMLElement} element @param {Message} message */
  #foot(element, message) {
    const {texts} = this;
    element.className = `${message.own ? "own" : "other"}${element.classList.contains("head") ? " head" : ""}`;
    element.dataset.state = message.state;
    const meta = element.querySelector(".meta");
    if (!meta) return;
    const time = make("time", "", texts.time(message.time));
    time.dateTime = new Date(message.time).toISOString();
    time.title = `${texts.day(message.time)}, ${texts.time(message.time)}`;
    meta.replaceChildren(time);
    if (message.own && message.state !== "received") {
      const tick = make("span", "tick");
      tick.setAttribute("role", "img");
      tick.setAttribute("aria-label", texts.say(TICKS[message.state]));
      meta.append(tick);
    }
    element.querySelector(".why")?.remove();
    if (message.state === "failed") {
      const code = message.problem?.code ?? "unknown";
      const why = make("p", "why", make("span", "", code === "invalid" || code === "unknown" || code === "not allowed" || code === "slow down"
        ? `${texts.say("stateFailed")}: ${message.problem?.words || texts.say(`problem ${code}`)} ` : `${texts.say("stateFailed")}: ${texts.say(`problem ${code}`)} `));
      if (message.problem?.again !== false) why.append(button(texts.say("retry"), {className: "small", action: "retry"}));
      if (!message.file) why.append(button(texts.say("edit"), {className: "small", action: "edit"}));
      why.append(button(texts.say("discard"), {className: "small", action: "discard"}));
      element.append(why);
    }
  }

  /** @param {Message} message @returns {HTMLElement[]} */
  #words(message) {
    const {text} = message;
    const shown = this.#expanded.has(message.key) ? text : cut(text);
    const body = make("div", "text");
    body.dir = "auto";
    body.append(...rich(shown));
    if (text.length < 40 && ONLY_EMOJI.test(text)) body.classList.add("emoji");
    if (cut(text) === text) return [body];
    const more = button(this.texts.say(shown === text ? "showLess" : "showMore"), {className: "more link", action: "more"});
    more.ariaExpanded = String(shown === text);
    if (shown !== text) body.append("…");
    return [body, more];
  }

  /** "Show more" and back. @param {HTMLElement} element */
  toggle(element) {
    const known = this.#known.get(element);
    if (!known) return;
    const {key} = known.message;
    if (!this.#expanded.delete(key)) this.#expanded.add(key);
    known.drawn = "";
    const place = {day: Boolean(element.querySelector(".day")), head: element.classList.contains("head"), divider: Boolean(element.querySelector(".divider"))};
    this.update(element, place);
  }

  /** @param {HTMLElement} element @param {Message} message @param {FilePart} file */
  #file(element, message, file) {
    const {texts} = this;
    const known = this.#known.get(element);
    const size = texts.size(file.size);
    if (!file.data || !known) {
      const load = button(`${file.name} · ${size} · ${texts.say("fetchFile")}`, {className: "file", action: "load"});
      return load;
    }
    const picture = PICTURES.has(file.type);
    const url = known.url = URL.createObjectURL(new Blob([file.data], {type: picture ? file.type : safeType(file.type)}));
    const link = make("a", picture ? "frame" : "file");
    link.href = url;
    link.download = file.name || "file";
    link.setAttribute("aria-label", texts.say("download", {name: file.name, size}));
    if (picture) {
      const image = make("img", "picture");
      image.alt = texts.say("pictureFrom", {name: file.name});
      image.decoding = "async";
      if (file.width && file.height) {
        image.width = file.width;
        image.height = file.height;
      }
      image.src = url;
      link.append(image);
    } else {
      link.append(make("bdi", "file-name", file.name), make("span", "file-size", size));
    }
    return link;
  }
}

/** The beginning of a long text. @param {string} text */
function cut(text) {
  let end = text.length > CHARACTERS * 1.2 ? CHARACTERS : text.length;
  let at = -1;
  for (let lines = 0; lines < LINES; lines++) {
    at = text.indexOf("\n", at + 1);
    if (at < 0 || at >= end) return end === text.length ? text : whole(text, end);
  }
  end = Math.min(end, at);
  // A line or two more are not worth a button.
  return text.length - end < 120 && text.slice(end).split("\n").length < 4 ? text : whole(text, end);
}

/** Never half of a character. @param {string} text @param {number} end */
function whole(text, end) {
  const code = text.charCodeAt(end - 1);
  return text.slice(0, code >= 0xd800 && code <= 0xdbff ? end - 1 : end);
}

/** A text's nodes: `code` and links, the rest as it is. @param {string} text @returns {(Node|string)[]} */
function rich(text) {
  if (!text.includes("`")) return links(text);
  /** @type {(Node|string)[]} */
  const nodes = [];
  let done = 0;
  for (const match of text.matchAll(CODE)) {
    nodes.push(...links(text.slice(done, match.index)));
    nodes.push(match[1] === undefined ? make("code", "", match[2]) : make("pre", "", make("code", "", match[1].replace(/\n$/, ""))));
    done = match.index + match[0].length;
    if (match[1] !== undefined && text[done] === "\n") done += 1; // a block ends its line by itself
  }
  nodes.push(...links(text.slice(done)));
  return nodes;
}

/** @param {string} text @returns {(Node|string)[]} */
function links(text) {
  if (!/https?:\/\//i.test(text)) return text ? [text] : [];
  /** @type {(Node|string)[]} */
  const nodes = [];
  let done = 0;
  for (const match of text.matchAll(LINK)) {
    const address = trimmed(match[0]);
    if (!isWeb(address)) continue;
    nodes.push(text.slice(done, match.index));
    const link = make("a", "", address);
    link.href = address;
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    nodes.push(link);
    done = match.index + address.length;
  }
  nodes.push(text.slice(done));
  return nodes;
}

/** Without the sentence's punctuation, nor a bracket that was opened before it. @param {string} address */
function trimmed(address) {
  let text = address.replace(/[.,;:!?…’”»]+$/u, "");
  while (/[)\]}]$/.test(text)) {
    const last = text[text.length - 1];
    const opening = last === ")" ? "(" : last === "]" ? "[" : "{";
    if (text.split(opening).length >= text.split(last).length) break;
    text = text.slice(0, -1);
  }
  return text;
}

/** @param {string} address */
function isWeb(address) {
  try {
    return /^https?:$/.test(new URL(address).protocol);
  } catch {
    return false;
  }
}
