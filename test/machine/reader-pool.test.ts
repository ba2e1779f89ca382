/** When the pool starts a process and when it takes a reader from somebody. On virtual time, with processes that are none. */

import { availableParallelism } from "node:os";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ChildEvents } from "../../src/machine/child-process.ts";
import type { ChildSupply } from "../../src/machine/child-supply.ts";
import { FROM_READER, TO_READER } from "../../src/machine/process-messages.ts";
import { ReaderPool } from "../../src/machine/reader-pool.ts";
import type { Failure } from "../../src/sql/errors.ts";

const NOTHING = new Uint8Array(0);

class FakeChild {
  readonly pid: number;
  readonly events: ChildEvents;
  readonly queries: number[] = [];
  readonly cancelled: number[] = [];
  readonly isGathering = false;

  constructor(pid: number, events: ChildEvents) {
    this.pid = pid;
    this.events = events;
  }

  send(type: number, id: number): void {
    if (type === TO_READER.query || type === TO_READER.queryOnce) this.queries.push(id);
    if (type === TO_READER.cancel) this.cancelled.push(id);
  }

  say(type: number, id: number): void {
    this.events.frame(type, id, NOTHING);
  }

  poke(): void {}
  kill(): void {}
}

class Watched {
  chunks = 0;
  isDone = false;
  failure: Failure | null = null;

  chunk(_bytes: Uint8Array, done: boolean): void {
    this.chunks += 1;
    this.isDone = done;
  }

  failed(failure: Failure): void {
    this.failure = failure;
  }
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function pool(readersMax: number) {
  const children: FakeChild[] = [];
  const logger = { info: () => {}, warn: () => {}, error: () => {}, debug: () => {} };
  const take = (_role: string, events: ChildEvents) => {
    const child = new FakeChild(children.length + 1, events);
    children.push(child);
    return child;
  };
  const readers = new ReaderPool({
    supply: { logger, take } as unknown as ChildSupply,
    readersMin: 1,
    readersMax,
    waitingMax: 1_000,
    snapshotMsMax: 60_000,
    databaseBytes: () => 0,
  });
  readers.start();
  children[0]?.say(FROM_READER.ready, 0);
  const ask = (window = Number.POSITIVE_INFINITY) => {
    const sink = new Watched();
    const running = readers.query(new Uint8Array(1), { deadlineMs: 3_600_000, window }, sink);
    return { sink, running };
  };
  /** A stream that has a reader, and waits for its caller. */
  const stream = (child: FakeChild | undefined) => {
    const asked = ask(1);
    const id = child?.queries.at(-1) ?? 0;
    child?.say(FROM_READER.chunk, id);
    expect(asked.sink.chunks).toBe(1);
    return { ...asked, id };
  };
  return { children, ask, stream };
}

test("a full connection loses its reader to others after a second, before a process is started for them", () => {
  const { children, ask, stream } = pool(3);
  const [first] = children;
  const full = stream(first);
  full.running.hold?.(true);
  vi.advanceTimersByTime(1_100);
  expect(full.sink.failure).toBe(null);
  const other = ask();
  expect(full.sink.failure?.code).toBe("SNAPSHOT_TOO_OLD");
  expect(first?.cancelled).toEqual([full.id]);
  first?.say(FROM_READER.dropped, full.id);
  first?.say(FROM_READER.last, first.queries.at(-1) ?? 0);
  expect([other.sink.isDone, children.length]).toEqual([true, 1]);
});

test("a caller that is only slow keeps its reader while there are processes to be had", () => {
  const { children, ask, stream } = pool(2);
  const slow = stream(children[0]);
  vi.advanceTimersByTime(5_000);
  const other = ask();
  expect([slow.sink.failure, children.length]).toEqual([null, 2]);
  const [, second] = children;
  second?.say(FROM_READER.ready, 0);
  second?.say(FROM_READER.chunk, second.queries.at(-1) ?? 0);
  expect(other.sink.chunks).toBe(1);
  // Now there are none: who has waited for its caller for longest gives way.
  ask();
  expect(slow.sink.failure?.code).toBe("SNAPSHOT_TOO_OLD");
  expect(other.sink.failure).toBe(null);
});

test("for a full connection's own reads no process is started", () => {
  const { children, ask, stream } = pool(3);
  const full = stream(children[0]);
  full.running.hold?.(true);
  const more = Array.from({ length: 100 }, () => {
    const asked = ask();
    asked.running.hold?.(true);
    return asked;
  });
  vi.advanceTimersByTime(10_000);
  expect([children.length, full.sink.failure]).toEqual([1, null]);
  for (const { running } of [full, ...more]) running.hold?.(false);
  vi.advanceTimersByTime(100);
  expect(children.length).toBe(2);
});

test("a burst starts no process; more reads than the readers can take for a quarter of a second do", () => {
  const { children, ask } = pool(4);
  const [reader] = children;
  let done = 0;
  /** Answers all that it was given, which is followed by more. */
  const answer = (count: number) => {
    for (const last = done + count; done < last; done += 1) {
      reader?.say(FROM_READER.last, reader.queries[done] ?? 0);
    }
  };
  const burst = () => Array.from({ length: 200 }, () => ask());
  burst();
  vi.advanceTimersByTime(5);
  answer(200);
  expect(children.length).toBe(1);
  vi.advanceTimersByTime(1_000);
  for (let turn = 0; turn < 10; turn += 1) {
    burst();
    vi.advanceTimersByTime(20);
    answer(200);
  }
  expect(children.length).toBe(1);
  for (let turn = 0; turn < 10; turn += 1) {
    burst();
    vi.advanceTimersByTime(20);
    answer(200);
  }
  expect(children.length).toBe(Math.min(2, availableParallelism()));
});
