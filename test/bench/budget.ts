/**
 * `node --import tsx test/bench/budget.ts`: what each part of a write and a read costs alone, in one process, in
 * microseconds of processor time. Unlike the rates of a cluster these hardly depend on what else the machine does. The
 * budget in docs/PERFORMANCE.md is made of them.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLogNow } from "../../src/log/open-log.ts";
import { MachineCore } from "../../src/machine/machine-core.ts";
import { decodeJob, encodeJobHead, encodeOutcome } from "../../src/machine/process-messages.ts";
import { ReadExecutor } from "../../src/machine/read-executor.ts";
import type { Entry } from "../../src/raft/entry.ts";
import type { Message } from "../../src/raft/message.ts";
import { decodePeerFrame, encodeRaftFrame } from "../../src/wire/peer-codec.ts";
import { measureRaftBatches } from "../../src/wire/raft-codec.ts";
import { decodeBatchResult } from "../../src/wire/result-codec.ts";
import {
  type ClientRequest,
  decodeClientFrame,
  decodeServerFrame,
  encodeClientFrame,
  encodeServerFrame,
} from "../../src/wire/sql-codec.ts";
import { encodeBatch, encodeStatement } from "../../src/wire/statement-codec.ts";
import { INSERT, SELECT, TEXT } from "./bed.ts";
import { rounded } from "./measure.ts";

const WRITES = 100_000;
/** Writes of a commit, entries of a frame, requests of a frame: as many as 64 callers bring together. */
const GROUP = 32;
const WAL_BYTES_MAX = 4 * 1024 * 1024;
const EMPTY = Buffer.alloc(0);
const NUMBERS = { session: 0, sequence: 0, acknowledgedThrough: 0 };

/** Once to warm up, once to count. */
function measure(part: string, operations: number, run: (round: number) => void): void {
  run(0);
  const before = process.cpuUsage();
  run(1);
  const { user, system } = process.cpuUsage(before);
  print(part, (user + system) / operations);
}

function print(part: string, cpuUs: number): void {
  console.log(JSON.stringify({ metric: "budget", part, cpuUs: rounded(cpuUs) }));
}

/** Gives the log's payloads: of the session, the table and all writes. */
function writer(path: string): Uint8Array[] {
  const core = MachineCore.open({ path });
  const payloads: Uint8Array[] = [];
  let sequence = 0;
  const execute = (batch: Uint8Array, openSession = false) => {
    const id = payloads.length + 1;
    const numbers = openSession
      ? NUMBERS
      : { session: 1, sequence, acknowledgedThrough: Math.max(0, sequence - 64) };
    const seed = { timeMs: 1_000 + id, seedHigh: 1, seedLow: id };
    const job = { id, batch, openSession, ...numbers, ...seed };
    const frame = Buffer.concat([encodeJobHead(job), batch]);
    const outcome = core.execute(decodeJob(id, frame));
    if (outcome.kind !== "proposal") throw new Error(JSON.stringify(outcome));
    encodeOutcome(outcome);
    sequence += 1;
    payloads.push(Uint8Array.from(outcome.payload));
    if (payloads.length % GROUP === 0) commit();
  };
  const commit = () => {
    core.commit({ index: payloads.length, term: 1 });
    if (core.walSize().uncopied > WAL_BYTES_MAX) core.checkpoint();
  };
  execute(EMPTY, true);
  execute(encodeBatch([{ sql: "CREATE TABLE bench (id INTEGER PRIMARY KEY, value TEXT)" }]));
  const batches = Array.from({ length: 2 * WRITES }, (_, at) => {
    return encodeBatch([{ sql: INSERT, args: [at + 1, TEXT] }]);
  });
  measure("writer: execute and commit", WRITES, (round) => {
    for (let at = 0; at < WRITES; at += 1) execute(batches[round * WRITES + at] ?? EMPTY);
  });
  commit();
  core.close();
  return payloads;
}

function follower(path: string, payloads: readonly Uint8Array[]): void {
  const core = MachineCore.open({ path });
  const entries = payloads.map((payload, at): Entry => {
    return { index: at + 1, term: 1, kind: "command", payload };
  });
  measure("follower's writer: apply and commit", WRITES, (round) => {
    const from = round === 0 ? 0 : entries.length - WRITES;
    const to = round === 0 ? entries.length - WRITES : entries.length;
    for (let at = from; at < to; at += GROUP) {
      core.apply(entries.slice(at, Math.min(at + GROUP, to)));
      if (core.walSize().uncopied > WAL_BYTES_MAX) core.checkpoint();
    }
  });
  core.close();
}

