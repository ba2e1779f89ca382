/**
 * Drives the core: one input at a time in, effects out, completions back in. The only place that decides what an
 * effect means. It keeps no state of its own beyond what is under way.
 */

import type {
  Effects,
  Input,
  ProposalResult,
  RaftStatus,
  ReadState,
  SnapshotMark,
  SnapshotRequest,
} from "../raft/effect.ts";
import type { Entry, LogIndex, NodeId } from "../raft/entry.ts";
import type { ConfigurationChange } from "../raft/membership.ts";
import type { Message } from "../raft/message.ts";
import type { ProgressView } from "../raft/progress.ts";
import type { Raft } from "../raft/raft.ts";
import type { Environment, Log, Timer, Transport } from "./ports.ts";

export interface EffectEvents {
  /** Entries up to here are committed and locally durable. */
  applicable(index: LogIndex): void;
  readStates(states: readonly ReadState[]): void;
  readsDropped(contexts: readonly number[]): void;
  changed(status: RaftStatus): void;
  /** The leader no longer has the entries that this node needs. */
  fetchSnapshot(request: SnapshotRequest): void;
  /** The log begins anew behind this snapshot, which is fetched; what is appended from now on comes after it. */
  install(snapshot: SnapshotMark): void;
  /** A broken invariant: the node must halt. */
  broken(error: unknown): void;
}

/** Followers that get no entry learn after so long what is committed; a busy leader tells it with the next entry. */
const COMMIT_NEWS_MS = 2;
/** A turn that keeps producing effects this often without an input in between is a bug. */
const ROUNDS_MAX = 1000;

export class EffectLoop {
  readonly #raft: Raft;
  readonly #log: Log;
  readonly #transport: Transport;
  readonly #environment: Environment;
  readonly #events: EffectEvents;
  readonly #isLowOnSpace: () => boolean;
  #scheduled = false;
  #stopped = false;
  /** Since when the core owes its followers the commit index; null: it does not. */
  #owingSinceMs: number | null = null;
  #news: Timer | null = null;

  constructor(
    raft: Raft,
    parts: {
      log: Log;
      transport: Transport;
      environment: Environment;
      events: EffectEvents;
      isLowOnSpace?: () => boolean;
    },
  ) {
    this.#raft = raft;
    this.#log = parts.log;
    this.#transport = parts.transport;
    this.#environment = parts.environment;
    this.#events = parts.events;
    this.#isLowOnSpace = parts.isLowOnSpace ?? (() => false);
  }

  status(): RaftStatus {
    return this.#raft.status();
  }

  step(input: Input): void {
    if (this.#stopped) return;
    try {
      this.#raft.step(input);
    } catch (error) {
      return this.#break(error);
    }
    this.#schedule();
  }

  propose(payloads: readonly Uint8Array[]): ProposalResult {
    try {
      return this.#raft.propose(payloads);
    } catch (error) {
      this.#break(error);
      return { kind: "refused", reason: "notLeader" };
    } finally {
      this.#schedule();
    }
  }

  proposeConfiguration(change: ConfigurationChange, expected: LogIndex): ProposalResult {
    const result = this.#raft.proposeConfiguration(change, expected);
    this.#schedule();
    return result;
  }

  readIndex(context: number): "accepted" | "refused" {
    const result = this.#raft.readIndex(context);
    this.#schedule();
    return result;
  }

  /** How far each member is; empty while this node does not lead. */
  progress(): readonly ProgressView[] {
    return this.#raft.progress();
  }

  stop(): void {
    this.#stopped = true;
    this.#news?.cancel();
  }

  /** Effects are taken once a turn, so that what one turn brought is stored and sent together. */
  #schedule(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    this.#environment.soon(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    try {
      for (let round = 0; round < ROUNDS_MAX; round += 1) {
        const effects = this.#stopped ? null : this.#raft.takeEffects();
        if (effects === null) return this.#watchNews();
        this.#perform(effects);
      }
      throw new Error("the core never comes to rest");
    } catch (error) {
      this.#break(error);
    }
  }

  /** One timer for all: most entries come before it, and then it has nothing to do. */
  #watchNews(): void {
    if (this.#stopped || !this.#raft.owesCommit()) {
      this.#owingSinceMs = null;
      return;
    }
    this.#owingSinceMs ??= this.#environment.monotonicMs();
    this.#news ??= this.#environment.after(COMMIT_NEWS_MS, () => this.#tellNews());
  }

  #tellNews(): void {
    this.#news = null;
    if (this.#owingSinceMs === null) return;
    const leftMs = this.#owingSinceMs + COMMIT_NEWS_MS - this.#environment.monotonicMs();
    if (leftMs <= 0) return this.step({ kind: "tellCommit" });
    this.#news = this.#environment.after(Math.max(1, leftMs), () => this.#tellNews());
  }

  #break(error: unknown): void {
    this.#stopped = true;
    this.#events.broken(error);
  }

  #perform(effects: Effects): void {
    const { persist } = effects;
    // First: it is further to the followers than to the own disk. What must be stored before it is told is in `thenSend`.
    this.#send(effects.send);
    if (persist !== null) {
      const { seq, snapshot, hardState, entries, last, term, thenSend } = persist;
      if (snapshot !== null) this.#events.install(snapshot);
      this.#log.append(hardState, entries, () => {
        if (this.#stopped) return;
        this.#send(thenSend);
        this.step({ kind: "persisted", seq, last, term });
      });
    }
    if (effects.fetchSnapshot !== null) this.#events.fetchSnapshot(effects.fetchSnapshot);
    if (effects.changed !== null) this.#events.changed(effects.changed);
    if (effects.apply.length > 0) this.#offer(effects.apply);
    if (effects.readsDropped.length > 0) this.#events.readsDropped(effects.readsDropped);
    if (effects.readStates.length > 0) this.#events.readStates(effects.readStates);
  }

  /** The machine reads entries from the log when it is ready for them; only the mark moves here. */
  #offer(entries: readonly Entry[]): void {
    const last = entries[entries.length - 1];
    if (last === undefined) return;
    this.#raft.step({ kind: "applied", index: last.index });
    this.#events.applicable(last.index);
  }

  #send(messages: readonly Message[]): void {
    if (messages.length === 0) return;
    const byPeer = new Map<NodeId, Message[]>();
    for (const message of messages) {
      const group = byPeer.get(message.to);
      if (group === undefined) byPeer.set(message.to, [message]);
      else group.push(message);
    }
    const clockMs = this.#environment.wallMs();
    const lowSpace = this.#isLowOnSpace();
    for (const [to, group] of byPeer) this.#transport.send(to, group, clockMs, lowSpace);
  }
}
