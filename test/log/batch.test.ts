/** A batch is whole wherever in the memory for batches it comes to lie. */

import { describe, expect, test } from "vitest";
import { Arena, Batch, type Chunk } from "../../src/log/batch.ts";
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

describe("the memory for batches", () => {
  /** Fills most of a chunk, so that the next batch needs another. Gives the chunk, with its batch written. */
  const written = (arena: Arena): Chunk => {
    const batch = new Batch(arena, 0);
    batch.addEntry(entry(1, 1, new Uint8Array(CHUNK_BYTES - 4_096)));
    batch.close();
    batch.release();
    return batch.chunk;
  };

  test("is filled again when nothing lies in it any more", () => {
    const arena = new Arena();
    const first = written(arena);
    const second = written(arena);
    expect(second).not.toBe(first);
    expect(written(arena)).toBe(first);
    expect(written(arena)).toBe(second);
  });

  test("is left alone while an entry of it is kept", () => {
    const arena = new Arena();
    const first = written(arena);
    first.hold();
    const others = [written(arena), written(arena), written(arena)];
    expect(others).not.toContain(first);
    first.release();
    expect([written(arena), written(arena), written(arena)]).toContain(first);
  });

  test("is left alone while a batch of it is not written, or moved out of it", () => {
    const arena = new Arena();
    const batch = new Batch(arena, 0);
    batch.addEntry(entry(1, 1, new Uint8Array(8_192)));
    const first = batch.chunk;
    expect([written(arena), written(arena), written(arena)]).not.toContain(first);
    batch.addEntry(entry(2, 1, new Uint8Array(CHUNK_BYTES / 2)));
    expect(batch.chunk).not.toBe(first);
    expect([written(arena), written(arena), written(arena)]).toContain(first);
  });
});
