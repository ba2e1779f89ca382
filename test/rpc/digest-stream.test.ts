/** A node's content over gRPC: in the client's time, with the node's errors, and not beyond the client's life. */

import { Client, credentials } from "@grpc/grpc-js";
import { expect, test, vi } from "vitest";
import { ContentDigest } from "../../src/client/content-digest.ts";
import type { DigestEvents, SnapshotFiles } from "../../src/node/ports.ts";
import { formatAddress } from "../../src/rpc/addresses.ts";
import { BalsaError } from "../../src/sql/errors.ts";
import { FakeNode, serve } from "./fake-node.ts";

/** The test plays the process that reads. */
class PlayedFiles {
  events: DigestEvents | null = null;
  deep = false;
  opened = 0;
  cancelled = 0;

  digest(deep: boolean, events: DigestEvents) {
    this.deep = deep;
    this.events = events;
    return { open: () => (this.opened += 1), cancel: () => (this.cancelled += 1) };
  }
}

async function asked(deep = false, silenceMs = 10_000) {
  const files = new PlayedFiles();
  const node = new FakeNode();
  const snapshots = { accept() {}, files: files as unknown as SnapshotFiles };
  const server = await serve(node, { snapshots });
  const digest = new ContentDigest({ endpoint: formatAddress(server.address), deep, silenceMs });
  const events = await vi.waitFor(() => {
    if (files.events === null) throw new Error("not asked yet");
    return files.events;
  });
  return { files, node, digest, events };
}

test("ready, then a snapshot when the client wants it, then table by table", async () => {
  const { files, digest, events } = await asked(true);
  expect(files.deep).toBe(true);
  const progress: unknown[] = [];
  digest.onProgress = (table, rows) => progress.push([table, rows]);
  events.ready();
  await digest.ready;
  expect(files.opened).toBe(0);
  digest.open();
  await vi.waitFor(() => expect(files.opened).toBe(1));
  events.opened({ index: 12, term: 3 });
  expect(await digest.opened).toBe(12);
  events.progress("t", 4_096);
  events.table({ name: "t", rows: 5_000, hash: "ab" });
  events.damage("row 3 missing from index i");
  events.ended(null);
  expect(await digest.content).toEqual({
    node: 1,
    index: 12,
    tables: [{ name: "t", rows: 5_000, hash: "ab" }],
    damage: ["row 3 missing from index i"],
  });
  expect(progress).toEqual([["t", 4_096]]);
});

test("a client that goes takes the reading with it", async () => {
  const { files, digest, events } = await asked();
  events.ready();
  await digest.ready;
  // Before it said open, the end of its stream would do.
  digest.open();
  await vi.waitFor(() => expect(files.opened).toBe(1));
  digest.cancel();
  await vi.waitFor(() => expect(files.cancelled).toBeGreaterThan(0));
  await expect(digest.content).rejects.toMatchObject({ code: "CANCELLED" });
});

test("errors of the node, and of one that does not serve, come as they are", async () => {
  const first = await asked();
  first.events.ended(new BalsaError("OVERLOADED", "2 others are comparing nodes already"));
  await expect(first.digest.ready).rejects.toMatchObject({ code: "OVERLOADED" });
  const second = await asked();
  second.node.queryFailure = {
    code: "NOT_SERVING",
    message: "its effects differ",
    outcome: "not-applied",
    statementIndex: 0,
    facts: {},
  };
  second.events.ready();
  await second.digest.ready;
  second.digest.open();
  await expect(second.digest.opened).rejects.toMatchObject({ code: "NOT_SERVING" });
  expect(second.files.opened).toBe(0);
  expect(second.files.cancelled).toBeGreaterThan(0);
});

test("a node that says nothing is given up", async () => {
  const { digest } = await asked(false, 1_000);
  await expect(digest.ready).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
});

test("a client that will not say when ends the reading, also if it stays", async () => {
  const files = new PlayedFiles();
  const snapshots = { accept() {}, files: files as unknown as SnapshotFiles };
  const server = await serve(new FakeNode(), { snapshots });
  const client = new Client(formatAddress(server.address), credentials.createInsecure());
  const bytes = (message: Buffer) => message;
  const call = client.makeBidiStreamRequest("/balsa.v1.Cluster/Digest", bytes, bytes);
  const ended = new Promise<Error>((resolve) => call.once("error", resolve));
  call.on("data", () => {});
  call.write(Buffer.alloc(0));
  call.end();
  expect((await ended).message).toContain("before it said open");
  await vi.waitFor(() => expect(files.cancelled).toBeGreaterThan(0));
  client.close();
});
