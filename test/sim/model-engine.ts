/**
 * The machine as a model: what the workload's statements mean, without SQLite. Ten times faster than the real executor,
 * it lets the simulator look at many more schedules of everything else. The real one runs in other seeds.
 */

import { crc32 } from "node:zlib";
import { FileChanged } from "../../src/machine/machine-fault.ts";
import type { Chunk, ReaderEngine, WriterEngine } from "../../src/machine/process-engines.ts";
import { NO_WAL, type WalSize } from "../../src/machine/wal-state.ts";
import type {
  DigestMismatch,
  ExecuteJob,
  ExecuteOutcome,
  MachineState,
  Verdict,
} from "../../src/node/ports.ts";
import type { Configuration, Entry, EntryId, LogIndex } from "../../src/raft/entry.ts";
import { BalsaError, SqlError, toFailure } from "../../src/sql/errors.ts";
import {
  type ClusterSettings,
  DEFAULT_SETTINGS,
  MACHINE_VERSION,
  otherMachineText,
  withSetting,
} from "../../src/sql/settings.ts";
import { type Command, decodeCommand, encodeCommand } from "../../src/wire/log-codec.ts";
import { BatchResultWriter, RowChunkWriter } from "../../src/wire/result-codec.ts";
import { encodeOpenSessionResponse } from "../../src/wire/sql-codec.ts";
import {
  type BoundStatement,
  decodeBatch,
  decodeStatement,
} from "../../src/wire/statement-codec.ts";
import type { Content, SimSnapshot, Store } from "./machine.ts";
import type { Prng } from "./prng.ts";

interface Session {
  floor: number;
  results: Map<number, Uint8Array>;
}

/** What a file would hold. */
export class ModelState {
  applied: EntryId = { index: 0, term: 0 };
  timeMs = 0;
  configuration: Configuration | null = null;
  settings: ClusterSettings = DEFAULT_SETTINGS;
  originIndex = 0;
  settled: Verdict | null = null;
  /** Somebody put a row in that no entry did. */
  isPlanted = false;
  rows: string[] = [];
  counters = new Map<number, number>();
  sessions = new Map<number, Session>();
  nextSession = 1;
  /** Of all effects so far, in order. */
  digest = 0;

  copy(): ModelState {
    const copy = Object.assign(new ModelState(), this);
    copy.rows = [...this.rows];
    copy.counters = new Map(this.counters);
    copy.sessions = new Map();
    for (const [id, { floor, results }] of this.sessions) {
      copy.sessions.set(id, { floor, results: new Map(results) });
    }
    return copy;
  }
}

export class ModelStore implements Store {
  state = new ModelState();
  /** Counters as committed: what a reader sees. */
  visible = new Map<number, number>();
  readonly #dice: Prng;
  #checkpoint: ModelState | null = null;
  #kept: SimSnapshot | null = null;
  #writer: ModelWriter | null = null;
  changed = "";
  /** Somebody else wrote to it while the present writer had it open, and that shows. */
  isTouched = false;

  constructor(dice: Prng) {
    this.#dice = dice;
  }

  openWriter(machineVersion: string): WriterEngine {
    this.isTouched = false;
    this.#writer = new ModelWriter(this, machineVersion);
    return this.#writer;
  }

  copy(): SimSnapshot {
    const data = this.state.copy();
    this.#writer?.takeBack(data);
    data.originIndex = data.applied.index;
    return { mark: data.applied, configuration: data.configuration, data };
  }

  keep(snapshot: SimSnapshot): void {
    this.#kept = snapshot;
  }

  install(mark: EntryId): void {
    const kept = this.#kept;
    if (kept?.mark.index !== mark.index || kept.mark.term !== mark.term) {
      throw new Error(`no snapshot of ${mark.index} is kept`);
    }
    this.state = (kept.data as ModelState).copy();
    this.visible = new Map(this.state.counters);
    this.#checkpoint = this.state.copy();
    this.changed = "";
    this.#kept = null;
    this.#writer = null;
  }

