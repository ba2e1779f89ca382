/**
 * `balsa serve`: one node in this process, from the options to the exit status. It joins the node, the transport and the
 * server, and ends them in order; what they do is theirs.
 */

import type { NodeOptions, Plant } from "../node/config.ts";
import { openNode, type RunningNode } from "../node/open-node.ts";
import type { Logger } from "../node/ports.ts";
import type { NodeStatus } from "../node/service.ts";
import { type Address, checkExposure, formatAddress, parseAddress } from "../rpc/addresses.ts";
import { Listener } from "../rpc/listener.ts";
import { PeerTransport } from "../rpc/peer-transport.ts";
import { type RunningServer, startServer } from "../rpc/server.ts";
import { SnapshotTransfer } from "../rpc/snapshot-transfer.ts";
import { BalsaError } from "../sql/errors.ts";
import type { Limits } from "../sql/limits.ts";
import { prepareDirectory } from "./data-directory.ts";
import { CliError, EXIT, type ExitCode } from "./exit-code.ts";
import { LogWriter } from "./log-writer.ts";
import { type LogFormat, type LogLevel, openLogger } from "./logger.ts";
import type { NodeEvent } from "./node-event.ts";
import type { Output } from "./output.ts";
import { onInputEnd, onStopSignals } from "./shutdown.ts";

/** As the program hands them over; an absent one has the node's default. */
export interface ServeOptions {
  readonly id: number;
  readonly dir: string;
  readonly listen: string;
  /** Not needed with `join`. */
  readonly peers?: ReadonlyMap<number, string>;
  readonly join?: boolean;
  readonly advertise?: string;
  readonly insecure?: boolean;
  readonly untilEof?: boolean;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly heartbeatMs?: number;
  readonly electionMs?: number;
  readonly readersMin?: number;
  readonly readersMax?: number;
  readonly readDeadlineMs?: number;
  readonly writeDeadlineMs?: number;
  readonly transactionIdleMs?: number;
  readonly transactionTotalMs?: number;
  readonly logTailEntries?: number;
  readonly logTailBytes?: number;
  readonly logHoldBytes?: number;
  readonly scrubIntervalMs?: number;
  readonly minFreeBytes?: number;
  /** Those that were given, by their names in `Limits`. */
  readonly limits: Partial<Limits>;
  readonly plant?: string;
}

/** What stopping may take before the process ends regardless. */
const STOP_MS_MAX = 8_000;
/** What the log's last lines may take. */
const FLUSH_MS_MAX = 1_000;

/** Resolves when the node has stopped: because it was told to, or because it halted. @throws BalsaError, CliError */
export async function serve(options: ServeOptions, output: Output): Promise<ExitCode> {
  const { listen, advertise } = checkAddresses(options);
  prepareDirectory(options.dir);
  const writer = new LogWriter(2);
  const { logLevel: level, logFormat: format } = options;
  const logger = openLogger({ level, format, base: { node: options.id } }, writer);
  const ending = new Ending(writer);
  try {
    const parts = await start(options, listen, advertise, logger).catch(refuseStart);
    parts.node.onHalt = (error) => ending.end(error);
    if (options.untilEof === true) onInputEnd((why) => ending.end(why));
    const why = await ending.promise;
    if (why instanceof Error) {
      logger.error({ error: why.message }, "the node has halted");
      output.err(`balsa: node ${options.id} has halted: ${why.message}\n`);
    } else {
      logger.info({ why }, "stopping");
    }
    await stopInOrder(parts, logger);
    return why instanceof Error ? EXIT.failed : EXIT.ok;
  } finally {
    ending.forget();
    if (!(await writer.flush(FLUSH_MS_MAX))) ending.endNow();
  }
}

/** What a client would take for "not there, try later" is final here. */
function refuseStart(reason: unknown): never {
  if (!(reason instanceof BalsaError)) throw reason;
  const status = reason.code === "INVALID_ARGUMENT" ? EXIT.usage : EXIT.failed;
  throw new CliError(status, reason.message, reason);
}

function checkAddresses(options: ServeOptions): { listen: Address; advertise: Address } {
  const listen = parseAddress(options.listen);
  const advertise = parseAddress(options.advertise ?? options.listen);
  checkExposure({ listen, advertise, insecure: options.insecure ?? isYes("BALSA_INSECURE") });
  if (isWildcard(advertise)) {
    const text = formatAddress(advertise);
    const message = `nobody can connect to ${text}: say with --advertise where others reach this node`;
    throw new CliError(EXIT.usage, message);
  }
  return { listen, advertise };
}

/** An address to listen on that is none to connect to. */
function isWildcard({ host }: Address): boolean {
  return /^(0\.0\.0\.0|[:0]*)$/.test(host);
}

function isYes(variable: string): boolean {
  return ["1", "true", "yes"].includes((process.env[variable] ?? "").toLowerCase());
}

/** @throws CliError */
function peersOf({ peers, join }: ServeOptions): ReadonlyMap<number, string> {
  if (peers !== undefined) return peers;
  if (join === true) return new Map();
  const message =
    "say with --peers who the first members are, or with --join that a running cluster will add this node";
  throw new CliError(EXIT.usage, message);
}

