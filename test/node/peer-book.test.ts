/** Who may be heard, and what the core learns of it: directories come and go under one id. */

import { beforeEach, expect, test } from "vitest";
import type { EffectLoop } from "../../src/node/effect-loop.ts";
import { PeerBook } from "../../src/node/peer-book.ts";
import { peerDoor } from "../../src/node/peer-door.ts";
import type { Identity, PeerHello } from "../../src/node/ports.ts";
import type { Input } from "../../src/raft/effect.ts";
import { votersOnly } from "../../src/raft/entry.ts";
import { heartbeat } from "../raft/raft-harness.ts";

const CLUSTER = "c".repeat(32);
const own = { clusterId: CLUSTER, phase: "formed" } as unknown as Identity;
const record = (id: number, incarnation: string) => {
  return { id, address: `n${id}:1`, incarnation, awaitsVote: false };
};

let dialed: ReadonlyMap<number, string>;
let book: PeerBook;

beforeEach(() => {
  dialed = new Map();
  const peers = new Map([1, 2, 3].map((id) => [id, `n${id}:1`]));
  book = new PeerBook({ id: 1, advertise: "n1:1", peers }, (routes) => {
    dialed = routes;
  });
});

function hello(id: number, incarnation: string, given: Partial<PeerHello> = {}): PeerHello {
  const base = {
    phase: "formed",
    clusterId: CLUSTER,
    members: [1, 2, 3],
    seed: "",
    votesFrom: 0,
    machineVersion: "engine 1",
  } as const;
  return { ...base, id, incarnation, address: `n${id}:1`, ...given };
}

test("A12: of a replaced directory nothing is heard", () => {
  book.hello(hello(2, "new"));
  book.follow({ ...votersOnly([1, 3]), learners: [2], records: [record(2, "new")], index: 9 });
  expect(book.admits(2, "new", own)).toBe(true);
  // Its predecessor's last words are still on their way, or it runs beside it.
  expect(book.admits(2, "old", own)).toBe(false);
  // Of who has no record nothing is known, as at the founding.
  expect(book.admits(3, "any", own)).toBe(true);
});

test("another cluster's nodes are not heard", () => {
  book.hello(hello(2, "x", { clusterId: "d".repeat(32) }));
  expect(book.admits(2, "x", own)).toBe(false);
  book.hello(hello(2, "x", { clusterId: "", phase: "blank" }));
  expect(book.admits(2, "x", own)).toBe(true);
});

test("A12: the core forgets what another incarnation of a peer said", () => {
  const steps: Input[] = [];
  const loop = {
    step: (input: Input) => steps.push(input),
    status: () => ({ role: "follower" }),
  } as unknown as EffectLoop;
  const nothing = { hello: () => {}, form: () => {}, formResult: () => {}, disconnected: () => {} };
  const events = peerDoor({
    book,
    formation: nothing,
    failover: nothing,
    identity: () => own,
    loop: () => loop,
    heard: () => {},
    sendFormResult: () => {},
    removed: () => {},
  } as unknown as Parameters<typeof peerDoor>[0]);
  events.hello(hello(2, "old"));
  events.hello(hello(2, "old"));
  expect(steps).toEqual([]);
  events.hello(hello(2, "new"));
  expect(steps).toEqual([{ kind: "peerReset", peer: 2 }]);
  book.follow({ ...votersOnly([1, 2, 3]), records: [record(2, "new")], index: 9 });
  const about = { clockMs: 0, lowSpace: false };
  events.messages(2, [heartbeat({ term: 5 })], { ...about, incarnation: "old" });
  expect(steps).toHaveLength(1);
  events.messages(2, [heartbeat({ term: 5 })], { ...about, incarnation: "new" });
  expect(steps).toHaveLength(2);
});

test("A12: a disk is replaced while its node is away", () => {
  expect(book.hello(hello(2, "old"))).toBe(false);
  book.gone(2);
  expect(book.hello(hello(2, "new"))).toBe(true);
});

test("A12: who lags behind hears a directory that was admitted behind all that it knows", () => {
  book.follow({ ...votersOnly([1, 2, 3]), records: [record(2, "old")], index: 9 });
  book.hello(hello(2, "old", { votesFrom: 5 }));
  book.hello(hello(2, "unknown", { votesFrom: 9 }));
  expect(book.admits(2, "unknown", own)).toBe(false);
  book.hello(hello(2, "new", { phase: "blank", clusterId: "" }));
  expect(book.admits(2, "new", own)).toBe(false);
  book.formResult(2, { clusterId: CLUSTER, phase: "formed", removedAt: 0, votesFrom: 12 });
  expect(book.admits(2, "new", own)).toBe(true);
  // From then on its predecessor is not heard, though the configuration still names it.
  expect(book.admits(2, "old", own)).toBe(false);
});

test("A12: of two directories without a record the one that was admitted later counts", () => {
  book.follow(votersOnly([1, 2, 3]));
  book.hello(hello(2, "founder"));
  expect(book.admits(2, "founder", own)).toBe(true);
  book.hello(hello(2, "later", { votesFrom: 30 }));
  expect(book.admits(2, "later", own)).toBe(true);
  expect(book.admits(2, "founder", own)).toBe(false);
  book.hello(hello(2, "founder"));
  expect(book.admits(2, "founder", own)).toBe(false);
  expect(book.view(2)).toBeNull();
});

test("who sends messages takes part, whatever it said when it connected", () => {
  book.hello(hello(2, "a", { phase: "blank", clusterId: "" }));
  book.takesPart(2, "b", CLUSTER);
  expect(book.view(2)).toMatchObject({ phase: "blank" });
  book.takesPart(2, "a", CLUSTER);
  expect(book.view(2)).toMatchObject({ phase: "formed", clusterId: CLUSTER });
});

test("members are called, and whom an operator invites, and who may not know that it has no vote", () => {
  expect([...dialed.keys()]).toEqual([]);
  book.follow({ ...votersOnly([1, 2]), index: 4 });
  expect([...dialed.keys()]).toEqual([2]);
  book.invite(7, "n7:1");
  expect(dialed.get(7)).toBe("n7:1");
  book.hello(hello(3, "x"));
  expect([...dialed.keys()].sort()).toEqual([2, 3, 7]);
  book.uninvite(7);
  book.gone(3);
  expect([...dialed.keys()]).toEqual([2]);
});
