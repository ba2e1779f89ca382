/** From what a node's disk holds to its core: which members it begins with, and what does not fit together. */

import { describe, expect, test } from "vitest";
import { checkOptions } from "../../src/node/config.ts";
import { KeptConfiguration } from "../../src/node/kept-configuration.ts";
import { openCore } from "../../src/node/open-core.ts";
import type { Identity, MachineState, Writer } from "../../src/node/ports.ts";
import { type Configuration, votersOnly } from "../../src/raft/entry.ts";
import { Clock, EMPTY_STATE, FakeLog } from "./fakes.ts";

const config = checkOptions({
  id: 1,
  dir: "-",
  peers: new Map([1, 2, 3].map((id) => [id, `n${id}:1`])),
  advertise: "n1:1",
});

/** Entries 1 to 3, all of term 1. */
class ShortLog extends FakeLog {
  override readonly hardState = { currentTerm: 1, votedFor: 0, commitIndex: 3 };
  override readonly terms = [0, 1, 1, 1];
}

function open(state: Partial<MachineState>, identity: Partial<Identity> = {}) {
  const whole = { ...EMPTY_STATE, appliedIndex: 3, appliedTerm: 1, ...state };
  const self = { members: [1, 2, 3], votesFrom: 0, ...identity } as unknown as Identity;
  return openCore(config, self, new ShortLog(), whole as MachineState, new Clock().environment);
}

const later: Configuration = { ...votersOnly([1, 4, 5]), index: 2 };

describe("opening the core", () => {
  test("C3: the members are those that the database file names, not those of the founding", () => {
    expect(open({}).status().configuration).toEqual(votersOnly([1, 2, 3]));
    expect(open({ configuration: later }).status().configuration).toEqual(later);
  });

  test("A12: a node that was admitted anew stands for nothing before it has committed its admission", () => {
    const admitted = open({}, { votesFrom: 9 });
    admitted.step({ kind: "campaign" });
    expect(admitted.status().role).toBe("follower");
    const known = open({}, { votesFrom: 3 });
    known.step({ kind: "campaign" });
    expect(known.status().role).toBe("preCandidate");
  });

  test.each([
    ["ahead of the log", 4, 1],
    ["of another term", 3, 2],
  ])("a database %s does not belong to it", (_how, appliedIndex, appliedTerm) => {
    expect(() => open({ appliedIndex, appliedTerm })).toThrow(/do not belong together/);
  });
});

describe("the configuration in the database file", () => {
  const writer = () => {
    const told: number[] = [];
    const fake = { configure: ({ index }: Configuration) => told.push(index) };
    return { told, writer: fake as unknown as Writer };
  };
  const state = (configuration: Configuration | null) => ({ configuration }) as MachineState;
  const at = (index: number): Configuration => ({ ...votersOnly([1, 2, 3]), index });

  test("C3: each writer is told what its file lacks, once, and nothing older", () => {
    const kept = new KeptConfiguration();
    const first = writer();
    kept.set(at(5));
    kept.opened(first.writer, state(at(3)));
    expect(first.told).toEqual([5]);
    kept.set(at(5));
    kept.set(at(7));
    expect(first.told).toEqual([5, 7]);
    kept.closed();
    kept.set(at(9));
    // It was killed before it had committed anything: the next one begins from what the file has.
    const second = writer();
    kept.opened(second.writer, state(at(5)));
    expect(second.told).toEqual([9]);
    const third = writer();
    kept.opened(third.writer, state(at(9)));
    expect(third.told).toEqual([]);
  });
});
