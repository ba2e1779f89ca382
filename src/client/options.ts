/**
 * What a caller may choose, with unit, default and range of each, and the checks at the door. A misspelt option is
 * an error that names the right one. Nothing here connects to anything.
 */

import { BalsaError } from "../sql/errors.ts";
import { DEFAULT_LIMITS, LIMITS_MAX } from "../sql/limits.ts";
import { CONSISTENCIES, type Consistency, ON_ERROR, type OnError } from "../sql/statement.ts";
import type { IntegerMode } from "../sql/value.ts";

/** Options of a call; given to `connect` or `with` they hold for every call made through that object. */
export interface CallOptions {
  /**
   * How long a call may take, all retries included, in milliseconds. For `iterate`, how long the next row may take.
   * Default 10 000, range 1 to 86 400 000.
   */
  readonly deadlineMs?: number;
  /** Gives up when it aborts: the call fails with CANCELLED. */
  readonly signal?: AbortSignal;
  /** How fresh reads are. Default `linearizable`. Writes always go through the leader. */
  readonly consistency?: Consistency;
  /** With `stale`: how far behind a node may be, in milliseconds, 0 to 86 400 000. Default 0, no bound. */
  readonly maxStalenessMs?: number;
  /**
   * With `session`: the reads also see this log index, such as a `RunResult.index` that another client was given.
   * Default 0: what this client itself has written and read.
   */
  readonly atLeast?: number;
  /** How INTEGER comes back: `auto` (number when safe, else bigint; default), `number` or `bigint`. */
  readonly integers?: IntegerMode;
}

/** Options of `batch`. */
export interface BatchOptions extends CallOptions {
  /**
   * What a statement that fails does to the others. Default `stop`: the batch fails, and nothing of it takes effect. With
   * `continue` the statement leaves nothing, the ones behind it run, and all that succeeded takes effect together.
   */
  readonly onError?: OnError;
}

/** Options of a transaction. `deadlineMs` bounds its beginning, each step and its commit, not the whole. */
export interface TransactionOptions extends CallOptions {
  /**
   * How long it may be without a request before it is rolled back, in milliseconds: other writes wait for it.
   * Default 5 000, from 1; the nodes have a limit of their own.
   */
  readonly idleMs?: number;
  /** How long it may be open, in milliseconds. Default 30 000, from 1; the nodes have a limit of their own. */
  readonly totalMs?: number;
  /**
   * It writes nothing and blocks nobody: all its reads see one moment, on any node that is as fresh as `consistency` asks.
   * Default false.
   */
  readonly readOnly?: boolean;
  /**
   * How often the function is run again when the transaction was rolled back because the leader or the connection was
   * lost. Default 0: the function may do other things than this transaction. Range 0 to 100.
   */
  readonly retries?: number;
}

/** Options of a client. */
export interface ConnectOptions extends CallOptions {
  /** Where nodes listen, `host:port` each; at least one, better all. Others of the cluster are learnt. */
  readonly endpoints: readonly string[];
  /**
   * Whether nodes that others name are used too. Default true. With false only `endpoints` are: to ask one node alone,
   * or where the addresses that nodes know of each other cannot be reached. Writes are then passed on by a follower.
   */
  readonly discover?: boolean;
  /** How long one attempt to connect to a node may take, in milliseconds. Default 2 000, range 10 to 60 000. */
  readonly connectTimeoutMs?: number;
  /**
   * A node that owes answers and is silent for this long is given up, in milliseconds. After half of it the node is asked
   * whether it lives (at least 500 ms are left to answer that), and the others whether one of them leads now.
   * Default 1 000, range 50 to 600 000.
   */
  readonly silenceMs?: number;
  /** Bounds of a request and of what is pending in this client. */
  readonly limits?: Partial<ClientLimits>;
}

/**
 * Bounds, each an integer from 1. Those of a request are the nodes' own: a larger one here only moves the refusal there.
 */
export interface ClientLimits {
  /** Bytes of one request's statements and parameters together. Default 7 MiB. */
  readonly requestBytes: number;
  /** Bytes of one text or blob value. Default 6 MiB. */
  readonly valueBytes: number;
  /** Bytes of the text of one statement or script. Default 1 MiB. */
  readonly statementBytes: number;
  /** Statements in one batch. Default 10 000. */
  readonly statements: number;
  /** Bytes of the rows that `all` collects; for more there is `iterate`. Default 64 MiB. */
  readonly resultBytes: number;
  /** Requests waiting or under way in this client; one more fails with OVERLOADED. Default 20 000. */
  readonly pendingRequests: number;
  /** Bytes of those requests; one more that goes beyond fails with OVERLOADED. Default 64 MiB. */
  readonly pendingBytes: number;
}

