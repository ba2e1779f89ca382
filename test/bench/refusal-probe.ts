/**
 * A process beside a flood: one request every 20 ms on a connection of its own, and how long its answer takes. A flood's own
 * refusals wait in the flood's own process; these do not. When its input ends it prints the sorted milliseconds of those
 * refused and of those served.
 */

import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { decodeServerFrame, encodeClientFrame } from "../../src/wire/sql-codec.ts";
import { encodeBatch } from "../../src/wire/statement-codec.ts";

const EVERY_MS = 20;

const [endpoint = "", sql = ""] = process.argv.slice(2);
const same = (bytes: Buffer): Buffer => bytes;
const client = new Client(endpoint, credentials.createInsecure());
const path = "/balsa.v1.Sql/Connect";
const stream = client.makeBidiStreamRequest(path, same, same, new Metadata(), {});
const sentAt = new Map<number, number>();
const refused: number[] = [];
const served: number[] = [];
stream.on("error", () => {});
stream.on("data", (frame: Buffer) => {
  for (const { id, body } of decodeServerFrame(frame)) {
    const ms = performance.now() - (sentAt.get(id) ?? 0);
    (body.kind === "failure" && body.failure.code === "OVERLOADED" ? refused : served).push(ms);
  }
});
let nextId = 1;
const timer = setInterval(() => {
  // The statement changes nothing: it needs no key.
  const batch = encodeBatch([{ sql, args: [] }]);
  const numbers = { session: 0, sequence: 0, acknowledgedThrough: 0, timeoutMs: 30_000 };
  sentAt.set(nextId, performance.now());
  const body = { kind: "execute" as const, batch, ...numbers, noForward: true };
  stream.write(encodeClientFrame([{ id: nextId, body }]));
  nextId += 1;
}, EVERY_MS);
process.stdin.resume();
process.stdin.on("end", () => {
  clearInterval(timer);
  stream.cancel();
  client.close();
  const sorted = (values: number[]) => values.sort((a, b) => a - b);
  process.stdout.write(JSON.stringify({ refused: sorted(refused), served: sorted(served) }));
});
