// A reader's process with a toy for its engine: a statement is the text of SQL, a chunk is JSON. For tests of the pool.
// Runs against the built loop.

import { join } from "node:path";
import Database from "better-sqlite3";
import { runReader } from "../../../dist/machine/reader-loop.js";

const given = JSON.parse(process.argv[2]);
const CHUNK_ROWS = 1_000;

function open() {
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
    close: () => database.close(),
  };
}

runReader(open);
