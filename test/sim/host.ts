/** One simulated machine: what stays when its process dies, and what there is of the process while it runs. */

import type { Node } from "../../src/node/node.ts";
import type { Log } from "../../src/node/ports.ts";
import type { Effects, Persist, RaftStatus } from "../../src/raft/effect.ts";
import type { Entry, EntryId, LogIndex, NodeId, Term } from "../../src/raft/entry.ts";
import type { ProgressView } from "../../src/raft/progress.ts";
import type { Raft } from "../../src/raft/raft.ts";
import type { LogView, NodeView } from "./checkers/view.ts";
import type { DiskFaults } from "./disk-faults.ts";
import type { SimEnvironment } from "./environment.ts";
import type { SimMachine, Store } from "./machine.ts";
import type { SimTransport } from "./network.ts";

export interface Life {
  readonly node: Node;
  readonly log: Log;
  readonly environment: SimEnvironment;
  readonly transport: SimTransport;
  readonly machine: SimMachine;
  readonly view: LiveView;
}

export interface Host {
  readonly id: NodeId;
  readonly faults: DiskFaults;
  readonly store: Store;
  life: Life | null;
  /** Only of the running life: a paused process is alive. */
  paused: boolean;
  /** Its machine's clocks: speed of the monotonic one, and how far off the wall clock is. */
  clockRate: number;
  wallOffsetMs: number;
  /** A write of its log was refused, and no process has run on it since: a halt is the right answer. */
  isInjured: boolean;
  /** Of the directory that the last process ran on; empty if that is gone. */
  incarnation: string;
  /** The program that is installed on it. */
  machineVersion: string;
  /** It is started to join a cluster, not to found one. */
  joins: boolean;
  /** How often somebody wrote into its database. */
  plants: number;
  /** Remembered beside a log that was set aside; null: there is none. */
  clusterId: string | null;
}

/** A running node as the checkers see it. */
export class LiveView implements NodeView {
  readonly id: NodeId;
  readonly incarnation: string;
  readonly machineVersion: string;
  raft: Raft | null = null;
  readonly #log: Log;
  readonly #machine: SimMachine;
  #overlay: OverlayLog | null = null;

  constructor(host: Pick<Host, "id" | "machineVersion">, log: Log, machine: SimMachine) {
    this.id = host.id;
    this.machineVersion = host.machineVersion;
    this.incarnation = log.identity.incarnation;
    this.#log = log;
    this.#machine = machine;
  }

  /** While `look` runs, the log shows what the effects ask to be stored. */
  during(effects: Effects, look: () => void): void {
    if (effects.persist !== null) this.#overlay = new OverlayLog(this.#log, effects.persist);
    try {
      look();
    } finally {
      this.#overlay = null;
    }
  }

  get log(): LogView {
    return this.#overlay ?? this.#log;
  }

  get status(): RaftStatus {
    if (this.raft === null) throw new Error(`node ${this.id} has no core yet`);
    return this.raft.status();
  }

  get appliedIndex(): LogIndex {
    return this.#machine.appliedIndex;
  }

  get progress(): readonly ProgressView[] {
    return this.raft?.progress() ?? [];
  }

  get noop(): EntryId | null {
    return this.raft?.ownNoop() ?? null;
  }
}

/** A log as it will be when a write that is asked for has been handed to it. */
class OverlayLog implements LogView {
  readonly #log: Log;
  readonly #persist: Persist;
  /** First index that the write replaces; behind the end if it replaces nothing. */
  readonly #from: LogIndex;

  constructor(log: Log, persist: Persist) {
    this.#log = log;
    this.#persist = persist;
    this.#from = persist.entries[0]?.index ?? persist.last.index + 1;
  }

  firstIndex(): LogIndex {
    const { snapshot } = this.#persist;
    return snapshot === null ? this.#log.firstIndex() : snapshot.index + 1;
  }

  lastIndex(): LogIndex {
    return this.#persist.last.index;
  }

  term(index: LogIndex): Term {
    const { snapshot, entries } = this.#persist;
    if (index >= this.#from) return (entries[index - this.#from] as Entry).term;
    return index === snapshot?.index ? snapshot.term : this.#log.term(index);
  }

  entries(from: LogIndex, to: LogIndex, maxBytes: number): readonly Entry[] {
    const { entries } = this.#persist;
    if (from >= this.#from) return entries.slice(from - this.#from, to - this.#from);
    const stored = this.#log.entries(from, Math.min(to, this.#from), maxBytes);
    if (from + stored.length < this.#from) return stored;
    return [...stored, ...entries.slice(0, Math.max(0, to - this.#from))];
  }
}
