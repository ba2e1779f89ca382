import { beforeEach, describe, expect, it } from "vitest";
import { ReadGate, type Waiter } from "../../src/node/read-gate.ts";
import type { QueryCall } from "../../src/node/service.ts";
import type { Failure } from "../../src/sql/errors.ts";
import type { Consistency } from "../../src/sql/statement.ts";
import { Clock } from "./fakes.ts";

interface Told extends Waiter {
  lagMs: number | null;
  failure: Failure | null;
}

function waiter(deadlineAtMs = 1_000_000): Told {
  const told: Told = {
    deadlineAtMs,
    cancelled: false,
    lagMs: null,
    failure: null,
    admit: (lagMs) => {
      told.lagMs = lagMs;
    },
    refuse: (failure) => {
      told.failure = failure;
    },
  };
  return told;
}

function read(consistency: Consistency, more: Partial<QueryCall> = {}): QueryCall {
  return {
    statement: new Uint8Array(0),
    consistency,
    atLeast: 0,
    maxStalenessMs: 0,
    timeoutMs: 0,
    window: 0,
    ...more,
  };
}

describe("the read gate", () => {
  let clock: Clock;
  let gate: ReadGate;
  let contexts: number[];
  let leader: boolean;
  let applied: number;
  let demanded: number[];
  let taken: number;

  beforeEach(() => {
    clock = new Clock();
    contexts = [];
    leader = true;
    applied = 5;
    demanded = [];
    taken = 0;
    gate = new ReadGate({
      environment: clock.environment,
      readIndex: (context) => {
        if (!leader) return "refused";
        contexts.push(context);
        return "accepted";
      },
      appliedIndex: () => applied,
      demand: (index) => demanded.push(index),
      hurry: () => {},
      readStale: () => {
        taken += 1;
      },
      skipReadIndex: false,
    });
  });

  it("a linearizable read waits for a confirmed index and for the machine to reach it", () => {
    const told = waiter();
    gate.admit(read("linearizable"), told);
    clock.advance(1);
    expect(told.lagMs).toBeNull();
    gate.readStates([{ context: contexts[0] ?? 0, index: 7 }]);
    expect(told.lagMs).toBeNull();
    expect(demanded).toEqual([7]);
    applied = 7;
    gate.applied(7);
    expect(told.lagMs).not.toBeNull();
  });

  it("reads of one turn share a round; a later read gets a round of its own (B3)", () => {
    const [first, second, third] = [waiter(), waiter(), waiter()];
    gate.admit(read("linearizable"), first);
    gate.admit(read("linearizable"), second);
    clock.advance(1);
    gate.admit(read("linearizable"), third);
    clock.advance(1);
    expect(contexts).toHaveLength(2);
    gate.readStates([{ context: contexts[0] ?? 0, index: 5 }]);
    expect(first.lagMs).not.toBeNull();
    expect(second.lagMs).not.toBeNull();
    expect(third.lagMs).toBeNull();
  });

  it("a round whose messages are lost is asked again under a new context (B2)", () => {
    const told = waiter();
    gate.admit(read("linearizable"), told);
    clock.advance(500);
    expect(contexts.length).toBeGreaterThan(1);
    expect(new Set(contexts).size).toBe(contexts.length);
    gate.readStates([{ context: contexts[0] ?? 0, index: 5 }]);
    expect(told.lagMs).toBeNull();
    gate.readStates([{ context: contexts[contexts.length - 1] ?? 0, index: 5 }]);
    expect(told.lagMs).not.toBeNull();
  });

  it("dropped reads ask again when there is a leader", () => {
    const told = waiter();
    gate.admit(read("linearizable"), told);
    clock.advance(1);
    leader = false;
    gate.readsDropped(contexts);
    clock.advance(200);
    leader = true;
    clock.advance(200);
    expect(contexts.length).toBeGreaterThan(1);
    gate.readStates([{ context: contexts[contexts.length - 1] ?? 0, index: 5 }]);
    expect(told.lagMs).not.toBeNull();
  });

  it("without a leader it refuses in the end, so that the caller can go elsewhere", () => {
    leader = false;
    const told = waiter();
    gate.admit(read("linearizable"), told);
    clock.advance(2_000);
    expect(told.failure?.code).toBe("NO_LEADER");
  });

  it("a read past its deadline is refused", () => {
    const told = waiter(200);
    gate.admit(read("linearizable"), told);
    clock.advance(400);
    expect(told.failure?.code).toBe("DEADLINE_EXCEEDED");
  });

  it("while SQLite finds no space, what it lacks is to be had elsewhere, and what it has is served", () => {
    const [early, late, now] = [waiter(), waiter(), waiter()];
    gate.admit(read("session", { atLeast: 6 }), early);
    gate.stuck(true);
    expect(early.failure).toMatchObject({ code: "NOT_SERVING" });
    gate.admit(read("session", { atLeast: 6 }), late);
    expect(late.failure).toBeNull();
    clock.advance(0);
    expect(late.failure?.message).toMatch(
      /disk of this node is full: log entry 6 cannot be applied/,
    );
    gate.admit(read("session", { atLeast: 5 }), now);
    expect(now.lagMs).not.toBeNull();
    gate.stuck(false);
    const again = waiter();
    gate.admit(read("session", { atLeast: 6 }), again);
    clock.advance(0);
    expect(again.failure).toBeNull();
    applied = 6;
    gate.applied(6);
    expect(again.lagMs).not.toBeNull();
  });

  it("a session read waits for its index only", () => {
    const [behind, ready] = [waiter(), waiter()];
    gate.admit(read("session", { atLeast: 5 }), ready);
    gate.admit(read("session", { atLeast: 6 }), behind);
    expect(ready.lagMs).not.toBeNull();
    expect(behind.lagMs).toBeNull();
    gate.applied(6);
    expect(behind.lagMs).not.toBeNull();
    expect(contexts).toEqual([]);
  });

  it("a stale read without a bound passes at once", () => {
    const told = waiter();
    gate.admit(read("stale"), told);
    expect(told.lagMs).toBe(-1);
    expect(taken).toBe(1);
  });

  it("a stale read's bound is kept by the age of the last proof, or a new one is made", () => {
    const first = waiter();
    gate.admit(read("stale", { maxStalenessMs: 500 }), first);
    clock.advance(1);
    expect(contexts).toHaveLength(1);
    gate.readStates([{ context: contexts[0] ?? 0, index: 5 }]);
    expect(first.lagMs).not.toBeNull();
    clock.advance(400);
    const second = waiter();
    gate.admit(read("stale", { maxStalenessMs: 500 }), second);
    expect(second.lagMs).toBeGreaterThanOrEqual(400);
    clock.advance(200);
    const third = waiter();
    gate.admit(read("stale", { maxStalenessMs: 500 }), third);
    expect(third.lagMs).toBeNull();
  });

  it("a proof is as old as its question, however late the answer (P7)", () => {
    const first = waiter();
    gate.admit(read("linearizable"), first);
    clock.advance(200);
    gate.readStates([{ context: contexts[0] ?? 0, index: 5 }]);
    expect(first.lagMs).toBeGreaterThanOrEqual(199);
    const second = waiter();
    gate.admit(read("stale", { maxStalenessMs: 150 }), second);
    expect(second.lagMs).toBeNull();
  });

  it("a session's index is no proof of freshness", () => {
    gate.admit(read("session", { atLeast: 6 }), waiter());
    gate.applied(6);
    expect(gate.provenAgeMs()).toBe(Number.POSITIVE_INFINITY);
  });
});
