// A writer's process with a toy for a state machine: a batch and a payload are the text of SQL. For tests of the
// processes themselves. Runs against the built loops.

import { join } from "node:path";
import Database from "better-sqlite3";
import { takeWriterLock } from "../../../dist/machine/writer-lock.js";
import { runWriter } from "../../../dist/machine/writer-loop.js";

const given = JSON.parse(process.argv[2]);

function failure(error) {
  const { code = "INTERNAL", message } = error;
  return { code, message, outcome: "not-applied", statementIndex: 0, facts: {} };
}

function open() {
  const database = new Database(join(given.dir, "main.db"));
  database.pragma("journal_mode = WAL");
  database.pragma("wal_autocheckpoint = 0");
  database.exec("CREATE TABLE IF NOT EXISTS toy_state (name TEXT PRIMARY KEY, value INTEGER)");
  const set = database.prepare("INSERT OR REPLACE INTO toy_state VALUES (?, ?)");
  const get = (name) =>
    database.prepare("SELECT value FROM toy_state WHERE name = ?").pluck().get(name) ?? 0;
  const begin = () => database.inTransaction || database.exec("BEGIN IMMEDIATE");
  const commit = ({ index, term }) => {
    begin();
    set.run("applied", index);
    set.run("term", term);
    database.exec("COMMIT");
  };
  return {
    state: { appliedIndex: get("applied"), appliedTerm: get("term"), timeMs: 0 },
    execute(job) {
      const text = Buffer.from(job.batch).toString();
      if (text === "crash") process.abort();
      if (text === "fault") throw Object.assign(new Error("disk full"), { code: "SQLITE_FULL" });
      if (text === "") {
        const { session, sequence, acknowledgedThrough, timeMs, seedHigh, seedLow } = job;
        const facts = { session, sequence, acknowledgedThrough, timeMs, seedHigh, seedLow };
        return { kind: "answer", result: Buffer.from(JSON.stringify(facts)), index: 7 };
      }
      begin();
      try {
        database.exec(text);
        return { kind: "proposal", payload: job.batch, result: Buffer.from(`did ${job.id}`) };
      } catch (error) {
        return { kind: database.inTransaction ? "failure" : "broken", failure: failure(error) };
      }
    },
    apply(entries) {
      begin();
      for (const entry of entries) {
        if (entry.kind === "command") database.exec(Buffer.from(entry.payload).toString());
      }
      const last = entries.at(-1);
      commit(last);
      const { index, term } = last;
      const detail = "a planted difference";
      const mismatch = term === 666 ? { index, expected: 1, found: 2, detail } : null;
      return { last: { index, term }, mismatch };
    },
    commit,
    walBytes() {
      if (database.inTransaction) return 0;
      const [row] = database.pragma("wal_checkpoint(NOOP)");
      return (row.log - row.checkpointed) * 4096;
    },
    checkpoint() {
      if (!database.inTransaction) database.pragma("wal_checkpoint(PASSIVE)");
    },
    close() {
      if (database.inTransaction) database.exec("ROLLBACK");
      database.close();
    },
  };
}

runWriter(given, { takeLock: () => takeWriterLock(given.dir, given.lockWaitMs), open });
