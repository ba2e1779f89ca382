/** The toy children, and the words that they understand. Free of the test runner: a process of its own uses it too. */

import { fileURLToPath } from "node:url";
import type { ExecuteJob, Logger } from "../../../src/node/ports.ts";
import type { Entry } from "../../../src/raft/entry.ts";

export const SILENT: Logger = { debug() {}, info() {}, warn() {}, error() {} };

export const TOY = [
  process.execPath,
  fileURLToPath(new URL("toy-child.mjs", import.meta.url)),
] as const;

export function job(id: number, sql: string): ExecuteJob {
  return {
    id,
    batch: Buffer.from(sql),
    openSession: false,
    session: 0,
    sequence: 0,
    acknowledgedThrough: 0,
    timeMs: 0,
    seedHigh: 0,
    seedLow: 0,
  };
}

export function command(index: number, sql: string, term = 1): Entry {
  return { index, term, kind: "command", payload: Buffer.from(sql) };
}