function reader(path: string): void {
  const executor = ReadExecutor.open({ path });
  const statements = Array.from({ length: 1_000 }, (_, at) => {
    return encodeStatement({ sql: SELECT, args: [at + 1] });
  });
  const read = (at: number) => executor.start(statements[at % statements.length] ?? EMPTY);
  measure("reader: a read by key", WRITES, () => {
    for (let at = 0; at < WRITES; at += 1) read(at);
  });
  measure(`reader: the same, ${GROUP} with one snapshot`, WRITES, () => {
    for (let at = 0; at < WRITES; at += 1) {
      if (at % GROUP === 0) executor.hold();
      read(at);
      if (at % GROUP === GROUP - 1) executor.release();
    }
    executor.release();
  });
  executor.close();
}

function codecs(payloads: readonly Uint8Array[]): void {
  const requests = (): ClientRequest[] =>
    Array.from({ length: GROUP }, (_, id) => {
      const batch = encodeBatch([{ sql: INSERT, args: [id, TEXT] }]);
      return {
        id,
        body: { kind: "execute", batch, ...NUMBERS, timeoutMs: 9_000, noForward: true },
      };
    });
  const result = Buffer.from([0x0a, 0x04, 0x18, 0x01, 0x20, 0x07]);
  measure("client's codec: request and answer", WRITES, () => {
    for (let at = 0; at < WRITES; at += GROUP) {
      encodeClientFrame(requests());
      const answers = Array.from({ length: GROUP }, (_, id) => {
        return { id, body: { kind: "execute" as const, result, index: at } };
      });
      for (const { body } of decodeServerFrame(encodeServerFrame(answers))) {
        if (body.kind === "execute") decodeBatchResult(body.result, "auto");
      }
    }
  });
  const frame = encodeClientFrame(requests());
  measure("node's codec: request", WRITES, () => {
    for (let at = 0; at < WRITES; at += GROUP) decodeClientFrame(frame);
  });
  const payload = payloads.at(-1) ?? EMPTY;
  const entries = Array.from({ length: GROUP }, (_, at): Entry => {
    return { index: 100_000 + at, term: 1, kind: "command", payload };
  });
  const common = { from: 1, to: 2, term: 1, prevLogIndex: 99_999, prevLogTerm: 1 };
  const message: Message = { kind: "AppendEntries", ...common, entries, leaderCommit: 99_999 };
  measure("peers' codec: an entry to one follower, both ends", WRITES, () => {
    for (let at = 0; at < WRITES; at += GROUP) {
      for (const batch of measureRaftBatches([message], { clockMs: 1, lowSpace: false }, 900_000)) {
        decodePeerFrame(encodeRaftFrame(batch).subarray(4));
      }
    }
  });
}

/** With the kernel's part: one write and one sync for each group. */
async function log(dir: string, payloads: readonly Uint8Array[], group: number): Promise<void> {
  const opened = openLogNow({ dir, nodeId: 1 });
  let index = 0;
  const append = async (count: number) => {
    for (let at = 0; at < count; at += group) {
      const entries = payloads.slice(at, at + group).map((payload): Entry => {
        index += 1;
        return { index, term: 1, kind: "command", payload };
      });
      await new Promise<void>((done) => opened.append(null, entries, done));
    }
  };
  const count = 400 * group;
  await append(count);
  const before = process.cpuUsage();
  await append(count);
  const { user, system } = process.cpuUsage(before);
  print(`log: an entry, ${group} a sync`, (user + system) / count);
  await new Promise<void>((done) => opened.close(done));
}

async function main(): Promise<void> {
  const home = mkdtempSync(join(tmpdir(), "balsa-budget-"));
  try {
    const payloads = writer(join(home, "leader.db"));
    follower(join(home, "follower.db"), payloads);
    reader(join(home, "leader.db"));
    codecs(payloads);
    for (const group of [1, GROUP]) await log(join(home, `log-${group}`), payloads, group);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

await main();
