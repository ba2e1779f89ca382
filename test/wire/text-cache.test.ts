/** The cache of texts gives what decoding would give, whatever came before. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { TextCache } from "../../src/wire/text-cache.ts";

test("the text is that of the bytes, also when others share its place", () => {
  // Few letters and short texts, so that hashes meet and texts come again.
  const text = fc.oneof(
    fc.string({ unit: fc.constantFrom("a", "b", "é", "💡"), maxLength: 4 }),
    fc.integer({ min: 0, max: 2_000 }).map((n) => `SELECT ${n}`),
    fc.string({ minLength: 1_000, maxLength: 1_100 }),
  );
  fc.assert(
    fc.property(fc.array(text, { maxLength: 400 }), fc.nat(5), (texts, before) => {
      const cache = new TextCache();
      for (const wanted of texts) {
        const source = Buffer.from(`${"x".repeat(before)}${wanted}tail`);
        const start = before;
        const end = start + Buffer.byteLength(wanted);
        expect(cache.text(source, start, end)).toBe(source.toString("utf8", start, end));
        // What it keeps is its own: the bytes are of a buffer that is filled again.
        source.fill(0);
      }
    }),
    { numRuns: 50 },
  );
});
