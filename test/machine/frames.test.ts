/** Frames: whatever the chunks, what was put in comes out. */

import fc from "fast-check";
import { expect, test } from "vitest";
import {
  FRAME_HEADER_BYTES,
  FRAME_PAYLOAD_BYTES_MAX,
  FrameBatch,
  FrameError,
  FrameParser,
  writeFrameHeader,
} from "../../src/machine/frames.ts";
import {
  decodeEntries,
  decodeOutcome,
  encodeEntries,
  encodeOutcome,
} from "../../src/machine/process-messages.ts";
import type { ExecuteOutcome } from "../../src/node/ports.ts";
import type { Entry } from "../../src/raft/entry.ts";

interface Frame {
  readonly type: number;
  readonly id: number;
  readonly payload: Uint8Array;
}

const frames = fc.array(
  fc.record({
    type: fc.integer({ min: 0, max: 255 }),
    id: fc.integer({ min: 0, max: 0xffff_ffff }),
    payload: fc.uint8Array({ maxLength: 60 }),
  }),
  { maxLength: 30 },
);

function parse(chunks: readonly Uint8Array[]): Frame[] {
  const found: Frame[] = [];
  const parser = new FrameParser((type, id, payload) => {
    found.push({ type, id, payload: Uint8Array.from(payload) });
  });
  for (const chunk of chunks) parser.push(chunk);
  return found;
}

function cut(bytes: Uint8Array, lengths: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let offset = 0;
  for (let n = 0; offset < bytes.length; n += 1) {
    const end = offset + (lengths[n % lengths.length] ?? 1);
    chunks.push(bytes.subarray(offset, end));
    offset = end;
  }
  return chunks;
}

test("frames come out as they went in, however the bytes are cut", () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 });
  fc.assert(
    fc.property(frames, lengths, (given, cuts) => {
      const batch = new FrameBatch();
      for (const { type, id, payload } of given) {
        batch.add(type, id, payload.subarray(0, 7), payload.subarray(7));
      }
      const bytes = batch.bytes;
      const all = Buffer.concat(batch.take());
      expect(all.length).toBe(bytes);
      expect(parse(cut(all, cuts))).toEqual(given);
      expect(batch.take()).toEqual([]);
    }),
  );
});

test("large parts pass between small ones, in order", () => {
  const batch = new FrameBatch();
  const large = new Uint8Array(70_000).fill(7);
  const given: Frame[] = [];
  for (let id = 0; id < 40; id += 1) {
    const payload = id % 9 === 4 ? large : new Uint8Array(id * 200).fill(id);
    given.push({ type: 3, id, payload });
    batch.add(3, id, payload);
  }
  const buffers = batch.take();
  expect(buffers.length).toBeLessThan(20);
  const found = parse(cut(Buffer.concat(buffers), [65_536]));
  expect(found.map(({ id }) => id)).toEqual(given.map(({ id }) => id));
  // Compared as buffers: element by element takes seconds.
  for (const [n, frame] of found.entries()) {
    expect(Buffer.compare(frame.payload, given[n]?.payload ?? large)).toBe(0);
  }
});

test("a frame within one chunk is a view of it, not a copy", () => {
  const batch = new FrameBatch();
  batch.add(1, 1, Uint8Array.of(1, 2, 3));
  const chunk = Buffer.concat(batch.take());
  let found: Uint8Array | null = null;
  new FrameParser((_type, _id, payload) => {
    found = payload;
  }).push(chunk);
  expect((found as unknown as Uint8Array).buffer).toBe(chunk.buffer);
});

test("a length beyond the bound is refused before anything is allocated", () => {
  const header = new Uint8Array(FRAME_HEADER_BYTES);
  const parser = () => new FrameParser(() => expect.unreachable());
  for (const payloadBytes of [FRAME_PAYLOAD_BYTES_MAX + 1, 0xffff_ffff]) {
    writeFrameHeader(header, 0, { type: 1, id: 1, payloadBytes });
    expect(() => parser().push(header)).toThrow(FrameError);
    const slow = parser();
    slow.push(header.subarray(0, 5));
    expect(() => slow.push(header.subarray(5))).toThrow(FrameError);
  }
});

test("entries and outcomes keep every field", () => {
  const entries: Entry[] = [
    { index: 2 ** 40 + 1, term: 2 ** 33 + 1, kind: "noop", payload: new Uint8Array(0) },
    { index: 2 ** 40 + 2, term: 2 ** 33 + 1, kind: "command", payload: Uint8Array.of(1, 2, 3) },
    { index: 2 ** 40 + 3, term: 2 ** 33 + 2, kind: "configuration", payload: Uint8Array.of(4) },
  ];
  expect(decodeEntries(encodeEntries(entries))).toEqual(entries);
  const failure = {
    code: "SQLITE_CONSTRAINT_UNIQUE",
    message: "ü",
    outcome: "not-applied",
    statementIndex: 3,
    facts: { a: "b" },
  } as const;
  const bytes = Uint8Array.of(9, 8);
  const outcomes: ExecuteOutcome[] = [
    { kind: "proposal", payload: Uint8Array.of(1, 2, 3), result: bytes },
    { kind: "answer", result: bytes, index: 2 ** 50 },
    { kind: "failure", failure },
    { kind: "broken", failure },
  ];
  for (const outcome of outcomes) {
    const encoded = new Uint8Array(Buffer.concat(encodeOutcome(outcome)));
    expect(decodeOutcome(encoded)).toEqual(outcome);
  }
});
