// A child process with toys for its engines, for tests of the processes themselves. A batch, a payload and a statement are
// the text of SQL; a chunk is JSON. Runs against the built loops. With --no-readers it fails as a reader.

import { join } from "node:path";
import Database from "better-sqlite3";
import { awaitRole } from "../../../dist/machine/child-role.js";
import { runReader } from "../../../dist/machine/reader-loop.js";
import { takeWriterLock } from "../../../dist/machine/writer-lock.js";
import { runWriter } from "../../../dist/machine/writer-loop.js";

const CHUNK_ROWS = 1_000;

function failure(error) {
  const { code = "INTERNAL", message } = error;
  return { code, message, outcome: "not-applied", statementIndex: 0, facts: {} };
}

function openWriter() {
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
    state: {
      appliedIndex: get("applied"),
      appliedTerm: get("term"),
      timeMs: 0,
      configuration: null,
    },
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
    walSize() {
      if (database.inTransaction) return { all: 0, uncopied: 0 };
      const [row] = database.pragma("wal_checkpoint(NOOP)");
      return { all: row.log * 4096, uncopied: (row.log - row.checkpointed) * 4096 };
    },
    checkpoint() {
      if (!database.inTransaction) database.pragma("wal_checkpoint(PASSIVE)");
    },
    look() {},
    emptyWal: () => true,
    close() {
      if (database.inTransaction) database.exec("ROLLBACK");
      database.close();
    },
  };
}

/** Nobody looks after a toy's file. */
const NO_SEAL = {
  break: () => ({ kind: "unsealed" }),
  opened() {},
  demandSameFile() {},
  note() {},
  close(engine) {
    engine.close();
    return "";
  },
};

function openReader() {
  const database = new Database(join(given.dir, "main.db"), { readonly: true });
  let rows = null;
  const next = () => {
    const taken = [];
    while (taken.length < CHUNK_ROWS) {
      const { value, done } = rows.next();
      if (done) {
        rows = null;
        return { bytes: Buffer.from(JSON.stringify(taken)), done: true };
      }
      taken.push(value);
    }
    return { bytes: Buffer.from(JSON.stringify(taken)), done: false };
  };
  return {
    start(statement) {
      const text = Buffer.from(statement).toString();
      if (text === "crash") process.abort();
      if (text === "pid") return { bytes: Buffer.from(String(process.pid)), done: true };
      rows = database.prepare(text).raw().iterate();
      return next();
    },
    next,
    stop() {
      rows.return();
      rows = null;
    },
    hold: () => database.exec("BEGIN"),
    release: () => database.inTransaction && database.exec("COMMIT"),
    close: () => database.close(),
  };
}

const given = awaitRole();
if (given.role === "writer") {
  const takeLock = (onSlow) => takeWriterLock(given.dir, given.lockWaitMs, onSlow);
  runWriter(given, { takeLock, open: openWriter, seal: NO_SEAL });
} else {
  if (process.argv.includes("--no-readers")) throw new Error("no luck");
  runReader(openReader);
}
