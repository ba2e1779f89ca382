/** Nodes of one architecture and C library are peers, others are not. The side that is dialed: peer-transport.test.ts. */

import { afterEach, expect, test } from "vitest";
import { formatAddress } from "../../src/rpc/addresses.ts";
import { tellExtensions } from "../../src/rpc/extension-sets.ts";
import { ownPlatform, platformConflict } from "../../src/rpc/platform.ts";
import type { Extension } from "../../src/sql/extension.ts";
import { encodeHello, PEER_VERSION } from "../../src/wire/peer-codec.ts";
import { bindListener, closeEverything, eventually, helloOf, startPeerNode } from "./loopback.ts";

afterEach(closeEverything);

test("this process knows what it runs on", () => {
  expect(ownPlatform().machine).toMatch(/^\S+ (glibc|musl|darwin|win32)$/);
  expect(ownPlatform().engine).toMatch(/^better-sqlite3 \d+\.\d+\.\d+/);
});

test("another machine is a conflict that names both and the way out; one that says nothing is none", () => {
  const mine = { machine: "x64 glibc", engine: "e 1", extensions: [] };
  expect(platformConflict(mine, mine)).toBeNull();
  expect(platformConflict(mine, { machine: "", engine: "", extensions: [] })).toBeNull();
  const conflict = platformConflict(mine, { machine: "arm64 musl", engine: "e 1", extensions: [] });
  expect(conflict).toMatch(/arm64 musl.*x64 glibc.*run all nodes on one/);
});

test("other extensions are a conflict that says what differs on which side", () => {
  const extension = (name: string, facts: Partial<Extension> = {}): Extension => {
    return { name, path: "", sha256: "aa", entry: null, deterministic: false, ...facts };
  };
  const on = (...extensions: readonly Extension[]) => ownPlatform(tellExtensions(extensions));
  const mine = on(extension("a name"), extension("b"));
  expect(
    platformConflict(mine, on(extension("a name", { path: "/x" }), extension("b"))),
  ).toBeNull();
  const conflict = (...other: readonly Extension[]) => platformConflict(mine, on(...other));
  expect(conflict()).toMatch(
    /a name is loaded here and not there, b is loaded here and not.*same files/,
  );
  expect(platformConflict(ownPlatform(), mine)).toMatch(/a name is loaded there and not here/);
  expect(conflict(extension("a name"), extension("b", { sha256: "bb" }))).toMatch(
    /: b is another file there, by its SHA-256 \(here aa, there bb\);/,
  );
  expect(conflict(extension("a name", { deterministic: true }), extension("b"))).toMatch(
    /: a name is declared otherwise there \(here undeclared, there deterministic\);/,
  );
  expect(conflict(extension("a name"), extension("b", { entry: "f" }))).toMatch(
    /: b begins with another function there \(here -, there f\);/,
  );
  const long = platformConflict(mine, { ...mine, extensions: ["x".repeat(9_000), ""] });
  expect(long?.length).toBeLessThan(1_000);
});

test("another SQLite is no conflict: it is part of the machine version", () => {
  const mine = { machine: "x64 glibc", engine: "e 1", extensions: [] };
  expect(platformConflict(mine, { ...mine, engine: "e 2" })).toBeNull();
});

test("a peer that answers from another machine is not connected to", async () => {
  const listener = await bindListener();
  const other = await bindListener();
  const hello = { ...helloOf(2), ...ownPlatform(), version: PEER_VERSION, to: 1 };
  let answers = 0;
  other.open({
    http2: (socket) => socket.destroy(),
    peer: (socket) => {
      answers += 1;
      socket.on("error", () => undefined);
      // The first two times from elsewhere, then as it should be.
      const extensions = answers === 1 ? ["x aa - undeclared"] : [];
      const machine = answers === 2 ? "arm64 musl" : hello.machine;
      socket.write(encodeHello({ ...hello, extensions, machine }));
    },
  });
  const peers = new Map([[2, formatAddress(other.address)]]);
  const one = startPeerNode({ id: 1, listener, peers });
  await eventually(() => expect(one.transport.counts().get(2)?.connected).toBe(true));
  expect(answers).toBeGreaterThanOrEqual(3);
  expect(one.witness.of("unreachable").length).toBeGreaterThanOrEqual(2);
});
