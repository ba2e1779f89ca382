/** Another node's database in the place of this one's, while the log stays. */

import { beforeEach, describe, expect, it } from "vitest";
import type { FetchEvents } from "../../src/node/ports.ts";
import { Reseed } from "../../src/node/reseed.ts";
import { Clock, FakeLog, FakeMachine, silent } from "./fakes.ts";

describe("a database that is worth nothing", () => {
  let said: string[];
  let fetches: { from: number; atLeast: number; events: FetchEvents }[];
  let applicable: number;
  let exchanged: (error: Error | null) => void;
  let clock: Clock;
  let reseed: Reseed;

  beforeEach(() => {
    said = [];
    fetches = [];
    applicable = 3;
    clock = new Clock();
    const log = new FakeLog();
    log.terms.push(1, 1, 1, 1, 2);
    const machine = new FakeMachine();
    machine.exchange = ({ index }, done) => {
      said.push(`exchange ${index}`);
      exchanged = done;
    };
    reseed = new Reseed({
      log,
      logger: silent,
      machine,
      environment: clock.environment,
      fetcher: {
        fetch: (from, atLeast, events) => {
          fetches.push({ from, atLeast, events });
          return { cancel: () => said.push("cancelled") };
        },
      },
      applicable: () => applicable,
      suspend: () => said.push("suspend"),
      resume: () => said.push("resume"),
      replaced: ({ index }) => said.push(`replaced ${index}`),
      broken: (error) => said.push(error.message),
    });
    reseed.begin([2, 3], 3);
  });

  it("is replaced when the own log holds the entry, committed and durable, and not before", () => {
    fetches[0]?.events.ready({ index: 4, term: 1 }, null);
    reseed.sweep();
    expect(said).toEqual([]);
    applicable = 4;
    reseed.sweep();
    expect(said).toEqual(["suspend", "exchange 4"]);
    exchanged(null);
    expect(said).toEqual(["suspend", "exchange 4", "replaced 4", "resume"]);
    expect(reseed.isWanted).toBe(false);
  });

  it("is not replaced by what the log does not hold: another one is fetched", () => {
    applicable = 5;
    fetches[0]?.events.ready({ index: 4, term: 9 }, null);
    expect(said).toEqual([]);
    reseed.sweep();
    expect(fetches).toHaveLength(2);
  });

  it("is asked for at one source after the other, with a pause", () => {
    fetches[0]?.events.failed("no");
    reseed.sweep();
    expect(fetches).toHaveLength(1);
    clock.advance(600);
    reseed.sweep();
    expect(fetches.map(({ from, atLeast }) => [from, atLeast])).toEqual([
      [2, 3],
      [3, 3],
    ]);
  });

  it("gives way to what the core needs, but not in the middle of an exchange", () => {
    expect(reseed.giveWay()).toBe(true);
    expect(said).toEqual(["cancelled"]);
    reseed.sweep();
    applicable = 4;
    fetches[1]?.events.ready({ index: 4, term: 1 }, null);
    expect(reseed.giveWay()).toBe(false);
  });

  it("halts the node if the files cannot be exchanged", () => {
    applicable = 4;
    fetches[0]?.events.ready({ index: 4, term: 1 }, null);
    exchanged(new Error("no space"));
    expect(said.at(-1)).toContain("no space");
    expect(said).not.toContain("resume");
  });
});
