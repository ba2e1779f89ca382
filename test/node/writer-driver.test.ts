import { beforeEach, describe, expect, it } from "vitest";
import { failure, type WriteRequest } from "../../src/node/write-request.ts";
import type { WriterDriver } from "../../src/node/writer-driver.ts";
import type { EntryId } from "../../src/raft/entry.ts";
import { Clock, FakeLog, FakeMachine, makeDriver, request } from "./fakes.ts";

const notLeader = failure("NOT_LEADER", "node 2 leads");

describe("the writer driver", () => {
  let clock: Clock;
  let log: FakeLog;
  let machine: FakeMachine;
  let driver: WriterDriver;
  let refuse: boolean;
  let proposed: WriteRequest[];
  let observed: { request: WriteRequest; seen: EntryId }[];
  let applied: number[];
  let broken: string[];
  let rests: boolean[];
  let isLow: boolean;
  let mismatches: number[];

  beforeEach(() => {
    clock = new Clock();
    log = new FakeLog();
    machine = new FakeMachine();
    refuse = false;
    proposed = [];
    observed = [];
    applied = [];
    broken = [];
    rests = [];
    isLow = false;
    mismatches = [];
    driver = makeDriver(
      { machine, log, clock },
      {
        propose: (request) => {
          if (refuse) return null;
          proposed.push(request);
          log.terms.push(2);
          return { index: log.lastIndex(), term: 2 };
        },
        observed: (request, _outcome, seen) => observed.push({ request, seen }),
        applied: (index) => applied.push(index),
        mismatch: ({ index }) => mismatches.push(index),
        resting: (isResting) => rests.push(isResting),
        isLowOnSpace: () => isLow,
        broken: (error) => broken.push(error.message),
      },
    );
  });

  /** A leader of term 2 whose no-op is entry 1, applied. */
  function lead(): void {
    driver.start(() => {});
    machine.writer.ready(0);
    log.terms.push(2);
    driver.lead({ index: 1, term: 2 });
    driver.applicable(1);
    machine.writer.events.applied({ index: 1, term: 2 }, null);
  }

  it("executes nothing before the no-op of its own term is applied", () => {
    driver.start(() => {});
    machine.writer.ready(0);
    log.terms.push(2);
    driver.lead({ index: 1, term: 2 });
    driver.submit(request().request);
    expect(machine.writer.jobs).toHaveLength(0);
    driver.applicable(1);
    expect(machine.writer.jobs).toHaveLength(0);
    machine.writer.events.applied({ index: 1, term: 2 }, null);
    expect(machine.writer.jobs).toHaveLength(1);
  });

  it("commits in SQLite only what is committed by Raft and durable here", () => {
    lead();
    driver.submit(request().request);
    machine.writer.proposal(0);
    clock.advance(5);
    expect(machine.writer.commits).toEqual([]);
    driver.applicable(2);
    expect(machine.writer.commits).toEqual([{ index: 2, term: 2 }]);
  });

  it("lets a COMMIT rest for a moment while nobody waits for it: the next write joins it", () => {
    lead();
    for (const at of [2, 3]) {
      driver.submit(request().request);
      machine.writer.proposal(at - 2);
      driver.applicable(at);
      clock.advance(1);
    }
    expect(machine.writer.commits).toEqual([]);
    clock.advance(2);
    expect(machine.writer.commits).toEqual([{ index: 3, term: 2 }]);
  });

  it("commits at once what rests when a read needs it, or is being confirmed", () => {
    lead();
    driver.submit(request().request);
    machine.writer.proposal(0);
    driver.applicable(2);
    driver.demand(2);
    expect(machine.writer.commits).toEqual([{ index: 2, term: 2 }]);
    driver.submit(request().request);
    machine.writer.proposal(1);
    driver.applicable(3);
    driver.hurry();
    expect(machine.writer.commits).toEqual([
      { index: 2, term: 2 },
      { index: 3, term: 2 },
    ]);
  });

  it("commits at once what rests when a transaction begins", () => {
    lead();
    driver.submit(request().request);
    machine.writer.proposal(0);
    driver.applicable(2);
    driver.submit(request(1_000_000, "begin").request);
    expect(machine.writer.commits).toEqual([{ index: 2, term: 2 }]);
    expect(machine.writer.jobs).toHaveLength(2);
  });

  it("commits what rests, and keeps the writer, when leadership is lost", () => {
    lead();
    driver.submit(request().request);
    machine.writer.proposal(0);
    driver.applicable(2);
    driver.follow(notLeader);
    expect(machine.writer.commits).toEqual([{ index: 2, term: 2 }]);
    expect(machine.writers).toHaveLength(1);
  });

  it("keeps executing in the open transaction while a quorum round is under way", () => {
    lead();
    driver.submit(request().request);
    machine.writer.proposal(0);
    driver.submit(request().request);
    expect(machine.writer.jobs).toHaveLength(2);
    machine.writer.proposal(1);
    driver.applicable(2);
    expect(machine.writer.commits).toEqual([]);
    driver.applicable(3);
    clock.advance(3);
    expect(machine.writer.commits).toEqual([{ index: 3, term: 2 }]);
  });

  it("ends a cycle by force after 10 ms, so that readers see a fresh database", () => {
    lead();
    driver.submit(request().request);
    clock.advance(11);
    machine.writer.proposal(0);
    driver.submit(request().request);
    expect(machine.writer.jobs).toHaveLength(1);
    driver.applicable(2);
    expect(machine.writer.commits).toHaveLength(1);
    expect(machine.writer.jobs).toHaveLength(2);
  });

  it("ends a cycle at once when a read waits for it", () => {
    lead();
    driver.submit(request().request);
    machine.writer.proposal(0);
    driver.demand(2);
    driver.submit(request().request);
    expect(machine.writer.jobs).toHaveLength(1);
    driver.applicable(2);
    expect(machine.writer.commits).toHaveLength(1);
    machine.writer.events.committed({ index: 2, term: 2 });
    expect(applied).toEqual([1, 2]);
  });

  it("kills the writer when leadership is lost with work in the open transaction", () => {
    lead();
    const first = request();
    const second = request();
    driver.submit(first.request);
    machine.writer.proposal(0);
    driver.submit(second.request);
    const old = machine.writer;
    driver.follow(notLeader);
    expect(old.ended).toBe("killed");
    expect(machine.writers).toHaveLength(2);
    expect(second.answer).toEqual(notLeader);
    expect(first.answer).toBeNull();
  });

  it("keeps the writer when leadership is lost with nothing open", () => {
    lead();
    driver.follow(notLeader);
    expect(machine.writers).toHaveLength(1);
    log.terms.push(3);
    driver.applicable(2);
    expect(machine.writer.applies).toHaveLength(2);
  });

  it("does not apply again what a COMMIT under way has already taken in", () => {
    lead();
    driver.submit(request().request);
    machine.writer.proposal(0);
    driver.applicable(2);
    driver.follow(notLeader);
    log.terms.push(3);
    driver.applicable(3);
    expect(machine.writer.applies).toHaveLength(1);
    machine.writer.events.committed({ index: 2, term: 2 });
    expect(machine.writer.applies[1]?.map((entry) => entry.index)).toEqual([3]);
  });

  it("replaces the writer after a refused proposal and executes the others again", () => {
    lead();
    const others = [request(), request()];
    driver.submit(request().request);
    for (const other of others) driver.submit(other.request);
    refuse = true;
    machine.writer.proposal(0);
    refuse = false;
    expect(machine.writers).toHaveLength(2);
    machine.writer.ready(1);
    expect(machine.writer.jobs.map((job) => job.id)).toEqual(
      others.map((other) => other.request.id),
    );
  });

  it("stops a write at its deadline by killing the process, and nothing else is lost", () => {
    lead();
    const endless = request();
    const waiting = request();
    driver.submit(endless.request);
    driver.submit(waiting.request);
    const old = machine.writer;
    clock.advance(30_100);
    expect(old.ended).toBe("killed");
    expect(endless.answer).toMatchObject({ code: "DEADLINE_EXCEEDED", outcome: "not-applied" });
    machine.writer.ready(1);
    expect(machine.writer.jobs.map((job) => job.id)).toEqual([waiting.request.id]);
  });

  it("executes nothing after a kill until everything proposed before it is applied", () => {
    lead();
    driver.submit(request().request);
    machine.writer.proposal(0);
    const endless = request(1_000);
    driver.submit(endless.request);
    clock.advance(1_400);
    expect(endless.answer).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    const next = request();
    driver.submit(next.request);
    machine.writer.ready(1);
    expect(machine.writer.jobs).toHaveLength(0);
    driver.applicable(2);
    expect(machine.writer.applies[0]?.map((entry) => entry.index)).toEqual([2]);
    machine.writer.events.applied({ index: 2, term: 2 }, null);
    expect(machine.writer.jobs.map((job) => job.id)).toEqual([next.request.id]);
  });

  it("withdraws what waits past its deadline without touching the writer", () => {
    lead();
    const slow = request();
    const late = request(500);
    driver.submit(slow.request);
    clock.advance(1);
    // The pipe to the writer is full: nothing more is handed to it.
    for (let filler = 0; filler < 255; filler += 1) driver.submit(request().request);
    driver.submit(late.request);
    clock.advance(600);
    expect(late.answer).toMatchObject({ code: "DEADLINE_EXCEEDED", outcome: "not-applied" });
    expect(machine.writer.ended).toBeNull();
  });

  it("tells how far an answer from the open transaction has seen", () => {
    lead();
    driver.submit(request().request);
    machine.writer.proposal(0);
    driver.submit(request().request);
    const unique = { code: "SQLITE_CONSTRAINT_UNIQUE", message: "x", statementIndex: 0, facts: {} };
    machine.writer.answer(
      { kind: "failure", failure: { ...unique, outcome: "not-applied", code: "SQLITE_ERROR" } },
      1,
    );
    expect(observed.map(({ seen }) => seen)).toEqual([{ index: 2, term: 2 }]);
  });

  it("replaces the writer when a statement ended the open transaction", () => {
    lead();
    driver.submit(request().request);
    const other = request();
    driver.submit(other.request);
    const why = failure("INTERNAL", "INSERT OR ROLLBACK");
    machine.writer.answer({ kind: "broken", failure: why }, 0);
    expect(observed).toHaveLength(1);
    expect(machine.writers).toHaveLength(2);
    machine.writer.ready(1);
    expect(machine.writer.jobs.map((job) => job.id)).toEqual([other.request.id]);
  });

  it("stops applying at an entry whose effects differ", () => {
    driver.start(() => {});
    machine.writer.ready(0);
    log.terms.push(1, 1);
    driver.applicable(2);
    const mismatch = { index: 2, expected: 1, found: 2, detail: "" };
    machine.writer.events.applied({ index: 1, term: 1 }, mismatch);
    driver.applicable(2);
    clock.advance(100);
    expect(mismatches).toEqual([2]);
    expect(machine.writer.applies).toHaveLength(1);
  });

  it("halts when every new writer dies at once, and survives a single death", () => {
    driver.start(() => {});
    for (let death = 0; death < 5; death += 1) {
      expect(broken).toEqual([]);
      machine.writer.events.exited("disk full");
    }
    expect(broken).toEqual(["the writer keeps dying: disk full"]);
  });

  it("refuses what waits and rests when the writer finds no space, longer each time, and never halts", () => {
    lead();
    const first = request();
    const second = request();
    driver.submit(first.request);
    driver.submit(second.request);
    machine.writer.events.exited("SQLITE_FULL: database or disk is full");
    expect(first.answer).toMatchObject({ code: "NO_SPACE", outcome: "not-applied" });
    expect(second.answer).toMatchObject({ code: "NO_SPACE" });
    expect(rests).toEqual([true]);
    const opened: number[] = [];
    for (let death = 0; death < 9; death += 1) {
      const before = machine.writers.length;
      let waitedMs = 0;
      for (; machine.writers.length === before; waitedMs += 100) clock.advance(100);
      opened.push(waitedMs);
      machine.writer.events.exited("SQLITE_FULL: database or disk is full");
    }
    expect(opened.slice(0, 5)).toEqual([1_000, 2_000, 4_000, 4_000, 4_000]);
    expect(broken).toEqual([]);
    expect(rests).toEqual([true]);
    clock.advance(4_000);
    machine.writer.ready(1);
    expect(rests).toEqual([true, false]);
    const third = request();
    driver.submit(third.request);
    expect(machine.writer.jobs).toHaveLength(1);
  });

  it("as a follower applies on from where it stood when there is space again", () => {
    driver.start(() => {});
    machine.writer.ready(0);
    log.terms.push(2, 2, 2);
    driver.applicable(3);
    machine.writer.events.exited("SQLITE_FULL: database or disk is full");
    clock.advance(1_000);
    machine.writer.ready(0);
    expect(rests).toEqual([true]);
    expect(machine.writer.applies.flat().map(({ index }) => index)).toEqual([1, 2, 3]);
    machine.writer.events.applied({ index: 3, term: 2 }, null);
    expect(rests).toEqual([true, false]);
    expect(applied.at(-1)).toBe(3);
  });

  it("takes a failed write for want of space only while little is left", () => {
    driver.start(() => {});
    machine.writer.ready(0);
    isLow = true;
    machine.writer.events.exited("SQLITE_IOERR_WRITE: disk I/O error");
    expect(machine.writers).toHaveLength(1);
    clock.advance(1_000);
    expect(machine.writers).toHaveLength(2);
    isLow = false;
    machine.writer.events.exited("SQLITE_IOERR_WRITE: disk I/O error");
    expect(machine.writers).toHaveLength(3);
  });

  it("opens no writer when it was stopped, or a snapshot is being installed, while it rests", () => {
    driver.start(() => {});
    machine.writer.ready(0);
    machine.writer.events.exited("SQLITE_FULL: database or disk is full");
    driver.suspend();
    clock.advance(60_000);
    expect(machine.writers).toHaveLength(1);
    driver.resume();
    machine.writer.events.exited("SQLITE_FULL: database or disk is full");
    let stopped = false;
    driver.stop(() => {
      stopped = true;
    });
    clock.advance(60_000);
    expect(stopped).toBe(true);
    expect(machine.writers).toHaveLength(2);
  });

  it("halts when the log cannot give what is to be applied", () => {
    driver.start(() => {});
    machine.writer.ready(0);
    log.terms.push(2);
    log.entries = () => {
      throw new Error("damaged");
    };
    driver.applicable(1);
    expect(broken).toEqual(["damaged"]);
  });

  it("followers apply at once what a read waits for, and in paced batches otherwise", () => {
    driver.start(() => {});
    machine.writer.ready(0);
    log.terms.push(1, 1, 1);
    driver.applicable(1);
    machine.writer.events.applied({ index: 1, term: 1 }, null);
    driver.applicable(2);
    expect(machine.writer.applies).toHaveLength(1);
    driver.demand(2);
    expect(machine.writer.applies).toHaveLength(2);
    machine.writer.events.applied({ index: 2, term: 1 }, null);
    driver.applicable(3);
    expect(machine.writer.applies).toHaveLength(2);
    clock.advance(26);
    expect(machine.writer.applies).toHaveLength(3);
  });

  it("drains before a handover: what was executed commits, what waits goes on waiting", () => {
    lead();
    const [executed, waiting] = [request(), request()];
    driver.submit(executed.request);
    let drained = 0;
    driver.drain(() => {
      drained += 1;
    });
    driver.submit(waiting.request);
    machine.writer.proposal(0);
    clock.advance(1);
    expect(drained).toBe(0);
    driver.applicable(2);
    clock.advance(1);
    expect(drained).toBe(1);
    expect(machine.writer.commits).toEqual([{ index: 2, term: 2 }]);
    expect(machine.writer.jobs).toHaveLength(1);
    driver.follow(notLeader, true);
    expect(waiting.answer).toBeNull();
    driver.refuseWaiting(notLeader);
    expect(waiting.answer).toEqual(notLeader);
  });

  it("stands still while another file takes the database's place, then goes on from what that holds", () => {
    driver.start(() => {});
    machine.writer.ready(0);
    log.terms.push(1, 1, 1, 1);
    driver.applicable(2);
    const old = machine.writer;
    expect(old.applies).toHaveLength(1);
    driver.suspend();
    expect(old.ended).toBe("killed");
    old.events.applied({ index: 2, term: 1 }, null);
    old.events.exited("killed");
    driver.applicable(4);
    driver.demand(4);
    clock.advance(100);
    expect(machine.writers).toHaveLength(1);
    expect([driver.applied, applied.length]).toEqual([0, 0]);
    driver.resume();
    expect(machine.writers).toHaveLength(2);
    machine.writer.ready(3);
    expect([driver.applied, applied.at(-1)]).toEqual([3, 3]);
    expect(machine.writer.applies.flat().map(({ index }) => index)).toEqual([4]);
  });

  it("that is stopped meanwhile waits for the file to be in its place", () => {
    driver.start(() => {});
    machine.writer.ready(0);
    driver.suspend();
    let stopped = false;
    driver.stop(() => {
      stopped = true;
    });
    clock.advance(100);
    expect(stopped).toBe(false);
    driver.resume();
    expect(stopped).toBe(true);
    expect(machine.writers).toHaveLength(1);
  });

  it("a follower that is far behind applies a bounded number of entries at once", () => {
    driver.start(() => {});
    machine.writer.ready(0);
    for (let index = 0; index < 50_000; index += 1) log.terms.push(1);
    driver.applicable(50_000);
    expect(machine.writer.applies[0]).toHaveLength(4_096);
  });
});
