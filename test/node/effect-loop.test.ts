/** The loop that drives the core: what leaves when, against a log that the test makes durable by hand. */

import { describe, expect, test } from "vitest";
import { EffectLoop } from "../../src/node/effect-loop.ts";
import type { Transport } from "../../src/node/ports.ts";
import { type Entry, type HardState, votersOnly } from "../../src/raft/entry.ts";
import type { Message } from "../../src/raft/message.ts";
import { DEFAULT_RAFT_OPTIONS, Raft } from "../../src/raft/raft.ts";
import { append, appended, entriesOf, logOf, requestVote, voted } from "../raft/raft-harness.ts";
import { Clock, FakeLog } from "./fakes.ts";

/** Keeps what it is asked to write until the test says that it is durable. */
class SlowLog extends FakeLog {
  readonly writes: { hardState: HardState | null; entries: readonly Entry[]; done: () => void }[] =
    [];

  override append(
    hardState?: HardState | null,
    entries: readonly Entry[] = [],
    done: () => void = () => {},
  ): void {
    this.writes.push({ hardState: hardState ?? null, entries, done });
  }
}

function aLoop() {
  const clock = new Clock();
  const log = new SlowLog();
  const sent: Message[] = [];
  const applicable: number[] = [];
  const broken: unknown[] = [];
  const raft = new Raft(
    { ...DEFAULT_RAFT_OPTIONS, id: 1, random: () => 0 },
    {
      hardState: { currentTerm: 5, votedFor: 0, commitIndex: 0 },
      configuration: votersOnly([1, 2, 3]),
      log: logOf(),
      appliedIndex: 0,
    },
  );
  const transport = {
    send: (_to: number, messages: readonly Message[]) => sent.push(...messages),
  } as unknown as Transport;
  const loop = new EffectLoop(raft, {
    log,
    transport,
    environment: clock.environment,
    events: {
      applicable: (index) => applicable.push(index),
      readStates: () => {},
      readsDropped: () => {},
      changed: () => {},
      fetchSnapshot: () => {},
      install: () => {},
      broken: (error) => broken.push(error),
    },
  });
  const hear = (message: Message): void => {
    loop.step({ kind: "message", message });
    clock.advance(1);
  };
  return { clock, log, loop, sent, applicable, broken, hear };
}

describe("the loop that drives the core", () => {
  test("A1: what attests a write is sent when the log says that it is durable, not before", () => {
    const { clock, log, sent, hear } = aLoop();
    hear(requestVote({ term: 6, lastLogIndex: 0, lastLogTerm: 0 }));
    expect(log.writes).toMatchObject([{ hardState: { currentTerm: 6, votedFor: 2 } }]);
    expect(sent).toEqual([]);
    log.writes[0]?.done();
    clock.advance(1);
    expect(sent).toEqual([voted({ term: 6, from: 1, to: 2 })]);
  });

  test("D8: what one turn brings becomes one write and one answer", () => {
    const { clock, log, loop, sent, applicable } = aLoop();
    for (const each of entriesOf(5, 5, 5)) {
      const prevLogTerm = each.index === 1 ? 0 : 5;
      const prevLogIndex = each.index - 1;
      const message = append({
        term: 5,
        prevLogIndex,
        prevLogTerm,
        entries: [each],
        leaderCommit: 3,
      });
      loop.step({ kind: "message", message });
    }
    clock.advance(1);
    expect(log.writes.map(({ entries }) => entries.length)).toEqual([3]);
    expect(applicable).toEqual([]);
    log.writes[0]?.done();
    clock.advance(1);
    expect(sent).toEqual([appended({ term: 5, from: 1, to: 2, index: 3 })]);
    expect(applicable).toEqual([3]);
  });

  test("a completion after the loop was stopped sends nothing", () => {
    const { clock, log, loop, sent, hear } = aLoop();
    hear(requestVote({ term: 6 }));
    loop.stop();
    log.writes[0]?.done();
    clock.advance(1);
    expect(sent).toEqual([]);
  });

  test("a broken invariant stops it, and nothing is done afterwards", () => {
    const { log, broken, hear } = aLoop();
    hear({ kind: "Heartbeat", from: 2, to: 1, term: 5, leaderCommit: 9, readPosition: 0 });
    expect(broken).toMatchObject([{ message: "told to commit 9, but the log ends at 0" }]);
    hear(requestVote({ term: 9 }));
    expect(log.writes).toEqual([]);
  });
});
