"use strict";
// The tutorial's chat server, as its text describes it, on today's releases of its packages and at its best: one process,
// no logging of what goes right, TCP_NODELAY to RabbitMQ, listeners added once instead of at each message.
//
// Its settings are in the environment:
//     PEER_PORT     where to listen on 127.0.0.1; 0, the default, is any port: the line "serving on PORT" tells which
//     PEER_SECRET   what tokens are signed with
//     PEER_AMQP     RabbitMQ, as amqp://guest:guest@127.0.0.1:5672/?heartbeat=60
//     PEER_REDIS    Redis, as redis://127.0.0.1:6379; without it the daemons do not replicate
//     PEER_CONFIRM  1: a message is acknowledged once RabbitMQ has confirmed it. (The tutorial acknowledges it first, and
//                   then publishes without confirms.)

const http = require("node:http");
const path = require("node:path");
const { createAdapter } = require("@socket.io/redis-adapter");
const amqplib = require("amqplib");
const express = require("express");
const jwt = require("jsonwebtoken");
const redis = require("redis");
const { Server } = require("socket.io");

const EXCHANGE = "direct_logs";
const PUBLISHING = { deliveryMode: 2, mandatory: true };
const SECRET = process.env.PEER_SECRET;
const CONFIRM = process.env.PEER_CONFIRM === "1";

// The tutorial asks for an ack of all that it emits, and does nothing with it.
function nothing() {}

function page(request, response) {
  const { uid, rid, token } = request.query;
  response.render("client.ejs", { uid, rid, tokenId: token, random: Math.random() });
}

async function connected_channel(url) {
  const started = Date.now();
  const connection = await amqplib.connect(url, { noDelay: true });
  console.log(`RabbitMQ connection time ${Date.now() - started} milliseconds`);
  connection.on("error", (error) => console.error(`RabbitMQ connection error: ${error.message}`));
  connection.on("close", () => process.exit(1));
  const channel = await (CONFIRM ? connection.createConfirmChannel() : connection.createChannel());
  channel.on("return", nothing);
  return channel;
}

async function replicate(io, url) {
  const pub = redis.createClient({ url });
  const sub = pub.duplicate();
  for (const client of [pub, sub]) client.on("error", (error) => console.error(`Redis error: ${error.message}`));
  await Promise.all([pub.connect(), sub.connect()]);
  io.adapter(createAdapter(pub, sub));
}

function authenticate(socket, next) {
  try {
    const { data } = jwt.verify(socket.handshake.query.token, SECRET, { ignoreNotBefore: true });
    if (!data || !data.id) throw new Error("no user");
    socket.userid = data.id;
  } catch {
    return next(new Error("Authentication error"));
  }
  return next();
}

function send(socket, channel, data, callback) {
  const { uId, pId, msg, rno } = data;
  const msgTime = Date.now();
  const sent = { RC: 1, ER: 0, SID: uId, RID: pId, MSG: msg, RANDOMNO: rno, MSGTIME: msgTime, STATUS: 1 };
  const content = Buffer.from(JSON.stringify({ uId, pId, msg, rStatus: 1, msgTime }));
  const acknowledge = () => {
    if (typeof callback === "function") callback({ RESPONSE: "Send Emit is success.", uId });
    socket.emit("RESPSEND", sent, nothing);
  };
  if (CONFIRM) {
    channel.publish(EXCHANGE, `ks_${pId}`, content, PUBLISHING, (refused) => {
      if (refused) socket.emit("RESPSEND", { RC: 1, ER: 2 }, nothing);
      else acknowledge();
    });
  } else {
    acknowledge();
    channel.publish(EXCHANGE, `ks_${pId}`, content, PUBLISHING);
  }
}

// An exclusive queue for each socket, bound to its user's key.
async function subscribe(socket, channel, counts) {
  await channel.assertExchange(EXCHANGE, "direct", { durable: false });
  const { queue } = await channel.assertQueue("", { exclusive: true });
  const key = `ks_${socket.userid}`;
  const release = async () => {
    counts.bound -= 1;
    await channel.unbindQueue(queue, EXCHANGE, key);
    await channel.deleteQueue(queue);
  };
  const receive = (message) => {
    if (message === null) socket.emit("RESPRECEIVER", { RC: 1, ER: 0 }, nothing);
    else socket.emit("RESPRECEIVER", { RC: 1, ER: 0, MSG: [JSON.parse(message.content.toString())] }, nothing);
  };
  await channel.bindQueue(queue, EXCHANGE, key);
  await channel.consume(queue, receive, { noAck: true });
  counts.bound += 1;
  if (socket.connected) socket.on("disconnect", release);
  else await release();
}

async function main() {
  const app = express();
  const server = http.createServer(app);
  const io = new Server(server, { allowEIO3: true, perMessageDeflate: false });
  const counts = { bound: 0 };

  app.set("views", path.join(__dirname, "views"));
  app.set("view engine", "ejs");
  app.use(express.static(path.join(__dirname, "public")));
  app.get("/", page);
  // How many sockets are bound: the tutorial lets a socket in before its queue is there, so a test has to know.
  app.get("/healthz", (request, response) => response.json(counts));

  const channel = await connected_channel(process.env.PEER_AMQP);
  if (process.env.PEER_REDIS) await replicate(io, process.env.PEER_REDIS);

  const chat = io.of("/kschat");
  chat.use(authenticate);
  chat.on("connection", (socket) => {
    socket.on("Send", (data, callback) => send(socket, channel, data, callback));
    socket.on("Logout", (...args) => {
      const callback = args.pop();
      if (typeof callback === "function") callback({ RC: 1, ERR: 0 });
      socket.emit("RESPLOGOUT", { RC: 1, ERR: 0 });
      socket.disconnect();
    });
    subscribe(socket, channel, counts).catch((error) => console.error(`no queue for a socket: ${error.message}`));
  });

  server.listen(Number(process.env.PEER_PORT ?? 0), "127.0.0.1", () => {
    console.log(`serving on ${server.address().port}`);
  });
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
