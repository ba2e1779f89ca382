/**
 * The giving side of a snapshot: answers one receiver on one connection, one question after another. It never has
 * more than one answer in memory, and holds no file once the connection is over.
 */

import type { Socket } from "node:net";
import type { Logger, OutgoingSnapshot, SnapshotFiles } from "../node/ports.ts";
import type { NodeStatus } from "../node/service.ts";
import {
  PAGES_IN_CHUNK,
  SNAPSHOT_CHUNK_BYTES,
  SNAPSHOT_PAGE_BYTES,
  SNAPSHOT_VERSION,
  type SnapshotFrame,
  type Want,
} from "../wire/snapshot-codec.ts";
import { SnapshotSocket } from "./snapshot-socket.ts";

export interface SnapshotSourceParts {
  readonly files: SnapshotFiles;
  readonly logger: Logger;
  readonly silenceMs: number;
  status(): NodeStatus;
  /** False: as many as may be are being sent. */
  mayBegin(): boolean;
  ended(source: SnapshotSource): void;
}

type Question = Extract<SnapshotFrame, { kind: "hashes" | "get" }>;

/** Questions that a receiver may have open; one that has more does not speak our protocol. */
const QUESTIONS_MAX = 64;
/** How long a receiver is kept waiting until this node has applied what it asks for. */
const BEHIND_MS_MAX = 3_000;
const WAIT_MS = 1_000;
const LOOK_MS = 50;

export class SnapshotSource {
  readonly #parts: SnapshotSourceParts;
  readonly #socket: SnapshotSocket;
  readonly #questions: Question[] = [];
  #snapshot: OutgoingSnapshot | null = null;
  #wanted = false;
  #sending = false;
  #answering = false;
  #over = false;
  #waiting: NodeJS.Timeout | null = null;
  #looking: NodeJS.Timeout | null = null;

  constructor(socket: Socket, parts: SnapshotSourceParts) {
    this.#parts = parts;
    this.#socket = new SnapshotSocket(socket, {
      frame: (frame) => this.#take(frame),
      ended: (reason) => {
        parts.logger.debug({ reason, remote: this.#socket.remote }, "a snapshot's receiver left");
        this.#end();
      },
    });
  }

  /** It was admitted. */
  get isSending(): boolean {
    return this.#sending;
  }

  start(): void {
    this.#socket.start(this.#parts.silenceMs);
  }

  destroy(): void {
    this.#socket.destroy();
    this.#end();
  }

  #take(frame: SnapshotFrame): void {
    if (frame.kind === "want" && !this.#wanted) {
      this.#wanted = true;
      this.#consider(frame.want, performance.now() + BEHIND_MS_MAX);
    } else if (frame.kind === "hashes" || frame.kind === "get") {
      if (this.#questions.length >= QUESTIONS_MAX || this.#snapshot === null) return this.destroy();
      this.#questions.push(frame);
      this.#answerNext();
    } else if (frame.kind !== "wait") this.destroy();
  }

  #consider(want: Want, untilMs: number): void {
    const { status, mayBegin } = this.#parts;
    const now = status();
    const refusal = refuse(want, now);
    if (refusal !== "") return this.#refuse(refusal);
    if (now.appliedIndex < want.atLeast) {
      if (performance.now() < untilMs) {
        this.#looking = setTimeout(() => this.#consider(want, untilMs), LOOK_MS);
        return;
      }
      return this.#refuse(`it has applied ${now.appliedIndex}, not yet ${want.atLeast}`);
    }
    if (!mayBegin()) return this.#refuse("it sends as many snapshots as it may already");
    this.#sending = true;
    this.#waiting = setInterval(() => this.#socket.send({ kind: "wait" }), WAIT_MS);
    this.#parts.files.offer(want.atLeast, want.begun, (error, snapshot) => {
      if (this.#waiting !== null) clearInterval(this.#waiting);
      if (this.#over) return snapshot?.release();
      if (snapshot === null) return this.#refuse(error?.message ?? "no copy could be made");
      this.#snapshot = snapshot;
      const { index, bytes } = snapshot.manifest;
      const facts = { to: want.from, index, bytes, again: want.begun === snapshot.manifest.id };
      this.#parts.logger.info(facts, "sending a snapshot");
      this.#socket.send({ kind: "manifest", manifest: snapshot.manifest });
    });
  }

  #refuse(reason: string): void {
    this.#socket.send({ kind: "refused", reason });
    this.#socket.finish();
    this.#end();
  }

  #answerNext(): void {
    const snapshot = this.#snapshot;
    if (this.#answering || this.#over || snapshot === null) return;
    const question = this.#questions.shift();
    if (question === undefined) return;
    const { chunk } = question;
    if (chunk >= snapshot.manifest.chunks.length) return this.destroy();
    this.#answering = true;
    const answer = (frame: SnapshotFrame): void => {
      // The next one is read when the kernel has taken this one.
      this.#socket.send(frame, () => {
        this.#answering = false;
        this.#answerNext();
      });
    };
    const failed = (error: Error | null): void => {
      this.#parts.logger.warn({ error: error?.message ?? "" }, "a snapshot cannot be read");
      this.destroy();
    };
    if (question.kind === "hashes") {
      snapshot.pageHashes(chunk, (error, hashes) => {
        if (hashes === null) failed(error);
        else answer({ kind: "hashed", chunk, hashes: asBuffer(hashes) });
      });
      return;
    }
    const { pages } = question;
    snapshot.read(chunk * SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNK_BYTES, (error, bytes) => {
      if (bytes === null) failed(error);
      else answer({ kind: "data", chunk, bytes: pick(asBuffer(bytes), pages) });
    });
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#waiting !== null) clearInterval(this.#waiting);
    if (this.#looking !== null) clearTimeout(this.#looking);
    this.#snapshot?.release();
    this.#parts.ended(this);
  }
}

/** Empty: it may have one. */
function refuse(want: Want, status: NodeStatus): string {
  if (want.version !== SNAPSHOT_VERSION) return `it speaks version ${SNAPSHOT_VERSION}`;
  if (want.to !== status.id) return `it is node ${status.id}`;
  if (want.clusterId !== status.clusterId) return `it belongs to cluster ${status.clusterId}`;
  if (status.trouble !== "") return `it does not serve: ${status.trouble}`;
  const { role } = status;
  const ready = role === "leader" || role === "follower" || role === "candidate";
  return ready ? "" : `it is ${role}`;
}

function pick(chunk: Buffer, pages: readonly number[]): Buffer {
  if (pages.length >= PAGES_IN_CHUNK) return chunk;
  const parts = pages.map((page) => {
    return chunk.subarray(page * SNAPSHOT_PAGE_BYTES, (page + 1) * SNAPSHOT_PAGE_BYTES);
  });
  return Buffer.concat(parts);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