  recover(base: EntryId): boolean {
    const { index, term } = this.#kept?.mark ?? { index: 0, term: 0 };
    const isBegun = index > 0 && index === base.index && term === base.term;
    if (isBegun) this.install(base);
    this.#kept = null;
    return isBegun;
  }

  openReader(): ReaderEngine {
    return new ModelReader((key) => this.visible.get(key));
  }

  crashed(): void {
    if (this.#checkpoint !== null && this.#dice.chance(0.5)) {
      this.state = this.#checkpoint.copy();
      this.visible = new Map(this.state.counters);
    }
  }

  checkpointed(): void {
    this.#checkpoint = this.state.copy();
  }

  get checkpointIndex(): LogIndex {
    return this.#checkpoint?.applied.index ?? 0;
  }

  digest(): number {
    return this.state.digest;
  }

  get isPlanted(): boolean {
    return this.changed !== "" || this.state.isPlanted;
  }

  /** In front: what is taken back is the last. */
  plant(): boolean {
    this.state.rows.unshift("0/0/0");
    this.state.isPlanted = true;
    // Else it is rot.
    this.isTouched ||= this.#dice.chance(0.5);
    return true;
  }

  wipe(): void {
    this.state = new ModelState();
    this.visible = new Map();
    this.#checkpoint = null;
    this.changed = "";
    this.#kept = null;
    this.#writer = null;
  }

  bytes(): number {
    return 0;
  }

  content(): Content {
    const rows = new Map<number, number>();
    for (const text of this.state.rows) {
      const row = Number(text.split("/")[0]);
      rows.set(row, (rows.get(row) ?? 0) + 1);
    }
    return { rows, digest: this.whole(), blobs: null };
  }

  /** All that must be the same on every node. */
  whole(): string {
    const sessions = [...this.state.sessions].map(([id, { floor, results }]) => [
      id,
      floor,
      [...results.keys()],
    ]);
    const { rows: ledger, counters } = this.state;
    return JSON.stringify([ledger, [...counters].sort(), sessions]);
  }
}

const NOTHING = new Uint8Array(0);

type Undo = (state: ModelState) => void;

export class ModelWriter implements WriterEngine {
  readonly #file: ModelStore;
  readonly #results = new BatchResultWriter();
  /** How to take back what is not committed, last first. */
  #undo: Undo[] = [];
  readonly #touched = new Set<number>();
  #configuration: Configuration | null = null;
  readonly #machineVersion: string;
  /** As of the last commit. */
  #stored: ClusterSettings;
  #verdict: Verdict | null = null;

  constructor(file: ModelStore, machineVersion: string) {
    this.#file = file;
    this.#machineVersion = machineVersion;
    this.#stored = file.state.settings;
  }

