/** Texts of any length and alphabet come back, around the lengths where they are written in another way. */

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
