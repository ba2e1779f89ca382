/** What a node does whose database file somebody else has changed: at its start, and while it runs; and its writer's driver. */

import { beforeEach, describe, expect, it } from "vitest";
import { verdictCodec } from "../../src/machine/verdict-codec.ts";
import { CHANGED } from "../../src/node/changed-file.ts";
import { settleFileAtStart } from "../../src/node/file-at-start.ts";
import type { FileLook, PeerFinding } from "../../src/node/ports.ts";
import { Sickness } from "../../src/node/sickness.ts";
import { failure } from "../../src/node/write-request.ts";
import type { WriterDriver } from "../../src/node/writer-driver.ts";
import type { RaftStatus } from "../../src/raft/effect.ts";
import { type EntryId, votersOnly } from "../../src/raft/entry.ts";
import { Clock, EMPTY_STATE, FakeLog, FakeMachine, makeDriver, request, silent } from "./fakes.ts";

const WHAT = "somebody wrote to it";

describe("a node whose file was changed", () => {
  let clock: Clock;
  let told: string[];
  let sent: { readonly to: number; readonly finding: PeerFinding }[];
  let trouble: string;
  let status: RaftStatus;
  let sickness: Sickness;

  beforeEach(() => {
    clock = new Clock();
    [told, sent, trouble] = [[], [], ""];
    begin([1, 2, 3]);
  });

  function begin(voters: readonly number[]): void {
    const log = new FakeLog();
    log.terms.push(1, 1, 1, 1, 1, 1, 1);
    const configuration = votersOnly(voters);
    status = { id: 1, role: "follower", leader: 2, currentTerm: 1, configuration } as RaftStatus;
    sickness = new Sickness({
      id: 1,
      environment: clock.environment,
      logger: silent,
      log,
      machine: { verdicts: verdictCodec },
      transport: { sendFinding: (to, finding) => sent.push({ to, finding }) },
      driver: { applied: 4, applicableIndex: 7, settle: () => undefined },
      electionMs: 500,
      status: () => status,
      fallSick: () => told.push("sick"),
      mayLead: (may) => told.push(may ? "may lead" : "may not lead"),
      propose: () => {
        throw new Error("it says nothing in the log");
      },
      reseed: (sources, atLeast) => told.push(`reseed from ${sources.join()} at ${atLeast}`),
      trouble: (text) => {
        trouble = text;
      },
      halt: (error) => told.push(`halt: ${(error as { code?: string }).code}: ${error.message}`),
    });
  }

  function says(from: number, kind: PeerFinding["kind"], detail = ""): void {
    sickness.heard(from, { index: 4, term: 1, kind, digest: 0, detail, asks: false });
  }

  function wait(ms: number): void {
    for (let passed = 0; passed < ms; passed += 100) {
      clock.advance(100);
      sickness.sweep();
    }
  }

  const last = () => told.at(-1);

  it("serves nothing and does not lead, from the first word on, also before the core runs", () => {
    sickness.opened({ ...EMPTY_STATE, changed: WHAT });
    expect([sickness.isSick, sickness.mayLead]).toEqual([true, false]);
    expect(told).toEqual(["may not lead", "sick"]);
    expect(trouble).toContain(WHAT);
  });

  it("speaks for no entry, also when it is asked", () => {
    sickness.changed(WHAT);
    sickness.heard(2, { index: 3, term: 1, kind: "differs", digest: 7, detail: "", asks: true });
    const nothing = { kind: "unknown", digest: 0, detail: CHANGED, asks: false };
    expect(sent).toEqual([{ to: 2, finding: { index: 3, term: 1, ...nothing } }]);
    sickness.mismatch({ index: 5, expected: 1, found: 7, detail: "" });
    wait(300);
    expect(sent.every(({ finding }) => finding.kind === "unknown")).toBe(true);
  });

  it("takes the database of any node that is not changed, the leader's last, when all have had time to look", () => {
    sickness.changed(WHAT);
    wait(300);
    expect(sent.slice(0, 2)).toMatchObject([
      { to: 2, finding: { index: 4, term: 1, detail: CHANGED, asks: true } },
      { to: 3 },
    ]);
    says(2, "agrees");
    says(3, "notYet");
    wait(2_000);
    expect(told.filter((what) => what.startsWith("reseed"))).toEqual([]);
    wait(500);
    expect(last()).toBe("reseed from 3,2 at 4");
    wait(5_000);
    expect(told.filter((what) => what.startsWith("reseed"))).toHaveLength(1);
    sickness.replaced({ index: 9, term: 1 });
    expect([sickness.isSick, sickness.mayLead, trouble, last()]).toEqual([
      false,
      true,
      "",
      "may lead",
    ]);
  });

  it("never takes one that was changed as well; another is asked when the source has been", () => {
    sickness.changed(WHAT);
    says(2, "unknown", CHANGED);
    says(3, "unknown");
    wait(3_000);
    expect(last()).toBe("reseed from 3 at 4");
    says(2, "agrees");
    wait(500);
    expect(last()).toBe("reseed from 3,2 at 4");
    says(3, "unknown", CHANGED);
    wait(500);
    expect(told.filter((what) => what.startsWith("reseed"))).toHaveLength(2);
  });

  it("halts when every other voter's is changed too, and says what to do", () => {
    sickness.changed(WHAT);
    says(2, "unknown", CHANGED);
    wait(5_000);
    expect(told.some((what) => what.startsWith("halt"))).toBe(false);
    expect(trouble).toMatch(/so was that of node 2; 1 of the other voters have not answered/);
    says(3, "unknown", CHANGED);
    wait(300);
    expect(told.some((what) => what.startsWith("reseed"))).toBe(false);
    expect(last()).toMatch(/halt: FILE_CHANGED: .*every other voter.*--accept-changed-file/);
  });

  it("halts when it is alone, with the way out", () => {
    begin([1]);
    sickness.changed(WHAT);
    wait(100);
    expect(last()).toMatch(/halt: FILE_CHANGED: .*no other node.*--accept-changed-file/);
  });

  it("halts when that happens for the third time within an hour", () => {
    for (let time = 0; time < 4; time += 1) {
      sickness.changed(WHAT);
      says(2, "agrees");
      wait(3_000);
      sickness.replaced({ index: 5 + time, term: 1 });
    }
    expect(told.filter((what) => what.startsWith("reseed"))).toHaveLength(3);
    expect(told.some((what) => /halt: FILE_CHANGED: .*find the program/.test(what))).toBe(true);
  });

  it("leads, serving nothing, when nobody else has for long, and until somebody does", () => {
    sickness.changed(WHAT);
    status = { ...status, leader: 0 };
    wait(1_400);
    expect(sickness.mayLead).toBe(false);
    wait(300);
    expect([sickness.isSick, sickness.mayLead, last()]).toEqual([true, true, "may lead"]);
    status = { ...status, leader: 3 };
    wait(100);
    expect([sickness.mayLead, last()]).toEqual([false, "may not lead"]);
  });
});

