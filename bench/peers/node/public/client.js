"use strict";
const { uid, rid, token, random } = document.body.dataset;
const socket = io("/kschat", { reconnection: false, transports: ["websocket"], query: { token, ksId: uid } });

function show(from, text) {
  const line = document.createElement("li");
  line.textContent = `${from}: ${text}`;
  document.getElementById("MESSAGES").append(line);
}

document.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = document.getElementById("MSG");
  const time = Math.floor(Date.now() / 1000);
  socket.emit("Send", { uId: uid, pId: rid, msg: input.value, rno: random, time }, () => {
    input.value = "";
  });
});
socket.on("RESPSEND", (sent, answer) => {
  if (sent.ER === 0) show(sent.SID, sent.MSG);
  answer();
});
socket.on("RESPRECEIVER", (received, answer) => {
  for (const message of received.MSG ?? []) show(message.uId, message.msg);
  answer();
});
