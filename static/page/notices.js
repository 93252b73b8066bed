// Notices while the page is not in view: a sound, a notification. And the service worker, which keeps the shell for when there is no
// network.

/** @import {ChatApi, Message} from "../kschat/types.js" */
/** @import {Texts} from "./texts.js" */

const QUIET = 2000; // milliseconds between two sounds or notifications

export class Notices {
  #last = 0;
  /** @type {AudioContext|null} */ #audio = null;

  /**
   * @param {ChatApi} chat
   * @param {Texts} texts
   * @param {{sound?: boolean, notify?: boolean}} settings
   * @param {(id: string) => void} open
   */
  constructor(chat, texts, settings, open) {
    this.chat = chat;
    this.texts = texts;
    this.settings = settings;
    this.open = open;
    // Relative to the page: the daemon serves it there, so that its scope is the page. Not every browser has it, nor every origin.
    navigator.serviceWorker?.register(new URL("service-worker.js", document.baseURI)).catch(() => {});
  }

  /** New messages of others. @param {Message[]} messages */
  arrived(messages) {
    const now = Date.now();
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
