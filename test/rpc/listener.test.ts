/** One port for everybody: who is let through which door, and what the others are told. */

import { get } from "node:http";
import type { Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { Listener } from "../../src/rpc/listener.ts";
import { BalsaError } from "../../src/sql/errors.ts";
import { PEER_MAGIC } from "../../src/wire/peer-codec.ts";
import { bindListener, closeEverything, dial, eventually, readAll, SILENT } from "./loopback.ts";

afterEach(closeEverything);

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

async function openListener(silenceMs?: number) {
  const listener = await bindListener(0, silenceMs);
  const through: [door: "http2" | "peer", text: string][] = [];
  const record = (door: "http2" | "peer") => (socket: Socket) => {
    socket.on("data", (chunk: Buffer) => through.push([door, chunk.toString("latin1")]));
    socket.resume();
  };
  listener.open({ http2: record("http2"), peer: record("peer") });
  return { listener, through };
}

describe("the doors", () => {
  test("HTTP/2 goes through with its preface unread", async () => {
    const { listener, through } = await openListener();
    const socket = await dial(listener.address);
    socket.write(Buffer.concat([PREFACE, Buffer.from("settings")]));
    await eventually(() => {
      expect(through.map(([door]) => door)).toContain("http2");
      expect(through.map(([, text]) => text).join("")).toBe(`${PREFACE.toString()}settings`);
    });
  });

  test("a peer goes through without its magic", async () => {
    const { listener, through } = await openListener();
    const socket = await dial(listener.address);
    socket.write(Buffer.concat([PEER_MAGIC, Buffer.from("hello")]));
    await eventually(() => expect(through).toEqual([["peer", "hello"]]));
  });

  test("first bytes that come one by one are waited for", async () => {
    const { listener, through } = await openListener();
    const [http2, peer] = [await dial(listener.address), await dial(listener.address)];
    for (const socket of [http2, peer]) socket.setNoDelay(true);
    for (const byte of PREFACE) {
      http2.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (const byte of [...PEER_MAGIC, 33]) {
      peer.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await eventually(() => {
      const text = (wanted: string) =>
        through
          .filter(([door]) => door === wanted)
          .map(([, part]) => part)
          .join("");
      expect(text("http2")).toBe(PREFACE.toString());
      expect(text("peer")).toBe("!");
    });
  });
});

describe("anybody else", () => {
  test.each([
    ["junk", Buffer.from([1, 2, 3, 4])],
    ["TLS", Buffer.from([0x16, 3, 1, 2, 0, 1])],
    ["a preface that goes astray", Buffer.from("PRI * HTTP/2.1\r\n")],
    ["a magic that goes astray", Buffer.from("\0balsam")],
  ])("%s is told what listens here", async (_what, bytes) => {
    const { listener, through } = await openListener();
    const socket = await dial(listener.address);
    socket.write(bytes);
    expect((await readAll(socket)).toString()).toMatch(/This is a Balsa node: it speaks gRPC.*\n$/);
    expect(through).toEqual([]);
  });

  test("a client of HTTP/1 gets an answer that it can read", async () => {
    const { listener } = await openListener();
    const { port } = listener.address;
    const answer = await new Promise<{ status: number | undefined; text: string }>((resolve) => {
      get({ port, host: "127.0.0.1", path: "/" }, (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (part: string) => {
          text += part;
        });
        response.on("end", () => resolve({ status: response.statusCode, text }));
      });
    });
    expect(answer.status).toBe(400);
    expect(answer.text).toMatch(/^This is a Balsa node/);
  });

  test("who says nothing is cut off", async () => {
    const { listener } = await openListener(20);
    const socket = await dial(listener.address);
    expect(await readAll(socket)).toHaveLength(0);
  });

  test("who stops in the middle of the first bytes is cut off", async () => {
    const { listener, through } = await openListener(20);
    const socket = await dial(listener.address);
    socket.write("PRI * HT");
    expect(await readAll(socket)).toHaveLength(0);
    expect(through).toEqual([]);
  });

  test("who hangs up or resets at once harms nobody", async () => {
    const { listener, through } = await openListener();
    for (let times = 0; times < 20; times++) {
      const socket = await dial(listener.address);
      if (times % 2 === 0) socket.resetAndDestroy();
      else socket.destroy();
    }
    const socket = await dial(listener.address);
    socket.write(Buffer.concat([PEER_MAGIC, Buffer.from("x")]));
    await eventually(() => expect(through).toEqual([["peer", "x"]]));
  });
});

describe("binding", () => {
  async function failure(host: string, port: number): Promise<BalsaError> {
    try {
      const listener = await Listener.bind({ listen: { host, port }, logger: SILENT });
      await listener.close();
    } catch (error) {
      if (error instanceof BalsaError) return error;
      throw error;
    }
    throw new Error("it could be bound");
  }

  test("a port in use is UNAVAILABLE, and says which", async () => {
    const { address } = await bindListener();
    const error = await failure(address.host, address.port);
    expect(error.code).toBe("UNAVAILABLE");
    expect(error.facts).toEqual({ address: `127.0.0.1:${address.port}`, system: "EADDRINUSE" });
    expect(error.message).toMatch(/in use by another process: stop it, or listen on another port/);
  });

  test("an address of another machine is INVALID_ARGUMENT", async () => {
    const error = await failure("192.0.2.1", 4001);
    expect(error.code).toBe("INVALID_ARGUMENT");
    expect(error.facts["system"]).toBe("EADDRNOTAVAIL");
  });

  test("a closed listener leaves its port free, and its connections ended", async () => {
    const { listener } = await openListener();
    const socket = await dial(listener.address);
    const ended = readAll(socket);
    await listener.close();
    await ended;
    const again = await bindListener(listener.address.port);
    expect(again.address).toEqual(listener.address);
  });
});
