/** The loop that drives the core: what leaves when, against a log that the test makes durable by hand. */

import { describe, expect, test } from "vitest";
import { EffectLoop } from "../../src/node/effect-loop.ts";
import type { Transport } from "../../src/node/ports.ts";
import { type Entry, type HardState, votersOnly } from "../../src/raft/entry.ts";
import type { Message } from "../../src/raft/message.ts";
import { DEFAULT_RAFT_OPTIONS, Raft } from "../../src/raft/raft.ts";
import {
  append,
  appended,
  bytes,
  entriesOf,
  logOf,
  requestVote,
  voted,
} from "../raft/raft-harness.ts";
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
  const stored = logOf();
  const sent: Message[] = [];
  const applicable: number[] = [];
  const broken: unknown[] = [];
  const raft = new Raft(
    { ...DEFAULT_RAFT_OPTIONS, id: 1, holdCommitNews: true, preVote: false, random: () => 0 },
    {
      hardState: { currentTerm: 5, votedFor: 0, commitIndex: 0 },
      configuration: votersOnly([1, 2, 3]),
      log: stored,
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
  return { clock, log, stored, loop, sent, applicable, broken, hear };
}

/** Elected by 2 in term 6; its no-op is stored, and acknowledged by 2, so that it is committed. */
function aLeadingLoop() {
  const made = aLoop();
  const { clock, log, stored, loop, sent, hear } = made;
  loop.step({ kind: "campaign" });
  clock.advance(1);
  log.writes[0]?.done();
  hear(voted({ term: 6 }));
  stored.write(log.writes[1]?.entries ?? []);
  log.writes[1]?.done();
  clock.advance(1);
  sent.length = 0;
  hear(appended({ term: 6, from: 2, index: 1 }));
  return made;
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

  test("tells the commit index alone, in a moment, when no entry comes that would tell it", () => {
    const { clock, sent } = aLeadingLoop();
    expect(sent).toEqual([]);
    clock.advance(5);
    // The one that has not answered yet has an entry on its way.
    expect(sent).toMatchObject([{ kind: "AppendEntries", to: 2, entries: [], leaderCommit: 1 }]);
  });

  test("tells it with an entry that comes before", () => {
    const { clock, loop, sent } = aLeadingLoop();
    loop.propose([bytes("a")]);
    clock.advance(5);
    const told = sent.filter(({ to }) => to === 2);
    expect(told).toMatchObject([
      { kind: "AppendEntries", entries: [{ index: 2 }], leaderCommit: 1 },
    ]);
  });

  test("a broken invariant stops it, and nothing is done afterwards", () => {
    const { log, broken, hear } = aLoop();
    hear({ kind: "Heartbeat", from: 2, to: 1, term: 5, leaderCommit: 9, readPosition: 0 });
    expect(broken).toMatchObject([{ message: "told to commit 9, but the log ends at 0" }]);
    hear(requestVote({ term: 9 }));
    expect(log.writes).toEqual([]);
  });
});
