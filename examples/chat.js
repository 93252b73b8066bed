// A line client: node chat.js TOKEN ME PEER. Sends each line that is typed, prints what arrives.
const { randomUUID } = require("node:crypto");
const readline = require("node:readline");
const { io } = require("socket.io-client");

const [token, me, peer] = process.argv.slice(2);
const url = process.env.KSCHAT_URL ?? "http://127.0.0.1:3000";
const socket = io(`${url}/kschat`, { auth: { token } });
const seen = new Set(); // a message may come twice, after a connection was lost

socket.on("connect", () => console.log("connected"));
socket.on("connect_error", (error) => console.log("refused:", error.message));

// Before it connects: what was missed arrives at once.
socket.on("RESPRECEIVER", ({ MSG }, ack) => {
  for (const message of MSG ?? []) {
    if (!seen.has(message.mid)) console.log(`${message.uId}: ${message.msg}`);
    seen.add(message.mid);
  }
  ack?.(); // from here on it counts as delivered
});

function send(text, cid = randomUUID()) {
  const message = { uId: me, pId: peer, msg: text, rno: 1, time: Math.floor(Date.now() / 1000), cid };
  // Without an answer nobody knows whether it is stored; the same cid makes sending it again harmless.
  socket.timeout(10000).emit("Send", message, (error, answer) => {
    if (error || [3, 7, 8].includes(answer.ER)) setTimeout(send, 1000, text, cid);
    else console.log(answer.ER ? `not sent: ${answer.WHY}` : "sent");
  });
}

readline.createInterface({ input: process.stdin }).on("line", (line) => send(line));
