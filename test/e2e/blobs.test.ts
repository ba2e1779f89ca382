/**
 * Blobs on a real cluster: any size in and out, seen whole or not at all, the same on every node, in bounded memory; beside
 * SQL's own statements, and through the death of leaders and clients.
 */

import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Database } from "../../src/client/index.ts";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { gate } from "../support/gate.ts";
import { peakOf } from "../support/process-tree.ts";

const isLong = process.env["BALSA_E2E"] === "long";
const CLIENT = join(import.meta.dirname, "../../dist/client/index.js");
const KIB = 1024;
const MIB = 1024 * KIB;
const CHUNK = 256 * KIB;

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

describe("a blob", () => {
  let cluster: TestCluster;
  let db: Database;

  beforeAll(async () => {
    cluster = await TestCluster.start();
    await cluster.ready();
    db = cluster.connect();
  });
  afterAll(() => cluster.stop());

  const count = async (from: string) => {
    const row = await db.prepare(`SELECT count(*) AS n FROM ${from}`).get();
    return Number(row?.["n"]);
  };
  /** As if the time for which contents are kept had passed. */
  const letTimePass = () =>
    db.exec("UPDATE db_blob_content SET keep_until = 1 WHERE state <> 'stored'");

  it("is not there before the first was written, and nothing is an error", async () => {
    expect(await db.blob.stat("a")).toBeUndefined();
    expect(await db.blob.read("a")).toBeUndefined();
    expect(await db.blob.delete("a")).toBe(false);
    expect(await db.blob.sweep()).toBe(0);
    for await (const _ of db.blob.list()) expect.unreachable();
    await expect(collect(db.blob.createReadStream("a"))).rejects.toMatchObject({
      code: "NO_SUCH_BLOB",
    });
  });

  it.each([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 9 * CHUNK + 5])(
    "of %i bytes comes back as it was",
    async (size) => {
      const bytes = randomBytes(size);
      const written = await db.blob.write("sized", bytes, { type: "x/y" });
      expect(written).toMatchObject({ name: "sized", size, sha256: sha256(bytes) });
      expect(await db.blob.stat({ id: written.id })).toEqual({
        id: written.id,
        name: "sized",
        type: "x/y",
        size,
        sha256: sha256(bytes),
        writtenAt: expect.any(Date),
      });
      expect(bytes.equals((await db.blob.read("sized")) ?? Buffer.alloc(1))).toBe(true);
      for (const node of cluster.nodes) {
        const one = cluster
          .connectTo(node.id)
          .with({ consistency: "session", atLeast: written.index });
        expect(sha256(await collect(one.blob.createReadStream("sized")))).toBe(sha256(bytes));
      }
    },
  );

  it("is read in ranges, both ends included", async () => {
    const bytes = randomBytes(3 * CHUNK);
    await db.blob.write("ranges", bytes);
    const ranges: [start: number, end: number | undefined][] = [
      [0, 0],
      [CHUNK - 1, CHUNK],
      [CHUNK, 2 * CHUNK - 1],
      [5, 3 * CHUNK - 2],
      [3 * CHUNK - 1, undefined],
      [3 * CHUNK, undefined],
      [1, 100 * CHUNK],
    ];
    for (const [start, end] of ranges) {
      const options = end === undefined ? { start } : { start, end };
      const read = await collect(db.blob.createReadStream("ranges", options));
      const expected = bytes.subarray(start, end === undefined ? undefined : end + 1);
      expect(read.equals(expected), `${start} to ${end}`).toBe(true);
    }
    await expect(db.blob.read("ranges", { maxBytes: 10 })).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
      facts: { limit: "maxBytes", value: "10" },
    });
  });

  it("is seen when all of it is there; a replaced one by those who began to read it", async () => {
    const old = randomBytes(20 * CHUNK);
    const { id } = await db.blob.write("seen", old);
    const half = gate();
    const fresh = randomBytes(10 * CHUNK);
    async function* source() {
      yield fresh.subarray(0, 8 * CHUNK);
      await half.opened;
      yield fresh.subarray(8 * CHUNK);
    }
    const writing = db.blob.write("seen", source());
    const reading = db.blob.createReadStream("seen")[Symbol.asyncIterator]();
    const begin = await reading.next();
    expect(await db.blob.stat("seen")).toMatchObject({ sha256: sha256(old) });
    half.open();
    expect((await writing).id).toBe(id);
    expect(await db.blob.stat("seen")).toMatchObject({ id, sha256: sha256(fresh) });
    await db.blob.sweep();
    const rest = await collect({ [Symbol.asyncIterator]: () => reading });
    expect(sha256(Buffer.concat([begin.value as Buffer, rest]))).toBe(sha256(old));
  });

  it("that is gone before it was read to its end is an error, and never other bytes", async () => {
    await db.blob.write("gone", randomBytes(40 * CHUNK));
    const stream = db.blob.createReadStream("gone", { start: 1 });
    const reading = stream[Symbol.asyncIterator]();
    await reading.next();
    await db.blob.write("gone", randomBytes(40 * CHUNK));
    await letTimePass();
    await db.blob.sweep();
    const rest = collect({ [Symbol.asyncIterator]: () => reading });
    await expect(rest).rejects.toMatchObject({ code: "NO_SUCH_BLOB", facts: { name: "gone" } });
  });

  it("becomes visible together with other rows, or not at all", async () => {
    await db.exec(
      "CREATE TABLE doc (id INTEGER PRIMARY KEY, blob NOT NULL REFERENCES db_blob(id))",
    );
    const staged = await db.blob.stage("report", Buffer.from("the report"));
    expect(await db.blob.stat("report")).toBeUndefined();
    const failure = new Error("no");
    const failing = db.transaction(async (tx) => {
      await staged.publish(tx);
      throw failure;
    });
    await expect(failing).rejects.toBe(failure);
    expect(await db.blob.stat("report")).toBeUndefined();
    const { id } = await db.transaction(async (tx) => {
      const inner = db.blob.write("other", Buffer.from("x"));
      await expect(inner).rejects.toMatchObject({ code: "NESTED_CALL" });
      const blob = await staged.publish(tx);
      await tx.prepare("INSERT INTO doc(blob) VALUES (?)").run(blob.id);
      return blob;
    });
    expect(String(await db.blob.read({ id }))).toBe("the report");
    await expect(staged.publish()).rejects.toMatchObject({ code: "NO_SUCH_BLOB" });
    await staged.discard();
    expect(String(await db.blob.read("report"))).toBe("the report");
    // The foreign key keeps it.
    const refused = { code: "SQLITE_CONSTRAINT_FOREIGNKEY" };
    await expect(db.blob.delete("report")).rejects.toMatchObject(refused);
    const discarded = await db.blob.stage("discarded", Buffer.from("x"));
    await discarded.discard();
    await expect(discarded.publish()).rejects.toMatchObject({ code: "NO_SUCH_BLOB" });
  });

  it("is ordinary rows to SQL", async () => {
    const bytes = Buffer.concat([Buffer.from([0, 255, 0]), randomBytes(CHUNK + 10)]);
    await db.blob.write("sql/1", bytes, { type: "image/png" });
    await db.blob.write("sql/2", Buffer.alloc(0));
    await db.exec(`CREATE TABLE pet (name, picture REFERENCES db_blob(id) ON DELETE SET NULL);
      INSERT INTO pet SELECT 'Rex', id FROM db_blob WHERE name = 'sql/1'`);
    const joined = await db
      .prepare(
        "SELECT p.name, v.type, v.data FROM pet AS p JOIN db_blob_value AS v ON v.id = p.picture",
      )
      .get();
    expect(joined).toMatchObject({ name: "Rex", type: "image/png" });
    expect(bytes.equals(joined?.["data"] as Uint8Array)).toBe(true);
    const names: string[] = [];
    for await (const { name, size } of db.blob.list({ prefix: "sql/" }))
      names.push(`${name} ${size}`);
    expect(names).toEqual([`sql/1 ${bytes.length}`, "sql/2 0"]);
    await db.exec("UPDATE db_blob SET name = 'sql/3' WHERE name = 'sql/2'");
    expect((await db.blob.read("sql/3"))?.length).toBe(0);
    await db.exec("DELETE FROM db_blob WHERE name GLOB 'sql/*'");
    expect(await db.prepare("SELECT picture FROM pet").get()).toEqual({ picture: null });
    await letTimePass();
    await db.blob.sweep();
    const orphans = "db_blob_chunk WHERE content NOT IN (SELECT content FROM db_blob)";
    expect(await count(orphans)).toBe(0);
    expect(await count("db_blob_content WHERE state <> 'stored'")).toBe(0);
  });

  it("that nobody ends is removed, and cannot be ended behind that", async () => {
    const before = await count("db_blob_chunk");
    const held = gate();
    async function* source() {
      yield Buffer.alloc(CHUNK);
      await held.opened;
      yield Buffer.alloc(CHUNK);
    }
    const staged = await db.blob.stage("staged", Buffer.alloc(40 * CHUNK));
    const writing = db.blob.write("slow", source()).catch((error: unknown) => error);
    await cluster.until("a chunk of each", 10_000, async () =>
      (await count("db_blob_chunk")) === before + 41 ? true : null,
    );
    expect(await db.blob.sweep()).toBe(0);
    await letTimePass();
    expect(await db.blob.sweep()).toBe(2);
    expect(await count("db_blob_chunk")).toBe(before);
    held.open();
    expect(await writing).toMatchObject({ code: "NO_SUCH_BLOB", outcome: "not-applied" });
    await expect(staged.publish()).rejects.toMatchObject({ code: "NO_SUCH_BLOB" });
    expect(await count("db_blob_chunk")).toBe(before);
  });

  it("is written once, however many leaders die under it, and read on", async () => {
    const bytes = randomBytes(30 * MIB);
    let sent = 0;
    const patient = db.with({ deadlineMs: 60_000 });
    async function* source() {
      for (; sent < bytes.length; sent += MIB) {
        if (sent === 10 * MIB || sent === 20 * MIB) {
          const killed = await cluster.killLeader();
          await cluster.leader();
          killed.start();
        }
        yield bytes.subarray(sent, sent + MIB);
      }
    }
    const written = await patient.blob.write("survivor", source());
    expect(written.sha256).toBe(sha256(bytes));
    expect(
      await count("db_blob_chunk AS k JOIN db_blob AS b USING (content) WHERE name = 'survivor'"),
    ).toBe(bytes.length / CHUNK);
    const hash = createHash("sha256");
    let read = 0;
    for await (const piece of patient.blob.createReadStream("survivor") as AsyncIterable<Buffer>) {
      hash.update(piece);
      read += piece.length;
      if (read === 8 * MIB) (await cluster.killLeader()).start();
    }
    expect(hash.digest("hex")).toBe(written.sha256);
    await cluster.ready();
    await cluster.caughtUp();
    await cluster.stopNodes();
    const files = cluster.nodes.map(({ dir }) => readFileContent(join(dir, "main.db")));
    expect(new Set(files.map(({ digest }) => digest)).size).toBe(1);
    for (const node of cluster.nodes) node.start();
    await cluster.ready();
  });

  it("whose writer is killed half way is seen by nobody, and its bytes go", async () => {
    const script = `
      import { connect } from ${JSON.stringify(CLIENT)};
      const db = connect({ endpoints: ${JSON.stringify(cluster.endpoints)} });
      function* source() { for (;;) yield Buffer.alloc(${MIB}, "x"); }
      db.blob.write("half", source());`;
    const before = await count("db_blob_chunk");
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: "ignore",
    });
    await cluster.until("some chunks", 20_000, async () => {
      return (await count("db_blob_chunk")) > before + 10 ? true : null;
    });
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(await db.blob.stat("half")).toBeUndefined();
    expect(await db.blob.read("half")).toBeUndefined();
    await letTimePass();
    await db.blob.sweep();
    expect(await count("db_blob_chunk WHERE content NOT IN (SELECT content FROM db_blob)")).toBe(0);
    expect(await count("db_blob_content WHERE state <> 'stored'")).toBe(0);
  });
});