describe("a start with a changed file", () => {
  const state = { ...EMPTY_STATE, configuration: votersOnly([1, 2, 3]) };
  const changed: FileLook = { kind: "changed", what: WHAT, state };
  const nothing = { kind: "changed", what: WHAT, state: null } as const;
  const formed = { phase: "formed", members: [1, 2, 3] } as const;
  let accepted: number;

  function start(
    look: FileLook,
    isAccepted: boolean,
    {
      identity = formed as { phase: "formed" | "blank"; members: readonly number[] },
      inspect = async (): Promise<EntryId> => ({ index: 4, term: 1 }),
    } = {},
  ): Promise<void> {
    accepted = 0;
    const machine = {
      lookAtFile: () => look,
      inspectFile: inspect,
      acceptFile: () => {
        accepted += 1;
      },
    };
    const holds = ({ index }: EntryId) => index <= 4;
    return settleFileAtStart({ id: 1, identity, logger: silent, machine, holds }, isAccepted);
  }

  it("goes on where other voters are, by what the file had applied or by what its directory says", async () => {
    await start(changed, false);
    await start(nothing, false);
    expect(accepted).toBe(0);
  });

  it("is refused where there are none: alone, or before a cluster was formed", async () => {
    const alone = {
      kind: "changed",
      what: WHAT,
      state: { ...state, configuration: votersOnly([1]) },
    };
    const refusal = { code: "FILE_CHANGED", message: expect.stringContaining("--accept") };
    await expect(start(alone as FileLook, false)).rejects.toMatchObject(refusal);
    const one = { phase: "formed", members: [1] } as const;
    await expect(start(nothing, false, { identity: one })).rejects.toMatchObject(refusal);
    const blank = { phase: "blank", members: [] } as const;
    await expect(start(changed, false, { identity: blank })).rejects.toMatchObject(refusal);
  });

  it("takes it as it stands if it is told so, and if it is whole and its log's", async () => {
    await start(changed, true);
    expect(accepted).toBe(1);
    const torn = async () => Promise.reject(new Error("the database is damaged"));
    await expect(start(changed, true, { inspect: torn })).rejects.toThrow("is damaged");
    expect(accepted).toBe(0);
    const later = async () => ({ index: 5, term: 1 });
    await expect(start(changed, true, { inspect: later })).rejects.toThrow("which the log lacks");
    expect(accepted).toBe(0);
  });

  it("takes nothing when nothing was changed", async () => {
    const looks: readonly FileLook[] = [
      { kind: "intact" },
      { kind: "unsealed" },
      { kind: "unreadable", why: "" },
    ];
    for (const look of looks) {
      await start(look, true);
      expect(accepted).toBe(0);
    }
  });
});

