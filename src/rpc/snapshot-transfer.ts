/**
 * Snapshots between nodes, on connections of their own, so that no heartbeat waits behind them. Takes over what the
 * listener hands it, dials when this node needs one, and bounds how many are sent at a time. The conversation itself is
 * snapshot-source.ts and snapshot-receiver.ts.
 */

import { connect, type Socket } from "node:net";
import type {
  FetchEvents,
  Logger,
  SnapshotFiles,
  SnapshotManifest,
  SnapshotTransport,
} from "../node/ports.ts";
import type { NodeStatus } from "../node/service.ts";
import type { LogIndex, NodeId } from "../raft/entry.ts";
import { SNAPSHOT_MAGIC, SNAPSHOT_VERSION } from "../wire/snapshot-codec.ts";
import { parseAddress } from "./addresses.ts";
import { SnapshotReceiver } from "./snapshot-receiver.ts";
import { SnapshotSource } from "./snapshot-source.ts";

export interface SnapshotTransferOptions {
  readonly id: NodeId;
  /** HOST:PORT; empty if it is not known. */
  addressOf(peer: NodeId): string;
  readonly logger: Logger;
  /** Snapshots sent at a time. Default 2. */
  readonly sendsMax?: number;
  /** A connection on which nothing comes for so long is given up. Milliseconds, default 15,000. */
  readonly silenceMs?: number;
}

interface Started {
  readonly files: SnapshotFiles;
  status(): NodeStatus;
}

export class SnapshotTransfer implements SnapshotTransport {
  readonly #options: SnapshotTransferOptions;
  readonly #sendsMax: number;
  readonly #silenceMs: number;
  readonly #sources = new Set<SnapshotSource>();
  #started: Started | null = null;
  #fetching: { cancel(): void } | null = null;

  constructor(options: SnapshotTransferOptions) {
    this.#options = options;
    this.#sendsMax = options.sendsMax ?? 2;
    this.#silenceMs = options.silenceMs ?? 15_000;
  }

  start(files: SnapshotFiles, status: () => NodeStatus): void {
    this.#started = { files, status };
  }

  /** Null until the node runs, and when it has stopped. */
  get files(): SnapshotFiles | null {
    return this.#started?.files ?? null;
  }

  stop(done: () => void): void {
    this.#started = null;
    this.#fetching?.cancel();
    for (const source of [...this.#sources]) source.destroy();
    setImmediate(done);
  }

  /** Takes over a connection whose first bytes were SNAPSHOT_MAGIC. */
  accept(socket: Socket): void {
    const started = this.#started;
    // Twice as many as may be sent: those beyond are told so.
    if (started === null || this.#sources.size >= 2 * this.#sendsMax) {
      socket.destroy();
      return;
    }
    const source = new SnapshotSource(socket, {
      ...started,
      logger: this.#options.logger,
      silenceMs: this.#silenceMs,
      mayBegin: () => {
        const sending = [...this.#sources].filter(({ isSending }) => isSending);
        return sending.length < this.#sendsMax;
      },
      ended: (ended) => this.#sources.delete(ended),
    });
    this.#sources.add(source);
    source.start();
  }

  fetch(from: NodeId, atLeast: LogIndex, events: FetchEvents): { cancel(): void } {
    const fetch = new Fetch(from, atLeast, events, this.#options.logger);
    this.#fetching = fetch;
    const started = this.#started;
    const address = this.#options.addressOf(from);
    if (started === null || address === "") {
      setImmediate(() => fetch.fail(`where node ${from} is, is not known`));
      return fetch;
    }
    const socket = connect({ ...parseAddress(address), noDelay: true });
    // The receiver adds listeners of its own when it is connected.
    socket.once("error", (error) => fetch.fail(error.message));
    socket.setTimeout(this.#silenceMs, () => fetch.fail("no connection in time"));
    fetch.dialing = socket;
    socket.once("connect", () => {
      socket.setTimeout(0);
      socket.removeAllListeners("timeout");
      socket.write(SNAPSHOT_MAGIC);
      const { id } = this.#options;
      const { clusterId } = started.status();
      const begun = started.files.begun();
      const want = { version: SNAPSHOT_VERSION, clusterId, from: id, to: from, atLeast, begun };
      fetch.receiver = new SnapshotReceiver(socket, want, {
        silenceMs: this.#silenceMs,
        receive: (manifest, done) => started.files.receive(manifest, done),
        ready: (manifest, counts) => fetch.ready(manifest, { ...counts }),
        failed: (reason) => fetch.fail(reason),
      });
      fetch.receiver.start();
    });
    return fetch;
  }
}

/** One attempt: exactly one event, or none if it was cancelled. */
class Fetch {
  readonly #from: NodeId;
  readonly #atLeast: LogIndex;
  readonly #events: FetchEvents;
  readonly #logger: Logger;
  readonly #startedAtMs = performance.now();
  dialing: Socket | null = null;
  receiver: SnapshotReceiver | null = null;
  #over = false;

  constructor(from: NodeId, atLeast: LogIndex, events: FetchEvents, logger: Logger) {
    this.#from = from;
    this.#atLeast = atLeast;
    this.#events = events;
    this.#logger = logger;
  }

  cancel(): void {
    this.#over = true;
    this.receiver?.cancel();
    this.dialing?.destroy();
  }

  ready(manifest: SnapshotManifest, counts: object): void {
    if (this.#over) return;
    this.#over = true;
    const tookMs = Math.round(performance.now() - this.#startedAtMs);
    const { index, term, bytes, configuration } = manifest;
    const facts = { from: this.#from, atLeast: this.#atLeast, index, of: bytes, ...counts, tookMs };
    this.#logger.info(facts, "fetched a snapshot");
    this.#events.ready({ index, term }, configuration);
  }

  fail(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.dialing?.destroy();
    this.#events.failed(reason);
  }
}
