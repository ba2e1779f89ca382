/** Who may lead while nodes run different machine versions, case by case. */

import { beforeEach, describe, expect, it } from "vitest";
import { MachineVersions } from "../../src/node/machine-versions.ts";
import { PeerBook } from "../../src/node/peer-book.ts";
import type { ExecuteSink } from "../../src/node/service.ts";
import type { RaftStatus } from "../../src/raft/effect.ts";
import { votersOnly } from "../../src/raft/entry.ts";
import type { ProgressView } from "../../src/raft/progress.ts";
import { Clock, silent } from "./fakes.ts";

const ELECTION_MS = 500;
const MEMBERS = [1, 2, 3];

describe("a node's machine version", () => {
  let clock: Clock;
  let book: PeerBook;
  let role: RaftStatus["role"];
  let leader: number;
  let progress: Partial<ProgressView>[];
  let eligible: boolean;
  let handed: number[];
  let raised: { version: string; sink: ExecuteSink }[];
  let versions: MachineVersions;

  function make(own: string): void {
    versions = new MachineVersions({
      id: 1,
      machineVersion: own,
      electionMs: ELECTION_MS,
      environment: clock.environment,
      logger: silent,
      book,
      status: () => ({ id: 1, role, leader, configuration: votersOnly(MEMBERS) }) as RaftStatus,
      progress: () => progress as ProgressView[],
      eligible: (mayLead) => {
        eligible = mayLead;
      },
      giveWay: (to) => handed.push(to),
      raise: (version, _timeoutMs, sink) => raised.push({ version, sink }),
    });
    versions.started();
  }

  beforeEach(() => {
    clock = new Clock();
    book = new PeerBook({ id: 1, advertise: "n1:1", peers: new Map() }, () => {});
    role = "follower";
    leader = 2;
    progress = MEMBERS.map((id) => ({ id, isActive: true, matchIndex: 5 }));
    eligible = true;
    handed = [];
    raised = [];
  });

  function hello(id: number, machineVersion: string): void {
    const who = { id, clusterId: "c", phase: "formed" as const, members: MEMBERS };
    const rest = { incarnation: `${id}`, seed: "", votesFrom: 0, address: `n${id}:1` };
    book.hello({ ...who, ...rest, machineVersion });
  }

  function pass(electionTimeouts: number): void {
    for (let at = 0; at < electionTimeouts * 5; at += 1) {
      clock.advance(ELECTION_MS / 5);
      versions.sweep();
    }
  }

  it("lets it lead if it is the cluster's, or if none was set", () => {
    make("a");
    expect([versions.mayLead(), eligible, versions.refusal()]).toEqual([true, true, null]);
    versions.applied("a");
    expect([versions.mayLead(), eligible, versions.refusal()]).toEqual([true, true, null]);
  });

  it("keeps it from standing if it is another, while one of the cluster's leads", () => {
    make("b");
    hello(2, "a");
    hello(3, "a");
    versions.applied("a");
    expect([versions.mayLead(), eligible]).toEqual([false, false]);
    expect(versions.refusal()).toMatchObject({ code: "NO_LEADER", outcome: "not-applied" });
    pass(50);
    expect(eligible).toBe(false);
    expect([versions.fits(1), versions.fits(2)]).toEqual([false, true]);
  });

  it("lets it stand after a while without a leader: its log may be the only one that can win", () => {
    make("b");
    hello(2, "a");
    hello(3, "a");
    versions.applied("a");
    leader = 0;
    pass(3.5);
    expect(eligible).toBe(false);
    pass(1);
    expect(eligible).toBe(true);
    leader = 2;
    pass(0.2);
    expect(eligible).toBe(false);
  });

  it("lets it stand at once when all voters are of its version, also those that are away", () => {
    make("b");
    hello(2, "b");
    hello(3, "b");
    versions.applied("a");
    book.gone(3);
    expect([versions.mayLead(), eligible]).toEqual([true, true]);
  });

  it("does not count who tells no version as of its own", () => {
    make("b");
    hello(2, "b");
    hello(3, "");
    versions.applied("a");
    expect(versions.mayLead()).toBe(false);
  });

  describe("as leader", () => {
    beforeEach(() => {
      role = "leader";
      leader = 1;
    });

    it("sets the first version once all voters have told theirs", () => {
      make("a");
      hello(2, "a");
      pass(1);
      expect(raised).toEqual([]);
      hello(3, "b");
      pass(1);
      // Once, until that has come to something.
      expect(raised.map(({ version }) => version)).toEqual(["a"]);
      raised[0]?.sink.done(new Uint8Array(0), 1);
      versions.applied("a");
      pass(5);
      expect(raised).toHaveLength(1);
    });

    it("hands over to who fits, again and again, to one after the other", () => {
      make("b");
      hello(2, "a");
      hello(3, "a");
      versions.applied("a");
      pass(5);
      expect(handed.slice(0, 3)).toEqual([2, 3, 2]);
      expect(raised).toEqual([]);
    });

    it("does not hand over before its followers had time to answer", () => {
      make("b");
      hello(2, "a");
      hello(3, "a");
      versions.applied("a");
      versions.sweep();
      expect(handed).toEqual([]);
    });

    it("raises at once when all voters are of its version", () => {
      make("b");
      hello(2, "b");
      hello(3, "b");
      versions.applied("a");
      expect(raised.map(({ version }) => version)).toEqual(["b"]);
    });

    it("raises after a while with a majority of its version, when nobody is there who fits", () => {
      make("b");
      hello(2, "b");
      hello(3, "a");
      book.gone(3);
      progress = [progress[0] ?? {}, progress[1] ?? {}, { id: 3, isActive: false, matchIndex: 5 }];
      versions.applied("a");
      pass(9);
      expect([raised.length, handed.length]).toEqual([0, 0]);
      pass(2);
      expect(raised.map(({ version }) => version)).toEqual(["b"]);
    });

    it("raises at last with a majority, when those who fit cannot take over", () => {
      make("b");
      hello(2, "b");
      hello(3, "a");
      versions.applied("a");
      pass(20);
      expect([raised.length, handed.includes(3)]).toEqual([0, true]);
      pass(5);
      expect(raised).toHaveLength(1);
    });

    it("never raises without a majority", () => {
      make("b");
      hello(2, "c");
      versions.applied("a");
      pass(100);
      expect(raised).toEqual([]);
    });

    it("tries again when a raise failed", () => {
      make("b");
      hello(2, "b");
      hello(3, "b");
      versions.applied("a");
      raised[0]?.sink.failed({} as never);
      pass(0.2);
      expect(raised).toHaveLength(2);
    });

    function upgrade(version: string, majority: boolean): string {
      let told = "";
      const sink = {
        done: (now: string, before: string) => {
          told = `${before} to ${now}`;
        },
        failed: ({ code, message }: { code: string; message: string }) => {
          told = `${code} ${message}`;
        },
      };
      versions.upgrade({ version, majority, timeoutMs: 1_000 }, sink);
      raised.at(-1)?.sink.done(new Uint8Array(0), 1);
      clock.advance(0);
      return told;
    }

    it("is raised by an operator when every voter runs it, or a majority if that is enough", () => {
      make("a");
      versions.applied("a");
      hello(2, "b");
      hello(3, "b");
      expect(upgrade("", false)).toMatch(
        /REFUSED not every voter runs b: node 1 runs a, node 2 runs b, node 3 runs b; .*--majority/,
      );
      expect(upgrade("", true)).toBe("a to b");
      book.gone(3);
      expect(upgrade("b", true)).toMatch(/REFUSED no majority.*node 3 is not connected/);
      hello(3, "c");
      expect(upgrade("", true)).toMatch(/REFUSED voters run several versions/);
    });

    it("says that nothing is to be done where all run the cluster's", () => {
      make("a");
      versions.applied("a");
      hello(2, "a");
      hello(3, "a");
      expect(upgrade("", false)).toBe("a to a");
      expect(raised).toEqual([]);
    });
  });
});
