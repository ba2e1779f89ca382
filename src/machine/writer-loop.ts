/**
 * The main thread of a writer's process: takes every call that has arrived, runs them in order, answers with one
 * write, and checkpoints between transactions. Never returns; any fault ends the process, with its reason told.
 */

import type { FileLook, Verdict } from "../node/ports.ts";
import { invariant } from "../sql/invariant.ts";
import type { ClusterSettings } from "../sql/settings.ts";
import { decodeConfiguration } from "../wire/configuration-codec.ts";
import { ChildChannel } from "./child-channel.ts";
import type { FileSeal } from "./file-seal.ts";
import { FileChanged } from "./machine-fault.ts";
import type { WriterEngine } from "./process-engines.ts";
import {
  type ChildArguments,
  decodeEntries,
  decodeEntryId,
  decodeJob,
  decodeJson,
  decodeText,
  encodeApplied,
  encodeEntryId,
  encodeJson,
  encodeOutcome,
  FROM_WRITER,
  TO_WRITER,
} from "./process-messages.ts";

/** A point read holds its snapshot for far less than this; a long one is not worth waiting for. */
const CHECKPOINT_ATTEMPTS = 3;
const CHECKPOINT_PAUSE_MS = 1;
/**
 * A long WAL saves copies of pages that are written again and again, but is copied in one long stall. So a busy writer
 * copies an eighth of it already, if it did not do so a moment ago (docs/decisions/0024-a-longer-wal.md).
 */
const EARLY_PART = 1 / 8;
const EARLY_PACE_MS = 2_000;

interface Call {
  readonly type: number;
  readonly id: number;
  readonly payload: Uint8Array;
}

export type Seal = Pick<FileSeal, "break" | "opened" | "demandSameFile" | "note" | "close">;

export interface WriterParts {
  takeLock(onSlow: () => void): object;
  /** Called when the lock is held. */
  open(): WriterEngine;
  readonly seal: Seal;
}

export function runWriter(given: ChildArguments, parts: WriterParts): never {
  const calls: Call[] = [];
  const channel = new ChildChannel((type, id, payload) => calls.push({ type, id, payload }));
  const takeCalls = (): Call[] => {
    channel.receive();
    return calls.splice(0);
  };
  // The collector must not close the lock's file.
  let lock: object | null = null;
  let engine: WriterEngine | null = null;
  let loop: WriterLoop | null = null;
  try {
    lock = parts.takeLock(() => channel.startWatchdog());
    const found = parts.seal.break();
    if (found.kind === "changed") {
      channel.send(FROM_WRITER.ready, 0, encodeJson(changedState(found, parts)));
      channel.startWatchdog();
      return awaitClose(channel, takeCalls, lock);
    }
    engine = parts.open();
    parts.seal.opened();
    channel.send(FROM_WRITER.ready, 0, encodeJson(engine.state));
    channel.flush();
    // A thread takes long to start, and until the first call a closed pipe is noticed without it.
    channel.startWatchdog();
    loop = new WriterLoop(given, channel, { engine, seal: parts.seal });
    for (;;) {
      for (const call of takeCalls()) loop.run(call);
      // Whatever the engine keeps of a call is a copy.
      channel.reuse();
      invariant(lock !== null, "the writer's lock is held");
    }
  } catch (error) {
    if (error instanceof FileChanged && engine !== null) {
      parts.seal.note(error.message, engine.state);
      channel.send(FROM_WRITER.changed, 0, Buffer.from(error.message));
      if (loop?.isClosing === true) return channel.end(FROM_WRITER.closed, 0);
      return awaitClose(channel, takeCalls, lock);
    }
    return channel.end(FROM_WRITER.fault, 0, Buffer.from(describe(error)));
  }
}

/** The database stays closed, if that can be: it may be anything. */
function changedState({ what, state }: FileLook & { kind: "changed" }, parts: WriterParts) {
  if (state !== null) return { ...state, changed: what };
  const engine = parts.open();
  const found = { ...engine.state, changed: what };
  engine.close();
  return found;
}

/** Nothing is done any more to a file that was changed; the lock is held until the node has done with it. */
function awaitClose(
  channel: ChildChannel,
  takeCalls: () => readonly Call[],
  lock: object | null,
): never {
  for (;;) {
    invariant(lock !== null, "the writer's lock is held");
    if (takeCalls().some(({ type }) => type === TO_WRITER.close)) {
      return channel.end(FROM_WRITER.closed, 0);
    }
    channel.reuse();
  }
}

