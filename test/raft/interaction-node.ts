/** One node of an interaction script: the core, its stored log in memory, and the work that waits for its threads. */

import type {
  Effects,
  LogReader,
  Persist,
  RaftOptions,
  RaftStatus,
  SnapshotMark,
} from "../../src/raft/effect.ts";
import {
  type Configuration,
  type Entry,
  type HardState,
  NOBODY,
  votersOnly,
} from "../../src/raft/entry.ts";
import { changeConfiguration, decodeChange } from "../../src/raft/membership.ts";
import { DEFAULT_RAFT_OPTIONS, Raft, type Stored } from "../../src/raft/raft.ts";
import type { Parcel } from "./interaction-parcel.ts";

/** A stored log that shows an entry only once it was written. */
export class MemoryLog implements LogReader {
  #entries: Entry[] = [];
  #base: { index: number; term: number };

  constructor(index: number, term: number) {
    this.#base = { index, term };
  }

  firstIndex(): number {
    return this.#base.index + 1;
  }

  lastIndex(): number {
    return this.#base.index + this.#entries.length;
  }

  term(index: number): number {
    if (index === this.#base.index) return this.#base.term;
    const entry = this.#entries[index - this.firstIndex()];
    if (entry === undefined) throw new Error(`no entry ${index}`);
    return entry.term;
  }

  entries(from: number, to: number, maxBytes: number): readonly Entry[] {
    if (from < this.firstIndex() || to > this.lastIndex() + 1) throw new Error(`no ${from}..${to}`);
    const taken: Entry[] = [];
    let bytes = 0;
    for (const entry of this.#entries.slice(from - this.firstIndex(), to - this.firstIndex())) {
      bytes += entry.payload.length;
      if (taken.length > 0 && bytes > maxBytes) break;
      taken.push(entry);
    }
    return taken;
  }

  all(): readonly Entry[] {
    return this.#entries;
  }

  write(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    if (first.index > this.lastIndex() + 1) throw new Error(`gap before ${first.index}`);
    this.#entries.length = Math.max(first.index - this.firstIndex(), 0);
    this.#entries.push(...entries);
  }

  /** Everything up to `index` goes. */
  compact(index: number): void {
    if (index <= this.#base.index) {
      throw new Error("requested index is unavailable due to compaction");
    }
    if (index > this.lastIndex()) {
      throw new Error(`compact ${index} is out of bound lastindex(${this.lastIndex()})`);
    }
    const term = this.term(index);
    this.#entries = this.#entries.slice(index - this.#base.index);
    this.#base = { index, term };
  }

  reset(index: number, term: number): void {
    this.#entries = [];
    this.#base = { index, term };
  }
}

/** What `add-nodes` can say. */
export interface NodeSetup {
  readonly configuration: Configuration;
  readonly index: number;
  readonly isAsync: boolean;
  /** A lease must not be forgotten (trap B4). Reads take a round all the same: we have no lease reads. */
  readonly hasLease: boolean;
  /** What the state machine holds at `index`. */
  readonly content: string;
  readonly options: Partial<RaftOptions>;
}

export const EMPTY_SETUP: NodeSetup = {
  configuration: votersOnly([]),
  index: 0,
  isAsync: false,
  hasLease: false,
  content: "",
  options: {},
};

/** A script sets its limits one by one; what it does not set does not limit. */
const SCRIPT_OPTIONS: Omit<RaftOptions, "id" | "random"> = {
  ...DEFAULT_RAFT_OPTIONS,
  electionTicks: 3,
  heartbeatTicks: 1,
  maxMessageBytes: Number.MAX_SAFE_INTEGER,
  maxInflightMessages: Number.MAX_SAFE_INTEGER,
  maxInflightBytes: Number.MAX_SAFE_INTEGER,
  maxUncommittedBytes: Number.MAX_SAFE_INTEGER,
  maxApplyBytes: Number.MAX_SAFE_INTEGER,
  preVote: false,
  checkQuorum: false,
  eager: true,
  stepDownOnRemoval: false,
};

const NOTHING: Effects = {
  persist: null,
  send: [],
  apply: [],
  readStates: [],
  readsDropped: [],
  fetchSnapshot: null,
  changed: null,
};

export class ScriptNode {
  readonly id: number;
  readonly setup: NodeSetup;
  readonly log: MemoryLog;
  hardState: HardState;
  appliedIndex: number;
  /** The state machine: it appends. */
  content: string;
  /** Of what was applied, oldest first: what a snapshot can be taken of. */
  readonly history: SnapshotMark[] = [];
  raft: Raft;
  told: RaftStatus;
  readonly appendWork: Persist[] = [];
  readonly applyWork: (readonly Entry[])[] = [];
  /** Waits for the next Ready. */
  readonly outbox: Parcel[] = [];
  /** Stored, but etcd tells nobody: completions count in order, so these wait for those told before. */
  readonly #untold: Persist[] = [];
  #completedSeq = 0;
  #heldBack: Persist | null = null;
  #peeked: Effects | null = null;

