// Makes a picture or a file ready to be sent: a picture that is too large for the server is scaled.

import {Refused} from "./store.js";

/** @import {FilePart} from "./types.js" */

const ROOM = 4096; // bytes of a packet that are not the file's
const LONGEST = 2048; // pixels of a scaled picture's longer side
const TRIES = 6;
const USUAL = 1_000_000; // bytes of a packet that servers take, for a picture that is chosen before the first connection

/** @param {Blob & {name?: string}} blob @param {number} limit Bytes of a packet. @returns {Promise<FilePart>} Rejected with Refused. */
export async function prepare(blob, limit = Infinity) {
  const name = (blob.name ?? "").slice(-200) || `file.${blob.type.split("/")[1]?.replace(/[^a-z0-9].*/, "") || "bin"}`;
  const isNamed = /^image\/(png|jpeg|webp|gif|avif|bmp)$/.test(blob.type);
  const most = (isNamed && limit === Infinity ? USUAL : limit) - ROOM;
  const canDraw = typeof createImageBitmap === "function";
  const bitmap = isNamed && canDraw ? await createImageBitmap(blob).catch(() => null) : null;
  // What is called a picture, and is none that this browser draws, is sent as a file.
  const type = isNamed && canDraw && !bitmap ? "application/octet-stream" : blob.type;
  try {
    const sides = bitmap ? {width: bitmap.width, height: bitmap.height} : {};
    if (blob.size <= most) return {name, type, size: blob.size, data: await blob.arrayBuffer(), ...sides};
    let scale = bitmap ? Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height)) : 0;
    for (let tries = 0; bitmap && tries < TRIES; tries++, scale *= 0.7) {
      const width = Math.max(1, Math.round(bitmap.width * scale)), height = Math.max(1, Math.round(bitmap.height * scale));
      const canvas = Object.assign(document.createElement("canvas"), {width, height});
      const pen = canvas.getContext("2d");
      if (!pen) break;
      pen.fillStyle = "#fff"; // a JPEG has nothing that is transparent
      pen.fillRect(0, 0, width, height);
      pen.drawImage(bitmap, 0, 0, width, height);
      /** @type {Blob|null} */
      const scaled = await new Promise((resolve) => { canvas.toBlob(resolve, "image/jpeg", 0.85); });
      if (scaled && scaled.size <= most) {
        return {name: name.replace(/\.\w+$/, "") + ".jpg", type: "image/jpeg", size: scaled.size, data: await scaled.arrayBuffer(), width, height};
      }
    }
  } finally {
    bitmap?.close();
  }
  throw new Refused({code: "too large", words: "It is larger than the server accepts.", again: false});
}
