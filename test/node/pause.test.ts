/** A whole node over hand-driven parts, whose process stands still for a while and then goes on. */

import { expect, test } from "vitest";
import { checkOptions } from "../../src/node/config.ts";
import { Node } from "../../src/node/node.ts";
import type { Environment, NodeParts, TransportEvents } from "../../src/node/ports.ts";
import { heartbeat } from "../raft/raft-harness.ts";
import { FakeLog, FakeMachine, silent } from "./fakes.ts";

const MEMBERS = new Map([1, 2, 3].map((id) => [id, `127.0.0.1:${4000 + id}`]));

class FormedLog extends FakeLog {
  override readonly identity = {
    nodeId: 1,
    incarnation: "1".repeat(32),
    clusterId: "c".repeat(32),
    phase: "formed",
    members: [1, 2, 3],
  } as unknown as FakeLog["identity"];
  override readonly hardState = { currentTerm: 5, votedFor: 2, commitIndex: 0 };
}

/** Time passes only as the test says, and timers fire only when it says, however late that is. */
class HandClock {
  nowMs = 1_000;
  readonly #timers = new Set<{ dueMs: number; run: () => void }>();
  readonly environment: Environment = {
    monotonicMs: () => this.nowMs,
    wallMs: () => this.nowMs,
    random: () => 0.5,
    after: (delayMs, run) => {
      const timer = { dueMs: this.nowMs + delayMs, run };
      this.#timers.add(timer);
      return { cancel: () => void this.#timers.delete(timer) };
    },
    soon: (run) => this.#soon.push(run),
  };
  readonly #soon: (() => void)[] = [];

  /** What is due now, each timer once, as one turn of an event loop fires them. */
  turn(): void {
    for (const timer of [...this.#timers]) {
      if (timer.dueMs > this.nowMs || !this.#timers.delete(timer)) continue;
      timer.run();
    }
    for (let run = this.#soon.shift(); run !== undefined; run = this.#soon.shift()) run();
  }

  advance(ms: number): void {
    for (let passed = 0; passed < ms; passed += 10) {
      this.nowMs += 10;
      this.turn();
    }
  }
}

function aNode() {
  const clock = new HandClock();
  const machine = new FakeMachine();
  let events: TransportEvents | null = null;
  const transport = {
    start: (given: TransportEvents) => {
      events = given;
    },
    setPeers: () => {},
    send: () => {},
    sendForm: () => {},
    sendFormResult: () => {},
    stop: (done: () => void) => done(),
  };
  const config = checkOptions({ id: 1, dir: "-", peers: MEMBERS, advertise: "127.0.0.1:4001" });
  const parts = {
    log: new FormedLog(),
    machine,
    transport,
    fetcher: { fetch: () => ({ cancel() {} }) },
  };
  const { environment } = clock;
  const node = new Node(config, { ...parts, environment, logger: silent } as unknown as NodeParts);
  node.start();
  machine.writer.ready(0);
  clock.turn();
  const hear = (): void => {
    events?.messages(2, [heartbeat({ term: 5 })], {
      clockMs: clock.nowMs,
      lowSpace: false,
      incarnation: "",
    });
    clock.turn();
  };
  return { clock, node, hear };
}

test("F7: a node that was paused lets one tick pass, and hears its leader first", () => {
  const { clock, node, hear } = aNode();
  hear();
  clock.advance(300);
  expect(node.status()).toMatchObject({ role: "follower", leader: 2 });
  // A minute in which nothing ran: a suspended machine, a stopped process.
  clock.nowMs += 60_000;
  clock.turn();
  expect(node.status()).toMatchObject({ role: "follower", leader: 2 });
  hear();
  clock.advance(400);
  expect(node.status()).toMatchObject({ role: "follower", leader: 2 });
  // Without word from the leader it does stand for election, in time that was lived through.
  clock.advance(2_000);
  expect(node.status().role).not.toBe("follower");
});
