// Notices while the page is not in view: a sound, a notification; pushes, which the service worker shows when no page is open. And that
// worker, which keeps the shell for when there is no network.

import {writeSettings} from "./texts.js";

/** @import {ChatApi, Message} from "../kschat/types.js" */
/** @import {Key, Settings, Texts} from "./texts.js" */

const QUIET = 2000; // milliseconds between two sounds or notifications
const PATIENCE = 3000; // milliseconds for the server and the browser's push service to end the pushes

export class Notices {
  #last = -QUIET;
  /** @type {AudioContext|null} */ #audio = null;

  /**
   * @param {ChatApi} chat
   * @param {Texts} texts
   * @param {Settings} settings
   * @param {(id: string) => void} open
   */
  constructor(chat, texts, settings, open) {
    this.chat = chat;
    this.texts = texts;
    this.settings = settings;
    this.open = open;
    // Relative to the page: the daemon serves it there, so that its scope is the page. Not every browser has it, nor every origin.
    const worker = navigator.serviceWorker?.register(new URL("service-worker.js", document.baseURI)).catch(() => null);
    this.push = new Push(chat, texts, settings, worker ?? Promise.resolve(null));
    navigator.serviceWorker?.addEventListener("message", ({data}) => {
      if (data?.kschat === "open" && typeof data.peer === "string" && data.peer) open(data.peer);
    });
  }

  /** New messages of others. @param {Message[]} messages */
  arrived(messages) {
    const now = performance.now(); // a clock that nobody sets
    if (!document.hidden && document.hasFocus() || now - this.#last < QUIET) return;
    this.#last = now;
    if (this.settings.sound) this.sound();
    if (this.settings.notify) this.#notify(messages[messages.length - 1]);
  }

  /** Two short tones; browsers allow it once the user has touched the page. */
  sound() {
    this.#audio ??= new AudioContext();
    const audio = this.#audio;
    const volume = audio.createGain();
    volume.connect(audio.destination);
    volume.gain.setValueAtTime(0.08, audio.currentTime);
    volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + 0.35);
    for (const [pitch, after] of [[660, 0], [880, 0.12]]) {
      const tone = audio.createOscillator();
      tone.frequency.value = pitch;
      tone.connect(volume);
      tone.start(audio.currentTime + after);
      tone.stop(audio.currentTime + after + 0.2);
    }
  }

  /** @param {Message} message */
  #notify(message) {
    if (typeof Notification !== "function" || Notification.permission !== "granted") return;
    try {
      const notification = new Notification(this.chat.name(message.from), {
        body: message.text.slice(0, 200) || this.texts.say("notifyText"), tag: `kschat ${message.conversation}`,
      });
      notification.addEventListener("click", () => {
        focus();
        this.open(message.conversation);
        notification.close();
      });
    } catch {
      // Some phones allow notifications of a service worker alone.
    }
  }
}

const WORDS = "kschat-words"; // the cache from which the service worker has its texts: it cannot read the settings

/** Web Push. What the user chose is in the settings; what the browser has may be gone, or of another user, and is renewed at each visit. */
export class Push {
  /**
   * @param {ChatApi} chat
   * @param {Texts} texts
   * @param {Settings} settings
   * @param {Promise<ServiceWorkerRegistration|null>} worker
   */
  constructor(chat, texts, settings, worker) {
    this.chat = chat;
    this.texts = texts;
    this.settings = settings;
    this.worker = worker;
  }

  /** Why it can't be had here. @returns {Promise<Key|null>} */
  async obstacle() {
    const registration = await this.worker;
    if (!registration || !("pushManager" in registration) || typeof Notification !== "function") return "pushNever";
    try {
      await this.chat.pushKey();
    } catch (error) {
      // Another error may pass.
      if (error instanceof Error && "problem" in error) return "pushOff";
    }
    return null;
  }

  /** As the user wishes, who is asked for permission. @returns {Promise<Key|null>} Why it can't be. */
  async on() {
    if (await Notification.requestPermission() !== "granted") return "notifyDenied";
    try {
      await this.#subscribe();
    } catch {
      return "pushFailed";
    }
    this.#choose(true);
    return null;
  }

  /** Waits for the end of the pushes, but not for long: a logout waits for this. @returns {Promise<null>} */
  async off() {
    this.#choose(false);
    const patience = new Promise((resolve) => { setTimeout(resolve, PATIENCE); });
    await Promise.race([this.#unsubscribe().catch(() => {}), patience]); // an error: there is nothing to end
    return null;
  }

  async #unsubscribe() {
    const subscription = await (await this.worker)?.pushManager.getSubscription();
    // Each alone ends the pushes.
    if (subscription) await Promise.allSettled([this.chat.pushUnsubscribe(subscription.endpoint), subscription.unsubscribe()]);
  }

  /** At a visit, when there is a connection: if the user has chosen it. */
  async renew() {
    if (!this.settings.push) return;
    if (globalThis.Notification?.permission !== "granted") return;
    await this.#subscribe().catch(() => {}); // the next visit tries again
  }

  async #subscribe() {
    const registration = await this.worker;
    if (!registration) throw new Error("no service worker");
    await navigator.serviceWorker.ready; // only one that runs can be subscribed
    const key = bytesOf(await this.chat.pushKey());
    let subscription = await registration.pushManager.getSubscription();
    if (subscription && !isSame(subscription.options.applicationServerKey, key)) { // the server has another key now
      await subscription.unsubscribe();
      subscription = null;
    }
    subscription ??= await registration.pushManager.subscribe({userVisibleOnly: true, applicationServerKey: key});
    await this.#tellWorker();
    await this.chat.pushSubscribe(subscription);
  }

  async #tellWorker() {
    const {texts} = this;
    const words = {title: document.title.replace(/^\(\d+\+?\) /, ""), one: texts.say("pushOne"), many: texts.say("pushMany"), lang: texts.language};
    await (await caches.open(WORDS)).put("words", new Response(JSON.stringify(words)));
  }

  /** @param {boolean} push */
  #choose(push) {
    this.settings.push = push;
    writeSettings(this.settings);
  }
}

/** @param {string} text  URL-safe base64. */
function bytesOf(text) {
  const raw = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(raw, (one) => one.charCodeAt(0));
}

/** @param {ArrayBuffer|null} buffer @param {Uint8Array} bytes */
function isSame(buffer, bytes) {
  const other = new Uint8Array(buffer ?? new ArrayBuffer(0));
  return other.length === bytes.length && other.every((one, at) => one === bytes[at]);
}
