/** Two transfers over real sockets, with files in memory: what goes over the wire, and what a broken one leaves. */

import { createHash } from "node:crypto";
import { createServer, type Server, type Socket } from "node:net";
import { crc32 } from "node:zlib";
import { afterEach, describe, expect, it } from "vitest";
import type {
  Completion,
  IncomingSnapshot,
  OutgoingSnapshot,
  SnapshotFiles,
  SnapshotManifest,
} from "../../src/node/ports.ts";
import type { NodeStatus } from "../../src/node/service.ts";
import { SnapshotTransfer } from "../../src/rpc/snapshot-transfer.ts";
import {
  decodeSnapshotFrame,
  encodeSnapshotFrame,
  SNAPSHOT_CHUNK_BYTES,
  SNAPSHOT_MAGIC,
  SNAPSHOT_PAGE_BYTES,
} from "../../src/wire/snapshot-codec.ts";
import { silent } from "../node/fakes.ts";

const PAGE = SNAPSHOT_PAGE_BYTES;

/** Three and a half chunks that are all different. */
function content(): Buffer {
  const bytes = Buffer.alloc(3.5 * SNAPSHOT_CHUNK_BYTES);
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE((at * 2_654_435_761) >>> 0, at);
  return bytes;
}

function manifestOf(bytes: Buffer): SnapshotManifest {
  const chunks: number[] = [];
  for (let at = 0; at < bytes.length; at += SNAPSHOT_CHUNK_BYTES) {
    chunks.push(crc32(bytes.subarray(at, at + SNAPSHOT_CHUNK_BYTES)));
  }
  const digest = createHash("sha256").update(bytes).digest("hex");
  return { id: "a", index: 70, term: 3, configuration: null, bytes: bytes.length, chunks, digest };
}

/** Files of one node: what it gives, and what it holds of what it takes. */
class MemoryFiles implements SnapshotFiles {
  gives: Buffer | null = null;
  holds: Buffer = Buffer.alloc(0);
  finished = 0;
  released = 0;
  /** Bytes given out. */
  served = 0;
  /** Runs before each write. */
  onWrite: (writes: number) => void = () => {};
  #writes = 0;

  digest() {
    return { open() {}, cancel() {} };
  }

  offer(_atLeast: number, _id: string, done: Completion<OutgoingSnapshot>): void {
    const bytes = this.gives;
    if (bytes === null) return void setImmediate(() => done(new Error("nothing here"), null));
    const snapshot: OutgoingSnapshot = {
      manifest: manifestOf(bytes),
      read: (offset, length, give) => {
        const part = Buffer.from(bytes.subarray(offset, offset + length));
        this.served += part.length;
        setImmediate(() => give(null, part));
      },
      pageHashes: (chunk, give) => {
        const hashes: Buffer[] = [];
        const end = Math.min(bytes.length, (chunk + 1) * SNAPSHOT_CHUNK_BYTES);
        for (let at = chunk * SNAPSHOT_CHUNK_BYTES; at < end; at += PAGE) {
          const page = bytes.subarray(at, Math.min(end, at + PAGE));
          hashes.push(createHash("sha1").update(page).digest().subarray(0, 8));
        }
        setImmediate(() => give(null, Buffer.concat(hashes)));
      },
      release: () => {
        this.released += 1;
      },
    };
    setImmediate(() => done(null, snapshot));
  }

  begun(): string {
    return "";
  }