interface Parts {
  readonly node: RunningNode;
  readonly server: RunningServer;
}

async function start(
  options: ServeOptions,
  listen: Address,
  advertise: Address,
  logger: Logger,
): Promise<Parts> {
  const { id, limits } = options;
  const peers = peersOf(options);
  // The port first: whoever cannot have it must not touch the files.
  const listener = await Listener.bind({ listen, logger });
  const transport = new PeerTransport({ id, peers, logger });
  const addressOf = (peer: number) => node?.routeTo(peer) ?? "";
  const snapshots = new SnapshotTransfer({ id, addressOf, logger });
  let node: RunningNode | null = null;
  try {
    const given = nodeOptions(options, formatAddress(advertise));
    node = await openNode(given, { transport, snapshots, logger });
  } catch (error) {
    await listener.close();
    throw error;
  }
  tellChanges(node, logger);
  const writeTimeout =
    options.writeDeadlineMs === undefined ? {} : { writeTimeoutMs: options.writeDeadlineMs };
  const server = await startServer({
    listen: listener,
    node,
    peers: transport,
    snapshots,
    logger,
    limits,
    ...writeTimeout,
  });
  const event: NodeEvent = { event: "listening" };
  logger.info(
    { ...event, address: formatAddress(listener.address), dir: options.dir, pid: process.pid },
    "listening",
  );
  return { node, server };
}

function nodeOptions(options: ServeOptions, advertise: string): NodeOptions {
  const { id, dir, limits } = options;
  const { heartbeatMs, electionMs, readersMin, readersMax } = options;
  const { readDeadlineMs, writeDeadlineMs, transactionIdleMs, transactionTotalMs } = options;
  const { logTailEntries, logTailBytes, logHoldBytes } = options;
  const { scrubIntervalMs, minFreeBytes } = options;
  return {
    id,
    dir,
    peers: peersOf(options),
    join: options.join === true,
    advertise,
    limits,
    ...(heartbeatMs === undefined ? {} : { heartbeatMs }),
    ...(electionMs === undefined ? {} : { electionMs }),
    ...(readersMin === undefined ? {} : { readersMin }),
    ...(readersMax === undefined ? {} : { readersMax }),
    ...(readDeadlineMs === undefined ? {} : { readDeadlineMs }),
    ...(writeDeadlineMs === undefined ? {} : { writeDeadlineMs }),
    ...(transactionIdleMs === undefined ? {} : { transactionIdleMs }),
    ...(transactionTotalMs === undefined ? {} : { transactionTotalMs }),
    ...(logTailEntries === undefined ? {} : { logTailEntries }),
    ...(logTailBytes === undefined ? {} : { logTailBytes }),
    ...(logHoldBytes === undefined ? {} : { logHoldBytes }),
    ...(scrubIntervalMs === undefined ? {} : { scrubIntervalMs }),
    ...(minFreeBytes === undefined ? {} : { minFreeBytes }),
    ...(options.plant === undefined ? {} : { plant: options.plant as Plant }),
  };
}

/** Logs each change of leader, of role and of what keeps the node from serving, once. */
function tellChanges(node: RunningNode, logger: Logger): void {
  let leadership = "";
  let trouble = "";
  node.watch((status: NodeStatus) => {
    const now = `${status.role} ${status.term} ${status.leader}`;
    if (now !== leadership) {
      leadership = now;
      const event: NodeEvent = { event: "leader", leader: status.leader, term: status.term };
      logger.info({ ...event, role: status.role }, "leadership");
    }
    if (status.trouble === trouble) return;
    trouble = status.trouble;
    if (trouble === "") logger.info({}, "serving again");
    else logger.warn({ trouble }, "not serving");
  });
}

/** First the node, which says goodbye to its peers and answers what waits; then what carried the answers. */
async function stopInOrder({ node, server }: Parts, logger: Logger): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const overdue = new Promise<"overdue">((resolve) => {
    timer = setTimeout(() => resolve("overdue"), STOP_MS_MAX);
  });
  const stopped = node.stop().then(() => server.stop());
  if ((await Promise.race([stopped, overdue])) === "overdue") {
    logger.warn({ afterMs: STOP_MS_MAX }, "not everything has stopped in time; ending");
  } else {
    logger.info({}, "stopped");
  }
  clearTimeout(timer);
}

/** Why the process ends: an error if the node halted, a word if somebody wanted it. The first reason counts. */
class Ending {
  readonly promise: Promise<Error | string>;
  readonly forget: () => void;
  end: (why: Error | string) => void = () => {};

  constructor(writer: LogWriter) {
    this.promise = new Promise((resolve) => {
      this.end = resolve;
    });
    const abandon = async () => {
      if (await writer.flush(FLUSH_MS_MAX)) process.exit(ABANDONED);
      this.endNow();
    };
    this.forget = onStopSignals(
      (signal) => this.end(signal),
      () => void abandon(),
    );
  }

  /** Not `process.exit`, which would wait for a thread that hangs in a write to a full pipe. */
  endNow(): void {
    process.kill(process.pid, "SIGKILL");
  }
}

/** Exit status after a second signal, as shells have it for Ctrl-C. */
const ABANDONED = 130;
