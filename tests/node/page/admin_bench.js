"use strict";
// Opens and closes admin pages at a word, for `make bench-admin`; see bench/admin.py.

module.exports = async (stage) => {
  const { url, key, pages } = stage.config;
  const context = await stage.device();
  for (;;) {
    await stage.ask("measure", { open: false });
    for (let number = 0; number < pages; number += 1) {
      // Without a window the browser calls no page hidden: all of them look.
      const page = await context.newPage();
      await page.goto(`${url}/admin`);
      await page.getByLabel("Key of the API").fill(key);
      await page.getByRole("button", { name: "Open" }).click();
      await page.locator("#board").waitFor();
    }
    await stage.ask("measure", { open: true });
    await Promise.all(context.pages().map((page) => page.close()));
  }
};