/** Options of a call, all decided. */
export interface ResolvedCallOptions {
  readonly deadlineMs: number;
  readonly signal: AbortSignal | undefined;
  readonly consistency: Consistency;
  readonly maxStalenessMs: number;
  readonly atLeast: number;
  readonly integers: IntegerMode;
}

/** Options of a transaction, all decided. */
export interface ResolvedTransactionOptions {
  readonly call: ResolvedCallOptions;
  readonly idleMs: number;
  readonly totalMs: number;
  readonly readOnly: boolean;
  readonly retries: number;
}

/** Options of the client itself, all decided. */
export interface ClientOptions {
  readonly endpoints: readonly string[];
  readonly discover: boolean;
  readonly connectTimeoutMs: number;
  readonly silenceMs: number;
  readonly limits: ClientLimits;
}

const DAY_MS = 86_400_000;
const INTEGER_MODES: readonly IntegerMode[] = ["auto", "number", "bigint"];

const CALL_DEFAULTS: ResolvedCallOptions = {
  deadlineMs: 10_000,
  signal: undefined,
  consistency: "linearizable",
  maxStalenessMs: 0,
  atLeast: 0,
  integers: "auto",
};

const LIMIT_DEFAULTS: ClientLimits = {
  requestBytes: DEFAULT_LIMITS.requestBytes,
  valueBytes: DEFAULT_LIMITS.valueBytes,
  statementBytes: DEFAULT_LIMITS.statementBytes,
  statements: DEFAULT_LIMITS.statements,
  resultBytes: DEFAULT_LIMITS.resultBytes,
  pendingRequests: 20_000,
  pendingBytes: 64 * 1024 * 1024,
};

const LIMIT_NAMES = Object.keys(LIMIT_DEFAULTS) as (keyof ClientLimits)[];
export const CALL_NAMES: readonly string[] = Object.keys(CALL_DEFAULTS);
const TRANSACTION_NAMES = ["idleMs", "totalMs", "readOnly", "retries", ...CALL_NAMES];
const CONNECT_NAMES = [
  "endpoints",
  "discover",
  "connectTimeoutMs",
  "silenceMs",
  "limits",
  ...CALL_NAMES,
];

/** Checks what was given to `connect`. Throws INVALID_ARGUMENT naming the option. */
export function resolveConnectOptions(options: ConnectOptions): {
  readonly client: ClientOptions;
  readonly call: ResolvedCallOptions;
} {
  checkNames("connect", options, CONNECT_NAMES);
  const { discover = true, connectTimeoutMs = 2_000, silenceMs = 1_000, limits = {} } = options;
  if (typeof discover !== "boolean") throw invalid("discover", "must be true or false");
  const client: ClientOptions = {
    endpoints: checkEndpoints(options.endpoints),
    discover,
    connectTimeoutMs: integerIn("connectTimeoutMs", connectTimeoutMs, 10, 60_000),
    silenceMs: integerIn("silenceMs", silenceMs, 50, 600_000),
    limits: checkLimits(limits),
  };
  return { client, call: mergeCallOptions(CALL_DEFAULTS, options) };
}

function checkLimits(given: Partial<ClientLimits>): ClientLimits {
  checkNames("limits", given, LIMIT_NAMES);
  const limits = { ...LIMIT_DEFAULTS };
  for (const name of LIMIT_NAMES) {
    const value = given[name];
    if (value === undefined) continue;
    const most = name === "requestBytes" ? LIMITS_MAX.requestBytes : undefined;
    limits[name] = integerIn(`limits.${name}`, value, 1, most ?? Number.MAX_SAFE_INTEGER);
  }
  return limits;
}

/** Lays a call's options over those that hold already. Throws INVALID_ARGUMENT naming the option. */
export function resolveCallOptions(
  base: ResolvedCallOptions,
  options: CallOptions,
): ResolvedCallOptions {
  checkNames("with", options, CALL_NAMES);
  return mergeCallOptions(base, options);
}

/** As resolveCallOptions, of a batch. */
export function resolveBatchOptions(
  base: ResolvedCallOptions,
  options: BatchOptions,
): { readonly call: ResolvedCallOptions; readonly onError: OnError } {
  checkNames("batch", options, ["onError", ...CALL_NAMES]);
  const { onError = "stop", ...call } = options;
  return { call: mergeCallOptions(base, call), onError: oneOf("onError", onError, ON_ERROR) };
}

/** As resolveCallOptions, of a transaction. */
export function resolveTransactionOptions(
  base: ResolvedCallOptions,
  options: TransactionOptions,
): ResolvedTransactionOptions {
  checkNames("transaction", options, TRANSACTION_NAMES);
  const { idleMs = 5_000, totalMs = 30_000, readOnly = false, retries = 0, ...call } = options;
  if (typeof readOnly !== "boolean") throw invalid("readOnly", "must be true or false");
  return {
    call: mergeCallOptions(base, call),
    idleMs: integerIn("idleMs", idleMs, 1, DAY_MS),
    totalMs: integerIn("totalMs", totalMs, 1, DAY_MS),
    readOnly,
    retries: integerIn("retries", retries, 0, 100),
  };
}