class WriterLoop {
  readonly #given: ChildArguments;
  readonly #channel: ChildChannel;
  readonly #engine: WriterEngine;
  readonly #seal: Seal;
  isClosing = false;
  /** Uncopied bytes of the WAL from which on it is copied. */
  #checkpointAtBytes: number;
  #checkpointedAtMs = performance.now();
  /** As the node was told last. */
  #settings: ClusterSettings;

  constructor(
    given: ChildArguments,
    channel: ChildChannel,
    { engine, seal }: { engine: WriterEngine; seal: Seal },
  ) {
    this.#given = given;
    this.#seal = seal;
    this.#channel = channel;
    this.#engine = engine;
    this.#checkpointAtBytes = given.walBytesMax;
    this.#settings = engine.state.settings;
  }

  run({ type, id, payload }: Call): void {
    const channel = this.#channel;
    const engine = this.#engine;
    channel.flushIfDue();
    switch (type) {
      case TO_WRITER.execute: {
        const outcome = engine.execute(decodeJob(id, payload));
        return channel.sendParts(FROM_WRITER.executed, id, encodeOutcome(outcome));
      }
      case TO_WRITER.apply: {
        const { last, mismatch } = engine.apply(decodeEntries(payload));
        this.#tellSettings();
        channel.send(FROM_WRITER.applied, 0, ...encodeApplied(last, mismatch));
        return this.#checkpointIfDue();
      }
      case TO_WRITER.commit: {
        const last = decodeEntryId(payload);
        engine.commit(last);
        this.#tellSettings();
        channel.send(FROM_WRITER.committed, 0, encodeEntryId(last));
        return this.#checkpointIfDue();
      }
      case TO_WRITER.configure:
        return engine.configure(decodeConfiguration(decodeText(payload)));
      case TO_WRITER.settle:
        return engine.settle(decodeJson(payload) as Verdict);
      case TO_WRITER.checkpoint:
        return this.#checkpoint(id);
      case TO_WRITER.look:
        engine.look();
        return this.#seal.demandSameFile();
      case TO_WRITER.close:
        this.isClosing = true;
        return channel.end(FROM_WRITER.closed, 0, Buffer.from(this.#seal.close(engine)));
      default:
        invariant(false, `a call of unknown type ${type}`);
    }
  }

  #tellSettings(): void {
    const { settings } = this.#engine.state;
    if (settings === this.#settings) return;
    this.#settings = settings;
    this.#channel.send(FROM_WRITER.settings, 0, encodeJson(settings));
  }

  /** The bound of the WAL while there is no idle moment. Answers go first. */
  #checkpointIfDue(): void {
    const bytes = this.#engine.walBytes();
    if (bytes < this.#given.walBytesMax * EARLY_PART) return;
    const isEarly = bytes < this.#checkpointAtBytes;
    if (isEarly && performance.now() - this.#checkpointedAtMs < EARLY_PACE_MS) return;
    this.#channel.flush();
    this.#checkpoint(0);
    this.#checkpointedAtMs = performance.now();
    // A reader may pin the rest: then it is tried again when there is more, not after every commit.
    const { walBytesMax } = this.#given;
    this.#checkpointAtBytes = Math.max(walBytesMax, this.#engine.walBytes() + walBytesMax / 2);
  }

  /** Tells what the file holds, if that is everything. A reader in the middle of a short query is waited for. */
  #checkpoint(id: number): void {
    let complete = this.#engine.checkpoint()?.complete;
    for (let attempt = 1; complete === false && attempt < CHECKPOINT_ATTEMPTS; attempt += 1) {
      Atomics.wait(PAUSE, 0, 0, CHECKPOINT_PAUSE_MS);
      complete = this.#engine.checkpoint()?.complete;
    }
    if (complete !== true) {
      const held = encodeJson({ bytes: this.#engine.walBytes() });
      return this.#channel.send(FROM_WRITER.pinned, id, held);
    }
    const { appliedIndex: index, appliedTerm: term } = this.#engine.state;
    this.#channel.send(FROM_WRITER.checkpointed, id, encodeEntryId({ index, term }));
  }
}

const PAUSE = new Int32Array(new SharedArrayBuffer(4));

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error && typeof error.code === "string" ? `${error.code}: ` : "";
  return `${code}${error.message}`;
}
