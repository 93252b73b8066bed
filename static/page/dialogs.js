// The dialogs: a new conversation, the settings, the list of keys, what can be done with a person or a room.

import {clean} from "../kschat/store.js";
import {NAMES, avatar, button, make} from "./texts.js";

/** @import {ChatApi, Message} from "../kschat/types.js" */
/** @import {Key, Texts} from "./texts.js" */

/**
 * @typedef {object} Page  What the dialogs need of it.
 * @property {ChatApi} chat
 * @property {Texts} texts
 * @property {{theme?: string, language?: string, sound?: boolean, notify?: boolean, push?: boolean}} settings
 * @property {(id: string) => void} select
 * @property {(room: string) => void} left
 * @property {(ids: string[]) => void} setBlocked
 * @property {(theme?: string) => void} applyTheme
 * @property {() => void} writeSettings
 * @property {() => Promise<import("./notices.js").Notices|null>} notices
 * @property {(message: Message) => void} remove  Deletes it.
 */

/** An id with its invisible characters as code points: it may look like another user's. @param {string} id */
function visible(id) {
  return [...id].map((one) => clean(one) || `U+${one.codePointAt(0)?.toString(16)}`).join("");
}

export class Dialogs {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.texts = page.texts;
  }

  /**
   * @param {"start"|"settings"|"keys"|"details"|"delete"} name
   * @param {string|null} id  The conversation that is open.
   * @param {Message} [message]  That is to be deleted.
   */
  open(name, id, message) {
    if (document.querySelector("dialog[open]")) return;
    /** @type {Record<string, Key>} */
    const titles = {start: "startTitle", settings: "settings", keys: "keys", details: "details", delete: "deleteTitle"};
    const dialog = make("dialog");
    dialog.id = name;
    const title = make("h2", "", this.texts.say(titles[name]));
    title.id = `${name}-title`;
    dialog.setAttribute("aria-labelledby", title.id);
    const header = make("header", "", title);
    const close = button(this.texts.say("close"), {icon: "close", className: "icon-button"});
    close.addEventListener("click", () => { dialog.close(); });
    header.append(close);
    const inside = make("div", "inside");
    dialog.append(header, inside);
    // A click beside it closes it.
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("close", () => { dialog.remove(); });
    document.body.append(dialog);
    if (name === "start") this.#start(dialog, inside);
    else if (name === "settings") this.#settings(dialog, inside);
    else if (name === "keys") this.#keys(inside);
    else if (name === "delete") { if (message) this.#delete(dialog, inside, message); }
    else if (id !== null) this.#details(dialog, inside, id);
    dialog.showModal();
    if (name === "start") inside.querySelector("input")?.focus(); // autofocus is not allowed in a frame of another origin
  }

  /** @param {HTMLDialogElement} dialog @param {HTMLElement} inside */
  #start(dialog, inside) {
    const form = make("form", "inside");
    form.style.padding = "0";
    const input = make("input");
    input.id = "start-id";
    input.required = true;
    input.maxLength = 128;
    input.autocomplete = "off";
    input.setAttribute("autocapitalize", "none");
    input.spellcheck = false;
    const label = make("label", "", this.texts.say("startLabel"));
    label.append(input);
    const submit = make("button", "", this.texts.say("open"));
    submit.type = "submit";
    form.append(label, make("div", "buttons", submit));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const id = input.value.trim();
      if (!id || id === "#") {
        input.setCustomValidity(this.texts.say("badName"));
        input.reportValidity();
        return;
      }
      dialog.close();
      this.page.select(id);
    });
    input.addEventListener("input", () => { input.setCustomValidity(""); });
    inside.append(form);
  }

  /** @param {HTMLDialogElement} dialog @param {HTMLElement} inside @param {Message} message */
  #delete(dialog, inside, message) {
    const {texts, page} = this;
    const words = make("p", "hint");
    words.append(make("bdi", "", (message.text || message.file?.name || "").slice(0, 200)));
    const buttons = make("div", "buttons");
    for (const [key, className, run] of /** @type {const} */ ([["delete", "", true], ["cancel", "plain", false]])) {
      const element = button(texts.say(key), {className});
      element.addEventListener("click", () => {
        dialog.close();
        if (run) page.remove(message);
      });
      buttons.append(element);
    }
    inside.append(words, make("p", "", texts.say("deleteHint")), buttons);
  }

  /** @param {HTMLDialogElement} dialog @param {HTMLElement} inside */
  #settings(dialog, inside) {
    const {texts, page} = this;
    const {settings} = page;
    const theme = this.#choice("set-theme", "theme", [["", "themeAuto"], ["light", "themeLight"], ["dark", "themeDark"]], settings.theme);
    theme.select.addEventListener("change", () => {
      settings.theme = theme.select.value;
      page.applyTheme(settings.theme);
      page.writeSettings();
    });
    const language = this.#choice("set-language", "language", [["", "languageAuto"]], undefined);
    for (const [value, name] of Object.entries(NAMES)) language.select.add(new Option(name, value));
    language.select.value = settings.language ?? "";
    language.select.addEventListener("change", () => {
      settings.language = language.select.value;
      page.writeSettings();
      const query = new URLSearchParams(location.search);
      query.delete("lang");
      history.replaceState(history.state, "", `?${query}`);
      language.hint.hidden = false;
    });
    language.hint.textContent = texts.say("nextVisit");
    const sound = this.#check("set-sound", "sound", settings.sound);
    sound.box.addEventListener("change", () => {
      settings.sound = sound.box.checked;
      page.writeSettings();
      if (settings.sound) page.notices().then((notices) => { notices?.sound(); }); // to hear what was chosen
    });
    const notify = this.#check("set-notify", "notify", settings.notify && globalThis.Notification?.permission === "granted");
    const denied = make("p", "hint", texts.say("notifyDenied"));
    denied.hidden = true;
    notify.box.addEventListener("change", async () => {
      // Asked for only when the user has said so.
      const allowed = notify.box.checked && await globalThis.Notification?.requestPermission() === "granted";
      denied.hidden = !notify.box.checked || allowed;
      notify.box.checked = settings.notify = allowed;
      page.writeSettings();
    });
    inside.append(theme.label, language.label, language.hint, sound.label, notify.label, denied);
    this.#push(inside);
    this.#blocked(inside);
    const buttons = make("div", "buttons");
    for (const [id, key, all] of /** @type {const} */ ([["logout", "logout", false], ["logout-all", "logoutAll", true]])) {
      const element = button(texts.say(key), {className: "plain"});
      element.id = id;
      element.addEventListener("click", async () => {
        dialog.close();
        if (settings.push) await page.notices().then((notices) => notices?.push.off());
        page.chat.logout(all).catch(() => {}); // the status says how it ended
      });
      buttons.append(element);
    }
    inside.append(buttons);
  }

  /** Notifications by the service worker. @param {HTMLElement} inside */
  async #push(inside) {
    const {texts, page} = this;
    const {label, box} = this.#check("set-push", "push", page.settings.push);
    const said = make("p", "hint");
    said.id = "push-said";
    said.setAttribute("role", "status");
    said.hidden = true;
    inside.append(label, said);
    const say = (/** @type {Key|null} */ key) => {
      said.hidden = key === null;
      said.textContent = key === null ? "" : texts.say(key);
    };
    box.disabled = true;
    const push = (await page.notices())?.push;
    const never = push ? await push.obstacle() : "pushNever";
    box.disabled = never !== null;
    box.checked = Boolean(page.settings.push) && never === null;
    say(never);
    box.addEventListener("change", async () => {
      box.disabled = true;
      say(push ? await (box.checked ? push.on() : push.off()) : null);
      box.checked = Boolean(page.settings.push);
      box.disabled = false;
    });
  }

  /** @param {string} id @param {Key} title @param {[string, Key][]} options @param {string} [value] */
  #choice(id, title, options, value) {
    const select = make("select");
    select.id = id;
    for (const [option, key] of options) select.add(new Option(this.texts.say(key), option));
    select.value = value ?? "";
    const label = make("label", "", this.texts.say(title));
    label.append(select);
    const hint = make("p", "hint");
    hint.hidden = true;
    return {label, select, hint};
  }

  /** @param {string} id @param {Key} key @param {boolean} [checked] */
  #check(id, key, checked) {
    const box = make("input");
    box.type = "checkbox";
    box.id = id;
    box.checked = Boolean(checked);
    const label = make("label", "check", box);
    label.append(make("span", "", this.texts.say(key)));
    return {label, box};
  }

  /** @param {HTMLElement} inside */
  async #blocked(inside) {
    const {texts, page} = this;
    const place = make("div");
    inside.append(make("h3", "", texts.say("blocked")), place);
    try {
      let ids = await page.chat.blocked();
      if (!ids.length) place.append(make("p", "hint", texts.say("nobodyBlocked")));
      for (const id of ids) {
        const entry = make("p", "entry", make("bdi", "", page.chat.name(id)));
        const free = button(texts.say("unblock", {name: page.chat.name(id)}), {className: "plain"});
        free.addEventListener("click", () => {
          this.#ask(page.chat.unblock(id), entry, () => {
            entry.remove();
            ids = ids.filter((other) => other !== id);
            page.setBlocked(ids);
          });
        });
        entry.append(free);
        place.append(entry);
      }
    } catch {
      place.append(make("p", "hint", texts.say("notLoaded")));
    }
  }

  /** @param {HTMLDialogElement} dialog @param {HTMLElement} inside @param {string} id */
  async #details(dialog, inside, id) {
    const {texts, page} = this;
    const {chat} = page;
    const who = make("p", "entry", avatar(id, chat.name(id)));
    const name = make("bdi", "", chat.name(id) === id ? id : `${chat.name(id)} (${visible(id)})`);
    name.style.flex = "1";
    who.append(name);
    const buttons = make("div", "buttons");
    const said = make("p", "hint");
    said.setAttribute("role", "status");
    inside.append(who, said, buttons);
    if (id === chat.user) return;
    if (id.startsWith("#")) {
      const leave = button(texts.say("leave"), {className: "plain"});
      leave.addEventListener("click", () => {
        this.#ask(chat.leave(id), said, () => {
          dialog.close();
          page.left(id);
        });
      });
      buttons.append(leave);
      return;
    }
    /** @type {string[]} */
    let ids = [];
    const draw = (/** @type {boolean} */ isBlocked) => {
      const change = button(texts.say(isBlocked ? "unblock" : "block", {name: chat.name(id)}), {className: "plain"});
      change.addEventListener("click", () => {
        this.#ask(isBlocked ? chat.unblock(id) : chat.block(id), said, () => {
          ids = isBlocked ? ids.filter((other) => other !== id) : [...ids, id];
          draw(!isBlocked);
          page.setBlocked(ids);
        });
      });
      buttons.replaceChildren(change);
      said.textContent = isBlocked ? "" : texts.say("blockHint");
    };
    try {
      ids = await chat.blocked();
      draw(ids.includes(id));
    } catch {
      said.textContent = texts.say("notLoaded");
    }
  }

  /** @param {Promise<void>} asked @param {HTMLElement} place @param {() => void} done */
  async #ask(asked, place, done) {
    try {
      await asked;
      done();
    } catch (error) {
      const why = place.querySelector(".problem") ?? place.appendChild(make("span", "problem"));
      why.textContent = ` ${this.texts.why(error, "block")}`;
    }
  }

  /** @param {HTMLElement} inside */
  #keys(inside) {
    const list = make("dl");
    for (const [keys, key] of /** @type {[string[], Key][]} */ ([
      [["Enter"], "keySend"], [["Shift+Enter"], "keyLine"], [["↑", "↓"], "keyMove"], [["R", "C"], "keyReply"], [["+"], "keyReact"], [["E", "Del"], "keyEdit"],
      [["Ctrl+K"], "keySearch"], [["Alt+↑", "Alt+↓"], "keyNext"], [["Esc"], "keyEscape"], [["?"], "keyKeys"],
    ])) {
      const term = make("dt");
      for (const name of keys) term.append(make("kbd", "", name));
      list.append(term, make("dd", "", this.texts.say(key)));
    }
    inside.append(list);
  }
}
