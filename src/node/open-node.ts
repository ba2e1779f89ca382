/**
 * The composition root: options in, a running node out. The only file of node/ that knows which log and which machine
 * are used. It opens what is needed, in order, and closes it again if a later step fails.
 */

import { statfs } from "node:fs";
import { join } from "node:path";
import { LogUntrustedError } from "../log/errors.ts";
import { makeDirectoryDurably } from "../log/node-disk.ts";
import { openLog } from "../log/open-log.ts";
import { rememberCluster, setLogAside, setLoneDatabaseAside } from "../log/set-aside.ts";
import { DirectoryLock } from "../machine/directory-lock.ts";
import { checkExtensions } from "../machine/extension-check.ts";
import { ownMachineVersion } from "../machine/machine-version.ts";
import { openMachine } from "../machine/process-machine.ts";
import type { EntryId, NodeId } from "../raft/entry.ts";
import { BalsaError } from "../sql/errors.ts";
import { checkOptions, type NodeConfig, type NodeOptions } from "./config.ts";
import { realEnvironment } from "./environment.ts";
import { settleFileAtStart } from "./file-at-start.ts";
import { Node } from "./node.ts";
import type { Log, Logger, SnapshotTransport, Transport } from "./ports.ts";
import type { NodeService } from "./service.ts";
import type { FreeSpace } from "./space-watch.ts";

export interface RunningNode extends NodeService {
  /** HOST:PORT at which this node reaches that one; empty if it is not known. */
  routeTo(id: NodeId): string;
  /** The node stopped by itself; the process should end. */
  onHalt: (error: Error) => void;
  stop(): Promise<void>;
}

/**
 * Opens `options.dir` and starts the node. Resolves once its files are open; it may still wait for its peers.
 *
 * @throws BalsaError INVALID_ARGUMENT for a bad option, or an extension that cannot be used; UNAVAILABLE if the directory
 * cannot be used.
 */
export async function openNode(
  options: NodeOptions,
  parts: {
    readonly transport: Transport;
    readonly snapshots: SnapshotTransport;
    readonly logger: Logger;
  },
): Promise<RunningNode> {
  const config = checkOptions({ machineVersion: ownMachineVersion(), ...options });
  makeDirectory(config.dir);
  const lock = DirectoryLock.take(config.dir);
  try {
    const extensions = await checkExtensions(config.extensions, parts);
    const log = await openTrustedLog(config, options.join === true, parts.logger);
    const machine = openMachine({
      dir: config.dir,
      readersMin: config.readersMin,
      readersMax: config.readersMax,
      snapshotMsMax: config.snapshotMsMax,
      snapshotBytesMax: config.snapshotBytesMax,
      limits: config.limits,
      extensions,
      machineVersion: config.machineVersion,
      autoVacuum: config.autoVacuum,
      logger: parts.logger,
    });
    const dropped = log.firstIndex() - 1;
    const holds = ({ index, term }: EntryId) =>
      index >= dropped && index <= log.lastIndex() && log.term(index) === term;
    await machine.recover({ index: dropped, term: log.term(dropped) }, holds);
    const { identity } = log;
    const file = { id: config.id, identity, machine, holds, logger: parts.logger };
    await settleFileAtStart(file, options.acceptChangedFile === true);
    const { snapshots, ...rest } = parts;
    const environment = realEnvironment;
    const own = { log, machine, environment, fetcher: snapshots, space };
    const node = new Node(config, { ...own, ...rest });
    snapshots.start(machine.snapshots, () => node.status());
    // Kept apart: the promise below takes the name of the node's own.
    const stopNode = node.stop.bind(node);
    const stop = () =>
      new Promise<void>((resolve) => {
        stopNode(() => {
          snapshots.stop(() => machine.close(() => resolve(lock.release())));
        });
      });
    node.start();
    return Object.assign(node, { stop }) as unknown as RunningNode;
  } catch (error) {
    lock.release();
    throw error;
  }
}

/**
 * A log that cannot be trusted is not repaired: it is set aside, and the cluster takes the node in anew. Where there is
 * nobody else, nothing is touched. @throws LogUntrustedError, LogOpenError
 */
async function openTrustedLog(
  config: NodeConfig,
  isJoining: boolean,
  logger: Logger,
): Promise<Log> {
  const { dir, scrubIntervalMs, id: nodeId } = config;
  const open = () => openLog({ dir: join(dir, "log"), nodeId, scrubIntervalMs });
  const isAlone = config.peers.size <= 1 && !isJoining;
  const lone = isAlone ? null : setLoneDatabaseAside(dir);
  if (lone !== null) {
    const what =
      "the log is gone: the database was set aside, and this node waits until the leader";
    logger.error({ aside: lone }, `${what} admits it anew`);
  }
  let log: Log;
  try {
    log = await open();
  } catch (error) {
    if (!(error instanceof LogUntrustedError) || isAlone) throw error;
    const aside = setLogAside(dir);
    logger.error(
      { aside, error: error.message },
      "the log cannot be trusted: it was set aside, and this node waits until the leader admits it anew",
    );
    log = await open();
  }
  await rememberCluster(dir, log);
  return log;
}

const space: FreeSpace = {
  freeBytes(dir, done) {
    statfs(dir, (error, found) => done(error === null ? found.bavail * found.bsize : null));
  },
};

/** Makes the directory and its parents if need be; their names are durable. @throws the file system's error */
export function makeDataDirectory(dir: string): void {
  makeDirectoryDurably(dir);
}

function makeDirectory(dir: string): void {
  try {
    makeDataDirectory(dir);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new BalsaError("UNAVAILABLE", `cannot make the data directory ${dir}: ${why}`, {
      cause: error,
    });
  }
}
