/**
 * `balsa serve`: one node in this process, from the options to the exit status, with its signals and its log. What a
 * node consists of is the business of `service/serve-node.ts`.
 */

import { setFlagsFromString } from "node:v8";
import { readExtensions } from "../machine/extension-files.ts";
import type { NodeOptions, Plant } from "../node/config.ts";
import { LogWriter } from "../service/log-writer.ts";
import { type LogFormat, type LogLevel, openLogger } from "../service/logger.ts";
import { checkAddresses, serveNode } from "../service/serve-node.ts";
import { BalsaError } from "../sql/errors.ts";
import type { ExtensionOptions } from "../sql/extension.ts";
import type { Limits } from "../sql/limits.ts";
import type { AutoVacuum } from "../sql/settings.ts";
import { prepareDirectory } from "./data-directory.ts";
import { CliError, EXIT, type ExitCode } from "./exit-code.ts";
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
  readonly snapshotMsMax?: number;
  readonly snapshotBytesMax?: number;
  readonly readDeadlineMs?: number;
  readonly writeDeadlineMs?: number;
  readonly transactionIdleMs?: number;
  readonly transactionTotalMs?: number;
  readonly logTailEntries?: number;
  readonly logTailBytes?: number;
  readonly logHoldBytes?: number;
  readonly scrubIntervalMs?: number;
  readonly checksumIntervalMs?: number;
  readonly minFreeBytes?: number;
  /** Those that were given, by their names in `Limits`. */
  readonly limits: Partial<Limits>;
  readonly extension?: readonly ExtensionOptions[];
  readonly autoVacuum?: AutoVacuum;
  readonly acceptChangedFile?: boolean;
  readonly machineVersion?: string;
  readonly plant?: string;
}

/** What the log's last lines may take. */
const FLUSH_MS_MAX = 1_000;

/** Resolves when the node has stopped: because it was told to, or because it halted. @throws BalsaError, CliError */
export async function serve(options: ServeOptions, output: Output): Promise<ExitCode> {
  const insecure = options.insecure ?? isYes("BALSA_INSECURE");
  const addresses = checkAddresses(options.listen, options.advertise, insecure);
  prepareDirectory(options.dir);
  keepHeapSmall();
  const writer = new LogWriter(2);
  const { logLevel: level, logFormat: format } = options;
  const logger = openLogger({ level, format, base: { node: options.id } }, writer);
  const ending = new Ending(writer);
  try {
    const served = await serveNode(nodeOptions(options), addresses, logger).catch(refuseStart);
    served.node.onHalt = (error) => ending.end(error);
    if (options.untilEof === true) onInputEnd((why) => ending.end(why));
    const why = await ending.promise;
    if (why instanceof Error) {
      logger.error({ error: why.message }, "the node has halted");
      output.err(`balsa: node ${options.id} has halted: ${why.message}\n`);
    } else {
      logger.info({ why }, "stopping");
    }
    await served.stop();
    return why instanceof Error ? EXIT.failed : EXIT.ok;
  } finally {
    ending.forget();
    if (!(await writer.flush(FLUSH_MS_MAX))) ending.endNow();
  }
}

/**
 * Requests that wait live for long enough to be taken for old, and V8 would let the old generation grow to a multiple of what
 * lives in it before it looks again. At twice of it is often enough to keep a flood from filling memory with what is dead;
 * at one and a half the looks themselves are felt (docs/PERFORMANCE.md).
 */
function keepHeapSmall(): void {
  setFlagsFromString("--heap-growing-percent=100");
}

/** What a client would take for "not there, try later" is final here. */
function refuseStart(reason: unknown): never {
  if (!(reason instanceof BalsaError)) throw reason;
  const status = reason.code === "INVALID_ARGUMENT" ? EXIT.usage : EXIT.failed;
  throw new CliError(status, reason.message, reason);
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

function nodeOptions(options: ServeOptions): Omit<NodeOptions, "advertise"> {
  const { id, dir, limits } = options;
  const { heartbeatMs, electionMs, readersMin, readersMax } = options;
  const { snapshotMsMax, snapshotBytesMax } = options;
  const { readDeadlineMs, writeDeadlineMs, transactionIdleMs, transactionTotalMs } = options;
  const { logTailEntries, logTailBytes, logHoldBytes } = options;
  const { scrubIntervalMs, checksumIntervalMs, minFreeBytes } = options;
  const { autoVacuum, machineVersion, acceptChangedFile = false } = options;
  return {
    id,
    dir,
    peers: peersOf(options),
    join: options.join === true,
    acceptChangedFile,
    limits,
    extensions: readExtensions(options.extension ?? []),
    ...(heartbeatMs === undefined ? {} : { heartbeatMs }),
    ...(electionMs === undefined ? {} : { electionMs }),
    ...(readersMin === undefined ? {} : { readersMin }),
    ...(readersMax === undefined ? {} : { readersMax }),
    ...(snapshotBytesMax === undefined ? {} : { snapshotBytesMax }),
    ...(snapshotMsMax === undefined ? {} : { snapshotMsMax }),
    ...(readDeadlineMs === undefined ? {} : { readDeadlineMs }),
    ...(writeDeadlineMs === undefined ? {} : { writeDeadlineMs }),
    ...(transactionIdleMs === undefined ? {} : { transactionIdleMs }),
    ...(transactionTotalMs === undefined ? {} : { transactionTotalMs }),
    ...(logTailEntries === undefined ? {} : { logTailEntries }),
    ...(logTailBytes === undefined ? {} : { logTailBytes }),
    ...(logHoldBytes === undefined ? {} : { logHoldBytes }),
    ...(scrubIntervalMs === undefined ? {} : { scrubIntervalMs }),
    ...(checksumIntervalMs === undefined ? {} : { checksumIntervalMs }),
    ...(minFreeBytes === undefined ? {} : { minFreeBytes }),
    ...(autoVacuum === undefined ? {} : { autoVacuum }),
    ...(machineVersion === undefined ? {} : { machineVersion }),
    ...(options.plant === undefined ? {} : { plant: options.plant as Plant }),
  };
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
