/** What a node is told when it starts, with units, defaults and checks. It reads no flag and no environment. */

import type { NodeId } from "../raft/entry.ts";
import type { Raft } from "../raft/raft.ts";
import { BalsaError } from "../sql/errors.ts";
import type { Extension } from "../sql/extension.ts";
import { DEFAULT_LIMITS, LIMITS_MAX, type Limits } from "../sql/limits.ts";
import { AUTO_VACUUM, type AutoVacuum } from "../sql/settings.ts";
import type { CompactionLimits } from "./compaction.ts";

/** Faults built in on purpose, so that the tests can show that they would be seen. Never set in service. */
export type Plant = "answer-before-quorum" | "error-before-commit" | "no-dedup" | "skip-read-index";

export interface NodeOptions {
  readonly id: NodeId;
  /** Directory of this node alone. Made if it is missing. */
  readonly dir: string;
  /** HOST:PORT of every first voter, this node included. */
  readonly peers: ReadonlyMap<NodeId, string>;
  /** Forms no cluster with `peers`: waits until one adds this node. Default false. */
  readonly join?: boolean;
  /** HOST:PORT at which clients and peers reach this node. */
  readonly advertise: string;
  /** Between two heartbeats of a leader. Default 100, 10 to 10,000. */
  readonly heartbeatMs?: number;
  /** Silence after which a follower runs for leader: between this and twice this. Default 500, ≥ 3 heartbeats. */
  readonly electionMs?: number;
  readonly limits?: Partial<Limits>;
  /** Reader processes kept, and the most there may be. Defaults 1 and 4. */
  readonly readersMin?: number;
  readonly readersMax?: number;
  /** How long a streamed read may hold its snapshot. Default 60,000, from 100. */
  readonly snapshotMsMax?: number;
  /** Bytes of WAL that such reads may hold back. Default 256 MiB, from 1 MiB. */
  readonly snapshotBytesMax?: number;
  /** Execution time of one read. Default 10,000. */
  readonly readDeadlineMs?: number;
  /** Execution time of one write on the leader. Default 30,000. */
  readonly writeDeadlineMs?: number;
  /** Most that an interactive transaction may be without a request, and be open. Defaults 30,000 and 120,000. */
  readonly transactionIdleMs?: number;
  readonly transactionTotalMs?: number;
  /** Log entries kept behind the last checkpoint, for nodes that were away. Default 100,000; 1 to 10,000,000. */
  readonly logTailEntries?: number;
  /** Bytes of these, payloads only, if that is less. Default 64 MiB, 4 KiB to 1 TiB. */
  readonly logTailBytes?: number;
  /** Bytes kept at most by a leader for followers that are connected and behind. Default 1 GiB, 4 KiB to 1 TiB. */
  readonly logHoldBytes?: number;
  /** After reading all sealed log segments again, to find rot, until the next time. Default 3,600,000; 0: never. */
  readonly scrubIntervalMs?: number;
  /**
   * In so long at least a leader puts the checksums of some 2,000 rows into the log, in four parts, to find rot. Milliseconds,
   * default 250; 0: never.
   * Passes over the whole database are 100 of these apart; 2,400 while nothing is written.
   */
  readonly checksumIntervalMs?: number;
  /** The app reads this node's file itself, so it is kept as fresh as where stale reads are taken. Default false. */
  readonly isReadLocally?: boolean;
  /**
   * Free bytes on the disk below which this node takes no writes and leads only if no other can. Default 64 MiB, up to
   * 1 TiB; 0: only when there are none left.
   */
  readonly minFreeBytes?: number;
  /** Loaded by every process that opens the database; the same on all nodes. Default none. */
  readonly extensions?: readonly Extension[];
  /** Of a database file that is made now: what becomes of its free pages. Default none. */
  readonly autoVacuum?: AutoVacuum;
  /** A database file that was changed from outside counts as it stands, if it is whole. For one start. Default false. */
  readonly acceptChangedFile?: boolean;
  /** What it runs, if another than this program; for tests of upgrades. */
  readonly machineVersion?: string;
  readonly plant?: Plant;
  /** Shows the core to the simulator's checkers when it is made. Never set in service. */
  readonly onCore?: (raft: Raft) => void;
}

export interface NodeConfig {
  readonly id: NodeId;
  readonly dir: string;
  readonly peers: ReadonlyMap<NodeId, string>;
  /** Ids of `peers`, ascending; empty for a node that waits to be added. */
  readonly members: readonly NodeId[];
  readonly advertise: string;
  readonly heartbeatMs: number;
  readonly electionMs: number;
  readonly limits: Limits;
  readonly readersMin: number;
  readonly readersMax: number;
  readonly snapshotMsMax: number;
  readonly snapshotBytesMax: number;
  readonly readDeadlineMs: number;
  readonly writeDeadlineMs: number;
  readonly transactionIdleMs: number;
  readonly transactionTotalMs: number;
  readonly log: CompactionLimits;
  readonly scrubIntervalMs: number;
  readonly checksumIntervalMs: number;
  readonly isReadLocally: boolean;
  readonly minFreeBytes: number;
  readonly extensions: readonly Extension[];
  readonly autoVacuum: AutoVacuum;
  /** Empty: it leads whatever the cluster's is. */
  readonly machineVersion: string;
  readonly plant: Plant | null;
  readonly onCore: (raft: Raft) => void;
}

