/** A node that waits for its death: its writer and its reader run endless queries. Prints their process ids. */

import { openMachine } from "../../../src/machine/process-machine.ts";
import { job, SILENT, TOY } from "./toy-processes.ts";

const ENDLESS =
  "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c WHERE x < 0";

const dir = process.argv[2] ?? "";
const machine = openMachine({ dir, logger: SILENT, command: TOY });
const writer = machine.openWriter({
  ready() {
    const sink = { chunk: begin, failed: () => undefined };
    machine.readers.query(Buffer.from("SELECT 1"), { deadlineMs: 10_000, window: 1 }, sink);
  },
  // Nothing more can be told from inside: the job before the endless one was answered.
  executed: tell,
  applied() {},
  committed() {},
  checkpointed() {},
  changed() {},
  settings() {},
  exited() {},
});

function begin(): void {
  const sink = { chunk() {}, failed() {} };
  machine.readers.query(Buffer.from(ENDLESS), { deadlineMs: 3_600_000, window: 1 }, sink);
  writer.execute(job(1, "CREATE TABLE t (x)"));
  writer.execute(job(2, `INSERT INTO t ${ENDLESS}`));
}

function tell(): void {
  const { reservePid, readers } = machine;
  if (reservePid === 0 || readers.pids.includes(reservePid)) setTimeout(tell, 5);
  else console.log(JSON.stringify([writer.pid, reservePid, ...readers.pids]));
}
