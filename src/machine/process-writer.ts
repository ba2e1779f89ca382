/**
 * The writer as its node sees it: calls become frames, answers become events, in order. Asks for a checkpoint when the
 * writer has been idle for a moment. It judges nothing: deadlines and replacement belong to the node.
 */

import type { ExecuteJob, MachineState, Verdict, Writer, WriterEvents } from "../node/ports.ts";
import type { Configuration, Entry, EntryId } from "../raft/entry.ts";
import { invariant } from "../sql/invariant.ts";
import { encodeConfiguration } from "../wire/configuration-codec.ts";
import type { ChildProcess } from "./child-process.ts";
import type { ChildSupply } from "./child-supply.ts";
import { POKED } from "./frames.ts";
import {
  decodeApplied,
  decodeEntryId,
  decodeJson,
  decodeOutcome,
  decodeSettings,
  decodeState,
  decodeText,
  encodeEntries,
  encodeEntryId,
  encodeJobHead,
  encodeJson,
  FROM_WRITER,
  TO_WRITER,
} from "./process-messages.ts";

/** Silence after which a busy writer is asked to write the answers it holds back. */
const POKE_MS = 5;
/** Idle for so long after a commit: time for a checkpoint. */
const IDLE_MS = 100;
/** An orderly end takes at most this long. */
const CLOSE_MS_MAX = 5_000;

/** A reader pinned a part of the WAL: time for another checkpoint, if the writer is still idle. */
const RETRY_MS = 500;
/** The WAL is being copied beside the writer, which takes less than this for what comes at once. */
const COPYING_MS = 50;
/** Has somebody else written to the file? A writer that works looks with each transaction as well. */
const LOOK_MS = 1_000;
/** Id of a checkpoint that was asked for; those that the writer makes by itself have none. */
const ASKED = 1;

export interface ProcessWriterEvents extends WriterEvents {
  /** Readers kept a checkpoint from copying so much of the WAL. */
  pinned(bytes: number): void;
  /** Nothing copies the WAL beside the writer, for this reason: it does so by itself, as it can. Told once. */
  copierFailed(why: string): void;
  /** It was closed in order, but the file has no seal. */
  unsealed(why: string): void;
}

type State = "open" | "changed" | "closing" | "killed" | "exited";

export class ProcessWriter implements Writer {
  readonly #supply: ChildSupply;
  #child: ChildProcess | null = null;
  readonly #events: ProcessWriterEvents;
  #state: State = "open";
  /** Ids of the jobs not answered yet, in order; frames carry 32 bits of them. */
  #executing: number[] = [];
  #answered = 0;
  /** Calls not answered yet. */
  #awaited = 0;
  /** Since the last look; once a poke was heard, another would find nothing new until it speaks. */
  #silence: "spoke" | "silent" | "heard" = "spoke";
  #pokeTimer: NodeJS.Timeout | null = null;
  #idleTimer: NodeJS.Timeout | null = null;
  #closeTimer: NodeJS.Timeout | null = null;
  #lookTimer: NodeJS.Timeout | null = null;
  /** Something was committed that no checkpoint has seen. */
  #dirty = false;

  constructor(supply: ChildSupply, events: ProcessWriterEvents) {
    this.#supply = supply;
    this.#events = events;
  }

