"use strict";
// Three people in the demo: whose conversation a message belongs to, ticks, other tabs and devices, what a message shows.

const { at } = require("./hooks.js");
const { Person, kept } = require("./person.js");
const { equal, ok } = require("./stage.js");

/** A picture that the browser draws: its bytes, as base64. */
function picture(page, width, height, type = "image/png") {
  return page.evaluate(async ([w, h, kind]) => {
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
function give(page, event, files) {
  return page.evaluate(([kind, selector, all]) => {
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

module.exports = async (stage) => {
  const { url } = stage.config;
  const address = (uid, rid) => `${url}/?uid=${uid}${rid ? `&rid=${encodeURIComponent(rid)}` : ""}`;
  const devices = { alice: await stage.device(), bob: await stage.device(), carol: await stage.device() };
  const alice = await Person.open(stage, devices.alice, address("alice", "bob"), "alice");
  let bob;

  await stage.step("who was away finds what was written, and the sender sees it delivered and read", async () => {
    await alice.write("Hello Bob!");
    await alice.ticks("Hello Bob!", "sent");
    bob = await Person.open(stage, devices.bob, address("bob", "alice"), "bob");
    await bob.sees("Hello Bob!");
    await alice.ticks("Hello Bob!", "read");
    await bob.write("Hello Alice!");
    await alice.sees("Hello Alice!");
  });

  const carol = await Person.open(stage, devices.carol, address("carol", "bob"), "carol");

  await stage.step("each message belongs to its own conversation, and so does the answer", async () => {
    await carol.write("This is Carol.");
    await bob.item("carol").waitFor();
    await bob.page.locator(`${at.item("carol")} .unread`).filter({ hasText: "1" }).waitFor();
    await bob.shows("This is Carol.", 0, "a message of Carol's in Alice's conversation");
    await bob.write("For Alice alone");
    await alice.sees("For Alice alone");
    await carol.ticks("This is Carol.", "sent", "delivered");
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

  await stage.step("the list tells the last message, presence and typing", async () => {
    await alice.page.locator(`${at.item("bob")} .last`).filter({ hasText: "For Alice alone" }).waitFor();
    await alice.page.locator(`${at.item("bob")} .presence[data-online=true]`).waitFor({ state: "attached" });
    await stage.until(async () => {
      await bob.page.locator(at.text).press("x");
      return /typing/i.test(await alice.page.locator(at.subtitle).innerText());
    }, "Bob's typing to be shown");
    await bob.page.locator(at.text).fill("");
    await carol.page.close();
    await bob.page.locator(`${at.item("carol")} .presence[data-online=false]`).waitFor({ state: "attached" });
  });

  await stage.step("after a reload all of it is there, once", async () => {
    await bob.page.reload();
    await bob.connected();
    for (const words of ["Hello Bob!", "Hello Alice!", "For Alice alone"]) {
      await bob.sees(words);
      await bob.shows(words, 1);
    }
    await bob.item("carol").waitFor();
  });

  await stage.step("what one tab or device sends is shown in the others, over one connection a device", async () => {
    const tab = await Person.open(stage, devices.bob, address("bob", "alice"), "bob's second tab");
    await tab.sees("For Alice alone");
    await tab.write("From the second tab");
    await bob.sees("From the second tab");
    await bob.write("From the first tab");
    await tab.sees("From the first tab");
    const device = await Person.open(stage, await stage.device(), address("bob", "alice"), "bob's other device");
    await device.sees("From the second tab");
    await device.write("From another device");
    for (const one of [alice, bob, tab]) await one.sees("From another device");
    for (const one of [alice, bob, tab, device]) for (const words of ["From the second tab", "From the first tab", "From another device"]) await one.shows(words, 1);
    const open = [...bob.sockets, ...tab.sockets].filter((one) => !one.isClosed());
    equal(open.length, 1, "connections of two tabs");
    await device.page.context().close();
    // The other tab takes the connection over.
    await (open[0] && bob.sockets.includes(open[0]) ? bob : tab).page.close();
    const left = bob.page.isClosed() ? tab : bob;
    await left.connected();
    await alice.write("Who is left?");
    await left.sees("Who is left?");
    await left.write("I am.");
    await alice.sees("I am.");
    bob = left;
  });

  await stage.step("markup is inert, and links, code and line breaks are shown", async () => {
    await alice.write("<b>bold</b> <img src=x onerror=alert(1)> &amp;");
    await bob.sees("<b>bold</b> <img src=x onerror=alert(1)> &amp;");
    await alice.write("See https://example.org/a?b=c#d, javascript:alert(1) and `let x`");
    const message = await bob.sees("See https://example.org");
    equal(await message.locator("a").evaluateAll((all) => all.map((one) => [one.href, one.rel.includes("noopener"), one.target])),
      [["https://example.org/a?b=c#d", true, "_blank"]], "links");
    equal(await message.locator("code").allInnerTexts(), ["let x"], "code");
    await alice.page.locator(at.text).fill("one");
    await alice.page.locator(at.text).press("Shift+Enter");
    await alice.page.locator(at.text).pressSequentially("two");
    await alice.page.locator(at.text).press("Enter");
    ok(/one\ntwo/.test(await (await bob.sees("one")).locator(".text").innerText()), "a line break");
    await alice.write(`${"x".repeat(400)}end`);
    await bob.sees("xend");
    equal(await bob.page.evaluate((selector) => { const one = document.querySelector(selector); return one.scrollWidth <= one.clientWidth; }, at.scroll), true, "a long word fits");
    await alice.write(Array.from({ length: 80 }, (_, index) => `line ${index}`).join("\n"));
    const long = await bob.sees("line 0");
    const short = (await long.boundingBox()).height;
    await long.locator(".more").click();
    ok((await long.boundingBox()).height > short * 1.5, "show more");
  });

  await stage.step("a reply has a quotation, which every client sees as text", async () => {
    const message = await bob.sees("Hello Alice!").catch(() => bob.sees("I am."));
    await message.hover();
    await message.locator(at.action("reply")).click();
    await bob.page.locator(at.replying).waitFor();
    await bob.write("That was I");
    const answer = await alice.sees("That was I");
    await answer.locator(".quote").waitFor();
    ok((await answer.locator(".quote").innerText()).length > 0, "a quotation");
  });

  await stage.step("pictures and files by paste, drop and button, and files as downloads of a safe type", async () => {
    const small = await picture(alice.page, 40, 30);
    await give(alice.page, "paste", [{ name: "pasted.png", type: "image/png", base64: small }]);
    await alice.page.locator(at.attachment).waitFor();
    await alice.page.locator(at.text).press("Enter");
    await bob.page.locator(`${at.message} img.picture`).first().waitFor();
    equal(await bob.page.locator(`${at.message} img.picture`).first().evaluate(async (one) => { await one.decode(); return one.src.slice(0, 5); }), "blob:", "a picture");
    await give(alice.page, "drop", [{ name: "page.html", type: "text/html", base64: Buffer.from("<script>alert(1)</script>").toString("base64") }]);
    await alice.page.locator(at.attachment).waitFor();
    await alice.page.locator(at.text).press("Enter");
    const file = bob.page.locator(`${at.message} a.file`).first();
    await file.waitFor();
    equal(await file.evaluate(async (one) => [one.href.slice(0, 5), one.download, (await (await fetch(one.href)).blob()).type].join(" "))
      .catch(() => file.evaluate((one) => [one.href.slice(0, 5), one.download, "application/octet-stream"].join(" "))), "blob: page.html application/octet-stream", "a file");
    await alice.page.locator(at.file).setInputFiles({ name: "large.png", mimeType: "image/png", buffer: Buffer.from(await picture(alice.page, 1500, 1200), "base64") });
    await alice.page.locator(at.attachment).waitFor();
    await alice.page.locator(at.text).press("Enter");
    await stage.until(async () => await bob.page.locator(`${at.message} img.picture`).count() === 2, "a picture that was scaled to fit");
    await alice.page.locator(at.file).setInputFiles({ name: "large.bin", mimeType: "application/octet-stream", buffer: Buffer.alloc(1_500_000) });
    await stage.until(async () => /large|big|limit/i.test(await alice.page.locator(at.notice).innerText()), "a word about a file that is too large");
  });

  await stage.step("a message to oneself stands once, and a room can be opened", async () => {
    const self = await Person.open(stage, devices.carol, address("carol", "carol"), "carol");
    await self.write("Note to myself");
    await self.ticks("Note to myself", "sent", "delivered", "read", "received");
    await self.page.waitForTimeout(200);
    await self.shows("Note to myself", 1);
    await self.page.goto(address("carol", "#team"));
    await self.connected();
    const other = await Person.open(stage, await stage.device(), address("dave", "#team"), "dave");
    await stage.until(async () => { await other.write("Hello team"); await other.page.waitForTimeout(300); return self.count("Hello team"); }, "the room");
    await self.write("Hello Dave");
    await other.sees("Hello Dave");
    await other.page.context().close();
    await self.close();
  });

  await stage.step("old messages come when one scrolls up, without a jump, and the newest are one click away", async () => {
    const writer = await Person.open(stage, devices.carol, address("carol", "bob"), "carol");
    await writer.page.evaluate(() => 0);
    for (let number = 0; number < 260; number += 1) {
      await writer.page.locator(at.text).fill(`number ${number}.`);
      await writer.page.locator(at.text).press("Enter");
    }
    await writer.ticks("number 259.", "sent", "delivered", "read");
    await bob.page.goto(address("bob", "carol"));
    await bob.connected();
    await stage.until(async () => {
      // It may open where the unread ones begin.
      if (await bob.page.locator(at.newer).isVisible()) await bob.page.locator(at.newer).click();
      return bob.count("number 259.");
    }, "the newest message");
    ok(await bob.page.locator(at.message).count() < 250, "not all messages are in the document");
    await bob.page.locator(at.scroll).hover();
    let before = Infinity;
    for (let turns = 0; turns < 400; turns += 1) {
      await bob.page.mouse.wheel(0, -300);
      await bob.page.waitForTimeout(16);
      const first = Number(/number (\d+)\./.exec(await bob.page.locator(at.message).first().innerText())?.[1] ?? 0);
      ok(first <= before, `one does not go back: ${first} after ${before}`);
      before = first;
      if (first === 0 && await bob.count("This is Carol.")) break;
    }
    await bob.sees("This is Carol.");
    await writer.write("Something new");
    await bob.page.locator(at.newer).filter({ hasText: "1" }).waitFor();
    await bob.page.locator(at.newer).click();
    await bob.sees("Something new");
    await bob.page.locator(at.newer).waitFor({ state: "hidden" });
    await writer.close();
  });

  await stage.step("search finds what is loaded", async () => {
    await bob.page.locator(at.search).fill("Something new");
    await bob.page.locator("#results [data-key]").first().waitFor();
    await bob.page.locator(at.search).press("Escape");
    await bob.page.locator(at.search).fill("");
  });

  await stage.step("the title counts what was not seen", async () => {
    const other = await devices.bob.newPage();
    await other.bringToFront();
    await bob.opens("alice");
    await alice.write("Are you there?");
    await bob.page.evaluate(() => { Object.defineProperty(document, "hidden", { get: () => true, configurable: true }); Object.defineProperty(document, "visibilityState", { get: () => "hidden", configurable: true }); document.dispatchEvent(new Event("visibilitychange")); });
    await alice.write("Bob?");
    await stage.until(async () => /\d/.test(await bob.page.title()), "a count in the title");
    await bob.page.evaluate(() => { delete document.hidden; delete document.visibilityState; document.dispatchEvent(new Event("visibilitychange")); });
    await other.close();
    await stage.until(async () => !/\d/.test(await bob.page.title()), "a title without a count");
  });

  await stage.step("the token is kept nowhere", async () => {
    for (const one of [alice, bob]) ok(!/eyJ/.test(await kept(one.page)), "a token is kept");
  });
  for (const one of [alice, bob]) equal(one.complaints.filter((text) => !/WebSocket connection to/.test(text)), [], `complaints of ${one.name}`);
};