  get state(): MachineState {
    const { applied, ...rest } = this.#file.state;
    const facts = { ...rest, settings: this.#stored };
    return { ...facts, appliedIndex: applied.index, appliedTerm: applied.term };
  }

  execute(job: ExecuteJob): ExecuteOutcome {
    this.look();
    if (job.verb === "machineVersion") {
      const value = Buffer.from(job.batch).toString();
      const setting = { name: MACHINE_VERSION, value };
      const command = { ...job, batch: NOTHING, setting, digest: 0 };
      const result = this.#perform(command);
      return {
        kind: "proposal",
        payload: encodeCommand({ ...command, digest: crc32(result) }),
        result,
      };
    }
    const { machineVersion: cluster } = this.#file.state.settings;
    if (cluster !== "" && cluster !== this.#machineVersion) {
      return fail(new BalsaError("NO_LEADER", otherMachineText(this.#machineVersion, cluster)));
    }
    const session = this.#file.state.sessions.get(job.session);
    if (job.session !== 0) {
      if (session === undefined) return fail(new BalsaError("SESSION_EXPIRED", "no such session"));
      const first = session.results.get(job.sequence);
      if (first !== undefined) return { kind: "answer", result: first, index: 0 };
      if (job.sequence <= session.floor) return fail(new BalsaError("SEQUENCE_EXPIRED", "late"));
    }
    if (job.verb === "checksum") return this.#proposeChecksum(job);
    const mark = this.#undo.length;
    try {
      const result = this.#perform({ ...job, digest: 0 });
      return {
        kind: "proposal",
        payload: encodeCommand({ ...job, digest: crc32(result) }),
        result,
      };
    } catch (error) {
      this.#rollback(mark);
      return fail(error);
    }
  }

  /** One range is all there is. */
  #proposeChecksum(job: ExecuteJob): ExecuteOutcome {
    const checksum = { ranges: [], endsPass: true };
    const command: Command = { ...job, digest: 0, checksum };
    const payload = encodeCommand({ ...command, digest: crc32(this.#perform(command)) });
    return { kind: "proposal", payload, result: Uint8Array.of(1) };
  }

  settle(verdict: Verdict): void {
    this.#verdict = verdict;
  }

  apply(entries: readonly Entry[]): { last: EntryId; mismatch: DigestMismatch | null } {
    this.look();
    for (const entry of entries) {
      const mark = this.#undo.length;
      const mismatch = entry.kind === "command" ? this.#applyCommand(entry) : null;
      if (mismatch !== null) {
        this.#rollback(mark);
        return { last: this.#file.state.applied, mismatch };
      }
      this.commit({ index: entry.index, term: entry.term });
    }
    return { last: this.#file.state.applied, mismatch: null };
  }

  /** As the real machine does; no entry of this workload fails where its leader did not. */
  #applyCommand({ index, payload }: Entry): DigestMismatch | null {
    const { state } = this.#file;
    const command = decodeCommand(payload);
    const differs = (expected: number, found: number): DigestMismatch => {
      return { index, expected, found, detail: "model" };
    };
    if (command.verdict !== undefined) {
      const { index: about, digest } = command.verdict;
      const isSame = state.settled?.index === about && state.settled.digest === digest;
      return isSame ? null : differs(digest, 0);
    }
    const verdict = this.#verdict;
    const isUnder = verdict !== null && index >= verdict.index && index < verdict.at;
    if (isUnder && index > verdict.index && state.settled?.index !== verdict.index)
      return differs(verdict.digest, 0);
    const found = crc32(this.#perform(command));
    if (!isUnder) return found === command.digest ? null : differs(command.digest, found);
    if (index !== verdict.index) return null;
    if (found !== verdict.digest) return differs(verdict.digest, found);
    const before = state.settled;
    state.settled = verdict;
    this.#undo.push((old) => {
      old.settled = before;
    });
    return null;
  }

  commit(last: EntryId): void {
    this.#undo = [];
    const { state, visible } = this.#file;
    state.applied = last;
    state.configuration = this.#configuration ?? state.configuration;
    for (const key of this.#touched) visible.set(key, state.counters.get(key) ?? 0);
    this.#touched.clear();
    this.#stored = state.settings;
  }

  configure(configuration: Configuration): void {
    this.#configuration = configuration;
  }

  walSize(): WalSize {
    return NO_WAL;
  }

  checkpoint(): { readonly complete: boolean } {
    return { complete: true };
  }

  look(): void {
    if (this.#undo.length > 0 || !this.#file.isTouched) return;
    throw new FileChanged("another program wrote to it");
  }

  emptyWal(): boolean {
    return true;
  }

  close(): void {
    this.#rollback(0);
  }

  /** Undoes in a copy what is not committed. */
  takeBack(copy: ModelState): void {
    for (const undo of [...this.#undo].reverse()) undo(copy);
  }

  #rollback(mark: number): void {
    for (const undo of this.#undo.splice(mark).reverse()) undo(this.#file.state);
  }

  #perform(command: Command): Uint8Array {
    const { state } = this.#file;
    const before = state.digest;
    this.#undo.push((old) => {
      old.digest = before;
    });
    if (command.checksum !== undefined) return Buffer.from(this.#file.whole());
    const { setting } = command;
    if (setting !== undefined) {
      const { settings } = state;
      state.settings = withSetting(settings, setting) ?? settings;
      state.digest = crc32(setting.value, before);
      this.#undo.push((old) => {
        old.settings = settings;
      });
      return NOTHING;
    }
    if (command.openSession) {
      const session = state.nextSession;
      state.digest = crc32(`session ${session}`, before);
      state.nextSession += 1;
      state.sessions.set(session, { floor: 0, results: new Map() });
      this.#undo.push((old) => {
        old.nextSession -= 1;
        old.sessions.delete(session);
      });
      return encodeOpenSessionResponse({ session, index: 0 });
    }
    this.#results.start();
    for (const [at, statement] of decodeBatch(command.batch).statements.entries()) {
      this.#run(statement, command.seedLow, at);
      this.#results.beginResult([]);
      this.#results.endResult(1, state.rows.length);
    }
    const result = Uint8Array.from(this.#results.finish());
    state.digest = crc32(result, crc32(command.batch, (before ^ command.seedLow) >>> 0));
    if (command.session !== 0) this.#remember(command, result);
    return result;
  }

  #run({ sql, args }: BoundStatement, seed: number, at: number): void {
    const { state } = this.#file;
    const values = args.kind === "positional" ? args.values.map(Number) : [];
    const [first = 0, second = 0] = values;
    if (sql.startsWith("CREATE")) return;
    if (sql.startsWith("INSERT INTO ledger")) {
      state.rows.push(`${first}/${second}/${seed}`);
      this.#undo.push((old) => old.rows.pop());
      return;
    }
    if (sql.includes("NULL")) throw new SqlError("SQLITE_CONSTRAINT_NOTNULL", "null", at);
    const before = state.counters.get(first);
    this.#touched.add(first);
    state.counters.set(first, (before ?? 0) + 1);
    this.#undo.push((old) => {
      if (before === undefined) old.counters.delete(first);
      else old.counters.set(first, before);
    });
  }

  #remember({ session: id, sequence, acknowledgedThrough }: Command, result: Uint8Array): void {
    const session = this.#file.state.sessions.get(id);
    if (session === undefined) throw new BalsaError("SESSION_EXPIRED", "no such session");
    const before: Session = { floor: session.floor, results: new Map(session.results) };
    session.results.set(sequence, result);
    session.floor = Math.max(session.floor, acknowledgedThrough);
    for (const old of session.results.keys()) {
      if (old <= session.floor) session.results.delete(old);
    }
    this.#undo.push((state) => state.sessions.set(id, before));
  }
}

/** Sees what is committed only. */
export class ModelReader implements ReaderEngine {
  readonly #value: (key: number) => number | undefined;
  readonly #rows = new RowChunkWriter();

  constructor(value: (key: number) => number | undefined) {
    this.#value = value;
  }

  start(bytes: Uint8Array): Chunk {
    const { args } = decodeStatement(bytes);
    const key = args.kind === "positional" ? Number(args.values[0]) : 0;
    const value = this.#value(key);
    this.#rows.start(["value"]);
    if (value !== undefined) this.#rows.row([BigInt(value)]);
    return { bytes: Uint8Array.from(this.#rows.finish()), done: true };
  }

  next(): Chunk {
    throw new Error("the first chunk was the last");
  }

  stop(): void {}

  hold(): void {}

  release(): void {}

  close(): void {}
}

function fail(error: unknown): ExecuteOutcome {
  return { kind: "failure", failure: toFailure(error) };
}
