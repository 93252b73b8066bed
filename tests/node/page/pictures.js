"use strict";
// Pictures of the running page for the documentation, desktop and phone, light and dark; see tools/make_pictures.py.

const { Person } = require("./person.js");
const { PHONE } = require("./stage.js");

const TALK = [
  ["alice", "Hello Bob! Did the restart last night lose anything?"],
  ["bob", "Not a message. What you wrote meanwhile came this morning, in order."],
  ["alice", "Even what I wrote while the server was down?"],
  ["bob", "Even that. The page kept it and sent it when the server was back."],
  ["alice", "Then we can move the others over today."],
];

const LOOKS = {
  "desktop-light": { viewport: { width: 760, height: 520 }, colorScheme: "light" },
  "desktop-dark": { viewport: { width: 760, height: 520 }, colorScheme: "dark" },
  "phone-light": { ...PHONE, viewport: { width: 320, height: 520 }, colorScheme: "light" },
  "phone-dark": { ...PHONE, viewport: { width: 320, height: 520 }, colorScheme: "dark" },
};

module.exports = async (stage) => {
  const { url, pictures } = stage.config;
  const address = (uid, rid) => `${url}/?uid=${uid}&rid=${rid}`;
  for (const [name, look] of Object.entries(LOOKS)) {
    await stage.step(name, async () => {
      const contexts = [await stage.device(look), await stage.device(look)];
      const people = {
        alice: await Person.open(stage, contexts[0], address("alice", "bob"), "alice"),
        bob: await Person.open(stage, contexts[1], address("bob", "alice"), "bob"),
      };
      for (const [who, words] of TALK) {
        await people[who].write(words);
        for (const person of Object.values(people)) await person.sees(words);
      }
      await people.alice.ticks(TALK[4][1], "sent", "delivered", "read");
      await people.alice.page.evaluate(() => document.activeElement?.blur());
      await people.alice.page.screenshot({ path: `${pictures}/page-${name}.png`, animations: "disabled" });
      for (const context of contexts) await context.close();
      // The next one begins with an empty conversation.
      await stage.ask("restart");
    });
  }
  return {};
};
