// The cards in which one chooses a name, or is told that a token is missing: their words in the reader's language.

import {Texts, applyTexts, applyTheme, readSettings} from "./texts.js";

const settings = readSettings();
applyTexts(new Texts(new URLSearchParams(location.search).get("lang") || settings.language || navigator.language));
applyTheme(settings.theme);
