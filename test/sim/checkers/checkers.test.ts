/** Each checker fires: a small history that breaks its property, beside one that does not. */

import { describe, expect, it } from "vitest";
import type { Effects, Persist, RaftStatus } from "../../../src/raft/effect.ts";
import {
  type Configuration,
  type Entry,
  type EntryId,
  votersOnly,
} from "../../../src/raft/entry.ts";
import { encodeChange } from "../../../src/raft/membership.ts";
import type { AppendEntriesResult, RequestVoteResult } from "../../../src/raft/message.ts";
import type { ProgressView } from "../../../src/raft/progress.ts";
import { AttestedDurability } from "./attested-durability.ts";
import { CommittedLedger } from "./committed-ledger.ts";
import { CommittedOnQuorum } from "./committed-on-quorum.ts";
import { ConfigurationChain, isQuorum, quorumsIntersect } from "./configuration-chain.ts";
import { DurableLogs } from "./durable-logs.ts";
import { ElectionSafety } from "./election-safety.ts";
import { ExactlyOnce } from "./exactly-once.ts";
import { IndexOrder } from "./index-order.ts";
import { LeaderCompleteness } from "./leader-completeness.ts";
import { LinearizableReads } from "./linearizable-reads.ts";
import { LogMatching } from "./log-matching.ts";
import { Monotony } from "./monotony.ts";
import { OneVote } from "./one-vote.ts";
import { ProgressTruth } from "./progress-truth.ts";
import { QueueBounds } from "./queue-bounds.ts";
import { StateMachineSafety } from "./state-machine-safety.ts";
import type { LogView, NodeView } from "./view.ts";
import { digestOf, WholeBlobs } from "./whole-blobs.ts";

class FakeLog implements LogView {
  readonly #entries: readonly Entry[];
  readonly #base: EntryId;

  constructor(entries: readonly Entry[], base: EntryId = { index: 0, term: 0 }) {
    this.#entries = entries;
    this.#base = base;
  }

  firstIndex(): number {
    return this.#base.index + 1;
  }

  lastIndex(): number {
    return this.#base.index + this.#entries.length;
  }