describe("the writer's driver", () => {
  let clock: Clock;
  let log: FakeLog;
  let machine: FakeMachine;
  let driver: WriterDriver;
  let changes: string[];

  beforeEach(() => {
    [clock, log, machine, changes] = [new Clock(), new FakeLog(), new FakeMachine(), []];
    driver = makeDriver({ machine, log, clock }, { changed: (what) => changes.push(what) });
  });

  it("does nothing with a file that somebody else has changed, neither at its start nor later", () => {
    driver.start(() => {});
    machine.writer.events.ready({ ...EMPTY_STATE, changed: "somebody wrote to it" });
    log.terms.push(1, 1);
    driver.applicable(2);
    clock.advance(100);
    expect(machine.writer.applies).toEqual([]);
    driver.suspend();
    driver.resume();
    machine.writer.ready(0);
    expect(machine.writer.applies).toHaveLength(1);
    machine.writer.events.changed("somebody wrote to it");
    driver.applicable(2);
    clock.advance(100);
    expect(changes).toEqual(["somebody wrote to it"]);
    expect(machine.writer.applies).toHaveLength(1);
  });

  it("as leader neither executes nor commits when the file was changed: what was not proposed did not happen", () => {
    driver.start(() => {});
    machine.writer.ready(0);
    log.terms.push(2);
    driver.lead({ index: 1, term: 2 });
    driver.applicable(1);
    machine.writer.events.applied({ index: 1, term: 2 }, null);
    const [proposed, waiting] = [request(), request()];
    driver.submit(proposed.request);
    machine.writer.proposal(0);
    driver.submit(waiting.request);
    machine.writer.events.changed("somebody wrote to it");
    driver.applicable(log.lastIndex());
    clock.advance(100);
    expect(machine.writer.commits).toEqual([]);
    driver.follow(failure("NOT_SERVING", "changed"));
    expect(waiting.answer).toMatchObject({ code: "NOT_SERVING", outcome: "not-applied" });
    expect(proposed.answer).toBeNull();
    const late = request();
    driver.submit(late.request);
    clock.advance(100);
    expect(machine.writer.jobs).toHaveLength(2);
  });
});
