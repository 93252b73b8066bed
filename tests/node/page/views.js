"use strict";
// What each view of the page must be, light and dark: axe-core finds nothing serious, what stands in an empty field can be read, nothing is wider
// than the window.

const fs = require("node:fs");

const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const GRAVE = ["serious", "critical"];

/** What axe-core finds that is serious or critical, or anything at all, a line each. `view` is a page or a frame. */
async function findings(view, anything = false) {
  // By the debugger's means: the page's policy lets no script in.
  if (!await view.evaluate(() => "axe" in window)) await view.evaluate(axe);
  const violations = await view.evaluate(async () => {
    // Where colours are forced they are the user's, which computed styles do not tell.
    const forced = matchMedia("(forced-colors: active)").matches;
    const found = await window.axe.run(document, { resultTypes: ["violations"], rules: { "color-contrast": { enabled: !forced } } });
    return found.violations;
  });
  return violations.filter(({ impact }) => anything || GRAVE.includes(impact)).flatMap(({ id, impact, help, nodes }) => nodes.slice(0, 4)
    .map(({ target, failureSummary }) => `${impact} ${id}: ${help}: ${target.join(" ")}: ${failureSummary.replaceAll("\n", " ")}`));
}

/** The fields whose placeholder's contrast is below 4.5, which axe-core does not look at. */
function placeholders(view) {
  return view.evaluate(() => {
    const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const light = (colour) => {
      pen.clearRect(0, 0, 1, 1);
      pen.fillStyle = colour;
      pen.fillRect(0, 0, 1, 1);
      const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data].map((one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    return [...document.querySelectorAll("[placeholder]")].filter((one) => one.checkVisibility()).flatMap((one) => {
      const style = getComputedStyle(one, "::placeholder");
      const [a, b] = [light(style.color), light(getComputedStyle(one).backgroundColor)].sort((x, y) => y - x);
      const contrast = ((a + 0.05) / (b + 0.05)) * Number(style.opacity);
      return contrast < 4.5 ? [`the placeholder of #${one.id} has a contrast of ${contrast.toFixed(2)}`] : [];
    });
  });
}

/** Throws unless what is shown is good, light and dark. `shown` is a page of playwright's, or a Person, which may be in a frame. */
async function good(shown, name, { anything = false } = {}) {
  const page = shown.page ?? shown, view = shown.view ?? shown;
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    const found = [...await findings(view, anything), ...await placeholders(view)];
    if (found.length) throw new Error(`${name}, ${colorScheme}:\n${found.join("\n")}`);
  }
  await page.emulateMedia({ colorScheme: null });
  const [wide, window_] = await view.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  if (wide > window_) throw new Error(`${name} is ${wide} wide in a window of ${window_}`);
}

module.exports = { good };