describe("a large blob", () => {
  // At length it is twice of what any process may have.
  const mebibytes = isLong ? 500 : 64;
  const PEAK_MIB_MAX = 250;

  it("goes in and out in bounded memory, and is the same on all nodes", async () => {
    const cluster = await TestCluster.start();
    await cluster.ready();
    try {
      const script = `
        import { createHash } from "node:crypto";
        import { readFileSync } from "node:fs";
        import { connect } from ${JSON.stringify(CLIENT)};
        const db = connect({ endpoints: ${JSON.stringify(cluster.endpoints)} });
        function* source() {
          for (let n = 0; n < ${mebibytes}; n += 1) yield Buffer.alloc(${MIB}, n);
        }
        const { sha256 } = await db.blob.write("large", source());
        const hash = createHash("sha256");
        for await (const piece of db.blob.createReadStream("large")) hash.update(piece);
        const peak = Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024;
        console.log(JSON.stringify({ isSame: hash.digest("hex") === sha256, peak }));
        await db.close();`;
      const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const said = collect(child.stdout);
      expect((await once(child, "exit"))[0]).toBe(0);
      const { isSame, peak } = JSON.parse(String(await said)) as { isSame: boolean; peak: number };
      expect(isSame).toBe(true);
      expect(peak).toBeLessThan(PEAK_MIB_MAX);
      const pids = cluster.nodes.flatMap(({ pid }) => (pid === null ? [] : [pid]));
      expect(peakOf(pids)).toBeLessThan(PEAK_MIB_MAX);
      await cluster.caughtUp();
      await cluster.stopNodes();
      const files = cluster.nodes.map(({ dir }) => readFileContent(join(dir, "main.db")));
      expect(new Set(files.map(({ digest }) => digest)).size).toBe(1);
    } finally {
      await cluster.stop();
    }
  }, 240_000);
});
