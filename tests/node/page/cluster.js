"use strict";
// Three people on three daemons of a cluster.

const { Person } = require("./person.js");

module.exports = async (stage) => {
  const { urls, tokens } = stage.config;
  const open = async (which, uid, rid) => Person.open(
    stage, await stage.device(), `${urls[which]}/?uid=${uid}&rid=${rid}&token=${tokens[uid]}`, uid);
  const [alice, bob] = [await open(0, "alice", "bob"), await open(1, "bob", "alice")];

  await stage.step("messages cross daemons, once each and in order", async () => {
    for (const words of ["one", "two", "three"]) await alice.write(`${words} from the first daemon`);
    await bob.sees("three from the first daemon");
    await bob.write("From the second daemon");
    await alice.sees("From the second daemon");
    const order = (await bob.shown()).join("\n");
    for (const words of ["one", "two", "three"]) await bob.shows(`${words} from the first daemon`, 1);
    if (!(order.indexOf("one from") < order.indexOf("two from") && order.indexOf("two from") < order.indexOf("three from"))) throw new Error(order);
  });

  await stage.step("another device on a third daemon gets what comes, and is heard", async () => {
    const device = await open(2, "bob", "alice");
    await alice.write("To all your devices");
    for (const one of [bob, device]) await one.sees("To all your devices");
    await device.write("From the third daemon");
    await alice.sees("From the third daemon");
    await device.close();
  });

  await stage.step("a daemon is killed and comes back: what was written on both sides meanwhile arrives, once", async () => {
    await stage.ask("kill", { which: 1 });
    await bob.is("waiting", "offline", "lost");
    await alice.write("While Bob was away");
    await bob.write("Written without a daemon");
    await stage.ask("restart", { which: 1 });
    await bob.connected();
    await bob.sees("While Bob was away");
    await alice.sees("Written without a daemon");
    for (const one of [alice, bob]) for (const words of ["While Bob was away", "Written without a daemon"]) await one.shows(words, 1);
  });
};
