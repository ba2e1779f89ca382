/**
 * What an app may ask of `openNode`, checked by name and kind at the door, so that a slip is told before anything is opened. The
 * ranges of numbers are the node's own to check.
 */

import { checkNames } from "../client/options.ts";
import type { NodeOptions } from "../node/config.ts";
import { BalsaError } from "../sql/errors.ts";
import type { ExtensionOptions } from "../sql/extension.ts";
import { LOG_LEVELS, type LogLevel } from "./logger.ts";

export interface EmbeddedNodeOptions
  extends Omit<
    NodeOptions,
    "advertise" | "onCore" | "plant" | "peers" | "extensions" | "isReadLocally"
  > {
  /** HOST:PORT to bind, for peers and other clients; port 0 only with `advertise`. */
  readonly listen: string;
  /** HOST:PORT at which others reach it. Default `listen`. */
  readonly advertise?: string;
  /** Listens beyond this machine though nothing is encrypted. Default false. */
  readonly insecure?: boolean;
  /** HOST:PORT of every first member by id, this node included; not needed with `join`. */
  readonly peers?: ReadonlyMap<number, string> | { readonly [id: number]: string };
  /** Extensions of SQLite, the same on all nodes; loaded into this process too, for `local`. Default none. */
  readonly extensions?: readonly ExtensionOptions[];
  /** Of the node's own log, on standard error. Default `warn`. */
  readonly logLevel?: LogLevel;
}

type Kind = "number" | "string" | "boolean" | "object" | "list";

/** Of every option, so that none is forgotten here. */
const KINDS: { readonly [name in keyof Required<EmbeddedNodeOptions>]: Kind } = {
  id: "number",
  dir: "string",
  listen: "string",
  advertise: "string",
  insecure: "boolean",
  peers: "object",
  join: "boolean",
  heartbeatMs: "number",
  electionMs: "number",
  limits: "object",
  readersMin: "number",
  readersMax: "number",
  snapshotMsMax: "number",
  snapshotBytesMax: "number",
  readDeadlineMs: "number",
  writeDeadlineMs: "number",
  transactionIdleMs: "number",
  transactionTotalMs: "number",
  logTailEntries: "number",
  logTailBytes: "number",
  logHoldBytes: "number",
  scrubIntervalMs: "number",
  checksumIntervalMs: "number",
  minFreeBytes: "number",
  extensions: "list",
  autoVacuum: "string",
  acceptChangedFile: "boolean",
  machineVersion: "string",
  logLevel: "string",
};

const NEEDED = ["id", "dir", "listen"] as const;

/** @throws BalsaError INVALID_ARGUMENT whose `facts.option` names a missing, misspelt or wrong one. */
export function checkEmbeddedOptions(options: EmbeddedNodeOptions): void {
  checkNames("openNode", options, Object.keys(KINDS));
  const given: { readonly [name: string]: unknown } = { ...options };
  for (const [name, kind] of Object.entries(KINDS)) {
    const value = given[name];
    if (value !== undefined && !isOf(kind, value)) throw wrong(name, `must be a ${kind}`, value);
  }
  for (const name of NEEDED) {
    if (given[name] === undefined) throw wrong(name, "is needed", undefined);
  }
  const { logLevel = "warn", extensions = [], peers = {} } = options;
  if (!LOG_LEVELS.includes(logLevel)) {
    throw wrong("logLevel", `must be one of ${LOG_LEVELS.join(", ")}`, logLevel);
  }
  const addresses: readonly unknown[] = [
    ...(peers instanceof Map ? peers.values() : Object.values(peers)),
  ];
  const bad = addresses.find((address) => typeof address !== "string");
  if (bad !== undefined) throw wrong("peers", "must give HOST:PORT for each id", bad);
  for (const extension of extensions) {
    if (typeof (extension as Partial<ExtensionOptions> | null)?.path === "string") continue;
    throw wrong("extensions", "must be a list of { path }", extension);
  }
}

function isOf(kind: Kind, value: unknown): boolean {
  if (kind === "list") return Array.isArray(value);
  if (kind === "object") {
    return typeof value === "object" && value !== null && !Array.isArray(value);
  }
  return typeof value === kind;
}

function wrong(option: string, message: string, value: unknown): BalsaError {
  const is = value === undefined ? "" : `, and is ${describe(value)}`;
  return new BalsaError("INVALID_ARGUMENT", `option "${option}" ${message}${is}`, {
    facts: { option },
  });
}

function describe(value: unknown): string {
  if (typeof value === "string") return `"${value}"`;
  return typeof value === "object" && value !== null ? "another object" : String(value);
}