  /** 0 if it never started. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  start(): void {
    this.#child = this.#supply.take("writer", {
      frame: (type, id, payload) => this.#frame(type, id, payload),
      exited: (reason) => this.#exited(reason),
    });
  }

  execute(job: ExecuteJob): void {
    if (this.#state !== "open") return;
    this.#executing.push(job.id);
    this.#child?.send(TO_WRITER.execute, job.id >>> 0, encodeJobHead(job), job.batch);
    this.#await();
  }

  apply(entries: readonly Entry[]): void {
    if (this.#state !== "open") return;
    invariant(entries.length > 0, "apply of no entries");
    this.#child?.send(TO_WRITER.apply, 0, encodeEntries(entries));
    this.#await();
  }

  commit(last: EntryId): void {
    if (this.#state !== "open") return;
    this.#child?.send(TO_WRITER.commit, 0, encodeEntryId(last));
    this.#await();
  }

  configure(configuration: Configuration): void {
    if (this.#state !== "open") return;
    const text = encodeConfiguration(configuration);
    this.#child?.send(TO_WRITER.configure, 0, Buffer.from(text));
  }

  settle(verdict: Verdict): void {
    if (this.#state !== "open") return;
    this.#child?.send(TO_WRITER.settle, 0, encodeJson(verdict));
  }

  /** `checkpointed` or `pinned` follows, or it is asked for again while the WAL is being copied. */
  checkpoint(): void {
    if (this.#state !== "open") return;
    this.#dirty = false;
    this.#child?.send(TO_WRITER.checkpoint, ASKED);
    this.#await();
  }

  /** After it nothing but `exited` is told. */
  kill(): void {
    if (this.#state === "exited") return;
    this.#state = "killed";
    this.#stopTimers();
    this.#child?.kill("killed by its node");
  }

  close(): void {
    if (this.#state !== "open" && this.#state !== "changed") return;
    this.#stopTimers();
    this.#state = "closing";
    this.#child?.send(TO_WRITER.close, 0);
    this.#closeTimer = setTimeout(() => {
      this.#child?.kill(`did not close within ${CLOSE_MS_MAX} ms`);
    }, CLOSE_MS_MAX);
  }

  #frame(type: number, id: number, payload: Uint8Array): void {
    if (this.#state === "killed") return;
    this.#silence = type === POKED ? "heard" : "spoke";
    if (type === POKED) return;
    switch (type) {
      case FROM_WRITER.ready:
        // The WAL may hold what an earlier writer left.
        this.#dirty = true;
        this.#armIdle(IDLE_MS);
        return this.#ready(decodeState(payload));
      case FROM_WRITER.executed: {
        const job = this.#nextJob();
        // Its words are put together only if they are needed.
        if (job >>> 0 !== id) invariant(false, `answer to job ${id}, expected ${job}`);
        this.#settle();
        return this.#events.executed(job, decodeOutcome(payload));
      }
      case FROM_WRITER.applied: {
        const { last, mismatch } = decodeApplied(payload);
        this.#dirty = true;
        this.#settle();
        return this.#events.applied(last, mismatch);
      }
      case FROM_WRITER.committed:
        this.#dirty = true;
        this.#settle();
        return this.#events.committed(decodeEntryId(payload));
      case FROM_WRITER.settings:
        return this.#events.settings(decodeSettings(payload));
      case FROM_WRITER.checkpointed:
        return this.#checkpointed(id === ASKED, payload);
      case FROM_WRITER.pinned:
        return this.#pinned(id === ASKED, payload);
      case FROM_WRITER.copying:
        return this.#again(id === ASKED, COPYING_MS);
      case FROM_WRITER.copierFailed:
        return this.#events.copierFailed(decodeText(payload));
      case FROM_WRITER.changed:
        this.#changed();
        return this.#events.changed(decodeText(payload));
      case FROM_WRITER.fault:
        return this.#child?.expectExit(decodeText(payload));
      case FROM_WRITER.closed:
        if (payload.length > 0) this.#events.unsealed(decodeText(payload));
        return this.#child?.expectExit("closed");
      default:
        invariant(false, `a frame of unknown type ${type} from the writer`);
    }
  }

  #ready(state: MachineState): void {
    if (state.changed !== undefined) this.#changed();
    else if (this.#state === "open") {
      this.#lookTimer = setInterval(() => this.#child?.send(TO_WRITER.look, 0), LOOK_MS).unref();
    }
    this.#events.ready(state);
  }

  /** It answers nothing any more, and is asked nothing. */
  #changed(): void {
    this.#stopTimers();
    if (this.#state === "open") this.#state = "changed";
  }

  #nextJob(): number {
    const job = this.#executing[this.#answered];
    invariant(job !== undefined, "an answer from the writer to no job");
    this.#answered += 1;
    if (this.#answered > 1_024 || this.#answered === this.#executing.length) {
      this.#executing = this.#executing.slice(this.#answered);
      this.#answered = 0;
    }
    return job;
  }

  #await(): void {
    this.#awaited += 1;
    this.#pokeTimer ??= setTimeout(() => this.#onSilence(), POKE_MS).unref();
  }

  #onSilence(): void {
    if (this.#awaited === 0 || this.#state !== "open") {
      this.#pokeTimer = null;
      return;
    }
    if (this.#silence === "silent") this.#child?.poke();
    if (this.#silence === "spoke") this.#silence = "silent";
    this.#pokeTimer?.refresh();
  }

  #settle(): void {
    this.#awaited -= 1;
    if (this.#awaited === 0 && this.#dirty) this.#armIdle(IDLE_MS);
  }

  #armIdle(delayMs: number): void {
    if (this.#idleTimer !== null) clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => this.#onIdle(), delayMs).unref();
  }

  #checkpointed(wasAsked: boolean, payload: Uint8Array): void {
    if (wasAsked) this.#awaited -= 1;
    const { index } = decodeEntryId(payload);
    if (this.#awaited === 0 && this.#dirty) this.#armIdle(IDLE_MS);
    this.#events.checkpointed(index);
  }

  #pinned(wasAsked: boolean, payload: Uint8Array): void {
    this.#again(wasAsked, RETRY_MS);
    const { bytes } = decodeJson(payload) as { readonly bytes: number };
    this.#events.pinned(bytes);
  }

  #again(wasAsked: boolean, delayMs: number): void {
    if (wasAsked) this.#awaited -= 1;
    this.#dirty = true;
    if (this.#awaited === 0) this.#armIdle(delayMs);
  }

  #onIdle(): void {
    if (this.#awaited === 0 && this.#dirty) this.checkpoint();
  }

  #exited(reason: string): void {
    if (this.#state === "exited") return;
    this.#state = "exited";
    this.#stopTimers();
    this.#events.exited(reason);
  }

  #stopTimers(): void {
    for (const timer of [this.#pokeTimer, this.#idleTimer, this.#closeTimer, this.#lookTimer]) {
      if (timer !== null) clearTimeout(timer);
    }
    this.#lookTimer = null;
  }
}
