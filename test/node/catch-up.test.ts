import { beforeEach, describe, expect, it } from "vitest";
import { CatchUp } from "../../src/node/catch-up.ts";
import type { FetchEvents } from "../../src/node/ports.ts";
import type { RaftStatus, SnapshotMark } from "../../src/raft/effect.ts";
import { votersOnly } from "../../src/raft/entry.ts";
import { FakeLog, FakeMachine, silent } from "./fakes.ts";

const MARK = { index: 70, term: 3 };
const STATUS = { id: 1, leader: 3, configuration: votersOnly([1, 2, 3, 4]) } as RaftStatus;

describe("catching up", () => {
  let said: string[];
  let fetches: { from: number; atLeast: number; events: FetchEvents }[];
  let cancelled: number;
  let durable: () => void;
  let installed: (error: Error | null) => void;
  let ready: SnapshotMark[];
  let catchUp: CatchUp;

  beforeEach(() => {
    said = [];
    fetches = [];
    cancelled = 0;
    ready = [];
    const log = new FakeLog();
    log.restart = (...[base, done]: [{ index: number }?, (() => void)?]) => {
      said.push(`log ${base?.index}`);
      durable = done ?? (() => {});
    };
    const machine = new FakeMachine();
    machine.install = ({ index }, done) => {
      said.push(`machine ${index}`);
      installed = done;
    };
    catchUp = new CatchUp({
      log,
      logger: silent,
      machine,
      fetcher: {
        fetch: (from, atLeast, events) => {
          fetches.push({ from, atLeast, events });
          return { cancel: () => (cancelled += 1) };
        },
      },
      status: () => STATUS,
      ready: (snapshot) => ready.push(snapshot),
      suspend: () => said.push("suspend"),
      resume: () => said.push("resume"),
      replaced: ({ index }) => said.push(`replaced ${index}`),
      broken: (error) => said.push(error.message),
    });
  });

  const ask = () => catchUp.request({ from: 3, index: 60, term: 2 });

  it("asks followers first and the leader last, one at a time, and goes round", () => {
    for (let attempt = 0; attempt < 4; attempt += 1) {
      ask();
      ask();
      fetches.at(-1)?.events.failed("no");
    }
    expect(fetches.map(({ from }) => from)).toEqual([2, 4, 3, 2]);
    expect(fetches.every(({ atLeast }) => atLeast === 60)).toBe(true);
  });

  it("offers what it got to the core, with the configuration that it has if the file names none", () => {
    ask();
    fetches[0]?.events.ready(MARK, null);
    ask();
    fetches[1]?.events.ready(MARK, votersOnly([5]));
    expect(ready).toEqual([
      { ...MARK, configuration: STATUS.configuration },
      { ...MARK, configuration: votersOnly([5]) },
    ]);
    expect(said).toEqual([]);
  });

  it("installs in the order that a crash cannot spoil: no writer, then the log, then the file", () => {
    catchUp.install({ ...MARK, configuration: STATUS.configuration });
    expect(said).toEqual(["suspend", "log 70"]);
    durable();
    expect(said).toEqual(["suspend", "log 70", "machine 70"]);
    installed(null);
    expect(said).toEqual(["suspend", "log 70", "machine 70", "replaced 70", "resume"]);
  });

  it("fetches nothing while it installs: the file would have to make room", () => {
    catchUp.install({ ...MARK, configuration: STATUS.configuration });
    ask();
    durable();
    ask();
    expect(fetches).toEqual([]);
    installed(null);
    ask();
    expect(fetches.length).toBe(1);
  });

  it("halts the node when the file cannot be put in its place", () => {
    catchUp.install({ ...MARK, configuration: STATUS.configuration });
    durable();
    installed(new Error("EIO"));
    expect(said.at(-1)).toBe("a snapshot cannot be installed: EIO");
  });

  it("does nothing any more when the node stops", () => {
    ask();
    catchUp.stop();
    expect(cancelled).toBe(1);
    fetches[0]?.events.ready(MARK, null);
    ask();
    expect([ready.length, fetches.length]).toEqual([0, 1]);
  });
});
