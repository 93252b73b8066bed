"use strict";
// The picture of the admin page for docs/admin.md; see tools/make_pictures.py, which lets users chat meanwhile.

const SECONDS = 75;

module.exports = async (stage) => {
  const { api, key, pictures } = stage.config;
  await stage.step("admin", async () => {
    const context = await stage.device({ viewport: { width: 1200, height: 1080 }, colorScheme: "light" });
    const page = await context.newPage();
    await page.goto(`${api}/admin`);
    await page.getByLabel("Key of the API").fill(key);
    await page.getByRole("button", { name: "Open" }).click();
    await page.locator("#board").waitFor();
    await page.waitForTimeout(SECONDS * 1000);
    await page.screenshot({ path: `${pictures}/admin-desktop-light.png`, animations: "disabled" });
  });
};
