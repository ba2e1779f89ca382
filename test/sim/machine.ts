/** The machine behind its port, in this process: answers come later, on virtual time, one after another. */

import { FileChanged, MachineFault } from "../../src/machine/machine-fault.ts";
import type { ReaderEngine, WriterEngine } from "../../src/machine/process-engines.ts";
import { verdictCodec } from "../../src/machine/verdict-codec.ts";
import type {
  ExecuteJob,
  Machine,
  QuerySink,
  ReaderLimits,
  Readers,
  RunningQuery,
  Verdict,
  Writer,
  WriterEvents,
} from "../../src/node/ports.ts";
import type { Configuration, Entry, EntryId, LogIndex } from "../../src/raft/entry.ts";
import { toFailure } from "../../src/sql/errors.ts";
import type { ClusterSettings } from "../../src/sql/settings.ts";
import type { BlobRow } from "./checkers/whole-blobs.ts";
import type { SimEnvironment } from "./environment.ts";
import type { Prng } from "./prng.ts";

export interface BlobsContent {
  readonly rows: readonly BlobRow[];
  /** Contents whose state does not tell what they are. */
  readonly lost: number;
}

export interface Content {
  /** Ledger row → how often. */
  readonly rows: ReadonlyMap<number, number>;
  /** Everything in the users' tables, as text. */
  readonly digest: string;
  /** Null: there is no such table. */
  readonly blobs: BlobsContent | null;
}

/** What stays when the process dies, and how to open it again. */
export interface Store {
  /** By a node that runs this. */
  openWriter(machineVersion: string): WriterEngine;
  openReader(): ReaderEngine;
  /** The power is gone; nobody has it open. Leaves the last commit or the last checkpoint. */
  crashed(): void;
  /** A checkpoint was complete: a crash may fall back to here, no further. */
  checkpointed(index: LogIndex): void;
  /** What the file alone holds, durably. */
  readonly checkpointIndex: LogIndex;
  /** Of all effects up to the last commit; null if that would take too long to tell. */
  digest(): number | null;
  /** A new disk. Nobody has it open. */
  wipe(): void;
  bytes(): number;
  content(): Content;
  /** A row that no entry made; false: it cannot be put in now. */
  plant(): boolean;
  /** It holds such a row, or did when it was copied; or it was found changed: then a crash that takes the row heals nothing. */
  readonly isPlanted: boolean;
  /** It was found changed from outside, in words, and nothing has taken its place; empty: it was not. */
  changed: string;
  /** A copy as of the last commit. */
  copy(): SimSnapshot;
  /** A snapshot is here, durably, beside the database. */
  keep(snapshot: SimSnapshot): void;
  /** It takes the database's place, durably. Nobody has it open. */
  install(mark: EntryId): void;
  /**
   * At a start, nobody has it open: finishes an installation that the log has begun; forgets what is kept otherwise.
   * True if it did.
   */
  recover(base: EntryId): boolean;
}

export interface SimSnapshot {
  readonly mark: EntryId;
  readonly configuration: Configuration | null;
  readonly data: unknown;
}

export class SimMachine implements Machine {
  readonly readers: Readers;
  readonly verdicts = verdictCodec;
  /** SQLite has committed up to here: for the checkers. */
  onApplied: (last: EntryId) => void = () => {};
  /** A range checksum was executed. */
  onChecksum: () => void = () => {};
  /** Another database has taken the place of this one; `exchange`: while the log goes on. */
  onReplaced: (mark: EntryId, how: "install" | "exchange") => void = () => {};
  onSettled: () => void = () => {};
  onChanged: () => void = () => {};
  appliedIndex: LogIndex = 0;
  readonly #store: Store;
  readonly #dice: Prng;
  readonly #environment: SimEnvironment;
  readonly #machineVersion: string;
  #writer: SimWriter | null = null;
  #reader: ReaderEngine | null = null;

  constructor(store: Store, environment: SimEnvironment, dice: Prng, machineVersion: string) {
    this.#machineVersion = machineVersion;
    this.#store = store;
    this.#dice = dice;
    this.#environment = environment;
    this.readers = {
      query: (statement, limits, sink) => this.#query(statement, limits, sink),
      databaseBytes: () => store.bytes(),
      close: (done) => environment.soon(done),
    };
  }

