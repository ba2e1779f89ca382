/** Texts of any length and alphabet come back; what was handed out stays as it is, whatever is written behind it. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { MessageReader } from "../../src/wire/message-reader.ts";
import { MessageWriter } from "../../src/wire/message-writer.ts";

test("a text comes back whatever its length and its characters", () => {
  const writer = new MessageWriter();
  for (const unit of ["a", "é", "漢", "💡"]) {
    for (const length of [
      0, 1, 20, 41, 42, 43, 44, 63, 64, 100, 126, 127, 128, 129, 5_000, 6_000,
    ]) {
      const text = unit.repeat(Math.ceil(length / unit.length)).slice(0, length);
      writer.start().uint(1, 5);
      writer.string(2, text);
      writer.uint(3, 6);
      const reader = new MessageReader(writer.finish());
      expect([reader.tag(), reader.uint(), reader.tag()]).toEqual([8, 5, 18]);
      expect(reader.string()).toBe(Buffer.from(text).toString());
      expect([reader.tag(), reader.uint(), reader.tag()]).toEqual([24, 6, 0]);
    }
  }
});

/** Bytes inside a message inside a message: lengths of one byte and of more, and a buffer that grows meanwhile. */
function write(writer: MessageWriter, content: Uint8Array): Buffer {
  writer.start();
  // What failed is forgotten.
  writer.string(9, "forgotten");
  writer.start();
  const outer = writer.beginMessage(1);
  const inner = writer.beginMessage(2);
  writer.bytes(3, content);
  writer.endMessage(inner);
  writer.string(4, "more");
  const { length } = writer;
  writer.uint(5, 77);
  writer.truncate(length);
  writer.endMessage(outer);
  return writer.finish();
}

function read(message: Buffer): { readonly content: Buffer; readonly text: string } {
  const reader = new MessageReader(message);
  expect(reader.tag()).toBe(10);
  reader.enter();
  expect(reader.tag()).toBe(18);
  const outer = reader.enter();
  expect(reader.tag()).toBe(26);
  const content = reader.bytes();
  reader.leave(outer);
  expect(reader.tag()).toBe(34);
  const text = reader.string();
  expect(reader.tag()).toBe(0);
  return { content, text };
}

test("messages of all sizes, kept until the end", () => {
  const size = fc.oneof(fc.nat(150), fc.nat(2_500), fc.integer({ min: 15_000, max: 40_000 }));
  fc.assert(
    fc.property(fc.array(size, { maxLength: 60 }), (sizes) => {
      const writer = new MessageWriter();
      const messages = sizes.map((bytes, at) => write(writer, Buffer.alloc(bytes, at)));
      messages.forEach((message, at) => {
        const { content, text } = read(message);
        expect(text).toBe("more");
        expect(content.equals(Buffer.alloc(sizes[at] ?? 0, at))).toBe(true);
      });
    }),
    { numRuns: 100 },
  );
});
