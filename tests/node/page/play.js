"use strict";
// `node play.js SCENARIO CONFIG`: plays one of the scenarios beside this file. CONFIG is JSON; see stage.js.

const { play } = require("./stage.js");

const [name, config] = process.argv.slice(2);
play(require(`./${name}.js`), JSON.parse(config));
