/** Transports on loopback ports, with everything they report written down. For tests only. */

import { connect, type Socket } from "node:net";
import { vi } from "vitest";
import type {
  FormAnswer,
  FormRequest,
  Logger,
  MessageFacts,
  PeerFinding,
  PeerHello,
  TransportEvents,
} from "../../src/node/ports.ts";
import type { NodeId } from "../../src/raft/entry.ts";
import type { Message } from "../../src/raft/message.ts";
import { type Address, formatAddress } from "../../src/rpc/addresses.ts";
import { Listener } from "../../src/rpc/listener.ts";
import type { PeerTiming } from "../../src/rpc/peer-link.ts";
import { PeerTransport } from "../../src/rpc/peer-transport.ts";

export const SILENT: Logger = { debug() {}, info() {}, warn() {}, error() {} };

export type PeerEvent =
  | { readonly kind: "hello"; readonly peer: PeerHello }
  | {
      readonly kind: "messages";
      readonly from: NodeId;
      readonly messages: readonly Message[];
      readonly clockMs: number;
    }
  | { readonly kind: "form"; readonly from: NodeId; readonly request: FormRequest }
  | { readonly kind: "formResult"; readonly from: NodeId; readonly answer: FormAnswer }
  | { readonly kind: "finding"; readonly from: NodeId; readonly finding: PeerFinding }
  | { readonly kind: "disconnected"; readonly peer: NodeId; readonly how: string }
  | { readonly kind: "unreachable"; readonly peer: NodeId; readonly how: string };

/** Writes down what a transport reports. */
export class Witness implements TransportEvents {
  readonly seen: PeerEvent[] = [];

  hello(peer: PeerHello): void {
    this.seen.push({ kind: "hello", peer });
  }
  messages(from: NodeId, messages: readonly Message[], { clockMs }: MessageFacts): void {
    this.seen.push({ kind: "messages", from, messages, clockMs });
  }
  form(from: NodeId, request: FormRequest): void {
    this.seen.push({ kind: "form", from, request });
  }
  formResult(from: NodeId, answer: FormAnswer): void {
    this.seen.push({ kind: "formResult", from, answer });
  }
  finding(from: NodeId, finding: PeerFinding): void {
    this.seen.push({ kind: "finding", from, finding });
  }
  disconnected(peer: NodeId, how: "crashed" | "goodbye"): void {
    this.seen.push({ kind: "disconnected", peer, how });
  }
  unreachable(peer: NodeId, how: "refused" | "other"): void {
    this.seen.push({ kind: "unreachable", peer, how });
  }

  of<K extends PeerEvent["kind"]>(kind: K): Extract<PeerEvent, { kind: K }>[] {
    return this.seen.filter((event) => event.kind === kind) as Extract<PeerEvent, { kind: K }>[];
  }

  received(): Message[] {
    return this.of("messages").flatMap((event) => event.messages);
  }
}

export interface PeerNode {
  readonly id: NodeId;
  readonly transport: PeerTransport;
  readonly listener: Listener;
  readonly witness: Witness;
  hello: PeerHello;
}

export function helloOf(id: NodeId): PeerHello {
  return {
    id,
    clusterId: "c".repeat(32),
    phase: "formed",
    members: [1, 2, 3],
    incarnation: `${id}`.repeat(32),
    seed: "ef".repeat(32),
    votesFrom: 7,
    machineVersion: "engine 1",
    address: `127.0.0.1:${4000 + id}`,
  };
}

/** Until it no longer throws. Patient: the machine may be busy, and nothing here measures time. */
export function eventually(check: () => void | Promise<void>, intervalMs = 10): Promise<void> {
  return vi.waitFor(check, { interval: intervalMs, timeout: 10_000 });
}

const open: (() => Promise<void>)[] = [];

/** For afterEach. */
export async function closeEverything(): Promise<void> {
  for (const close of open.splice(0).reverse()) await close();
}

export function closeLater(close: () => Promise<void>): void {
  open.push(close);
}

export async function bindListener(port = 0, silenceMs = 10_000): Promise<Listener> {
  const listen: Address = { host: "127.0.0.1", port };
  const listener = await Listener.bind({ listen, logger: SILENT, silenceMs });
  closeLater(() => listener.close());
  return listener;
}

export interface PeerNodeOptions {
  readonly id: NodeId;
  readonly listener: Listener;
  readonly peers: ReadonlyMap<NodeId, string>;
  readonly timing?: Partial<PeerTiming>;
  readonly maxQueueBytes?: number;
}

export function startPeerNode(options: PeerNodeOptions): PeerNode {
  const { id, listener, peers, timing = {}, maxQueueBytes } = options;
  const queue = maxQueueBytes === undefined ? {} : { maxQueueBytes };
  const transport = new PeerTransport({ id, peers, logger: SILENT, timing, ...queue });
  const witness = new Witness();
  listener.open({
    http2: (socket) => socket.destroy(),
    peer: (socket) => transport.accept(socket),
  });
  const node: PeerNode = { id, transport, listener, witness, hello: helloOf(id) };
  transport.start(witness, () => node.hello);
  closeLater(() => stopTransport(transport));
  return node;
}

export function stopTransport(transport: PeerTransport): Promise<void> {
  return new Promise((resolve) => transport.stop(resolve));
}

/** Nodes 1..count that all know each other and are connected both ways. */
export async function startPeers(
  count: number,
  timing: Partial<PeerTiming> = {},
): Promise<PeerNode[]> {
  const listeners: Listener[] = [];
  for (let at = 0; at < count; at++) listeners.push(await bindListener());
  const peers = new Map(listeners.map(({ address }, at) => [at + 1, formatAddress(address)]));
  const nodes = listeners.map((listener, at) => {
    return startPeerNode({ id: at + 1, listener, peers, timing });
  });
  await eventually(() => {
    for (const node of nodes) {
      const connected = [...node.transport.counts().values()].every((peer) => peer.connected);
      if (!connected) throw new Error(`node ${node.id} is not connected to all`);
    }
  });
  return nodes;
}

export async function dial(address: Address): Promise<Socket> {
  const socket = connect(address.port, address.host);
  closeLater(async () => {
    socket.destroy();
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  socket.on("error", () => {});
  return socket;
}

/** All that comes until the other end closes. */
export function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  return new Promise((resolve) => socket.once("close", () => resolve(Buffer.concat(chunks))));
}

export function readIndex(from: NodeId, to: NodeId, context: number): Message {
  return { kind: "ReadIndex", from, to, term: 0, context };
}

export function appendEntries(from: NodeId, to: NodeId, payload: Uint8Array): Message {
  return {
    kind: "AppendEntries",
    from,
    to,
    term: 1,
    prevLogIndex: 0,
    prevLogTerm: 0,
    entries: [{ index: 1, term: 1, kind: "command", payload }],
    leaderCommit: 0,
  };
}
