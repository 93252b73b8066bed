// The client of a kschat daemon, for any page: conversations, messages, outbox, history, presence.
//
//   import {Chat} from "./kschat/chat.js";
//   const chat = new Chat({user: "alice", token});
//   chat.on("change", (changes) => …);
//   await chat.start();
//
// Its types are in types.js: `Chat` is the `ChatApi` there.

export {};
