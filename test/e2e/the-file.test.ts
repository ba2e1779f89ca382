/**
 * A node's main.db as others see it: while the node runs, a read-only look at what is committed; when it is stopped, everything,
 * in a plain SQLite. In a process of its own, by the sqlite3 shell where there is one.
 */

import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Database } from "../../src/client/index.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { RICH_ROWS, RICH_SCHEMA } from "../support/rich-database.ts";

const BINDING = createRequire(import.meta.url).resolve("better-sqlite3");

/** The rows of a query, in another process. */
function look(file: string, sql: string, mode: "readonly" | "writable"): unknown[] {
  const script = `
    const Database = require(${JSON.stringify(BINDING)});
    const db = new Database(process.argv[1], { readonly: ${mode === "readonly"}, fileMustExist: true });
    console.log(JSON.stringify(db.prepare(process.argv[2]).all()));
    db.close();`;
  const said = execFileSync(process.execPath, ["-e", script, "--", file, sql]);
  return JSON.parse(String(said)) as unknown[];
}

/** What the sqlite3 shell says; null if this machine has none, or one too old for the schema. */
function shell(file: string, ...commands: string[]): string | null {
  try {
    return String(execFileSync("sqlite3", ["-batch", "-readonly", file, ...commands]));
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return null;
    throw error;
  }
}

describe("main.db", () => {
  let cluster: TestCluster;
  let db: Database;
  let files: string[];

  beforeAll(async () => {
    cluster = await TestCluster.start();
    await cluster.ready();
    db = cluster.connect();
    await db.exec(RICH_SCHEMA);
    await db.exec(RICH_ROWS);
    await db.blob.write("picture", Buffer.from("a blob"));
    files = cluster.nodes.map(({ dir }) => join(dir, "main.db"));
  });
  afterAll(() => cluster.stop());

  it("of a running node shows what is committed to whoever reads it, and the node does not mind", async () => {
    await db.exec("CREATE TABLE shown (n); INSERT INTO shown VALUES (1), (2)");
    await cluster.caughtUp();
    for (const file of files) {
      await cluster.until("the rows in the file", 10_000, async () => {
        const [row] = look(
          file,
          "SELECT count(*) AS n FROM sqlite_schema WHERE name = 'shown'",
          "readonly",
        );
        return (row as { n: number }).n === 1 ? true : null;
      });
      expect(look(file, "SELECT n FROM shown", "readonly")).toEqual([{ n: 1 }, { n: 2 }]);
      const said = shell(file, "SELECT sum(n) FROM shown");
      if (said !== null) expect(said).toBe("3\n");
    }
    await db.exec("INSERT INTO shown VALUES (3)");
    await cluster.caughtUp();
    const troubles = (await cluster.status()).nodes.map(({ status }) => status?.trouble);
    expect(troubles).toEqual(["", "", ""]);
  });

  it("of a stopped node is a whole SQLite database, with full text, R*Tree and blobs", async () => {
    await cluster.caughtUp();
    await cluster.stopNodes();
    for (const file of files) {
      expect(look(file, "PRAGMA integrity_check", "writable")).toEqual([{ integrity_check: "ok" }]);
      const found = look(
        file,
        "SELECT rowid AS id FROM words WHERE words MATCH 'fox' ORDER BY rowid",
        "writable",
      );
      expect(found).toEqual([{ id: 9 }, { id: 12 }]);
      const boxes = look(file, "SELECT label FROM boxes WHERE right > 5 AND low >= 3", "writable");
      expect(boxes).toEqual([{ label: "wide" }]);
      const sum = look(file, "SELECT sum(n) AS sum FROM shown", "writable");
      expect(sum).toEqual([{ sum: 6 }]);
      const blob = look(file, "SELECT hex(data) AS h FROM db_blob_value", "writable");
      expect(blob).toEqual([{ h: Buffer.from("a blob").toString("hex").toUpperCase() }]);
      const own = look(
        file,
        "SELECT name FROM sqlite_schema WHERE name GLOB 'balsa_*' ORDER BY 1",
        "writable",
      );
      expect(own).toEqual([{ name: "balsa_meta" }, { name: "balsa_session" }]);
      expect(look(file, "PRAGMA user_version", "writable")).toEqual([{ user_version: 77 }]);
      const said = shell(file, "SELECT group_concat(what) FROM counted");
      if (said !== null) expect(said).toBe("a,b,through the view\n");
    }
  });

  it("goes on where it was when the nodes start again, though it was looked at", async () => {
    for (const node of cluster.nodes) node.start();
    await cluster.ready();
    expect(await db.prepare("SELECT sum(n) AS n FROM shown").get()).toEqual({ n: 6 });
    const troubles = (await cluster.status()).nodes.map(({ status }) => status?.trouble);
    expect(troubles).toEqual(["", "", ""]);
  });
});
