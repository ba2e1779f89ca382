/**
 * The main thread of a writer's process: takes every call that has arrived, runs them in order, answers with one
 * write, and checkpoints between transactions. Never returns; any fault ends the process, with its reason told.
 */

import type { FileLook, Verdict } from "../node/ports.ts";
import { invariant } from "../sql/invariant.ts";
import type { ClusterSettings } from "../sql/settings.ts";
import { decodeConfiguration } from "../wire/configuration-codec.ts";
import { Checkpoints } from "./checkpoints.ts";
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
import type { Copier } from "./wal-copier.ts";

/** A pass of the copier is waited for at the end for so long; the node gives a writer five seconds to close. */
const STOP_MS_MAX = 4_000;

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
  /** What copies the WAL beside the engine. Without one the writer copies for itself. */
  copier?(engine: WriterEngine): Copier;
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
  let copier: Copier | null = null;
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
    copier = parts.copier?.(engine) ?? null;
    loop = new WriterLoop(given, channel, { engine, seal: parts.seal, copier });
    for (;;) {
      for (const call of takeCalls()) loop.run(call);
      // Whatever the engine keeps of a call is a copy.
      channel.reuse();
      invariant(lock !== null, "the writer's lock is held");
    }
  } catch (error) {
    if (error instanceof FileChanged && engine !== null) {
      copier?.stop(STOP_MS_MAX);
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
  readonly #channel: ChildChannel;
  readonly #engine: WriterEngine;
  readonly #seal: Seal;
  readonly #copier: Copier | null;
  readonly #checkpoints: Checkpoints;
  isClosing = false;
  /** As the node was told last. */
  #settings: ClusterSettings;

  constructor(
    { walBytesMax }: ChildArguments,
    channel: ChildChannel,
    { engine, seal, copier }: { engine: WriterEngine; seal: Seal; copier: Copier | null },
  ) {
    this.#seal = seal;
    this.#channel = channel;
    this.#engine = engine;
    this.#copier = copier;
    this.#checkpoints = new Checkpoints({ engine, channel, walBytesMax, copier });
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
        return this.#checkpoints.ifDue();
      }
      case TO_WRITER.commit: {
        const last = decodeEntryId(payload);
        engine.commit(last);
        this.#tellSettings();
        channel.send(FROM_WRITER.committed, 0, encodeEntryId(last));
        return this.#checkpoints.ifDue();
      }
      case TO_WRITER.configure:
        return engine.configure(decodeConfiguration(decodeText(payload)));
      case TO_WRITER.settle:
        return engine.settle(decodeJson(payload) as Verdict);
      case TO_WRITER.checkpoint:
        return this.#checkpoints.asked(id);
      case TO_WRITER.look:
        engine.look();
        return this.#seal.demandSameFile();
      case TO_WRITER.close:
        this.isClosing = true;
        this.#copier?.stop(STOP_MS_MAX);
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
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error && typeof error.code === "string" ? `${error.code}: ` : "";
  return `${code}${error.message}`;
}
