/** Frames out of a stream of bytes, however it is cut. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { FrameReader } from "../../src/rpc/frame-reader.ts";

function framed(payload: Uint8Array): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32BE(payload.length);
  return Buffer.concat([header, payload]);
}

test("frames come out whole wherever the stream is cut", () => {
  const payloads = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 });
  fc.assert(
    fc.property(
      payloads,
      fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }),
      (sent, cuts) => {
        const stream = Buffer.concat(sent.map(framed));
        const reader = new FrameReader(40);
        const got: string[] = [];
        let at = 0;
        for (let turn = 0; at < stream.length; turn++) {
          const size = cuts[turn % cuts.length] ?? 1;
          reader.push(stream.subarray(at, at + size), (frame) => got.push(frame.toString("hex")));
          at += size;
        }
        expect(got).toEqual(sent.map((payload) => Buffer.from(payload).toString("hex")));
      },
    ),
  );
});

test("a frame that is too long is refused at its header", () => {
  for (const cut of [1, 4, 5]) {
    const reader = new FrameReader(10);
    const bytes = framed(Buffer.alloc(11));
    const feed = () => {
      for (let at = 0; at < 5; at += cut) reader.push(bytes.subarray(at, at + cut), () => {});
    };
    expect(feed).toThrow(/11 bytes, where at most 10/);
  }
});

test("a frame within one chunk is not copied", () => {
  const bytes = framed(Buffer.from("view"));
  new FrameReader(10).push(bytes, (frame) => expect(frame.buffer).toBe(bytes.buffer));
});