  receive(manifest: SnapshotManifest, done: Completion<IncomingSnapshot>): void {
    const incoming: IncomingSnapshot = {
      read: (offset, bytes, give) => {
        const part = Buffer.from(this.holds.subarray(offset, offset + bytes));
        setImmediate(() => give(null, part));
      },
      write: (offset, bytes, give) => {
        this.#writes += 1;
        this.onWrite(this.#writes);
        const size = Math.max(this.holds.length, offset + bytes.length);
        const grown = Buffer.alloc(size);
        this.holds.copy(grown);
        grown.set(bytes, offset);
        this.holds = grown;
        setImmediate(() => give(null));
      },
      finish: (give) => {
        this.finished += 1;
        this.holds = this.holds.subarray(0, manifest.bytes);
        const same = createHash("sha256").update(this.holds).digest("hex") === manifest.digest;
        setImmediate(() => give(same ? null : new Error("the digest differs")));
      },
      abandon: () => {},
    };
    setImmediate(() => done(null, incoming));
  }
}

interface End {
  readonly files: MemoryFiles;
  readonly transfer: SnapshotTransfer;
  readonly sockets: Socket[];
  /** Bytes received from this end's clients and sent to them. */
  sent(): number;
}

const servers: Server[] = [];
const transfers: SnapshotTransfer[] = [];

afterEach(async () => {
  for (const transfer of transfers.splice(0)) transfer.stop(() => {});
  for (const server of servers.splice(0)) await new Promise((done) => server.close(done));
});

function statusOf(id: number, changes: Partial<NodeStatus>): NodeStatus {
  const base = { id, role: "follower", clusterId: "c", appliedIndex: 70, trouble: "" };
  return { ...base, ...changes } as NodeStatus;
}

/** Node 2, listening as behind the one port; gives its address. */
async function listening(changes: Partial<NodeStatus> = {}, sendsMax = 2) {
  const files = new MemoryFiles();
  files.gives = content();
  const transfer = new SnapshotTransfer({ id: 2, addressOf: () => "", logger: silent, sendsMax });
  transfer.start(files, () => statusOf(2, changes));
  transfers.push(transfer);
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.once("data", (chunk: Buffer) => {
      socket.pause();
      expect(chunk.subarray(0, 8)).toEqual(SNAPSHOT_MAGIC);
      if (chunk.length > 8) socket.unshift(chunk.subarray(8));
      transfer.accept(socket);
    });
    socket.on("error", () => {});
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  servers.push(server);
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const sent = () => sockets.reduce((sum, { bytesWritten }) => sum + bytesWritten, 0);
  const end: End = { files, transfer, sockets, sent };
  return { ...end, address: `127.0.0.1:${port}` };
}

function receiver(address: string) {
  const files = new MemoryFiles();
  const transfer = new SnapshotTransfer({ id: 1, addressOf: () => address, logger: silent });
  transfer.start(files, () => statusOf(1, { appliedIndex: 3 }));
  transfers.push(transfer);
  const fetch = (atLeast = 60) =>
    new Promise<string>((resolve) => {
      transfer.fetch(2, atLeast, {
        ready: ({ index, term }) => resolve(`ready ${index}/${term}`),
        failed: (reason) => resolve(reason),
      });
    });
  return { files, fetch };
}

describe("a transfer", () => {
  it("brings the whole file to a node that has nothing, and lets the copy go", async () => {
    const source = await listening();
    const { files, fetch } = receiver(source.address);
    expect(await fetch()).toBe("ready 70/3");
    expect(files.holds.equals(content())).toBe(true);
    expect(files.finished).toBe(1);
    await expect.poll(() => source.files.released).toBe(1);
  });

  it("sends only the pages that differ", async () => {
    const source = await listening();
    const { files, fetch } = receiver(source.address);
    files.holds = content();
    for (const page of [0, 300, 301, 895]) files.holds[page * PAGE + 7] = 0xee;
    expect(await fetch()).toBe("ready 70/3");
    expect(files.holds.equals(content())).toBe(true);
    // Four pages, and the hashes of three chunks.
    expect(source.sent()).toBeLessThan(5 * PAGE + 3 * 2_048 + 1_000);
  });

  it("makes a longer file shorter and fills a shorter one up", async () => {
    const source = await listening();
    const longer = receiver(source.address);
    longer.files.holds = Buffer.concat([content(), Buffer.alloc(500_000, 1)]);
    expect(await longer.fetch()).toBe("ready 70/3");
    expect(longer.files.holds.equals(content())).toBe(true);
    const shorter = receiver(source.address);
    shorter.files.holds = content().subarray(0, 2.3 * SNAPSHOT_CHUNK_BYTES);
    expect(await shorter.fetch()).toBe("ready 70/3");
    expect(shorter.files.holds.equals(content())).toBe(true);
  });

  it("broken off, goes on with what it has", async () => {
    const source = await listening();
    const { files, fetch } = receiver(source.address);
    files.onWrite = (writes) => {
      if (writes === 2) for (const socket of source.sockets) socket.destroy();
    };
    expect(await fetch()).toMatch(/closed|cut|ECONNRESET/);
    await expect.poll(() => source.files.released).toBe(1);
    const servedBefore = source.files.served;
    files.onWrite = () => {};
    expect(await fetch()).toBe("ready 70/3");
    expect(files.holds.equals(content())).toBe(true);
    expect(source.files.served - servedBefore).toBeLessThanOrEqual(2.5 * SNAPSHOT_CHUNK_BYTES);
  });

  it("asks again for a chunk whose pages do not make up its checksum, and fails if it stays so", async () => {
    const source = await listening();
    const { files, fetch } = receiver(source.address);
    const bytes = content();
    source.files.gives = bytes;
    const offer = source.files.offer.bind(source.files);
    source.files.offer = (atLeast, id, done) => {
      offer(atLeast, id, (error, snapshot) => {
        bytes[5] = (bytes[5] as number) ^ 1;
        done(error, snapshot);
      });
    };
    expect(await fetch()).toMatch(/chunk 0 does not match its checksum/);
    expect(files.finished).toBe(0);
  });

  it.each([
    ["of another cluster", { clusterId: "other" }, /cluster other/],
    ["that does not serve", { trouble: "its data differs" }, /does not serve/],
    ["that is blank", { role: "blank" as const }, /it is blank/],
    ["with another id", { id: 3 }, /it is node 3/],
  ])("is refused by a node %s", async (_what, changes, reason) => {
    const source = await listening(changes);
    expect(await receiver(source.address).fetch()).toMatch(reason);
  });

  it("waits for a source that is behind, and is refused when that takes too long", async () => {
    const status = { appliedIndex: 40 };
    const source = await listening(status);
    expect(await receiver(source.address).fetch(60)).toMatch(/has applied 40, not yet 60/);
  });

  it("is refused beyond the number that may be sent at a time", async () => {
    const source = await listening({}, 1);
    const nodes = [receiver(source.address), receiver(source.address)];
    const answers = await Promise.all(nodes.map(({ fetch }) => fetch()));
    expect(answers.sort()).toEqual([
      "ready 70/3",
      "refused: it sends as many snapshots as it may already",
    ]);
  });

  it("fails at once where nobody listens", async () => {
    expect(await receiver("127.0.0.1:1").fetch()).toMatch(/ECONNREFUSED/);
    expect(await receiver("").fetch()).toMatch(/not known/);
  });
});

describe("frames", () => {
  it("of every kind come back as they were", () => {
    const want = { version: 1, clusterId: "c", from: 1, to: 2, atLeast: 7, begun: "x" };
    const manifest = manifestOf(content());
    const frames = [
      { kind: "want", want },
      { kind: "manifest", manifest },
      { kind: "refused", reason: "no" },
      { kind: "wait" },
      { kind: "hashes", chunk: 3 },
      { kind: "hashed", chunk: 3, hashes: Buffer.from("12345678") },
      { kind: "get", chunk: 4_000_000, pages: [0, 9, 255] },
      { kind: "data", chunk: 1, bytes: Buffer.alloc(PAGE, 7) },
    ] as const;
    for (const frame of frames) {
      const bytes = Buffer.concat(encodeSnapshotFrame(frame));
      expect(bytes.readUInt32BE(0)).toBe(bytes.length - 4);
      expect(decodeSnapshotFrame(bytes.subarray(4))).toEqual(frame);
    }
  });

  it("of another shape are refused", () => {
    const bad = [
      "",
      "\u0009",
      "\u0001{}",
      '\u0002{"chunks":[],"bytes":9}',
      "\u0005abc",
      "\u0001[",
      "\u0007abcd",
    ];
    for (const text of bad) {
      expect(() => decodeSnapshotFrame(Buffer.from(text, "latin1")), text).toThrow(
        /cannot be read/,
      );
    }
  });
});
