/** What a node does when its effects differ: whom it believes, when it leads, and when it gives up. */

import { beforeEach, describe, expect, it } from "vitest";
import { verdictCodec } from "../../src/machine/verdict-codec.ts";
import { judge } from "../../src/node/findings.ts";
import type { PeerFinding, Verdict } from "../../src/node/ports.ts";
import { Sickness } from "../../src/node/sickness.ts";
import type { RaftStatus } from "../../src/raft/effect.ts";
import { type Entry, votersOnly } from "../../src/raft/entry.ts";
import { Clock, EMPTY_STATE, FakeLog, silent } from "./fakes.ts";

const AT = { index: 5, term: 1 };
const OTHERS = { expected: 1, found: 7, detail: "other effects" };

describe("what voters found", () => {
  const five = votersOnly([1, 2, 3, 4, 5]);
  const said = (...keys: string[]) => new Map(keys.map((key, at) => [at + 1, key] as const));

  it("counts for a majority of all voters, not of those that answered", () => {
    expect(judge(five, said("a", "a"))).toEqual({ kind: "open" });
    expect(judge(five, said("a", "a", "b", "a"))).toEqual({ kind: "majority", key: "a" });
  });

  it("comes to nothing when no finding can win any more; what is unknown stands by nobody", () => {
    expect(judge(five, said("a", "a", "b", "b"))).toEqual({ kind: "open" });
    expect(judge(five, said("a", "a", "b", "b", "c"))).toEqual({ kind: "none" });
    expect(judge(five, said("unknown", "unknown", "unknown"))).toEqual({ kind: "none" });
  });

  it("must win both halves of a joint configuration", () => {
    const joint = { ...votersOnly([1, 2, 3]), outgoing: [3, 4, 5] };
    expect(judge(joint, said("a", "a", "a"))).toEqual({ kind: "open" });
    expect(judge(joint, said("a", "a", "a", "a")).kind).toBe("majority");
    expect(judge(joint, said("a", "a", "b", "b")).kind).toBe("none");
  });
});

