/** A batch is whole wherever in the memory for batches it comes to lie. */

import { describe, expect, test } from "vitest";
import { Arena, Batch } from "../../src/log/batch.ts";
import { BATCH_HEADER_BYTES, RecordType, readRecord } from "../../src/log/format.ts";
import { entry, hard } from "./harness.ts";

const CHUNK_BYTES = 1024 * 1024;

/** Types of the records in it; fails at the first that is damaged. */
function typesIn(batch: Batch): number[] {
  const bytes = batch.close();
  const types: number[] = [];
  let at = BATCH_HEADER_BYTES;
  for (let count = 0; count < batch.records; count += 1) {
    const record = readRecord(bytes, at, bytes.length);
    if (record === null) throw new Error(`record ${count} is damaged`);
    types.push(record.type);
    at = record.end;
  }
  return types;
}

/** An arena in whose chunk `left` bytes are free, and the batch that fills the rest of it. */
function filledTo(left: number): { arena: Arena; before: Batch } {
  const arena = new Arena();
  const before = new Batch(arena, 0);
  const header = BATCH_HEADER_BYTES + 32;
  before.addEntry(entry(1, 1, new Uint8Array(CHUNK_BYTES - header - left).fill(7)));
  return { arena, before };
}

describe("a batch at the end of a chunk", () => {
  const records = {
    "a hard state": (batch: Batch) => batch.addHardState(hard(3, 1, 2)),
    "a base": (batch: Batch) => batch.addBase({ index: 1, term: 1 }),
    "a restart": (batch: Batch) => batch.addRestart({ index: 1, term: 1 }),
    "an entry": (batch: Batch) => batch.addEntry(entry(2, 1)),
  };
  const kinds = [RecordType.HardState, RecordType.Base, RecordType.Restart, RecordType.Entry];

  for (const [at, [name, add]] of Object.entries(records).entries()) {
    test(`${name} that has no room left moves with its batch, and harms no other`, () => {
      for (let left = 0; left <= 256; left += 8) {
        const { arena, before } = filledTo(left);
        const kept = Buffer.from(before.close());
        const batch = new Batch(arena, 1);
        add(batch);
        add(batch);
        expect([left, ...typesIn(batch)]).toEqual([left, kinds[at], kinds[at]]);
        expect(before.close().equals(kept)).toBe(true);
      }
    });
  }
});
