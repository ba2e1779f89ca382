/** Reading everything for a comparison, as the node sees it; the reading process is played by the test. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import type { ChildEvents, ChildProcess } from "../../src/machine/child-process.ts";
import type { ChildSupply } from "../../src/machine/child-supply.ts";
import { encodeJson, FROM_DIGEST, TO_DIGEST } from "../../src/machine/process-messages.ts";
import { startDigest } from "../../src/machine/running-digest.ts";
import type { DigestEvents } from "../../src/node/ports.ts";
import type { BalsaError } from "../../src/sql/errors.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

class Played {
  readonly walPath: string;
  readonly told: unknown[] = [];
  readonly sent: number[] = [];
  error: BalsaError | null | undefined;
  killed = "";
  child: ChildEvents | null = null;
  readonly running: ReturnType<typeof startDigest>;

  constructor(walBytesMax = 1_000) {
    const dir = mkdtempSync(join(tmpdir(), "balsa-digest-"));
    onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
    this.walPath = join(dir, "main.db-wal");
    const process = {
      send: (type: number) => this.sent.push(type),
      kill: (why: string) => {
        this.killed = why;
        this.child?.exited(why);
      },
    } as unknown as ChildProcess;
    const supply = {
      run: (_task: unknown, events: ChildEvents) => {
        this.child = events;
        return process;
      },
    } as unknown as ChildSupply;
    const events: DigestEvents = {
      ready: () => this.told.push("ready"),
      opened: (at) => this.told.push(at),
      progress: (table, rows) => this.told.push([table, rows]),
      table: (table) => this.told.push(table),
      damage: (line) => this.told.push(line),
      ended: (error) => {
        this.error = error as BalsaError | null;
      },
    };
    const parts = { supply, walPath: this.walPath, started() {}, ended() {} };
    this.running = startDigest(parts, false, events, walBytesMax);
  }

  says(type: number, facts: unknown = {}): void {
    this.child?.frame(type, 0, encodeJson(facts));
  }
}

test("it waits to be told, then tells all it hears, and every second that it lives", () => {
  const played = new Played();
  played.says(FROM_DIGEST.ready);
  expect(played.sent).toEqual([]);
  played.running.open();
  expect(played.sent).toEqual([TO_DIGEST.open]);
  played.says(FROM_DIGEST.opened, { index: 7, term: 2 });
  played.says(FROM_DIGEST.progress, { table: "t", rows: 5 });
  vi.advanceTimersByTime(2_000);
  const table = { name: "t", rows: 9, hash: "00" };
  played.says(FROM_DIGEST.table, table);
  played.says(FROM_DIGEST.done);
  played.child?.exited("ended");
  expect(played.told).toEqual(["ready", { index: 7, term: 2 }, ["t", 5], ["t", 5], table]);
  expect(played.error).toBeNull();
  expect(played.killed).toBe("");
});

test("a process that ends before it is done is a failure that says why", () => {
  const played = new Played();
  played.child?.frame(FROM_DIGEST.fault, 0, Buffer.from("no such file"));
  played.child?.exited("ended");
  expect(played.error).toMatchObject({ code: "UNAVAILABLE", message: /no such file/ });
});

test("what is written meanwhile may fill the WAL so far and no further", () => {
  const played = new Played(1_000);
  writeFileSync(played.walPath, Buffer.alloc(2_000));
  // Before the snapshot is taken it holds nothing back.
  vi.advanceTimersByTime(1_000);
  expect(played.killed).toBe("");
  played.says(FROM_DIGEST.opened, { index: 7, term: 2 });
  vi.advanceTimersByTime(1_000);
  expect(played.error).toMatchObject({ code: "SNAPSHOT_TOO_OLD", message: /2000 bytes/ });
});

test("nobody who has asked and says no more keeps it", () => {
  const played = new Played();
  played.says(FROM_DIGEST.ready);
  vi.advanceTimersByTime(61_000);
  expect(played.error).toMatchObject({ code: "DEADLINE_EXCEEDED" });
  const opened = new Played();
  opened.says(FROM_DIGEST.opened, { index: 1, term: 1 });
  vi.advanceTimersByTime(600_000);
  expect(opened.killed).toBe("");
  opened.running.cancel();
  expect(opened.error).toMatchObject({ code: "CANCELLED" });
});
