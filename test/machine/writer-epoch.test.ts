import Database from "better-sqlite3";
import { expect, it } from "vitest";
import { MachineMeta, prepareFile } from "../../src/machine/machine-meta.ts";

it("a writer whose claim could not be committed learns that, and not from the next begin", () => {
  const database = new Database(":memory:");
  database.defaultSafeIntegers(true);
  prepareFile(database);
  // A full disk shows at the COMMIT; so does this.
  database.exec(`
    CREATE TABLE parent (id INTEGER PRIMARY KEY);
    CREATE TABLE child (parent REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
    CREATE TRIGGER claimed AFTER UPDATE ON balsa_meta BEGIN INSERT INTO child VALUES (1); END;
  `);
  database.pragma("foreign_keys = ON");
  const meta = new MachineMeta(database);
  expect(() => meta.claim(database)).toThrow("FOREIGN KEY constraint failed");
  database.exec("DROP TRIGGER claimed");
  meta.claim(database);
  meta.begin(0);
  expect(database.inTransaction).toBe(true);
  database.close();
});
