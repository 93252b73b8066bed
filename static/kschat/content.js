// What `msg` says: text, quotation, picture or file. A text is a plain string, so that every client can read it.

/** @import {FilePart, Message, Problem} from "./types.js" */

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
      name: file.name.slice(0, 255).split(/[\\/]/).at(-1).replace(/[\u0000-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "") || "file",
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
