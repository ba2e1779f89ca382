/**
 * The transport between nodes (node/ports.ts), over TCP: one outgoing connection to every peer for what this node
 * says, incoming ones for what they say, a hello first on each. Best effort: what does not fit is dropped and counted.
 * It judges no cluster and no membership: that is the node's business.
 */

import type { Socket } from "node:net";
import type {
  FormAnswer,
  FormRequest,
  Logger,
  PeerFinding,
  PeerHello,
  Transport,
  TransportEvents,
} from "../node/ports.ts";
import type { NodeId } from "../raft/entry.ts";
import type { Message } from "../raft/message.ts";
import {
  encodeFinding,
  encodeForm,
  encodeFormResult,
  encodeGoodbye,
  encodeHello,
  encodePing,
  type Hello,
  PEER_VERSION,
  type PeerFrame,
} from "../wire/peer-codec.ts";
import type { RaftBatch } from "../wire/raft-codec.ts";
import { parseAddress } from "./addresses.ts";
import { PeerConnection } from "./peer-connection.ts";
import { PeerLink, type PeerLinkCounts, type PeerTiming } from "./peer-link.ts";
import { ownPlatform, type Platform, platformConflict } from "./platform.ts";

const MIB = 1024 * 1024;

export const DEFAULT_PEER_TIMING: PeerTiming = {
  redialMinMs: 20,
  refusedMaxMs: 100,
  redialMaxMs: 500,
  helloMs: 3_000,
  pingMs: 1_000,
  goodbyeMs: 500,
};

export interface PeerTransportOptions {
  readonly id: NodeId;
  /** HOST:PORT by id; this node's own is passed over. */
  readonly peers: ReadonlyMap<NodeId, string>;
  readonly logger: Logger;
  readonly timing?: Partial<PeerTiming>;
  /** Bytes waiting for one peer's kernel; more is dropped. Default 16 MiB: Raft keeps at most 4 MiB under way. */
  readonly maxQueueBytes?: number;
  /** Dice for the jitter. Default Math.random. */
  readonly random?: () => number;
  /** What this node runs on. Default: what this process finds. */
  readonly platform?: Platform;
}

export interface PeerCounts extends PeerLinkCounts {
  readonly connected: boolean;
  readonly queuedBytes: number;
}

/** Who is at the other end of an incoming connection. */
interface Incoming {
  readonly connection: PeerConnection;
  peer: NodeId | null;
  /** Of the hello on this connection. */
  incarnation: string;
  timer: NodeJS.Timeout | null;
}

export class PeerTransport implements Transport {
  readonly #options: PeerTransportOptions;
  readonly #timing: PeerTiming;
  readonly #platform: Platform;
  readonly #links = new Map<NodeId, PeerLink>();
  readonly #incoming = new Set<Incoming>();
  #events: TransportEvents | null = null;
  #hello: (() => PeerHello) | null = null;
  #strays = 0;
  #stopping = false;

  /** Starts nothing. @throws BalsaError INVALID_ARGUMENT for a peer's address that is none. */
  constructor(options: PeerTransportOptions) {
    this.#options = options;
    this.#platform = options.platform ?? ownPlatform();
    this.#timing = { ...DEFAULT_PEER_TIMING, ...options.timing };
    for (const [peer, address] of options.peers) {
      if (peer !== options.id) this.#links.set(peer, this.#link(peer, address));
    }
  }

  // --- Transport -----------------------------------------------------------------------------------------------

