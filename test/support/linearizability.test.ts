/** The checker itself: histories whose verdict is known, the definition tried by force, and anomalies planted in long ones. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isLinearizable } from "./brute-force-linearizability.ts";
import { History } from "./history.ts";
import { assertLinearizable, checkLinearizable } from "./linearizability.ts";
import {
  appendList,
  type ListOperation,
  type RegisterOperation,
  register,
} from "./linearizability-models.ts";
import { plantedHistory } from "./planted-history.ts";

type Span = readonly [from: number, to: number | null];

let serial = 0;
function timed([invokedAt, returnedAt]: Span) {
  serial += 1;
  return { client: `c${serial}`, key: "k", invokedAt, returnedAt };
}
const read = (value: number | null, span: Span): RegisterOperation => ({
  ...timed(span),
  kind: "read",
  input: null,
  output: span[1] === null ? null : { value },
});
const write = (input: number, span: Span): RegisterOperation => ({
  ...timed(span),
  kind: "write",
  input,
  output: span[1] === null ? null : "ok",
});
const insert = (input: number, output: "ok" | "exists" | null, span: Span): RegisterOperation => ({
  ...timed(span),
  kind: "insert",
  input,
  output,
});
const swap = (
  expected: number,
  next: number,
  output: "ok" | "differs" | null,
  span: Span,
): RegisterOperation => ({
  ...timed(span),
  kind: "compare-and-set",
  input: { expected, next },
  output,
});
const append = (input: number, span: Span): ListOperation => ({
  ...timed(span),
  kind: "append",
  input,
  output: span[1] === null ? null : "ok",
});
const readAll = (values: number[], span: Span): ListOperation => ({
  ...timed(span),
  kind: "read",
  input: null,
  output: span[1] === null ? null : { values },
});

function verdict(...operations: RegisterOperation[]): string {
  return checkLinearizable(register, operations).kind;
}
function listVerdict(...operations: ListOperation[]): string {
  return checkLinearizable(appendList, operations).kind;
}

describe("a register", () => {
  it("may be read before or after a write that runs at the same time, but not back again", () => {
    expect(verdict(write(1, [0, 9]), read(null, [1, 2]), read(1, [3, 4]))).toBe("linearizable");
    expect(verdict(write(1, [0, 9]), read(1, [1, 2]), read(null, [3, 4]))).toBe("violation");
  });

  it("shows a stale read", () => {
    expect(verdict(write(1, [0, 1]), write(2, [2, 3]), read(1, [4, 5]))).toBe("violation");
    expect(verdict(write(1, [0, 1]), write(2, [2, 5]), read(1, [4, 6]))).toBe("linearizable");
  });

  it("shows a lost write", () => {
    expect(verdict(write(1, [0, 1]), read(null, [2, 3]))).toBe("violation");
  });

  it("shows a write that took effect twice", () => {
    const once = [write(1, [0, 1]), write(2, [2, 3])];
    expect(verdict(...once, read(2, [4, 5]), read(1, [6, 7]))).toBe("violation");
  });

  it("shows a read from the future", () => {
    expect(verdict(read(1, [0, 1]), write(1, [2, 3]))).toBe("violation");
    expect(verdict(read(1, [0, 2]), write(1, [2, 3]))).toBe("linearizable");
    // A third that overlaps both must not bridge them.
    expect(verdict(read(1, [0, 1]), write(9, [0, 2]), write(1, [2, 3]))).toBe("violation");
  });

  it("lets a write of unknown outcome take effect late, once, or never", () => {
    const lost = write(1, [0, null]);
    expect(verdict(lost, write(2, [1, 2]), read(2, [3, 4]))).toBe("linearizable");
    expect(verdict(lost, write(2, [1, 2]), read(2, [3, 4]), read(1, [5, 6]))).toBe("linearizable");
    expect(
      verdict(lost, write(2, [1, 2]), read(1, [3, 4]), read(2, [5, 6]), write(3, [7, 8])),
    ).toBe("violation");
    expect(verdict(read(1, [0, 1]), write(1, [2, null]))).toBe("violation");
  });

  it("takes a constraint error as proof that the row was there", () => {
    expect(verdict(insert(1, "exists", [0, 1]))).toBe("violation");
    expect(verdict(insert(1, "ok", [0, 3]), insert(2, "exists", [1, 2]))).toBe("linearizable");
    expect(verdict(insert(1, "exists", [0, 1]), write(2, [2, 3]))).toBe("violation");
    expect(verdict(insert(1, "ok", [0, 1]), insert(2, "ok", [2, 3]))).toBe("violation");
    expect(verdict(insert(1, null, [0, null]), insert(2, "exists", [2, 3]))).toBe("linearizable");
  });

  it("shows an error that was told before the write that caused it was certain", () => {
    // The insert's leader died; its row never came to be; but somebody had been told that it exists.
    expect(
      verdict(insert(1, null, [0, null]), insert(2, "exists", [1, 2]), read(null, [3, 4])),
    ).toBe("violation");
  });

  it("takes compare-and-set in both answers as observation", () => {
    const one = write(1, [0, 1]);
    expect(verdict(one, swap(1, 2, "ok", [2, 3]), read(2, [4, 5]))).toBe("linearizable");
    expect(verdict(one, swap(1, 2, "differs", [2, 3]))).toBe("violation");
    expect(verdict(one, swap(1, 2, "ok", [2, 6]), swap(1, 3, "ok", [3, 5]))).toBe("violation");
    const unknown = swap(1, 2, null, [2, null]);
    expect(verdict(one, unknown, swap(1, 3, "differs", [3, 4]))).toBe("linearizable");
    expect(verdict(one, unknown, swap(1, 3, "differs", [3, 4]), read(1, [5, 6]))).toBe("violation");
  });

  it("counts an effect whose answer was lost, if it is known to have happened", () => {
    const applied: RegisterOperation = { ...write(1, [0, 1]), output: null };
    expect(verdict(applied, read(null, [2, 3]))).toBe("violation");
    expect(verdict(applied, read(1, [2, 3]))).toBe("linearizable");
  });

  it("is judged key by key", () => {
    const other = { ...read(null, [2, 3]), key: "other" };
    expect(verdict(write(1, [0, 1]), other)).toBe("linearizable");
  });
});

describe("an append-only list", () => {
  it("shows doubled, lost and reordered appends, and reads that disagree", () => {
    const [a, b] = [append(1, [0, 1]), append(2, [2, 3])];
    expect(listVerdict(a, b, readAll([1, 2], [4, 5]))).toBe("linearizable");
    expect(listVerdict(a, b, readAll([1, 2, 2], [4, 5]))).toBe("violation");
    expect(listVerdict(a, b, readAll([1], [4, 5]))).toBe("violation");
    expect(listVerdict(a, b, readAll([2, 1], [4, 5]))).toBe("violation");
    const [c, d] = [append(1, [0, 9]), append(2, [0, 9])];
    expect(listVerdict(c, d, readAll([2, 1], [10, 11]))).toBe("linearizable");
    expect(listVerdict(c, d, readAll([2], [1, 2]), readAll([1, 2], [3, 4]))).toBe("violation");
  });

  it("lets an append of unknown outcome appear once, late, or never", () => {
    const [a, lost] = [append(1, [0, 1]), append(7, [0, null])];
    expect(listVerdict(a, lost, readAll([1], [2, 3]))).toBe("linearizable");
    expect(listVerdict(a, lost, readAll([1], [2, 3]), readAll([1, 7], [4, 5]))).toBe(
      "linearizable",
    );
    expect(listVerdict(a, lost, readAll([1, 7], [2, 3]), readAll([1], [4, 5]))).toBe("violation");
    expect(listVerdict(a, lost, readAll([7, 1, 7], [2, 3]))).toBe("violation");
  });
});

describe("the search agrees with the definition", () => {
  const span = fc
    .tuple(fc.nat(9), fc.nat(5), fc.nat(4))
    .map(([from, length, lost]): Span => [from, lost === 0 ? null : from + length]);
  const cell = fc.integer({ min: 1, max: 3 });

  it("on small random histories of a register", () => {
    const operation = fc.oneof(
      fc.tuple(fc.option(cell), span).map(([value, s]) => read(value, s)),
      fc.tuple(cell, span).map(([value, s]) => write(value, s)),
      fc
        .tuple(cell, fc.constantFrom("ok", "exists", null), span)
        .map(([value, output, s]) => insert(value, s[1] === null ? null : output, s)),
      fc
        .tuple(cell, cell, fc.constantFrom("ok", "differs", null), span)
        .map(([expected, next, output, s]) =>
          swap(expected, next, s[1] === null ? null : output, s),
        ),
    );
    const seen = { linearizable: 0, violation: 0, undecided: 0 };
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 7 }), (operations) => {
        const kind = checkLinearizable(register, operations).kind;
        seen[kind] += 1;
        expect(kind === "linearizable").toBe(isLinearizable(register.of(operations), operations));
      }),
      { numRuns: 4000 },
    );
    expect(Math.min(seen.linearizable, seen.violation)).toBeGreaterThan(200);
  });

  it("on small random histories of a list", () => {
    // The model of the definition is the plain one: no looking ahead.
    const plain = {
      initial: "",
      step: (state: string | number | null, each: ListOperation) => {
        if (each.kind === "append") return `${state}${each.input}`;
        return each.output === null || each.output.values.join("") === state ? state : undefined;
      },
      onlyObserves: () => false,
      states: () => [],
    };
    const operation = fc.oneof(
      fc.tuple(fc.subarray([1, 2, 3]), span).map(([values, s]) => readAll(values, s)),
      fc.tuple(cell, span).map(([value, s]) => append(value, s)),
    );
    const seen = { linearizable: 0, violation: 0, undecided: 0 };
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 7 }), (operations) => {
        const kind = checkLinearizable(appendList, operations).kind;
        seen[kind] += 1;
        expect(kind === "linearizable").toBe(isLinearizable(plain, operations));
      }),
      { numRuns: 4000 },
    );
    expect(Math.min(seen.linearizable, seen.violation)).toBeGreaterThan(200);
  });
});

describe("a long history with faults", () => {
  const options = { operations: 20_000, keys: 20, clients: 32, faults: 30, seed: 7 };

  it("of 20,000 operations and hundreds of unknown outcomes is found linearizable in seconds", () => {
    const operations = plantedHistory(options);
    const started = performance.now();
    const result = assertLinearizable(register, operations);
    expect(result.operations).toBe(20_000);
    expect(result.unknown).toBeGreaterThan(300);
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  it("on a single key is found linearizable", () => {
    const one = { ...options, operations: 5_000, keys: 1, clients: 8, faults: 10 };
    expect(assertLinearizable(register, plantedHistory(one)).unknown).toBeGreaterThan(30);
  });

  for (const anomaly of [
    "stale-read",
    "lost-write",
    "doubled-write",
    "future-read",
    "early-error",
  ] as const) {
    it(`with one ${anomaly} in it is refused, and a few operations show why`, () => {
      for (const seed of [1, 2, 3]) {
        const operations = plantedHistory({ ...options, seed, anomaly });
        const result = checkLinearizable(register, operations);
        expect(result.kind).toBe("violation");
        expect(result.report).toContain("key anomaly:");
        const shown = result.report.split("\n").filter((line) => /^[ >] +\d/.test(line));
        expect(shown.length).toBeLessThan(30);
      }
    });
  }

  it("is undecided, not passed, when the search is not allowed to finish", () => {
    const result = checkLinearizable(register, plantedHistory(options), {
      configurationsMax: 10,
    });
    expect(result.kind).toBe("undecided");
    expect(result.report).toContain("undecided");
  });
});

describe("the report", () => {
  it("names the key and keeps only the operations that contradict each other", () => {
    const noise = Array.from({ length: 300 }, (_, at) => write(100 + at, [at * 10, at * 10 + 5]));
    const result = checkLinearizable(register, [
      ...noise,
      write(1, [4000, 4001]),
      write(2, [4002, 4003]),
      read(1, [4004, 4005]),
      read(1, [4006, 4007]),
      ...noise.map((each) => ({ ...each, invokedAt: each.invokedAt + 5000, returnedAt: 9999 })),
    ]);
    const [head, , ...rest] = result.report.split("\n");
    expect(head).toContain("key k: not linearizable (register, 604 operations)");
    expect(rest.slice(0, 2).join("\n")).toMatch(/write 2 → "ok"\n> .* read → {"value":1}/);
    expect(rest.slice(2).join("\n")).toMatch(/other operations on the same values:\n.*write 1 → /);
    expect(rest.length).toBe(4);
  });
});

describe("recording", () => {
  it("keeps the order of events within one turn, and leaves out what certainly did nothing", () => {
    const history = new History<RegisterOperation>(() => 5);
    const start = { client: "a", key: "k" };
    const first = history.invoke({ ...start, kind: "write", input: 1 });
    first.returned("ok");
    const second = history.invoke({ ...start, kind: "write", input: 2 });
    second.nothing();
    history.invoke({ ...start, kind: "write", input: 3 });
    const third = history.invoke({ ...start, kind: "read", input: null });
    third.returned({ value: 1 });
    const fourth = history.invoke({ ...start, kind: "write", input: 4 });
    fourth.applied();
    const recorded = history.operations();
    expect(recorded.map((each) => [each.kind, each.input, each.output])).toEqual([
      ["write", 1, "ok"],
      ["write", 3, null],
      ["read", null, { value: 1 }],
      ["write", 4, null],
    ]);
    expect(recorded[1]?.returnedAt).toBeNull();
    const times = [recorded[0]?.invokedAt, recorded[0]?.returnedAt, recorded[1]?.invokedAt];
    expect(times).toEqual([...times].sort((a, b) => Number(a) - Number(b)));
    expect(new Set(times).size).toBe(3);
    expect(recorded[3]?.returnedAt).not.toBeNull();
    expect(() => first.returned("ok")).toThrow("twice");
  });
});
