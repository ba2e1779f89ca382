/** The codecs by hand against protobufjs reading the same .proto files, with generated messages. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BalsaError, type Failure } from "../../src/sql/errors.ts";
import type { BindValue } from "../../src/sql/value.ts";
import { decodeStatusResponse, encodeStatusResponse } from "../../src/wire/cluster-codec.ts";
import { decodeFailure, encodeFailure } from "../../src/wire/failure-codec.ts";
import { type Command, decodeCommand, encodeCommand } from "../../src/wire/log-codec.ts";
import { messageType } from "../../src/wire/proto.ts";
import {
  BatchResultWriter,
  decodeBatchResult,
  decodeRowChunk,
  RowChunkWriter,
} from "../../src/wire/result-codec.ts";
import {
  type ClientRequest,
  decodeClientFrame,
  decodeServerFrame,
  encodeClientFrame,
  encodeServerFrame,
  type ServerResponse,
} from "../../src/wire/sql-codec.ts";
import {
  decodeBatch,
  decodeStatement,
  encodeBatch,
  encodeScript,
  encodeStatement,
} from "../../src/wire/statement-codec.ts";
import type { SqliteValue } from "../../src/wire/value-codec.ts";

const INT64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const INTEGERS = fc.oneof(
  INT64,
  fc.constantFrom(0n, -1n, 2n ** 53n, -(2n ** 53n), 2n ** 63n - 1n, -(2n ** 63n), 2n ** 32n),
);
const BYTES = fc.uint8Array({ maxLength: 300 });
// No lone surrogates: they cannot be UTF-8.
const TEXT = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 80 }),
  fc.string({ maxLength: 300 }),
  fc.constantFrom("é".repeat(42), "€".repeat(42), "a".repeat(43), "\u0000", "😀".repeat(21)),
);
const SQLITE_VALUE: fc.Arbitrary<SqliteValue> = fc.oneof(
  fc.constant(null),
  INTEGERS,
  fc.double({ noNaN: true }),
  TEXT,
  BYTES,
);
const UINT = fc.maxSafeNat();
const UINT32 = fc.nat(0xffff_ffff);

/** What protobufjs makes of a Value, as SQLite's. */
function fromProto(value: Record<string, unknown>): SqliteValue {
  if ("integer" in value) return BigInt(String(value["integer"]));
  if ("real" in value) return value["real"] as number;
  if ("text" in value) return value["text"] as string;
  if ("blob" in value) return new Uint8Array(value["blob"] as Uint8Array);
  return null;
}

function decodeByReflection(type: string, bytes: Uint8Array): Record<string, unknown> {
  const reflected = messageType(type);
  return reflected.toObject(reflected.decode(bytes), { longs: String }) as Record<string, unknown>;
}

function plain(value: SqliteValue): SqliteValue {
  return value instanceof Uint8Array ? Uint8Array.from(value) : value;
}

