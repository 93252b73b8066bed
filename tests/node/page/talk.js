"use strict";
// Three people on three daemons: Alice in an application's frame, Bob on a desktop, Carol on a phone. Whose conversation a message belongs to,
// ticks, names, other tabs and devices, what a message shows, pictures, history, notices; a daemon that is killed; a token that ends.

const { application } = require("./application.js");
const { at } = require("./hooks.js");
const { Person, kept } = require("./person.js");
const { PHONE, equal, ok } = require("./stage.js");
const { Writer } = require("./writer.js");

/** A picture of noise, which no format makes small, that the browser draws: its bytes, as base64. */
function picture(person, width, height, type = "image/png") {
  return person.evaluate(async ([w, h, kind]) => {
    const canvas = new OffscreenCanvas(w, h);
    const pen = canvas.getContext("2d");
    const data = pen.createImageData(w, h);
    for (let index = 0; index < data.data.length; index += 1) data.data[index] = index % 4 === 3 ? 255 : Math.random() * 256;
    pen.putImageData(data, 0, 0);
    const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: kind })).arrayBuffer());
    let text = "";
    for (let index = 0; index < bytes.length; index += 8192) text += String.fromCharCode(...bytes.subarray(index, index + 8192));
    return btoa(text);
  }, [width, height, type]);
}

/** Gives files to the page as a paste or a drop would. */
function give(person, event, files) {
  return person.evaluate(([kind, selector, all]) => {
    const transfer = new DataTransfer();
    for (const { name, type, base64 } of all) {
      transfer.items.add(new File([Uint8Array.from(atob(base64), (one) => one.charCodeAt(0))], name, { type }));
    }
    const target = document.querySelector(selector);
    const init = { bubbles: true, cancelable: true };
    if (kind === "paste") target.dispatchEvent(new ClipboardEvent("paste", { ...init, clipboardData: transfer }));
    else for (const name of ["dragenter", "dragover", "drop"]) target.dispatchEvent(new DragEvent(name, { ...init, dataTransfer: transfer }));
  }, [event, event === "paste" ? at.text : at.scroll, files]);
}

/** In the page, before its scripts: what it would show and play, and of what type it makes the files that it offers. */
function watched() {
  window.noticed = { notices: [], tones: 0, types: {} };
  window.Notification = class extends Notification {
    constructor(title, options) {
      super(title, options);
      window.noticed.notices.push([title, options.body]);
    }
  };
  const { createOscillator } = AudioContext.prototype;
  AudioContext.prototype.createOscillator = function oscillator() {
    window.noticed.tones += 1;
    return createOscillator.call(this);
  };
  const { createObjectURL } = URL;
  URL.createObjectURL = (blob) => {
    const url = createObjectURL(blob);
    window.noticed.types[url] = blob.type;
    return url;
  };
}

/** Notes, frame by frame, how far what is in the middle of the screen moves: a jump is more than one scrolls. */
function steady(person) {
  return person.evaluate((selector) => {
    const scroll = document.querySelector(selector);
    window.moves = [];
    let last = null;
    const look = () => {
      if (!window.moves) return;
      if (last?.element.isConnected) window.moves.push(Math.round(last.element.getBoundingClientRect().top - last.top));
      const { left, top, width, height } = scroll.getBoundingClientRect();
      const element = document.elementFromPoint(left + width / 2, top + height / 2)?.closest("#messages > li")
        ?? [...document.querySelectorAll("#messages > li")].find((one) => one.getBoundingClientRect().bottom > top + height / 2);
      last = element ? { element, top: element.getBoundingClientRect().top } : null;
      requestAnimationFrame(look);
    };
    look();
  }, at.scroll);
}