  constructor(id: number, setup: NodeSetup) {
    this.id = id;
    this.setup = setup;
    this.content = setup.content;
    const term = setup.index > 0 ? 1 : 0;
    this.log = new MemoryLog(setup.index, term);
    this.appliedIndex = setup.index;
    this.hardState = { currentTerm: 0, votedFor: NOBODY, commitIndex: setup.index };
    this.history.push({ index: setup.index, term, configuration: setup.configuration });
    this.raft = this.#open();
    this.told = this.raft.status();
  }

  /** As after a crash: what was not stored is gone. */
  restart(): void {
    this.appendWork.length = 0;
    this.outbox.length = 0;
    this.#untold.length = 0;
    this.#completedSeq = 0;
    this.applyWork.length = 0;
    this.#peeked = null;
    this.raft = this.#open();
    this.told = this.raft.status();
  }

  get electionTicks(): number {
    return this.setup.options.electionTicks ?? SCRIPT_OPTIONS.electionTicks;
  }

  get heartbeatTicks(): number {
    return this.setup.options.heartbeatTicks ?? SCRIPT_OPTIONS.heartbeatTicks;
  }

  #open(): Raft {
    // The first throw numbers the reads; later ones make the longest election timeout.
    let throws = 0;
    const random = () => (throws++ === 0 ? 0 : 0.999);
    const options = { ...SCRIPT_OPTIONS, ...this.setup.options, id: this.id, random };
    const stored: Stored = {
      hardState: this.hardState,
      configuration: this.snapshotAt(this.appliedIndex).configuration,
      log: this.log,
      appliedIndex: this.appliedIndex,
    };
    return new Raft(options, stored);
  }

  hasReady(): boolean {
    this.#peeked ??= this.raft.takeEffects();
    const effects = this.#peeked;
    if (effects !== null && this.#tellsOnlyConfiguration(effects)) this.#peeked = null;
    return this.#peeked !== null || this.outbox.length > 0;
  }

  /** etcd has no Ready for that. */
  #tellsOnlyConfiguration(effects: Effects): boolean {
    const { persist, send, apply, readStates, readsDropped, fetchSnapshot, changed } = effects;
    const lists = [send, apply, readStates, readsDropped];
    if (persist !== null || fetchSnapshot !== null || lists.some((list) => list.length > 0)) {
      return false;
    }
    if (changed?.role !== this.told.role || changed.leader !== this.told.leader) return false;
    if (changed.commitIndex !== this.told.commitIndex) return false;
    this.told = changed;
    return true;
  }

  takeReady(): Effects | null {
    const effects = this.hasReady() ? (this.#peeked ?? NOTHING) : null;
    this.#peeked = null;
    return effects;
  }

  /**
   * A Ready that is stored at once. What was committed already and is durable only now is applied along with it, as
   * etcd does where storing is not asynchronous.
   */
  takeStoredReady(): Effects | null {
    const effects = this.takeReady();
    const persist = effects?.persist ?? null;
    if (effects === null || persist === null) return effects;
    this.store(persist);
    if (effects.apply.some(({ kind }) => kind === "configuration")) {
      this.#heldBack = persist;
      return effects;
    }
    this.persisted(persist);
    const { role, commitIndex } = this.raft.status();
    const waits = role === "follower" && commitIndex > this.appliedIndex;
    if (!waits || effects.apply.length > 0) return effects;
    const apply = this.raft.takeEffects()?.apply ?? [];
    return { ...effects, apply };
  }

  /** To be called once what the Ready committed is applied: a configuration is in force before own writes count. */
  completeStoredReady(): void {
    const persist = this.#heldBack;
    this.#heldBack = null;
    if (persist !== null) this.persisted(persist);
  }

  /** The newest state up to `index`. */
  snapshotAt(index: number): SnapshotMark {
    const found = this.history.findLast((mark) => mark.index <= index);
    if (found === undefined) throw new Error(`no state at ${index}`);
    return found;
  }

  store(persist: Persist): void {
    if (persist.hardState !== null) this.hardState = persist.hardState;
    if (persist.snapshot !== null) {
      const { index, term } = persist.snapshot;
      this.log.reset(index, term);
      this.appliedIndex = index;
      this.history.push(persist.snapshot);
    }
    this.log.write(persist.entries);
  }

  persisted({ seq, last, term }: Persist): void {
    this.raft.step({ kind: "persisted", seq, last, term });
    this.#completedSeq = seq;
    this.#settleUntold();
  }

  persistedUntold(persist: Persist): void {
    this.#untold.push(persist);
    this.#settleUntold();
  }

  #settleUntold(): void {
    const next = this.#untold[0];
    if (next === undefined || next.seq !== this.#completedSeq + 1) return;
    this.#untold.shift();
    this.persisted(next);
  }

  apply(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.kind === "command") this.content += new TextDecoder().decode(entry.payload);
      this.appliedIndex = entry.index;
      this.history.push(this.#markOf(entry));
    }
  }

  #markOf({ index, term, kind, payload }: Entry): SnapshotMark {
    const { configuration } = this.snapshotAt(index);
    const change = kind === "configuration" ? decodeChange(payload) : null;
    const result = change === null ? null : changeConfiguration(configuration, change);
    const next = result?.kind === "changed" ? result.configuration : configuration;
    return { index, term, configuration: next };
  }

  applied(): void {
    this.raft.step({ kind: "applied", index: this.appliedIndex });
  }
}
