/** Answers gathered one by one are the frames that they would be if encoded together, cut where they are too large. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { AnswerFrames } from "../../src/wire/answer-frames.ts";
import {
  decodeServerFrame,
  encodeServerFrame,
  type ServerResponse,
} from "../../src/wire/sql-codec.ts";

const UINT = fc.oneof(fc.nat(), fc.maxSafeNat());
const bytes = (length: number) => new Uint8Array(length).fill(7);
/** Lengths around which a length in front takes another byte. */
const SIZES = fc.oneof(fc.nat(300), fc.integer({ min: 16_300, max: 16_400 }), fc.nat(70_000));

const body: fc.Arbitrary<ServerResponse["body"]> = fc.oneof(
  fc.record({
    kind: fc.constant("query" as const),
    chunk: SIZES.map(bytes),
    done: fc.boolean(),
    node: UINT,
    index: UINT,
    lagMs: UINT,
  }),
  fc.record({ kind: fc.constant("execute" as const), result: SIZES.map(bytes), index: UINT }),
);
const response = fc.record({ id: fc.nat(0xffff_ffff), body });

test("one frame has the bytes that encodeServerFrame makes, turn after turn", () => {
  fc.assert(
    fc.property(fc.array(fc.array(response, { maxLength: 8 }), { maxLength: 5 }), (turns) => {
      const frames = new AnswerFrames();
      for (const turn of turns) {
        let size = 0;
        for (const { id, body } of turn) size += frames.add(id, body);
        expect(frames.isEmpty).toBe(turn.length === 0);
        const taken = Buffer.concat(frames.take());
        expect(taken.equals(encodeServerFrame(turn))).toBe(true);
        expect(size).toBe(taken.length);
        expect(frames.isEmpty).toBe(true);
      }
    }),
  );
});

test("a frame is closed before it passes 900,000 bytes, and a larger answer travels alone", () => {
  const frames = new AnswerFrames();
  const sizes = [400_000, 400_000, 200_000, 2_000_000, 10, 10];
  sizes.forEach((size, id) => {
    frames.query(id, { chunk: bytes(size), done: true, node: 1, index: 1, lagMs: 0 });
  });
  const ids = frames.take().map((frame) => decodeServerFrame(frame).map(({ id }) => id));
  expect(ids).toEqual([[0, 1], [2], [3], [4, 5]]);
});

test("what was taken is not written to again", () => {
  const frames = new AnswerFrames();
  const add = (id: number) =>
    frames.query(id, { chunk: bytes(20), done: true, node: 1, index: 1, lagMs: 0 });
  add(1);
  const [first] = frames.take();
  const before = Buffer.from(first ?? []);
  add(2);
  frames.take();
  expect(first?.equals(before)).toBe(true);
});
