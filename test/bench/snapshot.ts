/**
 * `node --import tsx test/bench/snapshot.ts --mib 1024`: a database of so many MiB (default 128) goes from one node's
 * directory to another over loopback, as a whole; then one page in a hundred is changed, and it goes again. Prints MB/s
 * and what went over the wire. Needs the build in dist/.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import Database from "better-sqlite3";
import { openMachine, type ProcessMachine } from "../../src/machine/process-machine.ts";
import type { Logger, Writer } from "../../src/node/ports.ts";
import type { NodeStatus } from "../../src/node/service.ts";
import { SnapshotTransfer } from "../../src/rpc/snapshot-transfer.ts";
import { rounded } from "./measure.ts";

const ROWS_IN_MIB = 256;

/** What the transfer told last. */
let told: { readonly [name: string]: unknown } = {};
const logger: Logger = {
  debug() {},
  info(facts, message) {
    if (message === "fetched a snapshot") told = facts as typeof told;
  },
  warn(facts, message) {
    console.error(message, facts);
  },
  error() {},
};

function opened(machine: ProcessMachine): Promise<Writer> {
  return new Promise((resolve) => {
    const ignore = (): void => undefined;
    const quiet = { executed: ignore, applied: ignore, committed: ignore, exited: ignore };
    const writer = machine.openWriter({
      ...quiet,
      checkpointed: ignore,
      changed: ignore,
      settings: ignore,
      ready: () => setImmediate(() => resolve(writer)),
    });
  });
}

/** As a writer would leave it: a page a row, so that a changed row is a changed page. */
function fill(path: string, mib: number): void {
  const database = new Database(path);
  database.exec("CREATE TABLE page (id INTEGER PRIMARY KEY, bytes BLOB)");
  const insert = database.prepare("INSERT INTO page(bytes) VALUES (randomblob(4000))");
  for (let at = 0; at < mib; at += 1) {
    database.transaction(() => {
      for (let row = 0; row < ROWS_IN_MIB; row += 1) insert.run();
    })();
    if (at % 64 === 0) database.pragma("wal_checkpoint(TRUNCATE)");
  }
  database.exec("UPDATE balsa_meta SET applied_index = 1, applied_term = 1");
  database.close();
}

function change(path: string): void {
  const database = new Database(path);
  database.exec("UPDATE page SET bytes = randomblob(4000) WHERE abs(random() % 100) = 0");
  database.exec("UPDATE balsa_meta SET applied_index = applied_index + 1");
  database.close();
}

async function fetched(transfer: SnapshotTransfer, atLeast: number): Promise<number> {
  const beganMs = performance.now();
  await new Promise<void>((resolve, reject) => {
    transfer.fetch(1, atLeast, {
      ready: () => resolve(),
      failed: (reason) => reject(new Error(reason)),
    });
  });
  return (performance.now() - beganMs) / 1_000;
}

function print(what: string, seconds: number): void {
  const bytes = Number(told["of"]);
  const figure = {
    metric: "snapshot",
    what,
    bytes,
    sentBytes: told["bytes"],
    sentPercent: rounded((100 * Number(told["bytes"])) / bytes),
    seconds: rounded(seconds),
    mbPerSecond: rounded(bytes / 1e6 / seconds),
  };
  console.log(JSON.stringify(figure));
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { mib: { type: "string", default: "128" } } });
  const home = mkdtempSync(join(tmpdir(), "balsa-snapshot-"));
  const dirs = [mkdtempSync(join(home, "from-")), mkdtempSync(join(home, "to-"))] as const;
  const machines = dirs.map((dir) => openMachine({ dir, logger, copyKeepMs: 0 }));
  const [from, to] = machines as [ProcessMachine, ProcessMachine];
  const server = createServer();
  try {
    for (const machine of machines) {
      await machine.recover({ index: 0, term: 0 }, () => false);
      (await opened(machine)).kill();
    }
    fill(join(dirs[0], "main.db"), Number(values.mib));
    const status = (id: number) => () =>
      ({ id, role: "follower", clusterId: "c", appliedIndex: 9, trouble: "" }) as NodeStatus;
    const source = new SnapshotTransfer({ id: 1, addressOf: () => "", logger });
    source.start(from.snapshots, status(1));
    server.on("connection", (socket) => {
      socket.once("data", (chunk: Buffer) => {
        socket.pause();
        if (chunk.length > 8) socket.unshift(chunk.subarray(8));
        source.accept(socket);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const receiver = new SnapshotTransfer({ id: 2, addressOf: () => `127.0.0.1:${port}`, logger });
    receiver.start(to.snapshots, status(2));
    print("whole", await fetched(receiver, 1));
    await new Promise<void>((resolve) => to.install({ index: 1, term: 1 }, () => resolve()));
    change(join(dirs[0], "main.db"));
    print("1 % of the pages changed", await fetched(receiver, 2));
    for (const transfer of [source, receiver]) transfer.stop(() => {});
  } finally {
    server.close();
    for (const machine of machines) {
      await new Promise<void>((done) => machine.readers.close(() => machine.close(done)));
    }
    rmSync(home, { recursive: true, force: true });
  }
}

await main();