describe("statements", () => {
  test("what a client writes, protobufjs and the machine read alike", () => {
    fc.assert(
      fc.property(TEXT, fc.array(SQLITE_VALUE, { maxLength: 8 }), (sql, args) => {
        const bytes = encodeStatement({ sql, args: args.map((a) => (a === null ? null : a)) });
        const ours = decodeStatement(bytes);
        expect(ours.sql).toBe(sql);
        const theirs = decodeByReflection("Statement", bytes);
        const values = ((theirs["args"] ?? []) as Record<string, unknown>[]).map(fromProto);
        expect((ours.args.values as SqliteValue[]).map(plain)).toStrictEqual(values);
      }),
    );
  });

  test("what protobufjs writes, the machine reads", () => {
    const named = fc.dictionary(fc.string({ minLength: 1, maxLength: 20 }), SQLITE_VALUE);
    fc.assert(
      fc.property(TEXT, named, (sql, args) => {
        const type = messageType("Statement");
        const fields = Object.fromEntries(
          Object.entries(args).map(([name, value]) => [name, toProto(value)]),
        );
        const bytes = type.encode(type.fromObject({ sql, named: fields })).finish();
        const ours = decodeStatement(bytes);
        expect(ours.sql).toBe(sql);
        for (const [name, value] of Object.entries(args)) {
          const found = (ours.args.values as Record<string, SqliteValue>)[name] ?? null;
          expect(plain(found)).toStrictEqual(plain(value));
        }
      }),
    );
  });

  test.each<[BindValue, SqliteValue]>([
    [1, 1n],
    [1.5, 1.5],
    [-0, -0],
    [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
    [Number.NaN, null],
    [2 ** 53, 2n ** 53n],
    [-(2 ** 53), -(2n ** 53n)],
    [2 ** 62, 2n ** 62n],
    [2 ** 63, 2 ** 63],
    [1e300, 1e300],
    [true, 1n],
    [false, 0n],
    [2n ** 63n - 1n, 2n ** 63n - 1n],
    [new Date(0), "1970-01-01T00:00:00.000Z"],
    [null, null],
    ["", ""],
    [new Uint8Array(0), new Uint8Array(0)],
  ])("a parameter keeps its kind: %o binds as %o", (given, expected) => {
    const { args } = decodeStatement(encodeStatement({ sql: "?", args: [given] }));
    expect(plain((args.values as SqliteValue[])[0] ?? null)).toStrictEqual(expected);
  });

  test.each<[string, unknown, RegExp]>([
    ["undefined", undefined, /parameter 1 is undefined; for NULL give null/],
    ["an object", { a: 1 }, /parameter 1 is of an unsupported type \(Object\)/],
    ["an array", [1], /unsupported type \(Array\)/],
    ["a function", () => 1, /parameter 1 is a function/],
    ["a symbol", Symbol("s"), /parameter 1 is a symbol/],
    ["a large bigint", 2n ** 63n, /beyond 64 bits/],
    ["an invalid Date", new Date(Number.NaN), /invalid Date/],
  ])("%s cannot be bound", (_name, value, message) => {
    const encode = () => encodeStatement({ sql: "?", args: [value as BindValue] });
    expect(encode).toThrow(message);
    expect(encode).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  test("the name of a parameter is in its error", () => {
    const encode = () => encodeStatement({ sql: ":id", args: { id: undefined as never } });
    expect(encode).toThrow(/parameter id is undefined/);
  });

  test("limits say what to do instead", () => {
    const long = "x".repeat(10 * 1024 * 1024);
    expect(() => encodeStatement({ sql: long })).toThrow(/pass values as parameters/);
    const blob = new Uint8Array(100 * 1024 * 1024);
    expect(() => encodeStatement({ sql: "?", args: [blob] })).toThrow(/split it over several rows/);
    const part = new Uint8Array(5 * 1024 * 1024);
    expect(() =>
      encodeBatch([
        { sql: "?", args: [part] },
        { sql: "?", args: [part] },
      ]),
    ).toThrow(expect.objectContaining({ code: "LIMIT_EXCEEDED" }));
    const many = Array.from({ length: 10_001 }, () => ({ sql: "SELECT 1" }));
    expect(() => encodeBatch(many)).toThrow(/10001 statements/);
    // A failed encoding leaves nothing behind for the next.
    expect(decodeStatement(encodeStatement({ sql: "SELECT 1" })).sql).toBe("SELECT 1");
  });

  test("batches and scripts", () => {
    const batch = encodeBatch([
      { sql: "a", args: [1] },
      { sql: "b", args: { x: "y" } },
    ]);
    expect(decodeBatch(batch)).toMatchObject({
      script: false,
      statements: [
        { sql: "a", args: { kind: "positional", values: [1n] } },
        { sql: "b", args: { kind: "named" } },
      ],
    });
    expect(decodeBatch(encodeScript("a; b"))).toMatchObject({ script: true });
    expect(decodeByReflection("Batch", encodeScript("a; b"))).toStrictEqual({
      statements: [{ sql: "a; b" }],
      script: true,
    });
  });
});

function toProto(value: SqliteValue): object {
  if (value === null) return {};
  if (typeof value === "bigint") return { integer: String(value) };
  if (typeof value === "number") return { real: value };
  if (typeof value === "string") return { text: value };
  return { blob: value };
}

describe("results", () => {
  const ROWS = fc.array(fc.array(SQLITE_VALUE, { minLength: 2, maxLength: 2 }), { maxLength: 20 });

  test("rows come back as they went in", () => {
    const writer = new BatchResultWriter();
    fc.assert(
      fc.property(ROWS, INTEGERS, (rows, rowid) => {
        writer.start();
        writer.beginResult(["a", "b"]);
        for (const row of rows) writer.row(row);
        writer.endResult(7, rowid);
        const bytes = writer.finish();
        const [result] = decodeBatchResult(bytes, "bigint");
        expect(result?.changes).toBe(7);
        expect(result?.lastInsertRowid).toBe(rowid);
        expect(
          result?.rows.map((row) => [row["a"], row["b"]].map((v) => plain(v ?? null))),
        ).toEqual(rows.map((row) => row.map(plain)));
        const theirs = decodeByReflection("BatchResult", bytes)["results"] as {
          rows?: unknown[];
        }[];
        expect(theirs[0]?.rows?.length ?? 0).toBe(rows.length);
      }),
    );
  });

  test("integers come back as asked for", () => {
    const writer = new RowChunkWriter();
    writer.start(["n"]);
    writer.row([2n ** 53n]);
    writer.row([-5n]);
    const bytes = writer.finish();
    expect(decodeRowChunk(bytes, "auto").rows).toStrictEqual([[2n ** 53n], [-5]]);
    expect(decodeRowChunk(bytes, "bigint").rows).toStrictEqual([[2n ** 53n], [-5n]]);
    expect(() => decodeRowChunk(bytes, "number")).toThrow(/too large for a number/);
  });

  test("a column called __proto__ is a column", () => {
    const writer = new BatchResultWriter();
    writer.start();
    writer.beginResult(["__proto__"]);
    writer.row(["x"]);
    writer.endResult(0, 0);
    const [result] = decodeBatchResult(writer.finish(), "auto");
    expect(Object.keys(result?.rows[0] ?? {})).toStrictEqual(["__proto__"]);
  });
});

describe("envelopes", () => {
  const execute = fc.record({
    kind: fc.constant("execute" as const),
    batch: BYTES,
    session: UINT,
    sequence: UINT,
    acknowledgedThrough: UINT,
    timeoutMs: UINT32,
    noForward: fc.boolean(),
  });
  const query = fc.record({
    kind: fc.constant("query" as const),
    statement: BYTES,
    consistency: fc.constantFrom("linearizable" as const, "session" as const, "stale" as const),
    atLeast: UINT,
    maxStalenessMs: UINT32,
    timeoutMs: UINT32,
    window: UINT32,
  });
  const openSession = fc.record({
    kind: fc.constant("openSession" as const),
    timeoutMs: UINT32,
    noForward: fc.boolean(),
  });
  const body = fc.oneof(
    execute,
    query,
    openSession,
    fc.record({ kind: fc.constant("fetch" as const), chunks: UINT32 }),
    fc.record({ kind: fc.constant("cancel" as const) }),
  );
  const request: fc.Arbitrary<ClientRequest> = fc.record({ id: UINT32, body });

  const failure: fc.Arbitrary<Failure> = fc.record({
    code: fc.constantFrom("REFUSED" as const, "SQLITE_CONSTRAINT_UNIQUE" as const),
    message: TEXT,
    outcome: fc.constantFrom("applied" as const, "not-applied" as const, "unknown" as const),
    statementIndex: UINT32,
    facts: fc.dictionary(
      fc.string({ maxLength: 20 }).filter((name) => name !== "__proto__"),
      TEXT,
      { noNullPrototype: true },
    ),
  });
  const responseBody = fc.oneof(
    fc.record({ kind: fc.constant("execute" as const), result: BYTES, index: UINT }),
    fc.record({
      kind: fc.constant("query" as const),
      chunk: BYTES,
      done: fc.boolean(),
      node: UINT,
      index: UINT,
      lagMs: UINT,
    }),
    fc.record({ kind: fc.constant("openSession" as const), session: UINT, index: UINT }),
    fc.record({ kind: fc.constant("failure" as const), failure }),
  );
  const response: fc.Arbitrary<ServerResponse> = fc.record({ id: UINT32, body: responseBody });

  /** Views into a frame compare as plain bytes. */
  const unwrap = (value: unknown): unknown =>
    JSON.parse(
      JSON.stringify(value, (_key, inner) =>
        inner instanceof Uint8Array ? [...inner] : inner?.type === "Buffer" ? inner.data : inner,
      ),
    );

  test("frames come back as they went in", () => {
    fc.assert(
      fc.property(fc.array(request, { maxLength: 5 }), (requests) => {
        expect(unwrap(decodeClientFrame(encodeClientFrame(requests)))).toStrictEqual(
          unwrap(requests),
        );
      }),
    );
    fc.assert(
      fc.property(fc.array(response, { maxLength: 5 }), (responses) => {
        expect(unwrap(decodeServerFrame(encodeServerFrame(responses)))).toStrictEqual(
          unwrap(responses),
        );
      }),
    );
  });

  test("protobufjs reads a frame with a real batch inside", () => {
    const batch = encodeBatch([{ sql: "SELECT ?", args: [5] }]);
    const frame = encodeClientFrame([
      {
        id: 3,
        body: {
          kind: "execute",
          batch,
          session: 2 ** 40,
          sequence: 1,
          acknowledgedThrough: 0,
          timeoutMs: 10,
          noForward: true,
        },
      },
      { id: 4, body: { kind: "cancel" } },
    ]);
    expect(decodeByReflection("ClientFrame", frame)).toStrictEqual({
      requests: [
        {
          id: 3,
          execute: {
            batch: { statements: [{ sql: "SELECT ?", args: [{ integer: "5" }] }] },
            session: String(2 ** 40),
            sequence: "1",
            timeoutMs: 10,
            noForward: true,
          },
        },
        { id: 4, cancel: {} },
      ],
    });
  });

  test("failures by reflection", () => {
    fc.assert(
      fc.property(failure, (given) => {
        expect(decodeFailure(encodeFailure(given))).toEqual(given);
        const theirs = decodeByReflection("Failure", encodeFailure(given));
        expect(theirs["message"]).toBe(given.message);
      }),
    );
  });

  test("a failure with a code from the future is INTERNAL and keeps it", () => {
    const type = messageType("Failure");
    const bytes = type.encode(type.fromObject({ code: "NOVELTY", message: "m" })).finish();
    expect(decodeFailure(bytes)).toMatchObject({ code: "INTERNAL", facts: { code: "NOVELTY" } });
  });

  test("malformed bytes are PROTOCOL errors, whatever they are", () => {
    fc.assert(
      fc.property(BYTES, (bytes) => {
        for (const decode of [decodeClientFrame, decodeServerFrame, decodeBatch, decodeCommand]) {
          try {
            decode(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(BalsaError);
            expect(["PROTOCOL", "INVALID_ARGUMENT"]).toContain((error as BalsaError).code);
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});

test("a command comes back as it went in, and protobufjs reads it", () => {
  const commands: fc.Arbitrary<Command> = fc.record({
    timeMs: UINT,
    seedHigh: UINT32,
    seedLow: UINT32,
    session: UINT,
    sequence: UINT,
    acknowledgedThrough: UINT,
    batch: BYTES,
    openSession: fc.constant(false),
    digest: UINT32,
  });
  fc.assert(
    fc.property(commands, (command) => {
      const decoded = decodeCommand(encodeCommand(command));
      expect({ ...decoded, batch: Uint8Array.from(decoded.batch) }).toEqual(command);
    }),
  );
  const batch = encodeBatch([{ sql: "x" }]);
  const bytes = encodeCommand({
    timeMs: 5,
    seedHigh: 0xffff_ffff,
    seedLow: 1,
    session: 0,
    sequence: 0,
    acknowledgedThrough: 0,
    batch,
    openSession: false,
    digest: 0x8000_0000,
  });
  expect(decodeByReflection("Command", bytes)).toStrictEqual({
    version: 1,
    timeMs: "5",
    seedHigh: 0xffff_ffff,
    seedLow: 1,
    batch: { statements: [{ sql: "x" }] },
    digest: 0x8000_0000,
  });
});

test("the format of a command is fixed: golden bytes", () => {
  const bytes = encodeCommand({
    timeMs: 1_700_000_000_000,
    seedHigh: 1,
    seedLow: 2,
    session: 3,
    sequence: 4,
    acknowledgedThrough: 2,
    batch: encodeBatch([{ sql: "INSERT INTO t VALUES (?)", args: [-1] }]),
    openSession: false,
    digest: 5,
  });
  expect(bytes.toString("hex")).toBe(
    "08011080d095ffbc311d0100000025020000002803300438024229" +
      "0a270a18494e5345525420494e544f20742056414c55455320283f29120b08ffffffffffffffffff01" +
      "5505000000",
  );
});

test("a command of another version is refused", () => {
  expect(() => decodeCommand(Buffer.from([0x08, 0x04]))).toThrow(/version 4.*newer program/);
});

test("a status comes back as it went in", () => {
  const status = {
    id: 1,
    role: "leader",
    term: 2 ** 40,
    leader: 1,
    leaderAddress: "a:1",
    lastIndex: 3,
    commitIndex: 2,
    appliedIndex: 1,
    lagMs: 0,
    databaseBytes: 2 ** 35,
    clusterId: "c",
    version: "v",
    address: "a:1",
    members: [
      {
        id: 1,
        address: "a:1",
        role: "learner",
        awaitsVote: true,
        connected: true,
        matchIndex: 2 ** 33,
        caughtUp: true,
        machineVersion: "engine 2",
      },
    ],
    trouble: "",
    pid: 9,
    configurationIndex: 7,
    machineVersion: "engine 1",
    ownMachineVersion: "engine 2",
  };
  expect(decodeStatusResponse(encodeStatusResponse(status))).toStrictEqual(status);
  expect(() => decodeStatusResponse(Buffer.from([0xff]))).toThrow(BalsaError);
});
