/** The proxy between processes: what passes, what is held, and what both ends hear of it. */

import { once } from "node:events";
import { createServer, type Server, Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LinkProxy } from "./proxy.ts";

let link: LinkProxy;
let server: Server;
/** What the server's side of each connection got. */
let received: string[];
let accepted: Socket[];
let dialed: Socket[];

beforeEach(async () => {
  [received, accepted, dialed] = [[], [], []];
  server = createServer((socket) => {
    const at = accepted.push(socket) - 1;
    received[at] = "";
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      received[at] += bytes.toString();
      socket.write(`<${bytes}>`);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  link = await LinkProxy.listen();
  const address = server.address();
  link.target = typeof address === "object" ? (address?.port ?? 0) : 0;
});

afterEach(async () => {
  for (const socket of [...dialed, ...accepted]) socket.destroy();
  await link.close();
  server.close();
});

interface Dialed {
  readonly socket: Socket;
  readonly got: () => string;
  readonly events: string[];
}

function dial(): Dialed {
  const socket = new Socket();
  dialed.push(socket);
  const events: string[] = [];
  let got = "";
  socket.on("data", (bytes) => {
    got += bytes.toString();
  });
  socket.on("error", (error: NodeJS.ErrnoException) => events.push(error.code ?? error.message));
  socket.on("end", () => events.push("end"));
  socket.connect(link.port, "127.0.0.1");
  return { socket, got: () => got, events };
}

const eventually = <T>(check: () => T) => vi.waitFor(check, { timeout: 5_000, interval: 5 });

/** Time for what must not happen to happen: a round trip through a proxy that is whole. */
async function anotherRoundTrip(): Promise<void> {
  const other = await LinkProxy.listen();
  other.target = link.target;
  const socket = new Socket();
  dialed.push(socket);
  socket.on("error", () => {});
  socket.connect(other.port, "127.0.0.1");
  socket.write("x");
  await once(socket, "data");
  await other.close();
}

describe("a link", () => {
  it("carries bytes both ways, ends and breaks", async () => {
    const one = dial();
    one.socket.write("hello");
    await eventually(() => expect(one.got()).toBe("<hello>"));
    accepted[0]?.end();
    await eventually(() => expect(one.events).toEqual(["end"]));
    const two = dial();
    two.socket.write("x");
    await eventually(() => expect(two.got()).toBe("<x>"));
    accepted[1]?.resetAndDestroy();
    await eventually(() => expect(two.events).toEqual(["ECONNRESET"]));
  });

  it("that is cut holds everything and tells nobody; healed, it delivers all in order", async () => {
    const one = dial();
    one.socket.write("a");
    await eventually(() => expect(one.got()).toBe("<a>"));
    link.cut();
    one.socket.write("b");
    const two = dial();
    two.socket.write("new");
    accepted[0]?.write("unasked");
    await anotherRoundTrip();
    expect([received[0], one.got(), two.got()]).toEqual(["a", "<a>", ""]);
    one.socket.write("c");
    link.heal();
    await eventually(() => expect(received[0]).toBe("abc"));
    await eventually(() => expect(one.got()).toMatch(/^<a>unasked(<b><c>|<bc>)$/));
    await eventually(() => expect(two.got()).toBe("<new>"));
    expect([one.events, two.events]).toEqual([[], []]);
  });

  it("that is cut keeps the death of an end to itself until it is healed", async () => {
    const one = dial();
    one.socket.write("a");
    await eventually(() => expect(one.got()).toBe("<a>"));
    link.cut();
    accepted[0]?.resetAndDestroy();
    await anotherRoundTrip();
    expect(one.events).toEqual([]);
    link.heal();
    await eventually(() => expect(one.events).toEqual(["ECONNRESET"]));
  });

  it("can be reset, during a cut too", async () => {
    const one = dial();
    one.socket.write("a");
    await eventually(() => expect(one.got()).toBe("<a>"));
    link.cut();
    const two = dial();
    await once(two.socket, "connect");
    one.socket.write("lost");
    await anotherRoundTrip();
    link.reset();
    await eventually(() => expect([one.events, two.events].flat()).toHaveLength(2));
    link.heal();
    await anotherRoundTrip();
    expect(received[0]).toBe("a");
  });

  it("delays, and keeps the order when the delay changes", async () => {
    const one = dial();
    one.socket.write("a");
    await eventually(() => expect(one.got()).toBe("<a>"));
    link.delayMs = 60;
    const began = performance.now();
    one.socket.write("b");
    await eventually(() => expect(received[0]).toBe("ab"));
    expect(performance.now() - began).toBeGreaterThan(50);
    one.socket.write("c");
    await anotherRoundTrip();
    link.delayMs = 0;
    one.socket.write("d");
    await eventually(() => expect(received[0]).toBe("abcd"));
  });

  it("refuses when its target's process is gone, and accepts again", async () => {
    link.refuse();
    const one = dial();
    await eventually(() => expect(one.events).toEqual(["ECONNREFUSED"]));
    await link.accept();
    const two = dial();
    two.socket.write("back");
    await eventually(() => expect(two.got()).toBe("<back>"));
  });

  it("breaks a connection whose target does not listen", async () => {
    server.close();
    const one = dial();
    await eventually(() => expect(one.events).toHaveLength(1));
  });
});
