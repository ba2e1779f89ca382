/**
 * The outgoing connection to one peer: dials, says hello, carries what this node sends, and dials again when it
 * breaks. It carries nothing back but the peer's hello, its goodbye and its answers to pings.
 */

import { connect, type Socket } from "node:net";
import type { Logger } from "../node/ports.ts";
import type { NodeId } from "../raft/entry.ts";
import type { Message } from "../raft/message.ts";
import {
  encodePing,
  encodeRaftFrame,
  type Hello,
  PEER_MAGIC,
  PEER_VERSION,
  type PeerFrame,
} from "../wire/peer-codec.ts";
import { measureRaftBatches } from "../wire/raft-codec.ts";
import type { Address } from "./addresses.ts";
import { PeerConnection } from "./peer-connection.ts";
import { type Platform, platformConflict } from "./platform.ts";

/** In milliseconds. */
export interface PeerTiming {
  /** First wait before dialing again; doubles from failure to failure, with jitter. Default 20. */
  readonly redialMinMs: number;
  /** Longest wait while nothing listens there: failover depends on it (DESIGN D8). Default 100. */
  readonly refusedMaxMs: number;
  /** Longest wait after any other failure. Default 500. */
  readonly redialMaxMs: number;
  /** For connecting and the exchange of hellos together. Default 3,000. */
  readonly helloMs: number;
  /** Between two pings; after three without an answer the peer counts as gone. Default 1,000. */
  readonly pingMs: number;
  /** How long a goodbye may take. Default 500. */
  readonly goodbyeMs: number;
}

export interface PeerLinkEvents {
  /** Connected, and the peer is who it should be. */
  established(hello: Hello): void;
  /** An established connection ended. */
  lost(how: "crashed" | "goodbye"): void;
  failed(how: "refused" | "other"): void;
}

export interface PeerLinkParts {
  readonly peer: NodeId;
  readonly address: Address;
  readonly timing: PeerTiming;
  /** Bytes waiting for the kernel; a frame that would exceed it is dropped. */
  readonly maxQueueBytes: number;
  readonly logger: Logger;
  readonly random: () => number;
  readonly platform: Platform;
  /** This node's hello, encoded, to that peer. */
  readonly hello: () => Buffer;
  readonly events: PeerLinkEvents;
}

/** Messages dropped since the start, by reason. */
export interface PeerLinkCounts {
  readonly sentMessages: number;
  readonly sentBytes: number;
  readonly droppedDown: number;
  readonly droppedFull: number;
}

type State =
  | { readonly kind: "stopped" }
  | { readonly kind: "waiting"; readonly timer: NodeJS.Timeout }
  /** `held`: what was sent meanwhile. */
  | {
      readonly kind: "dialing";
      readonly socket: Socket;
      connection: PeerConnection | null;
      readonly timer: NodeJS.Timeout;
      readonly held: Held[];
    }
  | {
      readonly kind: "established";
      readonly connection: PeerConnection;
      readonly pings: NodeJS.Timeout;
      readonly sinceMs: number;
    };

interface Held {
  readonly frame: Buffer;
  readonly count: number;
}

/** Frames are cut here, so that no message waits long behind another. */
const BATCH_BYTES = 900_000;
/** Kept for a peer that is being dialed: enough for votes and formation, not for a backlog. */
const HELD_BYTES_MAX = 64 * 1024;
const PINGS_UNANSWERED_MAX = 3;
/** A connection that lasted this long was a good one: dialing starts afresh. */
const GOOD_AFTER_MS = 1000;

export class PeerLink {
  readonly #parts: PeerLinkParts;
  #address: Address;
  #state: State = { kind: "stopped" };
  #failures = 0;
  #sentMessages = 0;
  #sentBytes = 0;
  #droppedDown = 0;
  #droppedFull = 0;
  #complained = false;
  #unanswered = 0;
  #takenBytes = 0;

  constructor(parts: PeerLinkParts) {
    this.#parts = parts;
    this.#address = parts.address;
  }

  get established(): boolean {
    return this.#state.kind === "established";
  }