  start(events: TransportEvents, hello: () => PeerHello): void {
    this.#events = events;
    this.#hello = hello;
    for (const link of this.#links.values()) link.start();
  }

  setPeers(peers: ReadonlyMap<NodeId, string>): void {
    if (this.#stopping) return;
    for (const [peer, link] of [...this.#links]) {
      if (peers.has(peer)) continue;
      this.#links.delete(peer);
      const connection = link.stop();
      connection?.write(encodeGoodbye());
      connection?.finish(this.#timing.goodbyeMs, () => {});
    }
    for (const [peer, address] of peers) {
      if (peer !== this.#options.id) this.#setPeer(peer, address);
    }
  }

  /** An address that is none was refused where it came from; here it is passed over. */
  #setPeer(peer: NodeId, text: string): void {
    try {
      const known = this.#links.get(peer);
      if (known !== undefined) return known.redirect(parseAddress(text));
      const link = this.#link(peer, text);
      this.#links.set(peer, link);
      if (this.#events !== null) link.start();
    } catch (error) {
      this.#options.logger.warn({ peer, error: (error as Error).message }, "no address of a peer");
    }
  }

  send(to: NodeId, messages: readonly Message[], clockMs: number, lowSpace = false): void {
    this.#links.get(to)?.send(messages, clockMs, lowSpace);
  }

  sendForm(to: NodeId, request: FormRequest): void {
    this.#links.get(to)?.sendFrame(encodeForm(request));
  }

  sendFormResult(to: NodeId, answer: FormAnswer): void {
    this.#links.get(to)?.sendFrame(encodeFormResult(answer));
  }

  sendFinding(to: NodeId, finding: PeerFinding): void {
    this.#links.get(to)?.sendFrame(encodeFinding(finding));
  }

  stop(done: () => void): void {
    this.#stopping = true;
    this.#events = null;
    const open: PeerConnection[] = [];
    for (const link of this.#links.values()) {
      const connection = link.stop();
      if (connection !== null) open.push(connection);
    }
    for (const incoming of this.#incoming) {
      if (incoming.timer !== null) clearTimeout(incoming.timer);
      if (incoming.peer === null) incoming.connection.destroy();
      else open.push(incoming.connection);
    }
    this.#incoming.clear();
    let left = open.length;
    if (left === 0) setImmediate(done);
    for (const connection of open) {
      connection.write(encodeGoodbye());
      connection.finish(this.#timing.goodbyeMs, () => {
        left -= 1;
        if (left === 0) done();
      });
    }
  }

  // --- for the listener ----------------------------------------------------------------------------------------

  /** Takes over a connection whose first bytes were PEER_MAGIC; what follows them is still unread. */
  accept(socket: Socket): void {
    if (this.#events === null) {
      socket.destroy();
      return;
    }
    const connection = new PeerConnection(socket, {
      frame: (frame) => this.#receive(incoming, frame),
      ended: (reason) => this.#ended(incoming, "crashed", reason),
    });
    const timer = setTimeout(() => {
      this.#close(incoming);
      this.#options.logger.debug({ remote: connection.remote }, "a peer said no hello in time");
    }, this.#timing.helloMs);
    const incoming: Incoming = { connection, peer: null, incarnation: "", timer };
    this.#incoming.add(incoming);
    connection.start();
  }

  /** What became of the messages to each peer. */
  counts(): ReadonlyMap<NodeId, PeerCounts> {
    const counts = new Map<NodeId, PeerCounts>();
    for (const [peer, link] of this.#links) {
      const { established: connected, queuedBytes } = link;
      counts.set(peer, { ...link.counts(), connected, queuedBytes });
    }
    return counts;
  }

  // --- outgoing ------------------------------------------------------------------------------------------------

  #link(peer: NodeId, text: string): PeerLink {
    const { logger, maxQueueBytes = 16 * MIB, random = Math.random } = this.#options;
    return new PeerLink({
      peer,
      address: parseAddress(text),
      timing: this.#timing,
      maxQueueBytes,
      logger,
      random,
      platform: this.#platform,
      hello: () => this.#encodedHello(peer),
      events: {
        established: (hello) => {
          logger.info({ peer, address: hello.address }, "connected to the peer");
          this.#events?.hello(toPeerHello(hello));
        },
        lost: (how) => this.#events?.disconnected(peer, how),
        failed: (how) => this.#events?.unreachable(peer, how),
      },
    });
  }

  #encodedHello(to: NodeId): Buffer {
    const hello = this.#hello?.();
    if (hello === undefined) return encodeGoodbye();
    return encodeHello({ ...hello, ...this.#platform, version: PEER_VERSION, to });
  }

  // --- incoming ------------------------------------------------------------------------------------------------

  #receive(incoming: Incoming, frame: PeerFrame): void {
    const { connection, peer } = incoming;
    if (peer === null) {
      if (frame.kind === "hello") this.#greet(incoming, frame.hello);
      else this.#close(incoming);
      return;
    }
    switch (frame.kind) {
      case "raft":
        this.#deliver(peer, frame.batch, incoming.incarnation);
        return;
      case "ping":
        if (!frame.answer) connection.write(encodePing("answer"));
        return;
      case "goodbye":
        this.#ended(incoming, "goodbye", null);
        return;
      case "form":
        this.#events?.form(peer, frame.form);
        return;
      case "formResult":
        this.#events?.formResult(peer, frame.result);
        return;
      case "finding":
        this.#events?.finding(peer, frame.finding, incoming.incarnation);
        return;
      case "hello":
        this.#events?.hello({ ...toPeerHello(frame.hello), id: peer });
        return;
      case "unknown":
        return;
    }
  }

  /** The answer goes out in any case: it tells a stranger whom it has reached. */
  #greet(incoming: Incoming, hello: Hello): void {
    const { connection } = incoming;
    const { id, logger } = this.#options;
    connection.write(this.#encodedHello(hello.id));
    const misled =
      hello.version !== PEER_VERSION || hello.to !== id || hello.id === id || hello.id === 0;
    const conflict = platformConflict(this.#platform, hello);
    if (misled || conflict !== null) {
      const { version, to } = hello;
      const facts = { remote: connection.remote, version, from: hello.id, to, id };
      const why = misled ? "wrong version or address, or the id is ours" : conflict;
      logger.warn(facts, `refused a peer's connection: ${why}`);
      if (incoming.timer !== null) clearTimeout(incoming.timer);
      this.#incoming.delete(incoming);
      connection.finish(this.#timing.goodbyeMs, () => {});
      return;
    }
    if (incoming.timer !== null) clearTimeout(incoming.timer);
    incoming.timer = null;
    this.#replace(hello.id);
    incoming.peer = hello.id;
    incoming.incarnation = hello.incarnation;
    connection.trust();
    this.#events?.hello(toPeerHello(hello));
    this.#links.get(hello.id)?.nudge();
  }

  /** A peer that dials anew has lost its old connection, whether or not this side has noticed. */
  #replace(peer: NodeId): void {
    for (const other of [...this.#incoming]) {
      if (other.peer !== peer) continue;
      other.connection.destroy();
      this.#ended(other, "crashed", new Error("the peer dialed anew"));
    }
  }

  #deliver(peer: NodeId, batch: RaftBatch, incarnation: string): void {
    const { group, messages, clockMs, lowSpace } = batch;
    if (group !== 0) {
      this.#stray(peer, messages.length);
      return;
    }
    const { id } = this.#options;
    const mine = messages.every((message) => message.from === peer && message.to === id);
    const kept = mine
      ? messages
      : messages.filter((message) => message.from === peer && message.to === id);
    if (kept.length < messages.length) this.#stray(peer, messages.length - kept.length);
    if (kept.length > 0) this.#events?.messages(peer, kept, { clockMs, lowSpace, incarnation });
  }

  #stray(peer: NodeId, count: number): void {
    this.#strays += count;
    const facts = { peer, strays: this.#strays };
    this.#options.logger.debug(facts, "dropped messages that name another node or database");
  }

  #ended(incoming: Incoming, how: "crashed" | "goodbye", reason: Error | null): void {
    if (!this.#close(incoming)) return;
    const { peer, connection } = incoming;
    if (peer === null) return;
    const facts = { peer, how, remote: connection.remote, error: reason?.message ?? "" };
    this.#options.logger.info(facts, "connection from the peer ended");
    this.#events?.disconnected(peer, how);
  }

  /** False if it was closed before. */
  #close(incoming: Incoming): boolean {
    if (!this.#incoming.delete(incoming)) return false;
    if (incoming.timer !== null) clearTimeout(incoming.timer);
    incoming.connection.destroy();
    return true;
  }
}

function toPeerHello(hello: Hello): PeerHello {
  const { id, clusterId, phase, members, incarnation, seed, votesFrom } = hello;
  const { address, machineVersion } = hello;
  return { id, clusterId, phase, members, incarnation, seed, votesFrom, address, machineVersion };
}