const DAY_MS = 86_400_000;
const MIB = 1024 * 1024;

function whole(name: string, value: number, min: number, max: number): number {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  const message = `${name} must be a whole number from ${min} to ${max}, not ${value}`;
  throw new BalsaError("INVALID_ARGUMENT", message, { facts: { option: name } });
}

function oneOf<T extends string>(name: string, value: T, all: readonly T[]): T {
  if (all.includes(value)) return value;
  const message = `${name} must be one of ${all.join(", ")}, not ${value}`;
  throw new BalsaError("INVALID_ARGUMENT", message, { facts: { option: name } });
}

function checkLimits(given: Partial<Limits>): Limits {
  const limits = { ...DEFAULT_LIMITS };
  for (const [name, value] of Object.entries(given)) {
    if (!isLimit(name)) {
      const message = `limits.${name} is none; they are ${Object.keys(DEFAULT_LIMITS).join(", ")}`;
      throw new BalsaError("INVALID_ARGUMENT", message, { facts: { option: `limits.${name}` } });
    }
    limits[name] = whole(`limits.${name}`, value, 1, LIMITS_MAX[name] ?? 2 ** 40);
  }
  return limits;
}

function isLimit(name: string): name is keyof Limits {
  return Object.hasOwn(DEFAULT_LIMITS, name);
}

/** @throws BalsaError INVALID_ARGUMENT naming the option. */
export function checkOptions(options: NodeOptions): NodeConfig {
  const id = whole("id", options.id, 1, 2 ** 32);
  const members = [...options.peers.keys()].sort((a, b) => a - b);
  for (const member of members) whole("a peer's id", member, 1, 2 ** 32);
  const isJoining = options.join === true;
  if (!isJoining && !members.includes(id)) {
    const message = `peers must name this node too: no entry ${id}=HOST:PORT among them`;
    throw new BalsaError("INVALID_ARGUMENT", message);
  }
  if (options.dir === "") throw new BalsaError("INVALID_ARGUMENT", "dir must not be empty");
  const heartbeatMs = whole("heartbeatMs", options.heartbeatMs ?? 100, 10, 10_000);
  const electionMs = options.electionMs ?? Math.max(500, heartbeatMs * 5);
  const readersMin = whole("readersMin", options.readersMin ?? 1, 1, 64);
  return {
    id,
    dir: options.dir,
    peers: options.peers,
    members: isJoining ? [] : members,
    advertise: options.advertise,
    heartbeatMs,
    electionMs: whole("electionMs", electionMs, 3 * heartbeatMs, 600_000),
    limits: checkLimits(options.limits ?? {}),
    readersMin,
    readersMax: whole("readersMax", options.readersMax ?? Math.max(4, readersMin), readersMin, 64),
    snapshotMsMax: whole("snapshotMsMax", options.snapshotMsMax ?? 60_000, 100, 86_400_000),
    snapshotBytesMax: whole(
      "snapshotBytesMax",
      options.snapshotBytesMax ?? 256 * MIB,
      MIB,
      2 ** 40,
    ),
    readDeadlineMs: whole("readDeadlineMs", options.readDeadlineMs ?? 10_000, 1, 86_400_000),
    writeDeadlineMs: whole("writeDeadlineMs", options.writeDeadlineMs ?? 30_000, 1, 86_400_000),
    transactionIdleMs: whole("transactionIdleMs", options.transactionIdleMs ?? 30_000, 1, DAY_MS),
    transactionTotalMs: whole(
      "transactionTotalMs",
      options.transactionTotalMs ?? 120_000,
      1,
      DAY_MS,
    ),
    log: {
      tailEntries: whole("logTailEntries", options.logTailEntries ?? 100_000, 1, 10_000_000),
      tailBytes: whole("logTailBytes", options.logTailBytes ?? 64 * MIB, 4096, 2 ** 40),
      holdBytes: whole("logHoldBytes", options.logHoldBytes ?? 1024 * MIB, 4096, 2 ** 40),
    },
    scrubIntervalMs: whole("scrubIntervalMs", options.scrubIntervalMs ?? 3_600_000, 0, 86_400_000),
    checksumIntervalMs: whole(
      "checksumIntervalMs",
      options.checksumIntervalMs ?? 250,
      0,
      3_600_000,
    ),
    isReadLocally: options.isReadLocally === true,
    minFreeBytes: whole("minFreeBytes", options.minFreeBytes ?? 64 * MIB, 0, 2 ** 40),
    extensions: options.extensions ?? [],
    autoVacuum: oneOf("autoVacuum", options.autoVacuum ?? "none", AUTO_VACUUM),
    machineVersion: options.machineVersion ?? "",
    plant: options.plant ?? null,
    onCore: options.onCore ?? (() => {}),
  };
}
