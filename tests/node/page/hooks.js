"use strict";
// Where things are on the page, in one place: selectors are playwright's.

const attribute = (id) => id.replaceAll("\\", "\\\\").replaceAll('"', '\\"');

const at = {
  status: "#status",
  notice: "#notice",
  list: "#conversations",
  item: (id) => `#conversations [data-id="${attribute(id)}"]`,
  messages: "#messages",
  message: "#messages > li",
  scroll: "#scroll",
  text: "#text",
  file: "#file",
  newer: "#newer",
  search: "#search",
  back: "#back",
  divider: "#messages .divider",
  day: "#messages .day",
  keys: "#keys",
  key: "#keys-button",
  settings: "#settings",
  setting: "#settings-button",
  start: "#start",
  title: "#title",
  subtitle: "#subtitle",
  replying: "#replying",
  attachment: "#attachments .attachment",
  action: (name) => `[data-do=${name}]`,
};

module.exports = { at };