export function mergeCallOptions(
  base: ResolvedCallOptions,
  options: CallOptions,
): ResolvedCallOptions {
  const { deadlineMs, signal, consistency, maxStalenessMs, atLeast, integers } = options;
  const merged: ResolvedCallOptions = {
    deadlineMs:
      deadlineMs === undefined ? base.deadlineMs : integerIn("deadlineMs", deadlineMs, 1, DAY_MS),
    signal: signal === undefined ? base.signal : checkSignal(signal),
    consistency:
      consistency === undefined
        ? base.consistency
        : oneOf("consistency", consistency, CONSISTENCIES),
    maxStalenessMs:
      maxStalenessMs === undefined
        ? base.maxStalenessMs
        : integerIn("maxStalenessMs", maxStalenessMs, 0, DAY_MS),
    atLeast:
      atLeast === undefined
        ? base.atLeast
        : integerIn("atLeast", atLeast, 0, Number.MAX_SAFE_INTEGER),
    integers: integers === undefined ? base.integers : oneOf("integers", integers, INTEGER_MODES),
  };
  if (maxStalenessMs !== undefined && maxStalenessMs > 0 && merged.consistency !== "stale") {
    throw invalid(
      "maxStalenessMs",
      `only bounds reads of consistency "stale", and this is "${merged.consistency}"`,
    );
  }
  if (atLeast !== undefined && atLeast > 0 && merged.consistency === "stale") {
    throw invalid("atLeast", 'is for reads of consistency "session", and this is "stale"');
  }
  return merged;
}

export function checkNames(where: string, options: unknown, names: readonly string[]): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new BalsaError("INVALID_ARGUMENT", `${where}: an object of options is needed`);
  }
  for (const name of Object.keys(options)) {
    if (names.includes(name)) continue;
    const meant = names.find((known) => isNear(name.toLowerCase(), known.toLowerCase()));
    const hint =
      meant === undefined ? `the options are ${names.join(", ")}` : `did you mean "${meant}"?`;
    throw new BalsaError("INVALID_ARGUMENT", `unknown option "${name}": ${hint}`, {
      facts: { option: name },
    });
  }
}

/** Whether two names differ by a slip of one letter more, less or other, or one begins the other. */
function isNear(given: string, known: string): boolean {
  if (given.length >= 4 && (known.startsWith(given) || given.startsWith(known))) return true;
  let from = 0;
  while (from < given.length && given[from] === known[from]) from += 1;
  let back = 0;
  const rest = Math.min(given.length, known.length) - from;
  while (back < rest && given[given.length - 1 - back] === known[known.length - 1 - back]) {
    back += 1;
  }
  return Math.max(given.length, known.length) - from - back <= 2;
}

function checkEndpoints(endpoints: unknown): readonly string[] {
  if (!Array.isArray(endpoints) || endpoints.length === 0) {
    throw invalid("endpoints", 'must be a list of at least one address, as in ["127.0.0.1:4001"]');
  }
  const addresses: string[] = [];
  for (const endpoint of endpoints) {
    if (!isAddress(endpoint)) {
      throw invalid("endpoints", `must hold addresses "host:port", and ${show(endpoint)} is none`);
    }
    if (!addresses.includes(endpoint)) addresses.push(endpoint);
  }
  return addresses;
}

/** `host:port` with a name, an IPv4 address or an IPv6 address in brackets. */
export function isAddress(address: unknown): address is string {
  if (typeof address !== "string") return false;
  const match = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})$/.exec(address);
  const port = Number(match?.[1]);
  return port >= 1 && port <= 65_535;
}

function checkSignal(signal: unknown): AbortSignal {
  if (!(signal instanceof AbortSignal)) throw invalid("signal", "must be an AbortSignal");
  return signal;
}

export function integerIn(name: string, value: unknown, min: number, max: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) {
    return value;
  }
  const range = max === Number.MAX_SAFE_INTEGER ? `from ${min}` : `from ${min} to ${max}`;
  throw invalid(name, `must be an integer ${range}, and is ${show(value)}`);
}

function oneOf<T extends string>(name: string, value: unknown, allowed: readonly T[]): T {
  const found = allowed.find((word) => word === value);
  if (found !== undefined) return found;
  const words = allowed.map((word) => `"${word}"`).join(", ");
  throw invalid(name, `must be one of ${words}, and is ${show(value)}`);
}

function invalid(option: string, message: string): BalsaError {
  return new BalsaError("INVALID_ARGUMENT", `option "${option}" ${message}`, { facts: { option } });
}

function show(value: unknown): string {
  return typeof value === "string" ? `"${value}"` : String(value);
}