  term(index: number): number {
    if (index === this.#base.index) return this.#base.term;
    const entry = this.#entries[index - this.#base.index - 1];
    if (entry === undefined) throw new RangeError(`no entry ${index}`);
    return entry.term;
  }

  entries(from: number, to: number): readonly Entry[] {
    return this.#entries.slice(from - this.#base.index - 1, to - this.#base.index - 1);
  }
}

function entry(index: number, term: number, payload = "", kind: Entry["kind"] = "command"): Entry {
  return { index, term, kind, payload: Buffer.from(payload) };
}

/** Entries 1, 2, ... of these terms. */
function log(...terms: number[]): FakeLog {
  return new FakeLog(terms.map((term, at) => entry(at + 1, term)));
}

interface Given {
  readonly status?: Partial<RaftStatus>;
  readonly log?: LogView;
  readonly appliedIndex?: number;
  readonly progress?: readonly Partial<ProgressView>[];
  readonly noop?: EntryId;
  readonly incarnation?: string;
  readonly machineVersion?: string;
}

const THREE = votersOnly([1, 2, 3]);

function view(id: number, given: Given = {}): NodeView {
  const stored = given.log ?? log();
  const last = stored.lastIndex();
  const status = {
    id,
    role: "follower",
    currentTerm: 1,
    votedFor: 0,
    leader: 0,
    commitIndex: 0,
    lastIndex: last,
    lastTerm: stored.term(last),
    configuration: THREE,
    ...given.status,
  } as RaftStatus;
  const { incarnation = "a", appliedIndex = 0, noop = null } = given;
  const progress = (given.progress ?? []) as readonly ProgressView[];
  const machineVersion = given.machineVersion ?? "a";
  return { id, incarnation, machineVersion, status, log: stored, appliedIndex, progress, noop };
}

function effects(changed: RaftStatus | null, persist: Partial<Persist> | null = null): Effects {
  const asked = { seq: 1, snapshot: null, hardState: null, entries: [], thenSend: [], term: 1 };
  const stored = persist === null ? null : { ...asked, last: { index: 0, term: 0 }, ...persist };
  return {
    persist: stored,
    send: [],
    apply: [],
    readStates: [],
    readsDropped: [],
    fetchSnapshot: null,
    changed,
  };
}

/** What a checker is told when a node has come to this. */
function moved(node: NodeView): [NodeView, Effects] {
  return [node, effects(node.status)];
}

function vote(from: number, to: number, term: number): RequestVoteResult {
  const result = { preVote: false, rejected: false, commitIndex: 0, commitTerm: 0 };
  return { kind: "RequestVoteResult", from, to, term, ...result };
}

function acknowledgement(from: number, term: number, index: number): AppendEntriesResult {
  const result = { index, rejected: false, hintIndex: 0, hintTerm: 0 };
  return { kind: "AppendEntriesResult", from, to: 9, term, ...result };
}

function disksWith(...logs: readonly (readonly number[])[]): DurableLogs {
  const disks = new DurableLogs();
  logs.forEach((terms, at) => {
    const hardState = { currentTerm: terms.at(-1) ?? 0, votedFor: 0, commitIndex: 0 };
    const entries = terms.map((term, index) => entry(index + 1, term));
    disks.stored(at + 1, hardState, entries);
  });
  return disks;
}

function ledgerOf(...terms: number[]): CommittedLedger {
  const ledger = new CommittedLedger();
  const last = terms.at(-1) ?? 0;
  const status = { commitIndex: terms.length, currentTerm: last };
  ledger.stepped(...moved(view(1, { log: log(...terms), status })));
  return ledger;
}

describe("checkers of the core fire", () => {
  it("election safety: two leaders in a term", () => {
    const checker = new ElectionSafety();
    const leads = (id: number, currentTerm: number) =>
      checker.stepped(...moved(view(id, { status: { role: "leader", currentTerm } })));
    leads(1, 1);
    leads(2, 2);
    expect(() => leads(2, 1)).toThrow(/election safety/);
  });

  it("one vote a term: also over processes, but not over incarnations", () => {
    const checker = new OneVote();
    checker.sent(view(1), vote(1, 2, 5));
    checker.sent(view(1), vote(1, 2, 5));
    checker.sent(view(1, { incarnation: "b" }), vote(1, 3, 5));
    expect(() => checker.sent(view(1), vote(1, 3, 5))).toThrow(/one vote a term/);
    const leader = view(1, { status: { role: "leader", currentTerm: 5 } });
    expect(() => checker.stepped(...moved(leader))).toThrow(/one vote a term/);
  });

  it("log matching: another content, or another entry before", () => {
    const checker = new LogMatching();
    const append = (stored: LogView, added: Entry) =>
      checker.stepped(view(1, { log: stored }), effects(null, { entries: [added] }));
    append(log(1), entry(2, 2, "x"));
    append(log(1), entry(2, 2, "x"));
    expect(() => append(log(1), entry(2, 2, "y"))).toThrow(/log matching/);
    expect(() => append(log(2), entry(2, 2, "x"))).toThrow(/log matching/);
    expect(() => append(log(1), entry(2, 2, "x", "noop"))).toThrow(/log matching/);
    expect(() => append(log(3), entry(2, 2))).toThrow(/terms in a log never fall/);
  });

  it("committed entries never change", () => {
    const ledger = ledgerOf(1, 1, 2);
    const status = { commitIndex: 3 };
    ledger.stepped(...moved(view(2, { log: log(1, 1, 2), status })));
    expect(() => ledger.stepped(...moved(view(3, { log: log(1, 1, 3), status })))).toThrow(
      /committed entries never change/,
    );
    expect(() => ledger.installing(view(3), { index: 2, term: 2 })).toThrow(/what is committed/);
  });

  it("leader completeness: of what was committed before its term, and only that", () => {
    const checker = new LeaderCompleteness(ledgerOf(1, 1, 2));
    const leads = (id: number, currentTerm: number, stored: LogView) =>
      checker.stepped(...moved(view(id, { log: stored, status: { role: "leader", currentTerm } })));
    leads(1, 2, log(1, 1));
    leads(2, 3, log(1, 1, 2));
    expect(() => leads(3, 3, log(1, 1))).toThrow(/leader completeness/);
    expect(() => leads(3, 4, log(1, 1, 3))).toThrow(/leader completeness/);
  });

  it("state-machine safety: other effects behind the same entry", () => {
    const checker = new StateMachineSafety();
    checker.applied(view(1), 4, 77);
    checker.applied(view(2), 4, 77);
    checker.applied(view(2), 5, null);
    expect(() => checker.applied(view(3), 4, 78)).toThrow(/state-machine safety/);
  });

  it("committed on a quorum: of durable disks, in both halves", () => {
    const commit = (disks: DurableLogs, configuration: Configuration, damaged = 0) => {
      const checker = new CommittedOnQuorum(disks, (id) => id === damaged);
      const status = { role: "leader" as const, commitIndex: 2, configuration };
      checker.stepped(...moved(view(1, { log: log(1, 1), status })));
    };
    commit(disksWith([1, 1], [1, 1], [1]), THREE);
    expect(() => commit(disksWith([1, 1], [1], [1]), THREE)).toThrow(/durable on a quorum/);
    commit(disksWith([1, 1], [1], [1]), THREE, 2);
    const joint = { ...votersOnly([1, 2, 3]), outgoing: [3, 4, 5] };
    commit(disksWith([1, 1], [1, 1], [1], [1, 1], [1, 1]), joint);
    expect(() => commit(disksWith([1, 1], [1, 1], [1], [1, 1]), joint)).toThrow(/on a quorum/);
  });

  it("monotony: term, vote, commit, applied; and what was attested survives", () => {
    const come = (checker: Monotony, status: Partial<RaftStatus>) =>
      checker.stepped(...moved(view(1, { status })));
    const from = { currentTerm: 3, votedFor: 2, commitIndex: 4 };
    const start = (): Monotony => {
      const checker = new Monotony();
      come(checker, from);
      return checker;
    };
    come(start(), { currentTerm: 4, votedFor: 0, commitIndex: 4 });
    expect(() => come(start(), { ...from, currentTerm: 2 })).toThrow(/terms never fall/);
    expect(() => come(start(), { ...from, votedFor: 3 })).toThrow(/a vote is not taken back/);
    expect(() => come(start(), { ...from, commitIndex: 3 })).toThrow(/commit never falls/);
    const checker = start();
    checker.applied(view(1), 4);
    expect(() => checker.applied(view(1), 3)).toThrow(/applied never falls/);
    checker.sent(view(1), vote(1, 2, 3));
    checker.started(view(1), 3);
    expect(() => checker.started(view(1), 2)).toThrow(/attested terms are durable/);
  });

  it("attested durability: acknowledgements and votes of what is not on the disk", () => {
    const disks = disksWith([1, 1, 2]);
    const checker = new AttestedDurability(disks, () => null);
    checker.sent(view(1), acknowledgement(1, 2, 3));
    expect(() => checker.sent(view(1), acknowledgement(1, 2, 4))).toThrow(/entry is durable/);
    expect(() => checker.sent(view(1), acknowledgement(1, 3, 3))).toThrow(/term is durable/);
    expect(() => checker.sent(view(1), vote(1, 2, 2))).toThrow(/a vote is durable/);
    checker.started(view(1, { log: log(1, 1, 2) }));
    expect(() => checker.started(view(1, { log: log(1, 1) }))).toThrow(/stay/);
    // A leader replaced it: now it may be gone.
    checker.stepped(view(1), effects(null, { entries: [entry(3, 4)] }));
    checker.started(view(1, { log: log(1, 1) }));
  });

  it("attested durability: what a power cut would leave is looked at", () => {
    const worst = Object.assign(log(1, 1), {
      hardState: { currentTerm: 2, votedFor: 0, commitIndex: 0 },
    });
    const checker = new AttestedDurability(disksWith([1, 1, 2]), () => worst);
    const many = () => {
      for (let times = 0; times < 100; times += 1) checker.sent(view(1), acknowledgement(1, 2, 3));
    };
    expect(many).toThrow(/after a power cut right now/);
  });

  it("the order of a node's indexes", () => {
    const checker = new IndexOrder(() => 2);
    const at = (commitIndex: number, appliedIndex: number) =>
      checker.stepped(
        ...moved(view(1, { log: log(1, 1, 1), status: { commitIndex }, appliedIndex })),
      );
    at(3, 2);
    expect(() => at(2, 3)).toThrow(/applied ≤ commit/);
    expect(() => at(4, 2)).toThrow(/commit ≤ last/);
    checker.compacting(view(1), 2);
    expect(() => checker.compacting(view(1), 3)).toThrow(/in the database file/);
  });

  it("progress: a leader that believes what the disk does not hold", () => {
    const believe = (matchIndex: number, disks: DurableLogs) => {
      const checker = new ProgressTruth(disks, () => false);
      const status = { role: "leader" as const, currentTerm: 1 };
      const progress = [{ id: 2, matchIndex }];
      checker.stepped(...moved(view(1, { log: log(1, 1, 1), status, progress })));
    };
    believe(2, disksWith([1, 1, 1], [1, 1]));
    expect(() => believe(3, disksWith([1, 1, 1], [1, 1]))).toThrow(/matchIndex is true/);
  });

  it("bounds: of what is under way, and of one append", () => {
    const checker = new QueueBounds();
    const peer = {
      id: 2,
      inflightCount: 64,
      matchIndex: 0,
      nextIndex: 1,
      state: "replicate" as const,
    };
    checker.stepped(...moved(view(1, { progress: [peer] })));
    const full = view(1, { progress: [{ ...peer, inflightCount: 65 }] });
    expect(() => checker.stepped(...moved(full))).toThrow(/under way are bounded/);
    const ahead = view(1, { progress: [{ ...peer, nextIndex: 2 }] });
    expect(() => checker.stepped(...moved(ahead))).toThrow(/next ≤ last/);
    const large = entry(1, 1, "x".repeat(200_000));
    const append = { kind: "AppendEntries", from: 1, to: 2, term: 1, prevLogIndex: 0 } as const;
    const rest = { prevLogTerm: 0, leaderCommit: 0 };
    checker.sent(view(1), { ...append, ...rest, entries: [large] });
    expect(() => checker.sent(view(1), { ...append, ...rest, entries: [large, large] })).toThrow(
      /an append is bounded/,
    );
  });
});

describe("the configuration chain", () => {
  const add = (id: number): Uint8Array =>
    encodeChange({ transition: "auto", steps: [{ kind: "addVoter", id }] });

  it("fires when a node is in another configuration than its commit index says", () => {
    const chain = new ConfigurationChain(new CommittedLedger(), [1, 2, 3]);
    chain.committed(2, add(4));
    const at = (commitIndex: number, configuration: Configuration) =>
      chain.stepped(
        ...moved(view(1, { log: log(1, 1, 1), status: { commitIndex, configuration } })),
      );
    at(1, votersOnly([1, 2, 3]));
    at(2, votersOnly([1, 2, 3, 4]));
    expect(() => at(1, votersOnly([1, 2, 3, 4]))).toThrow(/one chain of configurations/);
    expect(() => at(3, votersOnly([1, 2, 3]))).toThrow(/one chain of configurations/);
  });

  it("fires at a change before the leader's no-op is committed, and at a second one", () => {
    const change = (index: number): Entry => ({
      index,
      term: 2,
      kind: "configuration",
      payload: add(4),
    });
    const propose = (stored: Entry[], commitIndex: number) => {
      const chain = new ConfigurationChain(new CommittedLedger(), [1, 2, 3]);
      const status = { role: "leader" as const, currentTerm: 2, commitIndex };
      const leader = view(1, { log: new FakeLog(stored), status, noop: { index: 1, term: 2 } });
      chain.stepped(leader, effects(null, { entries: stored.slice(-1) }));
    };
    propose([entry(1, 2, "", "noop"), change(2)], 1);
    expect(() => propose([entry(1, 2, "", "noop"), change(2)], 0)).toThrow(/no-op is committed/);
    expect(() => propose([entry(1, 2), change(2), change(3)], 1)).toThrow(/one change at a time/);
  });

  it("knows which quorums intersect", () => {
    expect(isQuorum(THREE, [1, 3])).toBe(true);
    expect(isQuorum(THREE, [1, 4])).toBe(false);
    expect(isQuorum({ ...THREE, outgoing: [4] }, [1, 3])).toBe(false);
    expect(quorumsIntersect(THREE, votersOnly([1, 2, 3, 4]))).toBe(true);
    expect(quorumsIntersect(THREE, votersOnly([3, 4, 5]))).toBe(false);
    expect(quorumsIntersect(THREE, { ...votersOnly([3, 4, 5]), outgoing: [1, 2, 3] })).toBe(true);
  });
});

describe("checkers of what clients see fire", () => {
  it("linearizable reads: too old, going back, or of what nobody wrote", () => {
    const reads = new LinearizableReads();
    reads.attempted(1);
    const early = reads.begin(1);
    reads.acknowledged(1);
    reads.end(early, 0);
    expect(() => reads.end(reads.begin(1), 0)).toThrow(/linearizable reads/);
    expect(() => reads.end(reads.begin(1), 2)).toThrow(/reads invent nothing/);
    reads.attempted(1);
    reads.end(reads.begin(1), 2);
    expect(() => reads.end(reads.begin(1), 1)).toThrow(/2 was known before it began/);
    reads.attempted(2);
    reads.refused(2);
    expect(() => reads.end(reads.begin(2), 1)).toThrow(/reads invent nothing/);
  });

  it("exactly once: lost, doubled, applied though refused, invented, answered twice", () => {
    const rows = new ExactlyOnce();
    for (const row of [1, 2, 3]) rows.attempted(row);
    rows.acknowledged(1);
    rows.refused(2);
    const counts = (...pairs: [number, number][]) => new Map(pairs);
    rows.check(1, counts([1, 1]));
    rows.check(1, counts([1, 1], [3, 1]));
    expect(() => rows.check(1, counts())).toThrow(/nothing acknowledged is lost/);
    expect(() => rows.check(1, counts([1, 2]))).toThrow(/exactly once/);
    expect(() => rows.check(1, counts([1, 1], [3, 2]))).toThrow(/exactly once/);
    expect(() => rows.check(1, counts([1, 1], [2, 1]))).toThrow(/not-applied/);
    expect(() => rows.check(1, counts([1, 1], [9, 1]))).toThrow(/invented/);
    expect(() => rows.acknowledged(1)).toThrow(/one answer a write/);
  });
});

describe("whole blobs", () => {
  const bytes = Buffer.from("some bytes");
  const row = { name: "a", size: bytes.length, sha256: digestOf(bytes), data: bytes };
  const other = digestOf(Buffer.from("other"));

  it("all bytes or nothing", () => {
    const half = { ...row, data: bytes.subarray(0, 4) };
    const rest = { ...row, data: bytes.subarray(4) };
    expect([...new WholeBlobs().checkWhole(1, [half, rest]).keys()]).toEqual(["a"]);
    expect(() => new WholeBlobs().checkWhole(1, [half])).toThrow("a blob is whole");
    expect(() => new WholeBlobs().checkWhole(1, [{ ...row, data: null }])).toThrow("whole");
    expect(() => new WholeBlobs().checkWhole(1, [rest, half])).toThrow("whole");
  });

  it("under a name stands what was written last, or what may have been", () => {
    const blobs = new WholeBlobs();
    expect(() => blobs.check(1, [row])).toThrow("no blob is invented");
    blobs.attempted("a", row.sha256);
    blobs.check(1, []);
    blobs.check(1, [row]);
    blobs.acknowledged("a", row.sha256);
    expect(() => blobs.check(1, [])).toThrow("a is not there on node 1");
    blobs.attempted("a", other);
    blobs.refused("a");
    blobs.check(1, [row]);
    blobs.attempted("a", null);
    blobs.check(1, []);
    blobs.acknowledged("a", null);
    expect(() => blobs.check(1, [row])).toThrow("written last");
  });
});
