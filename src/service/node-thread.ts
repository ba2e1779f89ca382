/**
 * The thread of an embedded node: runs it as `balsa serve` would, tells the app that it is open, that it failed or that it
 * has halted, and ends in order when it is told to. It takes no signals: those are the app's.
 */

import { parentPort, workerData } from "node:worker_threads";
import { toFailure } from "../sql/errors.ts";
import { invariant } from "../sql/invariant.ts";
import { LogWriter } from "./log-writer.ts";
import { openLogger } from "./logger.ts";
import { serveNode } from "./serve-node.ts";
import { type FromThread, STOP, type ThreadData } from "./thread-messages.ts";

/** What the log's last lines may take. */
const FLUSH_MS_MAX = 1_000;

const port = parentPort;
invariant(port !== null, "it runs in a thread");
const tell = (message: FromThread) => port.postMessage(message);
const { options, addresses, logLevel } = workerData as ThreadData;
const writer = new LogWriter(2);
const logger = openLogger({ level: logLevel, format: "auto", base: { node: options.id } }, writer);

try {
  const served = await serveNode({ ...options, isReadLocally: true }, addresses, logger);
  served.node.onHalt = (error) => {
    logger.error({ error: error.message }, "the node has halted");
    tell({ kind: "halted", message: error.message });
  };
  port.on("message", (message: unknown) => {
    if (message === STOP) void served.stop().then(end);
  });
  tell({ kind: "open", port: served.address.port });
} catch (error) {
  tell({ kind: "failed", failure: toFailure(error) });
  await end();
}

/** Not left to the event loop: a stop that was overdue has something open. */
async function end(): Promise<void> {
  await writer.flush(FLUSH_MS_MAX);
  process.exit();
}