module.exports = async (stage) => {
  const { urls, port } = stage.config;
  const demo = (which, uid, rid) => `${urls[which]}/?uid=${uid}${rid ? `&rid=${encodeURIComponent(rid)}` : ""}`;
  const app = await application(port, "localhost");
  const devices = { alice: await stage.device(), bob: await stage.device(), carol: await stage.device({ ...PHONE, viewport: { width: 320, height: 640 } }) };
  await devices.bob.grantPermissions(["notifications", "clipboard-read", "clipboard-write"], { origin: urls[1] });
  await devices.bob.addInitScript(watched);
  const first = await stage.ask("token", { user: "alice", seconds: 30 });
  const ends = Date.now() + 30_000;
  const alice = await Person.embedded(stage, devices.alice, app.shows(`${urls[0]}/?uid=alice&rid=bob&token=${first}`), "alice");
  let bob;

  await stage.step("who was away finds what was written, and the sender sees it sent, and read", async () => {
    await alice.write("Hello Bob!");
    await alice.ticks("Hello Bob!", "sent");
    bob = await Person.open(stage, devices.bob, demo(1, "bob", "alice"), "bob");
    await bob.sees("Hello Bob!");
    await alice.ticks("Hello Bob!", "read");
    await bob.write("Hello Alice!");
    await alice.sees("Hello Alice!");
    equal(await bob.locator(at.title).innerText(), "Alice Smith", "the name of the token");
    equal(await alice.locator(at.title).innerText(), "Robert of the application", "the name that the application gives");
  });

  let carol = await Person.open(stage, devices.carol, demo(2, "carol", "bob"), "carol");

  await stage.step("each message belongs to its own conversation, and so does the answer", async () => {
    await carol.write("This is Carol.");
    await bob.item("carol").waitFor();
    await bob.locator(`${at.item("carol")} .unread`).filter({ hasText: "1" }).waitFor();
    await bob.shows("This is Carol.", 0, "a message of Carol's in Alice's conversation");
    await bob.write("For Alice alone");
    await alice.sees("For Alice alone");
    await carol.ticks("This is Carol.", "delivered");
    await bob.opens("carol");
    await bob.sees("This is Carol.");
    await bob.shows("For Alice alone", 0);
    await carol.ticks("This is Carol.", "read");
    await bob.write("For Carol alone");
    await carol.sees("For Carol alone");
    await alice.shows("For Carol alone", 0);
    await carol.shows("For Alice alone", 0);
    await bob.opens("alice");
    await bob.sees("For Alice alone");
  });

  await stage.step("the list tells the last message, its time, presence, last seen and typing; a draft stays with its conversation", async () => {
    await alice.locator(`${at.item("bob")} .last`).filter({ hasText: "For Alice alone" }).waitFor();
    ok(/\d/.test(await alice.locator(`${at.item("bob")} time`).innerText()), "a time");
    await alice.locator(`${at.item("bob")} .presence[data-online=true]`).waitFor({ state: "attached" });
    await stage.until(async () => {
      await bob.locator(at.text).press("x");
      return /typing/i.test(await alice.locator(at.subtitle).innerText()) && await alice.locator(`${at.item("bob")}[data-typing]`).count();
    }, "Bob's typing to be shown");
    const draft = await bob.locator(at.text).inputValue();
    await carol.close();
    await bob.locator(`${at.item("carol")} .presence[data-online=false]`).waitFor({ state: "attached" });
    await bob.opens("carol");
    equal(await bob.locator(at.text).inputValue(), "", "the draft of another conversation");
    await stage.until(async () => /last seen/i.test(await bob.locator(at.subtitle).innerText()), "when Carol was seen last");
    await bob.locator(`${at.item("alice")} .last`).filter({ hasText: draft }).waitFor();
    await bob.opens("alice");
    equal(await bob.locator(at.text).inputValue(), draft, "the draft");
    await bob.locator(at.text).fill("");
  });

  await stage.step("after a reload all of it is there, once, in the conversation that was open", async () => {
    await bob.page.reload();
    await bob.connected();
    for (const words of ["Hello Bob!", "Hello Alice!", "For Alice alone"]) {
      await bob.sees(words);
      await bob.shows(words, 1);
    }
    await bob.item("carol").waitFor();
    await bob.shows("This is Carol.", 0);
  });

  const carols = new Writer(urls[0], "carol", await stage.ask("token", { user: "carol" }));
  await carols.connected();

  await stage.step("what one tab or device sends or reads is so in the others, over one connection a device", async () => {
    const tab = await Person.open(stage, devices.bob, demo(1, "bob", "alice"), "bob's second tab");
    await tab.sees("For Alice alone");
    await tab.write("From the second tab");
    await bob.sees("From the second tab");
    await bob.write("From the first tab");
    await tab.sees("From the first tab");
    // A draft is the same in both, key by key, though the field has the focus in each; and gone when it was sent.
    await tab.locator(at.text).focus();
    await bob.locator(at.text).pressSequentially("From both");
    await stage.until(async () => await tab.locator(at.text).inputValue() === "From both", "the draft in the other tab");
    await bob.locator(at.text).press("Enter");
    await stage.until(async () => await tab.locator(at.text).inputValue() === "", "the draft to be gone in the other tab");
    // One that is longer than what is kept over a reload is whole when one comes back.
    await tab.locator(at.text).fill("x".repeat(30000));
    await tab.opens("carol");
    await tab.opens("alice");
    equal((await tab.locator(at.text).inputValue()).length, 30000, "the draft's length");
    await tab.locator(at.text).fill("");
    const device = await Person.open(stage, await stage.device(), demo(2, "bob", "alice"), "bob's other device");
    await device.sees("From the second tab");
    await device.write("From another device");
    for (const one of [alice, bob, tab]) await one.sees("From another device");
    for (const one of [alice, bob, tab, device]) for (const words of ["From the second tab", "From the first tab", "From another device"]) await one.shows(words, 1);
    // What is read in one of these is read in all.
    const badge = (one) => one.locator(`${at.item("carol")} .unread`);
    for (const reader of [tab, device]) {
      await carols.send("bob", "Read by one of you");
      for (const one of [bob, tab, device]) await badge(one).waitFor();
      await reader.opens("carol");
      for (const one of [bob, tab, device]) await badge(one).waitFor({ state: "detached" });
      await reader.opens("alice");
    }
    const open = [...bob.sockets, ...tab.sockets].filter((one) => !one.isClosed());
    equal(open.length, 1, "connections of two tabs");
    await device.page.context().close();
    // The other tab takes the connection over.
    await (bob.sockets.includes(open[0]) ? bob : tab).close();
    bob = bob.page.isClosed() ? tab : bob;
    await bob.connected();
    await alice.write("Who is left?");
    await bob.sees("Who is left?");
    await bob.write("I am.");
    await alice.sees("I am.");
  });

  await stage.step("markup is inert; links, emoji, code, line breaks, long words, other directions and long texts are shown as they should", async () => {
    await alice.write("<b>bold</b> <img src=x onerror=alert(1)> &amp;");
    await bob.sees("<b>bold</b> <img src=x onerror=alert(1)> &amp;");
    await alice.write("See https://example.org/a?b=c#d, javascript:alert(1) and `let x`");
    const message = await bob.sees("See https://example.org");
    equal(await message.locator("a").evaluateAll((all) => all.map((one) => [one.href, one.rel.includes("noopener"), one.target])),
      [["https://example.org/a?b=c#d", true, "_blank"]], "links");
    equal(await message.locator("code").allInnerTexts(), ["let x"], "code");
    await alice.write("Or www.example.org/c, not awww.example.org, www. nor a@www.example.org");
    equal(await (await bob.sees("Or www.")).locator("a").evaluateAll((all) => all.map((one) => [one.href, one.textContent])),
      [["https://www.example.org/c", "www.example.org/c"]], "links without a scheme");
    await alice.locator(at.text).fill("upper line");
    await alice.locator(at.text).press("Shift+Enter");
    await alice.locator(at.text).pressSequentially("lower line");
    await alice.locator(at.text).press("Enter");
    ok(/upper line\nlower line/.test(await (await bob.sees("upper line")).locator(".text").innerText()), "a line break");
    await alice.write("\u{1f44d}\u{1f3fd}\u{1f389}");
    await (await bob.sees("\u{1f44d}\u{1f3fd}\u{1f389}")).locator(".text.emoji").waitFor();
    await alice.write("\u05e9\u05dc\u05d5\u05dd, Bob");
    equal(await (await bob.sees("\u05e9\u05dc\u05d5\u05dd")).locator(".text").evaluate((one) => getComputedStyle(one).direction), "rtl", "the direction of a text");
    await alice.write(`${"x".repeat(400)}end`);
    await bob.sees("xend");
    equal(await bob.evaluate((selector) => { const one = document.querySelector(selector); return one.scrollWidth <= one.clientWidth; }, at.scroll), true, "a long word fits");
    await alice.write(Array.from({ length: 80 }, (_, index) => `line ${index}`).join("\n"));
    const long = await bob.sees("line 0");
    const short = (await long.boundingBox()).height;
    await long.locator(".more").click();
    await stage.until(async () => (await long.boundingBox()).height > short * 1.5, "all of a long text");
    await long.locator(".more").click();
    await bob.ends();
  });

  const alices = new Writer(urls[0], "alice", await stage.ask("token", { user: "alice" }));
  await alices.connected();

  await stage.step("a reply has a quotation, which every client sees as text; a text can be copied", async () => {
    await bob.ends();
    await bob.does("reply", "\u05e9\u05dc\u05d5\u05dd");
    await bob.locator(at.replying).filter({ hasText: "Alice Smith" }).waitFor();
    await bob.locator(at.text).press("Escape");
    await bob.locator(at.replying).waitFor({ state: "hidden" });
    await bob.does("reply", "\u05e9\u05dc\u05d5\u05dd");
    await bob.write("That was I");
    const answer = await alice.sees("That was I");
    await answer.locator(".quote").filter({ hasText: "\u05e9\u05dc\u05d5\u05dd, Bob" }).waitFor();
    equal((await alices.ask("History", { pId: "bob", limit: 1 })).MSG[0].msg, "> alice: \u05e9\u05dc\u05d5\u05dd, Bob\nThat was I", "the message on the wire");
    await answer.locator(".quote").click();
    await stage.until(() => alice.evaluate(() => document.activeElement?.textContent?.includes("\u05e9\u05dc\u05d5\u05dd")), "the message that it answers");
    await alice.ends();
    await bob.does("copy", "That was I");
    await stage.until(async () => await bob.evaluate(() => navigator.clipboard.readText()) === "That was I", "the text in the clipboard");
  });

  await stage.step("pictures and files by paste, drop and button, with a preview, and files as downloads of a safe type", async () => {
    const pictures = bob.locator(`${at.message} img.picture`);
    const before = await pictures.count();
    await give(alice, "paste", [{ name: "pasted.png", type: "image/png", base64: await picture(alice, 40, 30) }]);
    await alice.locator(`${at.attachment} img`).waitFor();
    await alice.locator(at.text).press("Enter");
    await stage.until(async () => await pictures.count() === before + 1, "the picture");
    equal(await pictures.last().evaluate(async (one) => { await one.decode(); return [one.src.slice(0, 5), one.naturalWidth, one.naturalHeight]; }), ["blob:", 40, 30], "a picture");
    const [{ msg }] = (await alices.ask("History", { pId: "bob", limit: 1 })).MSG;
    ok(msg.file.data instanceof ArrayBuffer || Buffer.isBuffer(msg.file.data), "a picture is binary on the wire");
    await give(alice, "drop", [{ name: "page.html", type: "text/html", base64: Buffer.from("<script>alert(1)</script>").toString("base64") }]);
    await alice.locator(at.attachment).waitFor();
    await alice.locator(`${at.attachment} ${at.action("remove")}`).click();
    await alice.locator(at.attachment).waitFor({ state: "detached" });
    await give(alice, "drop", [{ name: "page.html", type: "text/html", base64: Buffer.from("<script>alert(1)</script>").toString("base64") }]);
    await alice.locator(at.attachment).waitFor();
    await alice.locator(at.text).press("Enter");
    const file = bob.locator(`${at.message} a.file`).last();
    await file.waitFor();
    equal(await file.evaluate((one) => [one.download, window.noticed.types[one.href]]), ["page.html", "application/octet-stream"], "a file");
    const [download] = await Promise.all([bob.page.waitForEvent("download"), file.click()]);
    equal(download.suggestedFilename(), "page.html", "what is saved");
    await alice.locator(at.file).setInputFiles({ name: "large.png", mimeType: "image/png", buffer: Buffer.from(await picture(alice, 900, 720), "base64") });
    await alice.locator(at.attachment).waitFor();
    await alice.locator(at.text).press("Enter");
    await stage.until(async () => await pictures.count() === before + 2, "a picture that was scaled to fit");
    const [width, height] = await pictures.last().evaluate(async (one) => { await one.decode(); return [one.naturalWidth, one.naturalHeight]; });
    ok(width <= 900 && Math.abs(width / height - 1.25) < 0.02, `${width} x ${height}`);
    await alice.locator(at.file).setInputFiles({ name: "large.bin", mimeType: "application/octet-stream", buffer: Buffer.alloc(1_500_000) });
    await alice.locator(at.notice).filter({ hasText: /large\.bin.*too large.*MB/ }).waitFor();
    equal(await alice.locator(at.attachment).count(), 0, "attachments that are too large");
    await alice.write("After the pictures");
    await bob.sees("After the pictures");
    await alice.locator(at.notice).waitFor({ state: "hidden" });
  });

  await stage.step("what is attached, and the message that is answered, wait in their conversation; what was sent is not sent again", async () => {
    await bob.ends();
    await bob.does("reply", "After the pictures");
    await give(bob, "paste", [{ name: "kept.txt", type: "text/plain", base64: Buffer.from("kept").toString("base64") }]);
    await bob.locator(at.attachment).waitFor();
    await bob.opens("carol");
    equal(await bob.locator(at.attachment).count(), 0, "attachments of another conversation");
    await bob.locator(at.replying).waitFor({ state: "hidden" });
    await bob.opens("alice");
    await bob.locator(`${at.attachment}`).filter({ hasText: "kept.txt" }).waitFor();
    await bob.locator(at.replying).filter({ hasText: "After the pictures" }).waitFor();
    await bob.locator(at.text).press("Escape");
    equal(await bob.locator(at.attachment).count(), 0, "attachments that were given up");
    // The field alone, on an outbox that has room for two files. It is another document's: the page's own field is left alone.
    const other = await Person.open(stage, await stage.device(), demo(1, "walter", "alice"), "walter");
    const made = await other.evaluate(async () => {
      const load = (path) => import(new URL(path, document.baseURI).href);
      const [{ Composer }, { Texts }, { Refused }] = [await load("static/page/talk.js"), await load("static/page/texts.js"), await load("static/kschat/chat.js")];
      const talk = document.querySelector("#talk");
      talk.replaceWith(talk.cloneNode(true)); // without the listeners of the page
      const sent = [];
      let room = 2, said = "";
      const chat = {
        limit: 1_000_000, conversation: () => ({ draft: "" }), setDraft: () => {}, typing: () => {}, name: (id) => id, messages: () => [],
        send: (_id, { text = "", file }) => {
          if (!room) throw new Refused({ code: "full", words: "", again: true });
          room -= 1;
          sent.push([text, file?.name ?? null]);
        },
      };
      const composer = new Composer(chat, new Texts("en"), { problem: (words) => { said = words; } });
      composer.show("x");
      await composer.attach(["a", "b", "c"].map((name) => new File([name], name)));
      composer.text.value = "words";
      composer.form.requestSubmit();
      const left = [...document.querySelectorAll("#attachments .file-name")].map((one) => one.textContent);
      const first = [left, composer.text.value, said !== ""];
      room = 5;
      composer.form.requestSubmit();
      return [...first, sent, document.querySelectorAll("#attachments li").length];
    });
    equal(made, [["c"], "", true, [["words", "a"], ["", "b"], ["", "c"]], 0], "what was sent, and what was left");
    // The messages alone: a conversation that is opened while another one's older messages are on their way loads and shows its own.
    const drawn = other.evaluate(async () => {
      const load = (path) => import(new URL(path, document.baseURI).href);
      const [{ ConversationView }, { Texts }] = [await load("static/page/talk.js"), await load("static/page/texts.js")];
      const message = (id, number) => ({
        key: `${id}${number}`, mid: `${id}${number}`, conversation: id, from: id, own: false, time: number, state: "received", problem: null,
        text: `${id} ${number}`, deleted: false, edited: false, file: null, reply: null, reactions: {},
      });
      const lists = { a: [message("a", 1)], b: [message("b", 1)] };
      const asked = {};
      const until = { a: new Promise((done) => { asked.a = done; }), b: new Promise((done) => { asked.b = done; }) };
      const chat = {
        name: (id) => id, messages: (id) => lists[id], open: async () => {}, close: () => {}, read: () => {},
        conversation: (id) => ({ id, room: false, loaded: true, unread: 2, readUpTo: null, hasOlder: true, hasNewer: false, missed: 0 }),
        older: (id) => new Promise((done) => { asked[id](done); }),
      };
      const view = new ConversationView(chat, new Texts("en"), { problem: () => {}, read: () => {} });
      await view.show("a");
      const came = await until.a;
      await view.show("b");
      for (let frame = 0; frame < 20; frame += 1) await new Promise((done) => { requestAnimationFrame(done); }); // it is drawn, or waits
      came(0);
      const more = await until.b;
      lists.b = [message("b", 0), ...lists.b];
      more(1);
      const texts = () => [...document.querySelectorAll("#messages .text")].map((one) => one.textContent);
      while (texts().length < 2) await new Promise((done) => { requestAnimationFrame(done); });
      return texts();
    });
    const never = new Promise((done) => { setTimeout(done, stage.patience, []); });
    equal(await Promise.race([drawn, never]), ["b 0", "b 1"], "what is shown of the other conversation");
    await other.page.context().close();
  });

  await stage.step("a picture is made smaller step by step until it fits, and one that cannot is refused", async () => {
    const base64 = await picture(bob, 700, 500);
    const made = await bob.evaluate(async (text) => {
      const { prepare } = await import(new URL("static/kschat/pictures.js", document.baseURI).href);
      const whole = new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], "noise.png", { type: "image/png" });
      const results = [];
      for (const limit of [2_000_000, 400_000, 150_000, 60_000, 5000]) {
        results.push(await prepare(whole, limit).then(
          ({ name, type, size, data, width }) => [name, type, size === data.byteLength && size <= limit, width],
          (error) => error.problem.code));
      }
      return results;
    }, base64);
    equal(made[0], ["noise.png", "image/png", true, 700], "one that fits");
    for (const one of made.slice(1, 4)) equal(one.slice(0, 3), ["noise.jpg", "image/jpeg", true], "one that was scaled");
    const widths = made.slice(0, 4).map((one) => one[3]);
    ok(widths.every((one, index) => index === 0 || one <= widths[index - 1]) && widths[3] < widths[1], `widths ${widths}`);
    equal(made[4], "too large", "one that cannot fit");
    equal(await bob.evaluate(async () => {
      const { prepare } = await import(new URL("static/kschat/pictures.js", document.baseURI).href);
      const { name, type, width } = await prepare(new File(["no picture"], "text.png", { type: "image/png" }), 1_000_000);
      return [name, type, width ?? null];
    }), ["text.png", "application/octet-stream", null], "one that is none is sent as a file");
    // Enter while it is prepared: it is sent, with its words, as soon as it is ready.
    await bob.locator(at.text).fill("Sent with its picture");
    await bob.evaluate((text) => {
      const pasted = new DataTransfer();
      pasted.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], "noise.png", { type: "image/png" }));
      const field = document.querySelector("#text");
      field.dispatchEvent(new ClipboardEvent("paste", { clipboardData: pasted, bubbles: true, cancelable: true }));
      field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
    }, base64);
    await (await alice.sees("Sent with its picture")).locator("img.picture").waitFor();
    equal(await bob.locator(at.text).inputValue(), "", "what is in the field");
  });

  await stage.step("on a phone: a message to oneself stands once, and a room can be opened, by the dialog and by the address", async () => {
    carol = await Person.open(stage, devices.carol, demo(2, "carol", "carol"), "carol");
    await carol.write("Note to myself");
    await carol.write("Another note");
    await carol.ticks("Another note", "sent", "delivered", "read", "received");
    await carol.shows("Note to myself", 1);
    await carol.locator(at.back).tap();
    await carol.item("bob").waitFor();
    await carol.locator(at.text).waitFor({ state: "hidden" });
    await carol.starts("#team");
    // Only a member is told that there is nothing.
    await carol.locator("#empty").waitFor();
    await carol.write("First in the room");
    await carol.ticks("First in the room", "sent");
    const dave = await Person.open(stage, await stage.device(), demo(1, "dave", "#team"), "dave");
    await dave.sees("First in the room"); // what was written before he joined
    await dave.write("Hello team");
    await (await carol.sees("Hello team")).locator(".from").filter({ hasText: "dave" }).waitFor();
    await carol.write("Hello Dave");
    await dave.sees("Hello Dave");
    // Who has left it, and opens it again, is in it again.
    await dave.locator("#info").click();
    await dave.locator("#details .buttons button").click();
    await dave.locator("#details").waitFor({ state: "detached" });
    await dave.locator("#welcome").waitFor();
    await dave.opens("#team");
    let calls = 0;
    await stage.until(async () => {
      await carol.write(`Dave? ${++calls}`);
      return dave.count("Dave?");
    }, "Dave to be in the room again");
    await dave.write("Back again");
    await carol.sees("Back again");
    await dave.page.context().close();
    await carol.close();
  });

  const erin = new Writer(urls[0], "erin", await stage.ask("token", { user: "erin" }));
  await erin.connected();

  await stage.step("an unknown sender opens a conversation; it begins where the unread ones do; old messages come without a jump, the newest with one click", async () => {
    await erin.fill("bob", 300, (number) => `number ${number}.`, 50);
    await bob.locator(`${at.item("erin")} .unread`).filter({ hasText: "300" }).waitFor();
    await bob.item("erin").click();
    await bob.locator(at.divider).waitFor();
    await bob.locator(at.newer).waitFor();
    await bob.ends();
    await bob.sees("number 299.");
    ok(await bob.locator(at.message).count() < 150, "not all messages are in the document");
    await steady(bob);
    await bob.locator(at.scroll).hover();
    await stage.until(async () => {
      await bob.page.mouse.wheel(0, -350);
      await bob.evaluate(() => new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); }));
      return bob.count("number 0.");
    }, "the first message");
    const moves = await bob.evaluate(() => { const all = window.moves; window.moves = null; return all; });
    ok(moves.length > 10 && moves.every((one) => one >= -60 && one <= 1100), `moves a frame: ${[Math.min(...moves), Math.max(...moves)]}`);
    await erin.send("bob", "Something new");
    await bob.locator(at.newer).filter({ hasText: "1" }).waitFor();
    await bob.ends();
    await bob.sees("Something new");
  });

  await stage.step("under a thousand messages a second the page lays out by frames, one can type, and who listens hears how many", async () => {
    const client = await devices.bob.newCDPSession(bob.page);
    await client.send("Performance.enable");
    const layouts = async () => (await client.send("Performance.getMetrics")).metrics.find(({ name }) => name === "LayoutCount").value;
    const before = await layouts();
    await bob.evaluate(() => {
      window.heard = [];
      new MutationObserver(() => window.heard.push(document.querySelector("#live").textContent)).observe(document.querySelector("#live"), { childList: true, characterData: true, subtree: true });
    });
    await bob.locator(at.text).focus();
    const [, typed] = await Promise.all([
      erin.fill("bob", 1000, (number) => `burst ${number}. It has some words.`),
      (async () => { await bob.page.keyboard.type("typed meanwhile"); return bob.locator(at.text).inputValue(); })(),
    ]);
    equal(typed, "typed meanwhile", "what was typed");
    await bob.sees("burst 999.");
    const made = await layouts() - before;
    ok(made < 1000, `${made} layouts for 1,000 messages`);
    ok(await bob.locator(at.message).count() < 150, "not all messages are in the document");
    await stage.until(() => bob.evaluate(() => window.heard.some((words) => /new messages from/.test(words))), "the count for those who listen");
    const heard = await bob.evaluate(() => window.heard);
    ok(heard.length < 30, `${heard.length} announcements`);
    await bob.locator(at.text).fill("");
  });

  await stage.step("search finds people and what is loaded, and shows it", async () => {
    await bob.locator(at.search).fill("Something new");
    await bob.locator("#results [data-key]").first().click();
    await stage.until(() => bob.evaluate(() => document.activeElement?.textContent?.includes("Something new")), "the message that was found");
    await bob.locator(at.search).fill("smith");
    await bob.locator(`#results [data-id="alice"]`).click();
    await stage.until(async () => await bob.locator(at.title).innerText() === "Alice Smith", "the conversation with who was found");
    equal(await bob.locator(at.search).inputValue(), "", "the words of the search");
  });

  await stage.step("a message that was deleted says so, and an edited one has its last text, at once and after a reload", async () => {
    const [gone, changed] = [await erin.send("bob", "Deleted soon"), await erin.send("bob", "Edited soon")];
    await bob.opens("erin");
    await bob.sees("Deleted soon");
    await bob.sees("Edited soon");
    equal((await erin.ask("Delete", { mid: gone.mid, pId: "bob" })).ER, 0, "the answer to Delete");
    equal((await erin.ask("Edit", { mid: changed.mid, pId: "bob", msg: "Edited meanwhile" })).ER, 0, "the answer to Edit");
    for (const again of [false, true]) {
      if (again) {
        await bob.page.reload();
        await bob.connected();
      }
      await bob.sees("Edited meanwhile");
      await bob.sees("This message was deleted.");
    }
    await bob.shows("soon", 0, "earlier texts");
    await bob.locator(`${at.item("erin")} .last`).filter({ hasText: "Edited meanwhile" }).waitFor();
    await bob.opens("alice");
  });

  await stage.step("more unread than are counted: the list, the title and the conversation say so, and none is read before it was drawn", async () => {
    const frank = new Writer(urls[0], "frank", await stage.ask("token", { user: "frank" }));
    await frank.connected();
    await frank.fill("bob", 1300, (number) => `many ${number}.`);
    const badge = bob.locator(`${at.item("frank")} .unread`);
    await badge.filter({ hasText: "999+" }).waitFor();
    await stage.until(async () => /\(999\+\)/.test(await bob.page.title()), "the title's number");
    await bob.opens("frank");
    await bob.sees("many 1299.");
    await bob.locator(".above").filter({ hasText: "1000" }).waitFor();
    equal(await badge.innerText(), "999+", "what is unread in a conversation that was opened at its end");
    await frank.send("bob", "One more");
    await bob.sees("One more");
    equal(await badge.innerText(), "999+", "what is unread after one more");
    await bob.locator(".above button").click();
    await badge.waitFor({ state: "detached" });
    await bob.locator(".above").waitFor({ state: "hidden" });
    await frank.send("bob", "The last one");
    await bob.sees("The last one");
    await badge.waitFor({ state: "detached" });
    frank.end();
  });

  await stage.step("who is blocked is so below the name; the page says when it and its scripts do not fit; the card leads to the other side", async () => {
    await bob.opens("frank");
    const change = bob.locator("#details .buttons button");
    for (const [sign, label] of [["blocked by you", "Unblock"], ["", "Block"]]) {
      await bob.locator("#info").click();
      await change.click();
      await change.filter({ hasText: label }).waitFor();
      await bob.page.keyboard.press("Escape");
      await bob.locator("#details").waitFor({ state: "detached" });
      await stage.until(async () => (await bob.locator(at.subtitle).innerText()).includes("blocked") === (sign !== ""), `the sign "${sign}"`);
    }
    const device = await stage.device();
    const old = await device.newPage();
    await old.route(({ pathname }) => pathname === "/", async (route) => {
      const body = (await (await route.fetch()).text()).replace('id="newer"', 'id="of-another-release"');
      await route.fulfill({ contentType: "text/html; charset=utf-8", body });
    });
    await old.goto(demo(1, "walter", "alice"));
    await old.locator(at.status).filter({ hasText: "different releases" }).waitFor();
    await old.unrouteAll();
    await old.goto(`${urls[1]}/`);
    await old.locator("#uid").fill("dora");
    await old.locator("#rid").fill("emil");
    equal(await old.locator("#choose-too a").getAttribute("href"), "?uid=emil&rid=dora", "the other side");
    await device.close();
    await bob.opens("alice");
  });

  await stage.step("the title counts what was not seen; sound and notifications come as the user chose", async () => {
    await bob.ends();
    await stage.until(async () => !/\d/.test(await bob.page.title()), "a title without a count");
    await bob.covered(true);
    await alice.write("Are you there?");
    await bob.sees("Are you there?");
    await stage.until(async () => /1/.test(await bob.page.title()), "a count in the title");
    await bob.covered(false);
    await stage.until(async () => !/\d/.test(await bob.page.title()), "a title without a count again");
    equal(await bob.evaluate(() => [window.noticed.notices, window.noticed.tones]), [[], 0], "what was not chosen");
    await bob.locator(at.setting).click();
    await bob.locator("#set-sound").check();
    await bob.locator("#set-notify").check();
    await bob.page.keyboard.press("Escape");
    await bob.locator(at.settings).waitFor({ state: "hidden" });
    const { tones } = await bob.evaluate(() => window.noticed);
    ok(tones > 0, "the sound that was chosen is played");
    // Between two notices is a pause, by the page's clock.
    await bob.evaluate(() => { const { now } = performance; performance.now = () => now.call(performance) + 2100; });
    await bob.covered(true);
    await alice.write("Please answer");
    await stage.until(() => bob.evaluate((played) => window.noticed.tones > played && window.noticed.notices.length, tones), "a sound and a notification");
    equal(await bob.evaluate(() => window.noticed.notices), [["Alice Smith", "Please answer"]], "notifications");
    await bob.covered(false);
    await bob.page.reload();
    await bob.connected();
    equal(await bob.evaluate(() => JSON.parse(localStorage.getItem("kschat.settings"))), { sound: true, notify: true }, "the choice");
    await stage.until(async () => !/\d/.test(await bob.page.title()), "a title without a count after a reload");
  });

  await stage.step("the token ends: the application is asked for another, on the same connection, and none is kept", async () => {
    // However quick the steps before this one were.
    await stage.until(() => alice.page.evaluate(() => window.asked), "the application to be asked", 40_000);
    await stage.until(() => Date.now() > ends, "the end of the first token", 40_000);
    await alice.write("With another token");
    await bob.sees("With another token");
    equal(alice.sockets.length, 1, "connections");
    ok(!alice.view.url().includes("token"), alice.view.url());
    for (const one of [alice, bob]) ok(!/eyJ/.test(await kept(one.view)), "a token is kept");
  });

  await stage.step("one of the daemons is killed and comes back: what was written on both sides meanwhile arrives, once", async () => {
    await stage.ask("kill", { which: 1 });
    await bob.is("waiting");
    await alice.write("While Bob was away");
    await bob.write("Written without a daemon");
    await bob.ticks("Written without a daemon", "waiting");
    await stage.ask("restart", { which: 1 });
    // A demo makes itself a new secret: the page fetches another token by itself.
    await bob.connected();
    await bob.sees("While Bob was away");
    await alice.sees("Written without a daemon");
    for (const one of [alice, bob]) for (const words of ["While Bob was away", "Written without a daemon"]) await one.shows(words, 1);
  });

  for (const one of [carols, alices, erin]) one.end();
  for (const one of stage.people) equal(one.serious(), [], `complaints of ${one.name}`);
  app.close();
};