  openWriter(events: WriterEvents): Writer {
    const watched: SimWriterEvents = {
      ...events,
      summed: () => this.onChecksum(),
      changed: (what) => {
        this.onChanged();
        events.changed(what);
      },
      ready: (state) => {
        this.appliedIndex = state.appliedIndex;
        events.ready(state);
      },
      applied: (last, mismatch) => {
        this.#applied(last);
        events.applied(last, mismatch);
      },
      committed: (last) => {
        this.#applied(last);
        events.committed(last);
      },
    };
    const writer = new SimWriter(
      { store: this.#store, environment: this.#environment, dice: this.#dice },
      this.#machineVersion,
      watched,
      this.#writer,
    );
    writer.onSettled = () => this.onSettled();
    this.#writer = writer;
    return writer;
  }

  exchange(mark: EntryId, done: (error: Error | null) => void): void {
    this.#replace(mark, "exchange", done);
  }

  install(mark: EntryId, done: (error: Error | null) => void): void {
    this.#replace(mark, "install", done);
  }

  #replace(mark: EntryId, how: "install" | "exchange", done: (error: Error | null) => void): void {
    this.#reader?.close();
    this.#reader = null;
    // A crash may come between the log's new beginning and this.
    this.#environment.after(this.#dice.next() * 200, () => {
      this.#writer?.die();
      this.#store.install(mark);
      this.onReplaced(mark, how);
      this.#applied(mark);
      done(null);
    });
  }

  #applied(last: EntryId): void {
    this.appliedIndex = last.index;
    this.onApplied(last);
  }

  die(): void {
    this.#writer?.die();
    this.#reader?.close();
    this.#reader = null;
  }

  #query(statement: Uint8Array, _limits: ReaderLimits, sink: QuerySink): RunningQuery {
    let cancelled = false;
    this.#environment.after(this.#dice.next() * 2, () => {
      if (cancelled) return;
      try {
        this.#reader ??= this.#store.openReader();
        for (let chunk = this.#reader.start(statement); ; chunk = this.#reader.next()) {
          sink.chunk(chunk.bytes, chunk.done);
          if (chunk.done) return;
        }
      } catch (error) {
        sink.failed(toFailure(error));
      }
    });
    return {
      fetch() {},
      cancel() {
        cancelled = true;
      },
    };
  }
}

interface SimWriterEvents extends WriterEvents {
  summed(): void;
}

class SimWriter implements Writer {
  onSettled: () => void = () => {};
  readonly #store: Store;
  readonly #dice: Prng;
  readonly #environment: SimEnvironment;
  readonly #events: SimWriterEvents;
  readonly #machineVersion: string;
  #engine: WriterEngine | null = null;
  #settings: ClusterSettings | null = null;
  #dead = false;
  /** Commands run one after another, each when the one before has ended. */
  #freeAtMs = 0;

  constructor(
    { store, environment, dice }: { store: Store; environment: SimEnvironment; dice: Prng },
    machineVersion: string,
    events: SimWriterEvents,
    before: SimWriter | null,
  ) {
    this.#store = store;
    this.#environment = environment;
    this.#dice = dice;
    this.#machineVersion = machineVersion;
    this.#events = events;
    this.#open(before);
  }

  /** As with the lock on the file: only when the writer before is gone. */
  #open(before: SimWriter | null): void {
    this.#environment.after(5 + this.#dice.next() * 30, () => {
      if (this.#dead) return;
      if (before !== null && !before.#dead) return this.#open(before);
      this.#engine = this.#store.openWriter(this.#machineVersion);
      const { state } = this.#engine;
      this.#settings = state.settings;
      const { changed } = this.#store;
      if (changed === "") return this.#events.ready(state);
      this.#engine.close();
      this.#engine = null;
      this.#events.ready({ ...state, changed });
    });
  }

  #do(run: (engine: WriterEngine) => void): void {
    const nowMs = this.#environment.monotonicMs();
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs) + this.#dice.next() * 0.5;
    this.#environment.after(this.#freeAtMs - nowMs, () => {
      if (this.#dead || this.#engine === null) return;
      try {
        run(this.#engine);
      } catch (error) {
        if (!(error instanceof MachineFault)) throw error;
        if (error instanceof FileChanged) return this.#changed(error.message);
        this.die();
        this.#events.exited(error.message);
      }
    });
  }

  /** As a real writer: nothing is done any more. */
  #changed(what: string): void {
    this.#store.changed = what;
    this.#engine?.close();
    this.#engine = null;
    this.#events.changed(what);
  }

  execute(job: ExecuteJob): void {
    this.#do((engine) => {
      const outcome = engine.execute(job);
      if (job.verb === "checksum" && outcome.kind === "proposal") this.#events.summed();
      this.#events.executed(job.id, outcome);
    });
  }

  apply(entries: readonly Entry[]): void {
    this.#do((engine) => {
      const { last, mismatch } = engine.apply(entries);
      this.#perhapsCheckpoint(engine);
      this.#tellSettings(engine);
      this.#events.applied(last, mismatch);
    });
  }

  commit(last: EntryId): void {
    this.#do((engine) => {
      engine.commit(last);
      this.#perhapsCheckpoint(engine);
      this.#tellSettings(engine);
      this.#events.committed(last);
    });
  }

  settle(verdict: Verdict): void {
    this.#do((engine) => {
      engine.settle(verdict);
      this.onSettled();
    });
  }

  configure(configuration: Configuration): void {
    this.#do((engine) => engine.configure(configuration));
  }

  #tellSettings({ state }: WriterEngine): void {
    if (state.settings === this.#settings) return;
    this.#settings = state.settings;
    this.#events.settings(state.settings);
  }

  #perhapsCheckpoint(engine: WriterEngine): void {
    if (!this.#dice.chance(0.05)) return;
    engine.checkpoint();
    if (engine.walSize().uncopied > 0) return;
    const { appliedIndex } = engine.state;
    this.#store.checkpointed(appliedIndex);
    this.#environment.soon(() => {
      if (!this.#dead) this.#events.checkpointed(appliedIndex);
    });
  }

  kill(): void {
    if (this.#dead) return;
    this.die();
    this.#environment.soon(() => this.#events.exited("killed"));
  }

  close(): void {
    this.kill();
  }

  /** Closing rolls back what is open: the same as what a new process finds after a kill. */
  die(): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#engine?.close();
    this.#engine = null;
  }
}
