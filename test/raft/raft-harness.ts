/** What the core's tests share: a core over a log in memory, messages with few words, and a small network. */

import type { Effects, Persist, RaftOptions, ReadState } from "../../src/raft/effect.ts";
import { type Configuration, type Entry, NOBODY, votersOnly } from "../../src/raft/entry.ts";
import type {
  AppendEntries,
  AppendEntriesResult,
  Heartbeat,
  HeartbeatResult,
  Message,
  MessageKind,
  RequestVote,
  RequestVoteResult,
} from "../../src/raft/message.ts";
import { DEFAULT_RAFT_OPTIONS, Raft } from "../../src/raft/raft.ts";
import { MemoryLog } from "./interaction-node.ts";

const NOTHING = new Uint8Array(0);

export function entry(index: number, term: number, payload: Uint8Array = NOTHING): Entry {
  return { index, term, kind: payload.length === 0 ? "noop" : "command", payload };
}

/** Entries 1, 2, … of the given terms. */
export function entriesOf(...terms: readonly number[]): Entry[] {
  return terms.map((term, at) => entry(at + 1, term, bytes(`${term}/${at + 1}`)));
}

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export interface Given {
  readonly id?: number;
  readonly configuration?: Configuration;
  readonly voters?: readonly number[];
  readonly term?: number;
  readonly votedFor?: number;
  readonly commitIndex?: number;
  readonly appliedIndex?: number;
  readonly votesFrom?: number;
  /** Terms of the entries 1, 2, …; or a whole log. */
  readonly log?: readonly number[] | MemoryLog;
  readonly options?: Partial<RaftOptions>;
}

export function logOf(...terms: readonly number[]): MemoryLog {
  const log = new MemoryLog(0, 0);
  log.write(entriesOf(...terms));
  return log;
}

/** One core, and everything that it asked for, in order. Stores nothing by itself. */
export class Subject {
  readonly id: number;
  readonly log: MemoryLog;
  readonly raft: Raft;
  readonly persists: Persist[] = [];
  readonly sent: Message[] = [];
  readonly applied: Entry[] = [];
  readonly reads: ReadState[] = [];
  readonly dropped: number[] = [];

  constructor(given: Given = {}) {
    this.id = given.id ?? 1;
    const { log = [] } = given;
    this.log = log instanceof MemoryLog ? log : logOf(...log);
    this.raft = new Raft(
      {
        ...DEFAULT_RAFT_OPTIONS,
        promoteUncaught: true,
        random: () => 0,
        ...given.options,
        id: this.id,
      },
      {
        hardState: {
          currentTerm: given.term ?? 0,
          votedFor: given.votedFor ?? NOBODY,
          commitIndex: given.commitIndex ?? 0,
        },
        configuration: given.configuration ?? votersOnly(given.voters ?? [1, 2, 3]),
        log: this.log,
        appliedIndex: given.appliedIndex ?? 0,
        votesFrom: given.votesFrom ?? 0,
      },
    );
  }

  get status() {
    return this.raft.status();
  }

  /** Collects what was asked since; what is to be stored waits for store(). */
  take(): Effects | null {
    const effects = this.raft.takeEffects();
    if (effects === null) return null;
    if (effects.persist !== null) this.persists.push(effects.persist);
    this.sent.push(...effects.send);
    this.applied.push(...effects.apply);
    this.reads.push(...effects.readStates);
    this.dropped.push(...effects.readsDropped);
    return effects;
  }

  /** Stores the oldest that waits; its messages are sent. False if nothing waits. */
  store(): boolean {
    const persist = this.persists.shift();
    if (persist === undefined) return false;
    this.log.write(persist.entries);
    this.sent.push(...persist.thenSend);
    const { seq, last, term } = persist;
    this.raft.step({ kind: "persisted", seq, last, term });
    return true;
  }

