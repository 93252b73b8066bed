"use strict";
// A person's first minute, in two browsers, with a picture of each step for docs/first-minute.md; see tools/make_pictures.py.

const { at } = require("./hooks.js");
const { Person } = require("./person.js");
const { equal } = require("./stage.js");

module.exports = async (stage) => {
  const { url, pictures } = stage.config;
  const look = { viewport: { width: 760, height: 460 }, colorScheme: "light" };
  const devices = [await stage.device(look), await stage.device(look)];
  const address = (uid, rid) => `${url}/?uid=${uid}&rid=${rid}`;
  const shoot = async (person, name) => {
    if (pictures) await person.page.screenshot({ path: `${pictures}/minute-${name}.png`, animations: "disabled" });
  };
  let bob;

  const start = await devices[0].newPage();
  await stage.step("1 the form", async () => {
    await start.goto(`${url}/`);
    await start.locator("#uid").waitFor();
    if (pictures) await start.screenshot({ path: `${pictures}/minute-1-start.png` });
    await start.close();
  });
  const alice = await Person.open(stage, devices[0], address("alice", "bob"), "alice");

  await stage.step("2 the first message", async () => {
    await alice.write("Hello Bob!");
    // Bob is not there: one tick.
    await alice.ticks("Hello Bob!", "sent");
    await shoot(alice, "2-message");
  });

  await stage.step("3 the other browser, and the ticks", async () => {
    bob = await Person.open(stage, devices[1], address("bob", "alice"), "bob");
    await bob.sees("Hello Bob!");
    await alice.ticks("Hello Bob!", "read");
    await bob.write("Hello Alice!");
    await alice.sees("Hello Alice!");
    await shoot(alice, "3-ticks");
  });

  await stage.step("4 a picture", async () => {
    const base64 = await alice.page.evaluate(async () => {
      const canvas = new OffscreenCanvas(320, 180);
      const pen = canvas.getContext("2d");
      pen.fillStyle = "#9cc3f5";
      pen.fillRect(0, 0, 320, 180);
      pen.fillStyle = "#ffe9a8";
      pen.arc(250, 45, 22, 0, 7);
      pen.fill();
      pen.fillStyle = "#1c2541";
      pen.beginPath();
      pen.moveTo(0, 180);
      for (const [x, y] of [[60, 90], [110, 130], [180, 60], [250, 125], [320, 80], [320, 180]]) pen.lineTo(x, y);
      pen.fill();
      const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer());
      return btoa(String.fromCharCode(...bytes));
    });
    await bob.page.locator(at.file).setInputFiles({ name: "mountains.png", mimeType: "image/png", buffer: Buffer.from(base64, "base64") });
    await bob.locator(at.attachment).waitFor();
    await shoot(bob, "4-attached");
    await bob.locator(at.text).press("Enter");
    await alice.locator(`${at.message} img.picture`).first().waitFor();
    await alice.evaluate((selector) => document.querySelector(`${selector} img.picture`).decode(), at.message);
    await bob.locator(`${at.message} img.picture`).first().waitFor();
    await alice.ticks("Hello Bob!", "read");
    await shoot(alice, "5-picture");
  });

  await stage.step("5 after a reload all of it is there", async () => {
    await bob.page.reload();
    await bob.connected();
    await bob.sees("Hello Bob!");
    await bob.locator(`${at.message} img.picture`).first().waitFor();
    await bob.evaluate((selector) => document.querySelector(`${selector} img.picture`).decode(), at.message);
    await shoot(bob, "6-reload");
  });

  await stage.step("6 the server is killed", async () => {
    await stage.ask("kill");
    await alice.is("waiting", "connecting", "offline");
    await alice.write("Written while the server was down");
    await alice.ticks("Written while the server was down", "waiting", "sending");
    await shoot(alice, "7-down");
  });

  await stage.step("7 and is back", async () => {
    await stage.ask("restart");
    await alice.connected();
    await bob.connected();
    await bob.sees("Written while the server was down");
    await alice.ticks("Written while the server was down", "read");
    await shoot(alice, "8-back");
    equal(await bob.count("Written while the server was down"), 1, "times it is shown");
  });

  for (const one of stage.people) equal(one.serious(), [], `complaints of ${one.name}`);
};
