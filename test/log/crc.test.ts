/** The checksum is zlib's CRC-32, whatever the length, wherever the bytes lie and however they are cut. */

import { crc32 } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { checksum } from "../../src/log/crc.ts";

test("it is CRC-32 of any bytes", () => {
  const bytes = fc.uint8Array({ maxLength: 700, size: "max" });
  fc.assert(
    fc.property(bytes, fc.nat(9), fc.nat(700), (all, from, cut) => {
      const start = Math.min(from, all.length);
      const middle = Math.min(all.length, start + cut);
      const expected = crc32(all.subarray(start));
      expect(checksum(all, start, all.length)).toBe(expected);
      const before = checksum(all, start, middle);
      expect(checksum(all, middle, all.length, before)).toBe(expected);
    }),
    { numRuns: 500 },
  );
});
