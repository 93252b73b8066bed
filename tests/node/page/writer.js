"use strict";
// A user's own program on npm's client: it writes as fast as it is let, and sees a message as it is on the wire.

const { io } = require("sio4");

class Writer {
  constructor(url, user, token) {
    this.user = user;
    this.socket = io(`${url}/kschat`, { auth: { token }, transports: ["websocket"], forceNew: true });
    this.sent = 0;
  }

  connected() { return new Promise((done) => { this.socket.on("connect", done); }); }

  ask(event, payload) { return this.socket.emitWithAck(event, payload); }

  send(peer, msg) {
    this.sent += 1;
    return this.ask("Send", { uId: this.user, pId: peer, msg, rno: this.sent, time: 0 });
  }

  /** So many, `window` of them at once under way. */
  async fill(peer, count, words, window = 500) {
    let next = 0;
    const one = async () => {
      while (next < count) {
        const number = next++;
        const answer = await this.send(peer, words(number));
        if (answer.ER) throw new Error(`a message was refused: ${JSON.stringify(answer)}`);
      }
    };
    await Promise.all(Array.from({ length: window }, one));
  }

  end() { this.socket.disconnect(); }
}

module.exports = { Writer };
