/** `balsa log` on directories made by the log itself. */

import {
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EXIT } from "../../src/cli/exit-code.ts";
import { runProgram } from "../../src/cli/program.ts";
import { openLog } from "../../src/log/open-log.ts";
import { DirectoryLock } from "../../src/machine/directory-lock.ts";
import type { Entry } from "../../src/raft/entry.ts";
import { encodeChange } from "../../src/raft/membership.ts";
import { encodeCommand } from "../../src/wire/log-codec.ts";
import { encodeBatch, encodeScript } from "../../src/wire/statement-codec.ts";

const COMMAND = {
  timeMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
  seedHigh: 1,
  seedLow: 2,
  session: 4,
  sequence: 17,
  acknowledgedThrough: 16,
  openSession: false,
  digest: 9,
};
const INSERT = {
  sql: "INSERT INTO t\n  VALUES (?, ?, ?)",
  args: [9_007_199_254_740_993n, "it's", new Uint8Array(40).fill(7)],
};

const PAYLOADS: readonly [Entry["kind"], Uint8Array][] = [
  ["noop", new Uint8Array(0)],
  ["command", encodeCommand({ ...COMMAND, batch: new Uint8Array(0), openSession: true })],
  ["command", encodeCommand({ ...COMMAND, batch: encodeBatch([INSERT]) })],
  [
    "command",
    encodeCommand({
      ...COMMAND,
      session: 0,
      batch: encodeBatch([{ sql: "DELETE FROM t WHERE id = :id", args: { id: 3 } }]),
    }),
  ],
  ["command", encodeCommand({ ...COMMAND, batch: encodeScript("CREATE TABLE t (a); VACUUM") })],
  ["configuration", encodeChange({ transition: "auto", steps: [{ kind: "addLearner", id: 4 }] })],
];

let dir: string;

async function run(...argv: string[]) {
  let [out, err] = ["", ""];
  const status = await runProgram(["log", ...argv], {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
  });
  return { status, out, err };
}

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "balsa-log-command-"));
  DirectoryLock.take(dir).release();
  const log = await openLog({ dir: join(dir, "log"), nodeId: 1, segmentBytes: 4096 });
  for (const [at, [kind, payload]] of PAYLOADS.entries()) {
    const hardState = { currentTerm: 2, votedFor: 1, commitIndex: at };
    const entry = { index: at + 1, term: 2, kind, payload };
    await new Promise<void>((done) => log.append(hardState, [entry], done));
  }
  await new Promise<void>((done) => log.close(done));
});
afterEach(() => rmSync(dir, { recursive: true }));

/** Every file with its bytes. */
function snapshot(): Map<string, string> {
  const paths = readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((each) => each.isFile())
    .map((each) => join(each.parentPath, each.name));
  return new Map(paths.map((path) => [path, readFileSync(path, "hex")]));
}

describe("balsa log", () => {
  test("list shows each segment", async () => {
    const before = snapshot();
    const { status, out } = await run("list", dir);
    expect(status).toBe(EXIT.ok);
    expect(out).toMatch(/^SEGMENT +STATE +BYTES +USED +BATCHES +ENTRIES +TERMS\n/);
    expect(out).toMatch(/^00000001\.wal +active +4096 +\d+ +6 +1-6 +2$/m);
    expect(out).toMatch(/^00000002\.wal +prepared +4096 +0 +0 +- +-$/m);
    expect(snapshot()).toEqual(before);
  });

  test("dump shows each entry readably", async () => {
    const { status, out, err } = await run("dump", dir);
    expect([status, err]).toEqual([EXIT.ok, ""]);
    expect(out.split("\n")).toEqual([
      "1 term 2 noop",
      "2 term 2 command 2026-01-02T03:04:05.678Z opens a session",
      "3 term 2 command 2026-01-02T03:04:05.678Z session 4 sequence 17",
      "    INSERT INTO t VALUES (?, ?, ?)",
      `      ?1 = 9007199254740993, ?2 = 'it''s', ?3 = x'${"07".repeat(32)}'… (40 bytes)`,
      "4 term 2 command 2026-01-02T03:04:05.678Z no session",
      "    DELETE FROM t WHERE id = :id",
      "      id = 3",
      "5 term 2 command 2026-01-02T03:04:05.678Z session 4 sequence 17 script",
      "    CREATE TABLE t (a); VACUUM",
      "6 term 2 configuration makes a learner of node 4",
      "",
    ]);
  });

  test("dump --json shows each entry whole, one a line", async () => {
    const { out } = await run("dump", dir, "--json", "--from", "3", "--to", "4");
    const lines = out.trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toMatchObject(
      [
        {
          index: 3,
          term: 2,
          kind: "command",
          timeMs: COMMAND.timeMs,
          session: 4,
          sequence: 17,
          statements: [{ sql: INSERT.sql, args: [expect.any(Number), "it's", { base64: /=$/ }] }],
        },
        { index: 4, session: 0, statements: [{ args: { id: 3 } }] },
      ].map((expected) => ({ ...expected, statements: expect.any(Array) })),
    );
    expect(lines[0]).toContain('"args":[9007199254740993,"it\'s",{"base64":"BwcH');
    expect(lines[1]).toContain('"args":{"id":3}');
  });

  test("verify says that all is well, and what a start would do", async () => {
    const before = snapshot();
    const { status, out, err } = await run("verify", dir);
    expect([status, err]).toEqual([EXIT.ok, ""]);
    expect(out).toMatch(/checked 2 segments with 6 whole batches/);
    expect(out).toMatch(/a start would open it with entries 1 to 6 in term 2, cut nothing/);
    expect(snapshot()).toEqual(before);
  });

  test("verify names file and place of damage, with status 1, and changes nothing", async () => {
    const path = join(dir, "log", "00000001.wal");
    const at = readFileSync(path).indexOf("DELETE");
    writeSync(openSync(path, "r+"), "X", at);
    const before = snapshot();
    const { status, out, err } = await run("verify", dir);
    expect(status).toBe(EXIT.failed);
    expect(err).toMatch(new RegExp(`^balsa: ${path} at byte \\d+: `));
    expect(out).toMatch(/a start would refuse it: LOG_CORRUPTED/);
    const dumped = await run("dump", dir);
    expect([dumped.status, dumped.err]).toEqual([EXIT.failed, err]);
    expect(dumped.out).toMatch(/^1 term 2 noop/);
    expect(snapshot()).toEqual(before);
  });

  test("refuses while a node runs on the directory", async () => {
    const lock = DirectoryLock.take(dir);
    for (const command of ["list", "dump", "verify"]) {
      const { status, out, err } = await run(command, dir);
      expect([status, out]).toEqual([EXIT.failed, ""]);
      expect(err).toMatch(/in use by another process.*while its node is stopped/);
    }
    lock.release();
    expect((await run("list", dir)).status).toBe(EXIT.ok);
  });

  test("refuses what is no node's directory, and makes nothing there", async () => {
    const empty = join(dir, "empty");
    mkdirSync(empty);
    const { status, err } = await run("verify", empty);
    expect(status).toBe(EXIT.failed);
    expect(err).toMatch(/is no node's data directory/);
    expect(readdirSync(empty)).toEqual([]);
  });

  test("--from behind --to is wrong usage", async () => {
    const { status } = await run("dump", dir, "--from", "3", "--to", "2");
    expect(status).toBe(EXIT.usage);
  });
});
