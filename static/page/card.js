// The cards for choosing a name and for a missing token, in the reader's language.

import {Texts, applyTexts, applyTheme, readSettings} from "./texts.js";

const settings = readSettings();
applyTexts(new Texts(new URLSearchParams(location.search).get("lang") || settings.language || navigator.language));
applyTheme(settings.theme);

// The other side of what is typed. A room has none.
const other = document.querySelector("#choose-too a");
if (other instanceof HTMLAnchorElement) {
  const [mine, theirs] = ["uid", "rid"].map((id) => /** @type {HTMLInputElement|null} */ (document.getElementById(id)));
  const draw = () => {
    const uid = theirs?.value.trim() ?? "", rid = mine?.value.trim() ?? "";
    other.hidden = !uid || !rid || uid.startsWith("#");
    other.href = `?${new URLSearchParams({uid, rid})}`;
  };
  for (const field of [mine, theirs]) field?.addEventListener("input", draw);
  draw();
}

// Phone keyboards add a space after a word that they suggest. With the space the name would be another person's.
document.querySelector("form")?.addEventListener("submit", () => {
  for (const field of document.querySelectorAll("input")) field.value = field.value.trim();
});
