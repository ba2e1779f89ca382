/** Transports on loopback: what arrives, how a connection ends, who is refused, and what is dropped. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { formatAddress } from "../../src/rpc/addresses.ts";
import { FrameReader } from "../../src/rpc/frame-reader.ts";
import { PeerTransport } from "../../src/rpc/peer-transport.ts";
import { ownPlatform } from "../../src/rpc/platform.ts";
import {
  decodePeerFrame,
  encodeGoodbye,
  encodeHello,
  encodePing,
  PEER_MAGIC,
  PEER_VERSION,
} from "../../src/wire/peer-codec.ts";
import {
  appendEntries,
  bindListener,
  closeEverything,
  closeLater,
  dial,
  eventually,
  helloOf,
  type PeerNode,
  readAll,
  readIndex,
  SILENT,
  startPeerNode,
  startPeers,
  stopTransport,
} from "./loopback.ts";

afterEach(closeEverything);

function pair(nodes: readonly PeerNode[]): readonly [PeerNode, PeerNode] {
  const [one, two] = nodes;
  if (one === undefined || two === undefined) throw new Error("two nodes expected");
  return [one, two];
}

describe("peers", () => {
  test("three nodes say hello on every connection and exchange messages, both ways", async () => {
    const nodes = await startPeers(3);
    for (const from of nodes) {
      for (const to of nodes) {
        if (from === to) continue;
        from.transport.send(to.id, [readIndex(from.id, to.id, 10 * from.id + to.id)], 777);
      }
    }
    for (const node of nodes) {
      await eventually(() => expect(node.witness.received()).toHaveLength(2));
      const others = nodes.filter((other) => other !== node);
      for (const { id } of others) {
        expect(node.witness.received()).toContainEqual(readIndex(id, node.id, 10 * id + node.id));
        // One from the connection that this node opened, one from the other's.
        const hellos = node.witness.of("hello").filter(({ peer }) => peer.id === id);
        expect(hellos.map(({ peer }) => peer)).toEqual([helloOf(id), helloOf(id)]);
      }
      expect(node.witness.of("messages").every(({ clockMs }) => clockMs === 777)).toBe(true);
      expect(node.witness.of("disconnected")).toEqual([]);
    }
  });

  test("messages arrive in order and whole, whatever their size", async () => {
    const [one, two] = pair(await startPeers(2));
    const sizes = [0, 1, 100_000, 3_000_000, 5, 900_000, 70_000, 7_500_000];
    const payloads = sizes.map((size, at) => Buffer.alloc(size, at + 1));
    for (const payload of payloads) one.transport.send(2, [appendEntries(1, 2, payload)], 0);
    await eventually(() => expect(two.witness.received()).toHaveLength(sizes.length));
    const received = two.witness.received().map((message) => {
      if (message.kind !== "AppendEntries") throw new Error(message.kind);
      return message.entries[0]?.payload ?? Buffer.alloc(0);
    });
    received.forEach((payload, at) => {
      expect(Buffer.compare(payload, payloads[at] ?? Buffer.alloc(0))).toBe(0);
    });
  });

  test("formation travels beside Raft", async () => {
    const [one, two] = pair(await startPeers(2));
    const admission = { incarnation: "cd", votesFrom: 7 };
    const request = { clusterId: "ab", phase: "forming", members: [1, 2, 300], admission } as const;
    one.transport.sendForm(2, request);
    const answer = { clusterId: "ab", phase: "forming", removedAt: 9, votesFrom: 4 } as const;
    two.transport.sendFormResult(1, answer);
    await eventually(() => {
      expect(two.witness.of("form")).toEqual([{ kind: "form", from: 1, request }]);
      expect(one.witness.of("formResult")).toEqual([{ kind: "formResult", from: 2, answer }]);
    });
  });

  test("messages that name another sender or receiver are not delivered", async () => {
    const [one, two] = pair(await startPeers(2));
    one.transport.send(2, [readIndex(9, 2, 1), readIndex(1, 9, 2), readIndex(1, 2, 3)], 0);
    await eventually(() => expect(two.witness.received()).toEqual([readIndex(1, 2, 3)]));
  });

  test("what is sent while the connection is being made arrives once it is there", async () => {
    const listeners = [await bindListener(), await bindListener()] as const;
    const peers = new Map(listeners.map(({ address }, at) => [at + 1, formatAddress(address)]));
    const two = startPeerNode({ id: 2, listener: listeners[1], peers });
    const one = startPeerNode({ id: 1, listener: listeners[0], peers });
    one.transport.send(2, [readIndex(1, 2, 5)], 0);
    await eventually(() => expect(two.witness.received()).toEqual([readIndex(1, 2, 5)]));
  });
});

describe("the end of a connection", () => {
  test("a goodbye is told from a crash, on both connections", async () => {
    const [one, two] = pair(await startPeers(2));
    await stopTransport(two.transport);
    await two.listener.close();
    await eventually(() => {
      const goodbye = { kind: "disconnected", peer: 2, how: "goodbye" };
      expect(one.witness.of("disconnected")).toEqual([goodbye, goodbye]);
    });
    await eventually(() => {
      const refused = { kind: "unreachable", peer: 2, how: "refused" };
      expect(one.witness.of("unreachable")).toContainEqual(refused);
    });
  });

  test("messages sent before stop arrive before the goodbye", async () => {
    const [one, two] = pair(await startPeers(2));
    two.transport.send(1, [{ kind: "TimeoutNow", from: 2, to: 1, term: 3 }], 0);
    await stopTransport(two.transport);
    await eventually(() => expect(one.witness.of("disconnected")).toHaveLength(2));
    expect(one.witness.received()).toHaveLength(1);
  });

  test("a stopped transport reports nothing more and refuses connections", async () => {
    const [one, two] = pair(await startPeers(2));
    await stopTransport(one.transport);
    const before = one.witness.seen.length;
    await stopTransport(two.transport);
    const socket = await dial(one.listener.address);
    socket.write(PEER_MAGIC);
    expect(await readAll(socket)).toHaveLength(0);
    expect(one.witness.seen).toHaveLength(before);
  });

  test("a killed process is a crash at once; then its address refuses", async () => {
    const listener = await bindListener();
    const child = spawnPeer(2, formatAddress(listener.address));
    const port = Number(String((await once(child.stdout ?? child, "data"))[0]));
    const peers = new Map([[2, `127.0.0.1:${port}`]]);
    // No ping could tell: it is the kernel that closes the connections of a dead process.
    const one = startPeerNode({ id: 1, listener, peers, timing: { pingMs: 60_000 } });
    await eventually(() => expect(one.witness.of("hello")).toHaveLength(2));
    child.kill("SIGKILL");
    await eventually(() => {
      const crashed = { kind: "disconnected", peer: 2, how: "crashed" };
      expect(one.witness.of("disconnected")).toEqual([crashed, crashed]);
      const refused = one.witness.of("unreachable").filter(({ how }) => how === "refused");
      expect(refused.length).toBeGreaterThanOrEqual(3);
    }, 5);
  });

  test("after a restart the peers meet again and say hello again", async () => {
    const [one, two] = pair(await startPeers(2));
    const { port } = two.listener.address;
    await stopTransport(two.transport);
    await two.listener.close();
    await eventually(() => expect(one.witness.of("unreachable").length).toBeGreaterThan(1));
    const hellos = one.witness.of("hello").length;
    const again = startPeerNode({
      id: 2,
      listener: await bindListener(port),
      peers: new Map([[1, formatAddress(one.listener.address)]]),
    });
    await eventually(() => expect(one.witness.of("hello").length).toBe(hellos + 2));
    one.transport.send(2, [readIndex(1, 2, 8)], 0);
    await eventually(() => expect(again.witness.received()).toEqual([readIndex(1, 2, 8)]));
  });

  test("a peer that hangs is noticed by its silence", async () => {
    const listener = await bindListener();
    const mute = await bindListener();
    mute.open({
      http2: (socket) => socket.destroy(),
      // Says hello and then nothing, as a stopped process does.
      peer: (socket) => {
        socket.resume();
        socket.write(
          encodeHello({ ...helloOf(2), ...ownPlatform(), version: PEER_VERSION, to: 1 }),
        );
      },
    });
    const peers = new Map([[2, formatAddress(mute.address)]]);
    const one = startPeerNode({ id: 1, listener, peers, timing: { pingMs: 10 } });
    await eventually(() => {
      const crashed = { kind: "disconnected", peer: 2, how: "crashed" };
      expect(one.witness.of("disconnected")).toContainEqual(crashed);
    });
  });

  test("a quiet connection lives on its pings", async () => {
    const listener = await bindListener();
    const other = await bindListener();
    let answered = 0;
    other.open({
      http2: (socket) => socket.destroy(),
      peer: (socket) => {
        socket.write(
          encodeHello({ ...helloOf(2), ...ownPlatform(), version: PEER_VERSION, to: 1 }),
        );
        const reader = new FrameReader(1000);
        socket.on("data", (chunk: Buffer) => {
          reader.push(chunk, (bytes) => {
            if (decodePeerFrame(bytes).kind !== "ping") return;
            socket.write(encodePing("answer"));
            answered += 1;
          });
        });
        socket.resume();
      },
    });
    const peers = new Map([[2, formatAddress(other.address)]]);
    const one = startPeerNode({ id: 1, listener, peers, timing: { pingMs: 5 } });
    await eventually(() => expect(answered).toBeGreaterThan(10));
    expect(one.witness.of("disconnected")).toEqual([]);
  });

  test("a node answers its peers' pings", async () => {
    const [one] = pair(await startPeers(2));
    const socket = await dial(one.listener.address);
    const hello = encodeHello({ ...helloOf(7), ...ownPlatform(), version: PEER_VERSION, to: 1 });
    socket.write(Buffer.concat([PEER_MAGIC, hello, encodePing("question")]));
    const frames: string[] = [];
    const reader = new FrameReader(1000);
    socket.on("data", (chunk) => {
      reader.push(chunk, (bytes) => frames.push(decodePeerFrame(bytes).kind));
    });
    await eventually(() => expect(frames).toEqual(["hello", "ping"]));
  });
});

describe("the wrong peer", () => {
  test("an address where another node answers is not used", async () => {
    const [one, two] = pair(await startPeers(2));
    const peers = new Map([[3, formatAddress(two.listener.address)]]);
    const lost = startPeerNode({ id: 4, listener: await bindListener(), peers });
    await eventually(() => {
      const other = { kind: "unreachable", peer: 3, how: "other" };
      expect(lost.witness.of("unreachable")).toContainEqual(other);
    });
    expect(lost.witness.of("hello")).toEqual([]);
    expect(two.witness.of("hello").map(({ peer }) => peer.id)).toEqual([1, 1]);
    expect(one.witness.of("disconnected")).toEqual([]);
  });

  test("an address where something else answers is unreachable", async () => {
    const listener = await bindListener();
    const other = await bindListener();
    other.open({ http2() {}, peer: (socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n") });
    const peers = new Map([[2, formatAddress(other.address)]]);
    const one = startPeerNode({ id: 1, listener, peers });
    await eventually(() => {
      expect(one.witness.of("unreachable")[0]).toMatchObject({ peer: 2, how: "other" });
    });
  });

  test("a stranger's hello reaches the node, which decides", async () => {
    const [one] = pair(await startPeers(2));
    const socket = await dial(one.listener.address);
    const hello = { ...helloOf(7), clusterId: "d".repeat(32) };
    socket.write(PEER_MAGIC);
    socket.write(encodeHello({ ...hello, ...ownPlatform(), version: PEER_VERSION, to: 1 }));
    await eventually(() => {
      expect(one.witness.of("hello").map(({ peer }) => peer)).toContainEqual(hello);
    });
    socket.write(encodeGoodbye());
    await eventually(() => {
      const goodbye = { kind: "disconnected", peer: 7, how: "goodbye" };
      expect(one.witness.of("disconnected")).toEqual([goodbye]);
    });
  });

  test.each([
    ["another version", { version: PEER_VERSION + 1, to: 1, id: 7 }],
    ["another receiver", { version: PEER_VERSION, to: 2, id: 7 }],
    ["our own id", { version: PEER_VERSION, to: 1, id: 1 }],
    ["another machine", { version: PEER_VERSION, to: 1, id: 7, machine: "arm64 musl" }],
  ])("a hello with %s is answered with ours and refused", async (_what, wrong) => {
    const [one] = pair(await startPeers(2));
    const hellos = one.witness.of("hello").length;
    const socket = await dial(one.listener.address);
    socket.write(PEER_MAGIC);
    socket.write(encodeHello({ ...helloOf(7), ...ownPlatform(), ...wrong }));
    const answer = await readAll(socket);
    const to = wrong.id;
    expect(answer).toEqual(
      encodeHello({ ...helloOf(1), ...ownPlatform(), version: PEER_VERSION, to }),
    );
    expect(one.witness.of("hello")).toHaveLength(hellos);
  });

  test.each([
    ["no hello first", encodeGoodbye()],
    ["a frame of 4 GB", Buffer.from([255, 255, 255, 255, 0])],
    ["bytes that are no frame", Buffer.from([0, 0, 0, 3, 255, 255, 255])],
    ["a large frame before the hello", Buffer.from([0, 16, 0, 0])],
  ])("%s closes the connection and harms nobody", async (_what, bytes) => {
    const [one, two] = pair(await startPeers(2));
    const socket = await dial(one.listener.address);
    socket.write(PEER_MAGIC);
    socket.write(bytes);
    expect(await readAll(socket)).toHaveLength(0);
    two.transport.send(1, [readIndex(2, 1, 1)], 0);
    await eventually(() => expect(one.witness.received()).toHaveLength(1));
    expect(one.witness.of("disconnected")).toEqual([]);
  });

  test("a peer that dials anew has lost its old connection", async () => {
    const [one] = pair(await startPeers(2));
    const greet = encodeHello({ ...helloOf(7), ...ownPlatform(), version: PEER_VERSION, to: 1 });
    const old = await dial(one.listener.address);
    const ended = readAll(old);
    old.write(Buffer.concat([PEER_MAGIC, greet]));
    await eventually(() => expect(one.witness.of("hello")).toHaveLength(3));
    const anew = await dial(one.listener.address);
    anew.write(Buffer.concat([PEER_MAGIC, greet]));
    await ended;
    const last = one.witness.seen.slice(-2).map(({ kind }) => kind);
    await eventually(() => expect(one.witness.of("hello")).toHaveLength(4));
    expect(last).toEqual(["disconnected", "hello"]);
  });
});

describe("the queue to a peer", () => {
  test("is bounded: what does not fit is dropped and counted, and the rest arrives", async () => {
    const listener = await bindListener();
    const slow = await bindListener();
    const answer = encodeHello({ ...helloOf(2), ...ownPlatform(), version: PEER_VERSION, to: 1 });
    let wake = () => {};
    slow.open({
      http2: (socket) => socket.destroy(),
      peer: (socket) => {
        socket.write(answer);
        wake = () => socket.resume();
      },
    });
    const peers = new Map([[2, formatAddress(slow.address)]]);
    const maxQueueBytes = 4_000_000;
    const one = startPeerNode({
      id: 1,
      listener,
      peers,
      maxQueueBytes,
      timing: { pingMs: 60_000 },
    });
    await eventually(() => expect(one.transport.counts().get(2)?.connected).toBe(true));
    const payload = Buffer.alloc(500_000);
    for (let sent = 0; sent < 100; sent++) {
      one.transport.send(2, [appendEntries(1, 2, payload)], 0);
      await new Promise((resolve) => setImmediate(resolve));
      expect(one.transport.counts().get(2)?.queuedBytes).toBeLessThanOrEqual(maxQueueBytes);
    }
    const counts = one.transport.counts().get(2);
    expect(counts?.droppedFull).toBeGreaterThan(10);
    expect((counts?.droppedFull ?? 0) + (counts?.sentMessages ?? 0)).toBe(100);
    wake();
    await eventually(() => expect(one.transport.counts().get(2)?.queuedBytes).toBe(0));
    one.transport.send(2, [appendEntries(1, 2, payload)], 0);
    expect(one.transport.counts().get(2)?.droppedFull).toBe(counts?.droppedFull);
  });

  test("messages to a peer that is down are dropped and counted", async () => {
    const free = await bindListener();
    await free.close();
    const peers = new Map([[2, formatAddress(free.address)]]);
    const one = startPeerNode({ id: 1, listener: await bindListener(), peers });
    await eventually(() => expect(one.witness.of("unreachable").length).toBeGreaterThan(0));
    one.transport.send(2, [readIndex(1, 2, 1), readIndex(1, 2, 2)], 0);
    await eventually(() => expect(one.transport.counts().get(2)?.droppedDown).toBe(2));
  });

  test("an address that is none is refused when the transport is made", () => {
    const peers = new Map([[2, "nowhere"]]);
    expect(() => new PeerTransport({ id: 1, peers, logger: SILENT })).toThrow(/not HOST:PORT/);
  });
});

function spawnPeer(id: number, peer: string): ChildProcess {
  const entry = join(import.meta.dirname, "peer-child.ts");
  const args = ["--import", "tsx", entry, String(id), peer];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  closeLater(async () => {
    child.kill("SIGKILL");
  });
  return child;
}
