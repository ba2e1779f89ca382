/** The tables of blobs, by their own statements on a leader and followers: what a content's state allows, and when it may go. */

import { beforeEach, describe, expect, test } from "vitest";
import {
  ABANDON,
  BEGIN_CONTENT,
  BLOB_TABLES,
  DISCARD,
  DUE,
  PUBLISH,
  PUT_CHUNK,
  REMOVE_CHUNKS,
  REMOVE_CONTENT,
  TOUCH_CONTENT,
} from "../../src/client/blob-tables.ts";
import { expectAgreement } from "./support/agreement.ts";
import { openReader, readAll, TestLeader } from "./support/machine-harness.ts";

let leader: TestLeader;

beforeEach(() => {
  leader = new TestLeader();
  leader.exec(BLOB_TABLES);
});

const begin = () => Number(leader.run(BEGIN_CONTENT).rows[0]?.["id"]);
const touch = (content: number) => leader.run(TOUCH_CONTENT, { content }).changes;
const put = (content: number, part: number, text: string) =>
  leader.run(PUT_CHUNK, { content, part, data: Buffer.from(text) }).changes;
const discard = (content: number) => leader.run(DISCARD, { content }).changes;
const remove = (content: number, chunks = 32) =>
  [
    leader.run(ABANDON, { content }),
    leader.run(REMOVE_CHUNKS, { content, chunks }),
    leader.run(REMOVE_CONTENT, { content }),
  ].map(({ changes }) => changes);
const states = () => leader.all("SELECT id, state FROM db_blob_content ORDER BY id");
const pass = (seconds: number) => {
  leader.timeMs += seconds * 1000;
};

function publish(content: number, name = "a"): number | undefined {
  const terms = { name, type: null, size: 4, sha256: "x", chunkBytes: 2 };
  return leader.run(PUBLISH, { ...terms, content }).rows[0]?.["id"] as number | undefined;
}

function stored(name = "a"): number {
  const content = begin();
  put(content, 0, "ab");
  put(content, 1, "cd");
  publish(content, name);
  return content;
}

describe("a content", () => {
  test("is published once, and not when it was discarded", () => {
    const content = stored();
    expect(publish(content, "b")).toBeUndefined();
    const other = begin();
    expect(discard(other)).toBe(1);
    expect(publish(other)).toBeUndefined();
    // Whoever takes it back first knows.
    expect(discard(content)).toBe(0);
    expect(leader.all("SELECT name, content FROM db_blob")).toEqual([{ name: "a", content }]);
    expectAgreement(leader);
  });

  test("takes chunks while it is written, each once", () => {
    const content = begin();
    expect([put(content, 0, "ab"), put(content, 0, "other")]).toEqual([1, 0]);
    publish(content);
    expect([touch(content), put(content, 1, "cd")]).toEqual([0, 0]);
    const discarded = begin();
    discard(discarded);
    expect([touch(discarded), put(discarded, 0, "ab")]).toEqual([0, 0]);
    expect(leader.all("SELECT content, part, hex(data) AS h FROM db_blob_chunk")).toEqual([
      { content, part: 0, h: "6162" },
    ]);
    expectAgreement(leader);
  });

  test("that is replaced, deleted or cascaded away stays for a minute, then goes in steps", () => {
    const [replaced, deleted, kept] = [stored("a"), stored("b"), stored("c")];
    const heir = begin();
    const id = leader.all("SELECT id FROM db_blob WHERE name = 'a'")[0]?.["id"];
    expect(publish(heir)).toBe(id);
    leader.run("DELETE FROM db_blob WHERE name = 'b'");
    pass(59);
    expect(remove(replaced)).toEqual([0, 0, 0]);
    pass(1);
    expect(remove(replaced, 1)).toEqual([0, 1, 0]);
    expect(remove(replaced, 1)).toEqual([0, 1, 1]);
    expect(remove(deleted)).toEqual([0, 2, 1]);
    expect(remove(kept)).toEqual([0, 0, 0]);
    expect(states()).toEqual([
      { id: kept, state: "stored" },
      { id: heir, state: "stored" },
    ]);
    expectAgreement(leader);
  });

  test("that nobody adds to for an hour is abandoned; each chunk gives it another", () => {
    const content = begin();
    put(content, 0, "ab");
    pass(3_599);
    expect(touch(content)).toBe(1);
    pass(3_599);
    expect(remove(content)).toEqual([0, 0, 0]);
    pass(1);
    expect(remove(content)).toEqual([1, 1, 1]);
    expect(states()).toEqual([]);
    // Its id is never used again: nobody who still names it gets another's bytes.
    expect(begin()).toBeGreaterThan(content);
    expectAgreement(leader);
  });

  test("is found when it is due, by an index", () => {
    stored("kept");
    const content = begin();
    discard(content);
    leader.commit();
    const reader = openReader(leader.path);
    expect(readAll(reader, DUE)).toEqual([{ id: content }]);
    expect(JSON.stringify(readAll(reader, `EXPLAIN QUERY PLAN ${DUE}`))).toContain(
      "db_blob_content_due",
    );
  });
});

test("a small blob is one value in the view, a large one is not", () => {
  stored();
  stored("large");
  leader.run("UPDATE db_blob SET size = 7000000 WHERE name = 'large'");
  const rows = leader.all("SELECT name, data FROM db_blob_value ORDER BY name");
  expect(rows).toEqual([
    { name: "a", data: new Uint8Array(Buffer.from("abcd")) },
    { name: "large", data: null },
  ]);
});
