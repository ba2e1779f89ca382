/** The reader of plain batches gives what decodeBatch gives, or leaves it to that. */

import fc from "fast-check";
import { expect, test } from "vitest";
import type { Statement } from "../../src/sql/statement.ts";
import { PlainBatchReader } from "../../src/wire/plain-batch.ts";
import { decodeBatch, encodeBatch, encodeScript } from "../../src/wire/statement-codec.ts";

const VALUE = fc.oneof(
  fc.constant(null),
  fc.integer(),
  fc.maxSafeInteger(),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.double(),
  fc.string({ unit: "binary", maxLength: 300 }),
  fc.uint8Array({ maxLength: 300 }),
);
const STATEMENT: fc.Arbitrary<Statement> = fc.record({
  sql: fc.string({ maxLength: 200 }),
  args: fc.oneof(
    { weight: 5, arbitrary: fc.array(VALUE, { maxLength: 5 }) },
    { weight: 1, arbitrary: fc.dictionary(fc.string({ maxLength: 3 }), VALUE, { maxKeys: 2 }) },
  ),
});
const BATCH = fc.oneof(
  { weight: 5, arbitrary: STATEMENT.map((statement) => encodeBatch([statement])) },
  { weight: 1, arbitrary: fc.array(STATEMENT, { maxLength: 3 }).map((all) => encodeBatch(all)) },
  { weight: 1, arbitrary: STATEMENT.map(({ sql }) => encodeScript(sql)) },
  {
    weight: 1,
    arbitrary: STATEMENT.map((statement) => encodeBatch([statement], undefined, "continue")),
  },
);

/** What it gives must be what decodeBatch gives of these bytes. */
function compare(reader: PlainBatchReader, bytes: Buffer): boolean {
  const source = Buffer.concat([Buffer.of(10, 200, 7), bytes, Buffer.of(10, 3, 18)]);
  if (!reader.read(source, 3, 3 + bytes.length)) return false;
  const { sql, values } = reader;
  expect(decodeBatch(bytes)).toStrictEqual({
    statements: [{ sql, args: { kind: "positional", values: [...values] } }],
    script: false,
    goOn: false,
  });
  return true;
}

test("it agrees with decodeBatch on all that it takes", () => {
  const reader = new PlainBatchReader();
  fc.assert(
    fc.property(fc.array(BATCH, { maxLength: 5 }), (batches) => {
      for (const batch of batches) compare(reader, batch);
    }),
    { numRuns: 500 },
  );
});

test("it takes one statement with values by position, whatever came before", () => {
  const reader = new PlainBatchReader();
  const args = [
    1,
    0,
    127,
    128,
    2 ** 40,
    -1,
    2 ** 53 - 1,
    -(2n ** 63n),
    "",
    "short",
    "é",
    "x".repeat(400),
    1.5,
    null,
    true,
  ];
  const blob = Uint8Array.of(1, 2, 255);
  expect(compare(reader, encodeBatch([{ sql: "INSERT 1", args: [...args, blob] }]))).toBe(true);
  expect(compare(reader, encodeBatch([{ sql: "INSERT 2", args: [5] }]))).toBe(true);
  expect(compare(reader, encodeBatch([{ sql: "INSERT 3" }]))).toBe(true);
  expect(reader.values).toStrictEqual([]);
});

test("damaged bytes are left to decodeBatch, or read as it reads them", () => {
  const reader = new PlainBatchReader();
  const damage = fc.array(fc.tuple(fc.nat(40), fc.nat(255)), { maxLength: 3 });
  fc.assert(
    fc.property(BATCH, damage, fc.nat(6), (batch, changes, cut) => {
      const bytes = Buffer.from(batch.subarray(0, Math.max(0, batch.length - cut)));
      for (const [at, byte] of changes) if (at < bytes.length) bytes[at] = byte;
      compare(reader, bytes);
    }),
    { numRuns: 3_000 },
  );
});