  /** Takes and stores until nothing is left, and returns all messages sent by it. */
  settle(): Message[] {
    for (let round = 0; round < 100; round++) {
      const effects = this.take();
      const index = effects?.apply.at(-1)?.index;
      if (index !== undefined) this.raft.step({ kind: "applied", index });
      if (!this.store() && effects === null) return this.sent.splice(0);
    }
    throw new Error("does not settle");
  }

  hear(message: Message): this {
    this.raft.step({ kind: "message", message });
    return this;
  }

  tick(count = 1): this {
    for (let i = 0; i < count; i++) this.raft.step({ kind: "tick" });
    return this;
  }
}

/** Of one kind, in order. */
export function ofKind<K extends MessageKind>(
  messages: readonly Message[],
  kind: K,
): Extract<Message, { kind: K }>[] {
  return messages.filter((message): message is Extract<Message, { kind: K }> => {
    return message.kind === kind;
  });
}

interface Route {
  readonly from?: number;
  readonly to?: number;
  readonly term: number;
}

function route({ from = 2, to = 1, term }: Route) {
  return { from, to, term };
}

export function append(given: Route & Partial<AppendEntries>): AppendEntries {
  const base = { prevLogIndex: 0, prevLogTerm: 0, entries: [], leaderCommit: 0 };
  return { ...base, ...given, ...route(given), kind: "AppendEntries" };
}

export function appended(given: Route & Partial<AppendEntriesResult>): AppendEntriesResult {
  const base = { index: 0, rejected: false, hintIndex: 0, hintTerm: 0 };
  return { ...base, ...given, ...route(given), kind: "AppendEntriesResult" };
}

export function heartbeat(given: Route & Partial<Heartbeat>): Heartbeat {
  return { leaderCommit: 0, readPosition: 0, ...given, ...route(given), kind: "Heartbeat" };
}

export function heartbeatResult(given: Route & Partial<HeartbeatResult>): HeartbeatResult {
  return { readPosition: 0, ...given, ...route(given), kind: "HeartbeatResult" };
}

export function requestVote(given: Route & Partial<RequestVote>): RequestVote {
  const base = { preVote: false, lastLogIndex: 0, lastLogTerm: 0, transfer: false };
  return { ...base, ...given, ...route(given), kind: "RequestVote" };
}

export function voted(given: Route & Partial<RequestVoteResult>): RequestVoteResult {
  const base = { preVote: false, rejected: false, commitIndex: 0, commitTerm: 0 };
  return { ...base, ...given, ...route(given), kind: "RequestVoteResult" };
}

/** A follower that has just heard of the leader 2. */
export function aFollower(given: Given = {}): Subject {
  const subject = new Subject({ term: 5, ...given });
  subject.hear(heartbeat({ term: subject.status.currentTerm, to: subject.id })).settle();
  return subject;
}

/** Asks for pre-votes; nobody has answered. */
export function aPreCandidate(given: Given = {}): Subject {
  const subject = new Subject({ term: 5, ...given });
  subject.raft.step({ kind: "campaign" });
  subject.settle();
  return subject;
}

/** Has its own vote on disk; nobody has answered. In term 5 if not said otherwise. */
export function aCandidate(given: Given = {}): Subject {
  const options = { ...given.options, preVote: false };
  const subject = new Subject({ term: 4, ...given, options });
  subject.raft.step({ kind: "campaign" });
  subject.settle();
  return subject;
}

/** Elected by 2; its no-op has been sent and is on its own disk. In term 5 if not said otherwise. */
export function aLeader(given: Given = {}): Subject {
  const subject = aCandidate(given);
  subject.hear(voted({ term: subject.status.currentTerm, to: subject.id })).settle();
  return subject;
}

/** A leader whose no-op is committed and known to be on 2 and 3. */
export function aSettledLeader(given: Given = {}): Subject {
  const subject = aLeader(given);
  const { currentTerm: term, lastIndex: index } = subject.status;
  subject.hear(appended({ term, from: 2, index }));
  subject.hear(appended({ term, from: 3, index }));
  subject.settle();
  return subject;
}
