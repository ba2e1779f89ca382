/** Interactive transactions on their node: whose turn it is, what ends them, and that nobody waits for one that has ended. */

import { beforeEach, describe, expect, it } from "vitest";
import { Admission } from "../../src/node/admission.ts";
import { checkOptions } from "../../src/node/config.ts";
import type { ObservedOutcome } from "../../src/node/driver-events.ts";
import type { RunningTransaction } from "../../src/node/service.ts";
import { failure, type WriteRequest } from "../../src/node/write-request.ts";
import type { WriterDriver } from "../../src/node/writer-driver.ts";
import { Writes } from "../../src/node/writes.ts";
import type { Failure } from "../../src/sql/errors.ts";
import { Clock, FakeLog, FakeMachine, makeDriver, request } from "./fakes.ts";

const NOTHING = new Uint8Array(0);
const ANSWER = { kind: "answer", result: NOTHING, index: 0 } as const;

interface Told {
  opened: boolean;
  ended: Failure | null;
}

interface StepTold {
  done: boolean;
  failed: Failure | null;
}

describe("an interactive transaction", () => {
  let clock: Clock;
  let log: FakeLog;
  let machine: FakeMachine;
  let driver: WriterDriver;
  let writes: Writes;
  let admission: Admission;
  let committing: WriteRequest[];
  /** What the log's clock says; null: as the wall clock. */
  let logMs: number | null = null;

  beforeEach(() => {
    clock = new Clock();
    log = new FakeLog();
    machine = new FakeMachine();
    committing = [];
    answered = 0;
    const config = checkOptions({
      id: 1,
      dir: "unused",
      peers: new Map([[1, "127.0.0.1:1"]]),
      advertise: "127.0.0.1:1",
      transactionIdleMs: 1_000,
      transactionTotalMs: 5_000,
    });
    driver = makeDriver(
      { machine, log, clock },
      {
        propose: (proposed) => {
          proposed.stage = "proposed";
          committing.push(proposed);
          log.terms.push(2);
          return { index: log.lastIndex(), term: 2 };
        },
        observed: (asked, outcome: ObservedOutcome, seen) => {
          if (outcome.kind === "answer") asked.done(outcome.result, seen.index);
          else asked.fail(outcome.failure);
        },
        timeMs: () => logMs ?? clock.environment.wallMs(),
      },
    );
    admission = new Admission(config.limits);
    writes = new Writes(config, driver, admission, {
      environment: clock.environment,
      machine,
      refusal: () => null,
      refuseRead: () => null,
      admit: () => undefined,
    });
    driver.start(() => {});
    machine.writer.ready(0);
    log.terms.push(2);
    driver.lead({ index: 1, term: 2 });
    driver.applicable(1);
    machine.writer.events.applied({ index: 1, term: 2 }, null);
  });

  it("has the time of the log, which never runs backwards", () => {
    for (logMs of [1_000, 500, 2_000]) {
      const [running] = begin();
      answer();
      running.cancel();
      answer();
    }
    logMs = null;
    const begun = machine.writer.jobs.filter(({ verb }) => verb === "begin");
    expect(begun.map(({ timeMs }) => timeMs)).toEqual([1_000, 1_000, 2_000]);
  });

  function begin(limits: { idleMs?: number; totalMs?: number } = {}): [RunningTransaction, Told] {
    const told: Told = { opened: false, ended: null };
    const numbers = { session: 7, sequence: 3, acknowledgedThrough: 2, timeoutMs: 2_000 };
    const reading = { readOnly: false, consistency: "linearizable", atLeast: 0 } as const;
    const running = writes.begin(
      { ...numbers, ...reading, maxStalenessMs: 0, idleMs: 0, totalMs: 0, ...limits },
      {
        opened: () => {
          told.opened = true;
        },
        failed: (why) => {
          expect(told.ended).toBeNull();
          told.ended = why;
        },
      },
    );
    return [running, told];
  }

  function step(running: RunningTransaction, verb: "run" | "commit" = "run"): StepTold {
    const told: StepTold = { done: false, failed: null };
    running.step(
      { verb, batch: NOTHING, timeoutMs: 0 },
      {
        done: () => {
          told.done = true;
        },
        failed: (why) => {
          told.failed = why;
        },
      },
    );
    return told;
  }

  /** The writer answers its oldest job. */
  let answered: number;
  function answer(outcome: Parameters<typeof machine.writer.answer>[0] = ANSWER): void {
    machine.writer.answer(outcome, answered);
    answered += 1;
  }

  const verbs = () => machine.writer.jobs.map(({ verb }) => verb ?? "request");

  it("begins when what came before it is in SQLite, and lets nobody in before it ends", () => {
    driver.submit(request().request);
    const [running, told] = begin();
    driver.submit(request().request);
    expect(verbs()).toEqual(["request"]);
    answer({ kind: "proposal", payload: NOTHING, result: NOTHING });
    expect(verbs()).toEqual(["request"]);
    driver.applicable(2);
    expect(machine.writer.commits).toEqual([{ index: 2, term: 2 }]);
    expect(verbs()).toEqual(["request", "begin"]);
    answer();
    expect(told.opened).toBe(true);
    const first = step(running);
    expect(verbs()).toEqual(["request", "begin", "run"]);
    // As long as it may take: no COMMIT in the middle, and nobody else.
    clock.advance(900);
    expect(machine.writer.commits).toHaveLength(1);
    answer();
    expect(first.done).toBe(true);
    const commit = step(running, "commit");
    expect(verbs()).toEqual(["request", "begin", "run", "commit", "request"]);
    answer({ kind: "proposal", payload: NOTHING, result: NOTHING });
    expect(commit.done).toBe(false);
    expect(committing.at(-1)?.call).toMatchObject({ verb: "commit", session: 7, sequence: 3 });
    expect(told.ended).toBeNull();
  });

  it("is rolled back when nothing is asked of it for too long, not while something is", () => {
    const [running, told] = begin({ idleMs: 500 });
    answer();
    const slow = step(running);
    clock.advance(900);
    expect(told.ended).toBeNull();
    answer();
    clock.advance(499);
    expect(told.ended).toBeNull();
    const waiting = request();
    driver.submit(waiting.request);
    clock.advance(2);
    expect(told.ended).toMatchObject({ code: "TRANSACTION_TIMEOUT", outcome: "not-applied" });
    expect(verbs()).toEqual(["begin", "run", "rollback"]);
    answer();
    expect(verbs()).toEqual(["begin", "run", "rollback", "request"]);
    expect(slow.done).toBe(true);
    const late = step(running);
    clock.advance(1);
    expect(late.failed?.code).toBe("TRANSACTION_TIMEOUT");
  });

  it("asks for no more than the node allows", () => {
    const [, told] = begin({ idleMs: 60_000, totalMs: 600_000 });
    answer();
    clock.advance(1_001);
    expect(told.ended?.facts).toEqual({ limit: "idleMs", value: "1000" });
  });

  it("is rolled back when it is open for too long, whatever it does", () => {
    const [running, told] = begin({ totalMs: 700 });
    answer();
    const busy = step(running);
    const next = step(running);
    clock.advance(701);
    expect(told.ended).toMatchObject({ code: "TRANSACTION_TIMEOUT", facts: { limit: "totalMs" } });
    expect([busy.failed?.code, next.failed?.code]).toEqual([
      "TRANSACTION_TIMEOUT",
      "TRANSACTION_TIMEOUT",
    ]);
    // What runs on is stopped with its writer, and nothing of the transaction is given to the next one.
    clock.advance(400);
    expect(machine.writers.length).toBeGreaterThan(1);
    machine.writer.ready(1);
    expect(verbs()).toEqual([]);
  });

  it("is rolled back when its caller is gone, at once", () => {
    const [running, told] = begin();
    answer();
    step(running);
    answer();
    driver.submit(request().request);
    running.cancel();
    expect(verbs()).toEqual(["begin", "run", "rollback", "request"]);
    expect(told.ended?.code).toBe("CANCELLED");
  });

  it("that waits for its turn is withdrawn, or refused at its deadline, without a trace", () => {
    const [running] = begin();
    answer();
    const [second] = begin();
    const [, third] = begin();
    second.cancel();
    for (let n = 0; n < 5; n += 1) {
      step(running);
      answer();
      clock.advance(500);
    }
    expect(third.ended).toMatchObject({ code: "DEADLINE_EXCEEDED", outcome: "not-applied" });
    step(running, "commit");
    answer();
    expect(verbs().filter((verb) => verb === "begin")).toHaveLength(1);
  });

  it("is over, not applied, when the leadership is lost; a commit that was proposed is not judged here", () => {
    const [running, told] = begin();
    answer();
    const waiting = step(running);
    driver.follow(failure("NOT_LEADER", "node 2 leads"));
    expect(told.ended).toMatchObject({ code: "TRANSACTION_ABORTED", outcome: "not-applied" });
    expect(waiting.failed?.code).toBe("TRANSACTION_ABORTED");
    expect(machine.writers).toHaveLength(2);
  });

  it("does not take a commit back that the writer has, whatever time it is", () => {
    const [running, told] = begin({ totalMs: 300 });
    answer();
    step(running);
    answer();
    const commit = step(running, "commit");
    clock.advance(301);
    running.cancel();
    expect(commit).toEqual({ done: false, failed: null });
    answer({ kind: "proposal", payload: NOTHING, result: NOTHING });
    driver.follow(failure("NOT_LEADER", "node 2 leads"));
    expect(commit).toEqual({ done: false, failed: null });
    expect(told.ended).toBeNull();
    committing[0]?.done(NOTHING, 2);
    expect(commit.done).toBe(true);
  });

  it("is over, not applied, when its writer dies before the commit is proposed", () => {
    const [running, told] = begin();
    answer();
    const commit = step(running, "commit");
    machine.writer.events.exited("killed");
    expect(commit.failed).toMatchObject({ outcome: "not-applied" });
    expect(told.ended).toBeNull();
    machine.writer.ready(1);
    expect(verbs()).toEqual([]);
  });

  it("ends the writer with a statement that ends SQLite's own transaction", () => {
    const [running, told] = begin();
    answer();
    const bad = step(running);
    const broken = failure("REFUSED", "the statement ended the transaction");
    answer({ kind: "broken", failure: broken });
    expect(bad.failed).toBe(broken);
    expect(told.ended?.code).toBe("TRANSACTION_ABORTED");
    expect(machine.writers).toHaveLength(2);
  });

  it("gives way to a handover of the leadership", () => {
    const [running, told] = begin();
    answer();
    step(running);
    answer();
    let drained = false;
    driver.drain(() => {
      drained = true;
    });
    expect(told.ended?.code).toBe("TRANSACTION_ABORTED");
    expect(verbs().at(-1)).toBe("rollback");
    answer();
    clock.advance(1);
    expect(drained).toBe(true);
  });

  it("counts in the node's bounds no longer than it lives", () => {
    const count = () => {
      const before = admission.enterWrite(0);
      admission.leaveWrite(0);
      return before;
    };
    for (let n = 0; n < 21_000; n += 1) {
      const [running] = begin();
      answered = machine.writer.jobs.length - 1;
      answer();
      step(running);
      answer();
      running.cancel();
      answer();
    }
    expect(count()).toBeNull();
  });
});
