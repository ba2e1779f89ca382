/** Prepared statements are kept by text: those used lately, and no more than it may keep. */

import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { StatementCache } from "../../src/machine/prepared-statement.ts";

function prepare(cache: StatementCache, text: string) {
  return cache.prepare(text, cache.find(text));
}

test("a full cache forgets what was not used lately, the oldest first", () => {
  const cache = new StatementCache(new Database(":memory:"), "read", { size: 3 });
  const isKnown = (text: string) => cache.known(text) !== null;
  const [a, b] = [prepare(cache, "SELECT 'a'"), prepare(cache, "SELECT 'b'")];
  prepare(cache, "SELECT 'c'");
  expect(prepare(cache, "SELECT 'a'")).toBe(a);
  expect(prepare(cache, "SELECT 'b'")).toBe(b);
  prepare(cache, "SELECT 'd'");
  expect([isKnown("SELECT 'c'"), isKnown("SELECT 'd'")]).toEqual([false, true]);
  expect(cache.known("SELECT 'a'")).toBe(a);
  expect(cache.known("SELECT 'b'")).toBe(b);
});

test("it keeps no more than it may, however all are used", () => {
  const size = 10;
  const cache = new StatementCache(new Database(":memory:"), "read", { size });
  const texts = Array.from({ length: 50 }, (_, at) => `SELECT ${at}`);
  for (const text of texts) {
    prepare(cache, text);
    for (const each of texts) cache.known(each);
  }
  expect(texts.filter((text) => cache.known(text) !== null)).toHaveLength(size);
});