  get queuedBytes(): number {
    return this.#state.kind === "established" ? this.#state.connection.queuedBytes : 0;
  }

  counts(): PeerLinkCounts {
    return {
      sentMessages: this.#sentMessages,
      sentBytes: this.#sentBytes,
      droppedDown: this.#droppedDown,
      droppedFull: this.#droppedFull,
    };
  }

  start(): void {
    if (this.#state.kind === "stopped") this.#dial();
  }

  /** The peer showed that it runs: do not wait any longer. */
  nudge(): void {
    if (this.#state.kind !== "waiting") return;
    clearTimeout(this.#state.timer);
    this.#dial();
  }

  send(messages: readonly Message[], clockMs: number, lowSpace: boolean): void {
    for (const batch of measureRaftBatches(messages, { clockMs, lowSpace }, BATCH_BYTES)) {
      this.#write({ frame: encodeRaftFrame(batch), count: batch.count });
    }
  }

  /** A frame other than Raft's. */
  sendFrame(frame: Buffer): void {
    this.#write({ frame, count: 1 });
  }

  /** The peer is found somewhere else. An established connection goes on: it leads to the peer. */
  redirect(address: Address): void {
    const { host, port } = this.#address;
    if (host === address.host && port === address.port) return;
    this.#address = address;
    this.#failures = 0;
    this.nudge();
  }

  /** Dials no more. Returns the connection, if there is one, so that a goodbye can be said on it. */
  stop(): PeerConnection | null {
    const state = this.#state;
    this.#state = { kind: "stopped" };
    if (state.kind === "waiting") clearTimeout(state.timer);
    if (state.kind === "dialing") {
      clearTimeout(state.timer);
      state.socket.destroy();
    }
    if (state.kind !== "established") return null;
    clearInterval(state.pings);
    return state.connection;
  }

  // --- sending -------------------------------------------------------------------------------------------------

  #write(held: Held): void {
    const state = this.#state;
    if (state.kind === "dialing" && heldBytes(state.held) + held.frame.length <= HELD_BYTES_MAX) {
      state.held.push(held);
      return;
    }
    if (state.kind !== "established") {
      this.#droppedDown += held.count;
      return;
    }
    const queued = state.connection.queuedBytes;
    if (queued > 0 && queued + held.frame.length > this.#parts.maxQueueBytes) {
      this.#dropFull(held.count, queued);
      return;
    }
    this.#sentMessages += held.count;
    this.#sentBytes += held.frame.length;
    state.connection.write(held.frame);
  }

  #dropFull(count: number, queuedBytes: number): void {
    this.#droppedFull += count;
    if (this.#complained) return;
    this.#complained = true;
    const { peer, logger } = this.#parts;
    const facts = { peer, queuedBytes, droppedFull: this.#droppedFull };
    logger.warn(facts, "the peer takes messages too slowly: dropping, until it has caught up");
  }

  // --- dialing -------------------------------------------------------------------------------------------------

  #dial(): void {
    const { timing } = this.#parts;
    const { host, port } = this.#address;
    const socket = connect({ host, port, noDelay: true });
    const timer = setTimeout(() => {
      this.#fail("other", new Error(`no hello within ${timing.helloMs} ms`));
    }, timing.helloMs);
    const state: State = { kind: "dialing", socket, connection: null, timer, held: [] };
    this.#state = state;
    socket.on("error", (error) => {
      if (this.#state !== state || state.connection !== null) return;
      const refused = (error as NodeJS.ErrnoException).code === "ECONNREFUSED";
      this.#fail(refused ? "refused" : "other", error);
    });
    socket.once("connect", () => {
      if (this.#state !== state) return;
      state.connection = new PeerConnection(socket, {
        frame: (frame) => this.#receive(frame),
        ended: (reason) => this.#ended(reason),
      });
      state.connection.write(PEER_MAGIC);
      state.connection.write(this.#parts.hello());
      state.connection.start();
    });
  }

  #receive(frame: PeerFrame): void {
    const state = this.#state;
    if (state.kind === "dialing") {
      if (frame.kind === "hello") this.#greet(frame.hello);
      else this.#fail("other", new Error(`${frame.kind} where a hello was due`));
      return;
    }
    if (state.kind !== "established") return;
    if (frame.kind === "ping" && frame.answer) this.#unanswered = 0;
    if (frame.kind === "goodbye") this.#lose("goodbye", null);
  }

  #greet(hello: Hello): void {
    const state = this.#state;
    if (state.kind !== "dialing" || state.connection === null) return;
    const { peer } = this.#parts;
    if (hello.version !== PEER_VERSION || hello.id !== peer) {
      const who = `node ${hello.id} with protocol version ${hello.version}`;
      this.#fail("other", new Error(`${who} answers there, not node ${peer} with ${PEER_VERSION}`));
      return;
    }
    const conflict = platformConflict(this.#parts.platform, hello);
    if (conflict !== null) {
      this.#fail("other", new Error(`node ${peer} cannot be a peer: ${conflict}`));
      return;
    }
    clearTimeout(state.timer);
    const { connection, held } = state;
    connection.trust();
    const pings = setInterval(() => this.#ping(), this.#parts.timing.pingMs);
    this.#state = { kind: "established", connection, pings, sinceMs: performance.now() };
    this.#unanswered = 0;
    this.#takenBytes = 0;
    this.#complained = false;
    for (const one of held) this.#write(one);
    this.#parts.events.established(hello);
  }

  /** Counts turns of the timer, not time: a node that slept must not blame its peers for it. */
  #ping(): void {
    if (this.#state.kind !== "established") return;
    const { connection } = this.#state;
    const { takenBytes } = connection;
    const draining = connection.queuedBytes > 0 && takenBytes > this.#takenBytes;
    this.#takenBytes = takenBytes;
    if (this.#unanswered >= PINGS_UNANSWERED_MAX && !draining) {
      this.#lose("crashed", new Error(`${this.#unanswered} pings without an answer`));
      return;
    }
    this.#unanswered += 1;
    connection.write(encodePing("question"));
  }

  // --- endings -------------------------------------------------------------------------------------------------

  #ended(reason: Error | null): void {
    if (this.#state.kind === "dialing") this.#fail("other", reason ?? new Error("hung up"));
    else if (this.#state.kind === "established") this.#lose("crashed", reason);
  }

  #fail(how: "refused" | "other", reason: Error): void {
    const state = this.#state;
    if (state.kind !== "dialing") return;
    clearTimeout(state.timer);
    state.connection?.destroy();
    state.socket.destroy();
    for (const { count } of state.held) this.#droppedDown += count;
    const { peer, logger, events } = this.#parts;
    const facts = { peer, how, error: reason.message, failures: this.#failures };
    if (this.#failures === 0) logger.info(facts, "cannot reach the peer");
    else logger.debug(facts, "cannot reach the peer");
    this.#redial(how);
    events.failed(how);
  }

  #lose(how: "crashed" | "goodbye", reason: Error | null): void {
    const state = this.#state;
    if (state.kind !== "established") return;
    clearInterval(state.pings);
    state.connection.destroy();
    if (performance.now() - state.sinceMs > GOOD_AFTER_MS) this.#failures = 0;
    const { peer, logger, events } = this.#parts;
    const error = reason?.message ?? "";
    logger.info({ peer, how, error, ...this.counts() }, "connection to the peer ended");
    this.#redial(how === "goodbye" ? "refused" : "other");
    events.lost(how);
  }

  #redial(how: "refused" | "other"): void {
    const { timing, random } = this.#parts;
    const maxMs = how === "refused" ? timing.refusedMaxMs : timing.redialMaxMs;
    const fullMs = Math.min(maxMs, timing.redialMinMs * 2 ** Math.min(this.#failures, 10));
    this.#failures += 1;
    const timer = setTimeout(() => this.#dial(), fullMs * (0.5 + random() / 2));
    this.#state = { kind: "waiting", timer };
  }
}

function heldBytes(held: readonly Held[]): number {
  return held.reduce((sum, { frame }) => sum + frame.length, 0);
}