describe("a node whose effects differ", () => {
  let clock: Clock;
  let log: FakeLog;
  let told: string[];
  let sent: { readonly to: number; readonly finding: PeerFinding }[];
  let proposed: Uint8Array[];
  let settled: Verdict[];
  let trouble: string;
  let status: RaftStatus;
  let applied: number;
  let sickness: Sickness;

  beforeEach(() => {
    clock = new Clock();
    log = new FakeLog();
    log.terms.push(1, 1, 1, 1, 1, 1, 1);
    [told, sent, proposed, settled] = [[], [], [], []];
    trouble = "";
    applied = 4;
    status = { role: "follower", leader: 2, currentTerm: 1 } as RaftStatus;
    begin([1, 2, 3]);
  });

  function begin(voters: readonly number[]): void {
    status = { ...status, id: 1, configuration: votersOnly(voters) };
    sickness = new Sickness({
      id: 1,
      environment: clock.environment,
      logger: silent,
      log,
      machine: { verdicts: verdictCodec },
      transport: { sendFinding: (to, finding) => sent.push({ to, finding }) },
      driver: {
        get applied() {
          return applied;
        },
        get applicableIndex() {
          return log.lastIndex();
        },
        settle: (verdict) => settled.push(verdict),
      },
      electionMs: 500,
      status: () => status,
      fallSick: () => told.push("sick"),
      mayLead: (may) => told.push(may ? "may lead" : "may not lead"),
      propose: (payload) => {
        proposed.push(payload);
        const id = { index: log.lastIndex() + 1, term: 2 };
        return { kind: "accepted", first: id, last: id };
      },
      reseed: (sources, atLeast) => told.push(`reseed from ${sources.join()} at ${atLeast}`),
      trouble: (text) => {
        trouble = text;
      },
      halt: (error) => told.push(`halt: ${error.message}`),
    });
    sickness.opened(EMPTY_STATE);
  }

  function says(from: number, kind: PeerFinding["kind"], digest = 0): void {
    sickness.heard(from, { ...AT, kind, digest, detail: "", asks: false });
  }

  const fall = () => sickness.mismatch({ index: AT.index, ...OTHERS });

  it("serves nothing, does not lead, and asks every other voter again and again", () => {
    fall();
    expect(sickness.isSick).toBe(true);
    expect(sickness.mayLead).toBe(false);
    expect(told).toEqual(["may not lead", "sick"]);
    expect(trouble).toContain("log entry 5 differ");
    expect(sent.map(({ to }) => to)).toEqual([2, 3]);
    expect(sent[0]?.finding).toMatchObject({ ...AT, kind: "differs", digest: 7, asks: true });
    sickness.sweep();
    expect(sent).toHaveLength(2);
    clock.advance(250);
    sickness.sweep();
    expect(sent).toHaveLength(4);
  });

  it("in a minority takes the database of one that agrees, and is well when it has it", () => {
    fall();
    says(2, "agrees");
    expect(told).not.toContain("reseed from 2 at 5");
    says(3, "agrees");
    expect(told).toContain("reseed from 2,3 at 5");
    sickness.replaced({ index: 9, term: 1 });
    expect(sickness.isSick).toBe(false);
    expect(trouble).toBe("");
    expect(told.at(-1)).toBe("may lead");
  });

  it("in a majority may lead, and as leader proposes once what counts", () => {
    fall();
    says(3, "differs", 7);
    expect(sickness.mayLead).toBe(true);
    expect(proposed).toEqual([]);
    status = { ...status, role: "leader", currentTerm: 2 };
    sickness.sweep();
    sickness.sweep();
    const entry: Entry = { index: 8, term: 2, kind: "command", payload: proposed[0] as Uint8Array };
    expect(proposed).toHaveLength(1);
    expect(verdictCodec.read(entry)).toMatchObject({ index: 5, digest: 7, at: 8 });
  });

  it("goes by a verdict that is in the log, and asks nobody", () => {
    const payload = verdictCodec.encode({ index: 5, digest: 7, detail: "" });
    const entries = log.entries.bind(log);
    log.entries = (from, to) =>
      entries(from, to).map((entry) => (entry.index === 7 ? { ...entry, payload } : entry));
    fall();
    expect(settled).toMatchObject([{ index: 5, digest: 7, at: 7 }]);
    expect(sickness.isSick).toBe(false);
    expect(sent).toEqual([]);
    // It differs again, now from the verdict: that is the majority's word against its own.
    fall();
    expect(settled).toHaveLength(1);
    expect(sent).toHaveLength(2);
  });

  it("halts when all differ, when it is alone, and says what to do", () => {
    fall();
    says(2, "agrees");
    says(3, "differs", 8);
    clock.advance(5_000);
    sickness.sweep();
    expect(told.at(-1)).toMatch(/halt: .*no majority.*empty the directories/);
    begin([1]);
    fall();
    expect(told.at(-1)).toMatch(/halt: .*no other voter.*balsa import/);
  });

  it("does not halt while its log goes on: the others may have gone by a verdict that it has not got yet", () => {
    fall();
    says(2, "agrees");
    says(3, "differs", 8);
    for (let second = 0; second < 10; second += 1) {
      log.terms.push(1);
      clock.advance(1_000);
      sickness.sweep();
    }
    expect(told.filter((what) => what.startsWith("halt"))).toEqual([]);
    expect(trouble).toContain("have said what they found");
    clock.advance(5_000);
    sickness.sweep();
    expect(told.at(-1)).toMatch(/halt: .*no majority/);
  });

  it("halts when its third database within an hour differs as well", () => {
    for (let time = 0; time < 4; time += 1) {
      sickness.mismatch({ index: 5 + time, ...OTHERS });
      for (const from of [2, 3]) {
        const finding = { index: 5 + time, term: 1, digest: 0, detail: "", asks: false };
        sickness.heard(from, { ...finding, kind: "agrees" });
      }
      sickness.replaced({ index: 4 + time, term: 1 });
      log.terms.push(1);
    }
    expect(told.filter((what) => what.startsWith("reseed"))).toHaveLength(3);
    expect(told.some((what) => /halt: .*again and again/.test(what))).toBe(true);
  });

  it("a healthy node answers, and is overruled by a majority that found the same", () => {
    applied = 6;
    sickness.heard(2, { ...AT, kind: "differs", digest: 8, detail: "", asks: true });
    expect(sent).toMatchObject([{ to: 2, finding: { kind: "agrees", asks: false } }]);
    expect(sickness.isSick).toBe(false);
    says(3, "differs", 9);
    expect(sickness.isSick).toBe(false);
    says(3, "differs", 8);
    expect(sickness.isSick).toBe(true);
    expect(told).toContain("reseed from 2,3 at 5");
  });

  it("whose database is another's stands by nobody for what came before, and is not overruled", () => {
    applied = 6;
    sickness.opened({ ...EMPTY_STATE, originIndex: 5 });
    sickness.heard(2, { ...AT, kind: "differs", digest: 8, detail: "", asks: true });
    expect(sent).toMatchObject([{ finding: { kind: "unknown" } }]);
    says(3, "differs", 8);
    expect(sickness.isSick).toBe(false);
  });

  it("leads though it asks when nobody else does, until one that serves is there", () => {
    fall();
    status = { ...status, leader: 0 };
    sickness.sweep();
    clock.advance(1_600);
    sickness.sweep();
    expect(sickness.mayLead).toBe(true);
    says(3, "agrees");
    sickness.sweep();
    expect(sickness.mayLead).toBe(false);
  });
});
