/** Hand-driven stand-ins for a node's ports: the test decides when anything answers. */

import { verdictCodec } from "../../src/machine/verdict-codec.ts";
import type { DriverEvents } from "../../src/node/driver-events.ts";
import type {
  Environment,
  ExecuteJob,
  ExecuteOutcome,
  Log,
  Logger,
  Machine,
  MachineState,
  Readers,
  TransactionVerb,
  Verdict,
  Writer,
  WriterEvents,
} from "../../src/node/ports.ts";
import type { ExecuteCall } from "../../src/node/service.ts";
import { NO_OWNER, WriteRequest } from "../../src/node/write-request.ts";
import { WriterDriver } from "../../src/node/writer-driver.ts";
import type { Configuration, Entry, EntryId } from "../../src/raft/entry.ts";
import type { Failure } from "../../src/sql/errors.ts";
import { DEFAULT_SETTINGS } from "../../src/sql/settings.ts";
import { SimEnvironment } from "../sim/environment.ts";
import { Prng } from "../sim/prng.ts";
import { Scheduler } from "../sim/scheduler.ts";

export class Clock {
  readonly scheduler = new Scheduler();
  readonly environment: Environment = new SimEnvironment(this.scheduler, new Prng(1, "test"));

  /** Runs everything that is due within `ms` from now. */
  advance(ms: number): void {
    const until = this.scheduler.nowMs + ms;
    for (let steps = 0; this.scheduler.step(until); steps += 1) {
      if (steps > 100_000) throw new Error("the clock never comes to rest");
    }
  }
}

export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };

export const EMPTY_STATE: MachineState = {
  appliedIndex: 0,
  appliedTerm: 0,
  timeMs: 0,
  configuration: null,
  settings: DEFAULT_SETTINGS,
  originIndex: 0,
  settled: null,
};

/** A writer that only notes what it is asked. */
export class FakeWriter implements Writer {
  readonly events: WriterEvents;
  readonly jobs: ExecuteJob[] = [];
  readonly applies: (readonly Entry[])[] = [];
  readonly verdicts: Verdict[] = [];
  readonly commits: EntryId[] = [];
  readonly configurations: Configuration[] = [];
  ended: "killed" | "closed" | null = null;

  constructor(events: WriterEvents) {
    this.events = events;
  }

  execute(job: ExecuteJob): void {
    this.jobs.push(job);
  }

  apply(entries: readonly Entry[]): void {
    this.applies.push(entries);
  }

  commit(last: EntryId): void {
    this.commits.push(last);
  }

  settle(verdict: Verdict): void {
    this.verdicts.push(verdict);
  }

  configure(configuration: Configuration): void {
    this.configurations.push(configuration);
  }

  kill(): void {
    this.ended = "killed";
  }

  close(): void {
    this.ended = "closed";
  }

  ready(appliedIndex: number): void {
    const appliedTerm = appliedIndex === 0 ? 0 : 1;
    this.events.ready({ ...EMPTY_STATE, appliedIndex, appliedTerm });
  }

  /** Answers the oldest job that has no answer yet. */
  answer(outcome: ExecuteOutcome, at = 0): void {
    const job = this.jobs[at];
    if (job === undefined) throw new Error("no such job");
    this.events.executed(job.id, outcome);
  }

  proposal(at: number): void {
    this.answer({ kind: "proposal", payload: Uint8Array.of(at), result: Uint8Array.of(at) }, at);
  }
}

export class FakeMachine implements Machine {
  readonly writers: FakeWriter[] = [];
  readonly verdicts = verdictCodec;
  readonly readers: Readers = {
    query: () => ({ fetch() {}, cancel() {} }),
    databaseBytes: () => 0,
    close: (done) => done(),
  };

  install(_mark: EntryId, done: (error: Error | null) => void): void {
    done(null);
  }

  exchange(_mark: EntryId, done: (error: Error | null) => void): void {
    done(null);
  }

  openWriter(events: WriterEvents): Writer {
    const writer = new FakeWriter(events);
    this.writers.push(writer);
    return writer;
  }

  get writer(): FakeWriter {
    const last = this.writers[this.writers.length - 1];
    if (last === undefined) throw new Error("no writer was opened");
    return last;
  }
}

/** Terms by index; payloads are the index. */
export class FakeLog implements Log {
  readonly identity = {
    nodeId: 1,
    incarnation: "0".repeat(32),
    clusterId: "",
    phase: "blank" as const,
    members: [],
    votesFrom: 0,
    seed: "",
  };
  readonly hardState = { currentTerm: 0, votedFor: 0, commitIndex: 0 };
  onFailure: (error: Error) => void = () => {};
  isFull = false;
  onSpace: (isFull: boolean) => void = () => {};
  readonly terms: number[] = [0];

  firstIndex(): number {
    return 1;
  }

  lastIndex(): number {
    return this.terms.length - 1;
  }

  term(index: number): number {
    const term = this.terms[index];
    if (term === undefined) throw new RangeError(`no entry ${index}`);
    return term;
  }

  entries(from: number, to: number): readonly Entry[] {
    const found: Entry[] = [];
    for (let index = from; index < to; index += 1) {
      found.push({ index, term: this.term(index), kind: "command", payload: Uint8Array.of(index) });
    }
    return found;
  }

  append(): void {}
  compactTo(): void {}
  restart(): void {}
  tailFrom(_entries: number, _bytes: number): number {
    return 1;
  }
  setIdentity(): void {}
  close(): void {}
}

export interface Told {
  readonly request: WriteRequest;
  answer: { result: Uint8Array; index: number } | Failure | null;
}

let ids = 0;

export function request(deadlineAtMs = 1_000_000, verb?: TransactionVerb): Told {
  ids += 1;
  const call: ExecuteCall = {
    batch: Uint8Array.of(1),
    openSession: false,
    session: 0,
    sequence: 0,
    acknowledgedThrough: 0,
    timeoutMs: 0,
    ...(verb === undefined ? {} : { verb }),
  };
  const sink = {
    done: (result: Uint8Array, index: number) => {
      told.answer = { result, index };
    },
    failed: (failure: Failure) => {
      told.answer = failure;
    },
  };
  const told: Told = {
    request: new WriteRequest(ids, call, deadlineAtMs, sink, NO_OWNER),
    answer: null,
  };
  return told;
}

/** A driver of the fake writer. Events that are not given are ignored; what is proposed goes to the log, in term 2. */
export function makeDriver(
  parts: { readonly machine: FakeMachine; readonly log: FakeLog; readonly clock: Clock },
  events: Partial<DriverEvents>,
): WriterDriver {
  const { machine, log, clock } = parts;
  const { environment } = clock;
  const ignored = { observed() {}, applied() {}, checkpointed() {}, settings() {}, opened() {} };
  return new WriterDriver(
    { writeDeadlineMs: 30_000, isReadLocally: false, dedup: true },
    {
      ...{ machine, log, environment, logger: silent },
      events: {
        ...ignored,
        ...{ mismatch() {}, changed() {}, resting() {} },
        propose: () => {
          log.terms.push(2);
          return { index: log.lastIndex(), term: 2 };
        },
        timeMs: () => environment.wallMs(),
        isLowOnSpace: () => false,
        broken: (error) => {
          throw error;
        },
        ...events,
      },
    },
  );
}
