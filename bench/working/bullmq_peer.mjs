// BullMQ, whose queue is Redis. Knows nothing of Longwave.
//
//   node bullmq_peer.mjs SOCKET single|bulk COUNT      submits; prints the seconds that took
//   node bullmq_peer.mjs SOCKET worker CONCURRENCY     works until it is killed

import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";

const [socket, what, number] = process.argv.slice(2);
const connection = new Redis({ path: socket, maxRetriesPerRequest: null });

if (what === "worker") {
  new Worker("peer", async () => {}, { connection, concurrency: Number(number) });
} else {
  const queue = new Queue("peer", { connection });
  await queue.waitUntilReady();
  const began = performance.now();
  if (what === "single") {
    for (let i = 0; i < Number(number); i++) await queue.add("nothing", { number: i });
  } else {
    for (let i = 0; i < Number(number); i += 1000) {
      const size = Math.min(1000, Number(number) - i);
      await queue.addBulk(Array.from({ length: size }, (_, k) => ({ name: "nothing", data: { number: i + k } })));
    }
  }
  console.log((performance.now() - began) / 1000);
  await queue.close();
  await connection.quit();
}
