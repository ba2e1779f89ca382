/** What a node says of itself, as balsa.v1.StatusResponse. Asked seldom, so by protobufjs, not by hand. */

import type protobuf from "protobufjs";
import { malformed } from "./message-reader.ts";
import { messageType } from "./proto.ts";

export interface MemberStatus {
  readonly id: number;
  /** Where clients reach it; empty if not yet known. */
  readonly address: string;
  /** `voter`, `learner`, or `leaving`: it votes until the change under way is over. */
  readonly role: string;
  /** A learner that becomes a voter by itself when it has caught up. */
  readonly awaitsVote: boolean;
  /** With the node that answers; true of that node itself. */
  readonly connected: boolean;
  /** Told by the leader only, else 0: the log that it is known to have durably. */
  readonly matchIndex: number;
  /** Told by the leader only: a learner that follows closely enough to get a vote. */
  readonly caughtUp: boolean;
  /** What it said last that it runs; empty: nothing. */
  readonly machineVersion: string;
}

export interface MemberStep {
  readonly kind: string;
  readonly id: number;
  readonly address: string;
  readonly learner: boolean;
}

export interface ChangeMembersRequest {
  readonly steps: readonly MemberStep[];
  /** Refused unless the configuration's index is this. */
  readonly expected?: number;
  readonly timeoutMs: number;
}

export interface TransferLeadershipRequest {
  /** 0: the follower that is furthest. */
  readonly to: number;
  readonly timeoutMs: number;
}

/** balsa.v1.StatusResponse; numbers are safe integers. */
export interface StatusResponse {
  readonly id: number;
  readonly role: string;
  readonly term: number;
  /** 0: unknown. */
  readonly leader: number;
  readonly leaderAddress: string;
  readonly lastIndex: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  /** How long ago it was known to be up to date; LAG_NEVER if it never was since it started. */
  readonly lagMs: number;
  readonly databaseBytes: number;
  readonly clusterId: string;
  readonly version: string;
  readonly address: string;
  readonly members: readonly MemberStatus[];
  /** Why it does not serve; empty when it does. */
  readonly trouble: string;
  readonly pid: number;
  /** The entry that made the configuration; 0: the founding one. */
  readonly configurationIndex: number;
  /** Of the cluster, as this node has applied it; empty: none was set. Whoever runs another one does not lead. */
  readonly machineVersion: string;
  /** What this node runs. */
  readonly ownMachineVersion: string;
}

export interface UpgradeMachineRequest {
  readonly version: string;
  readonly majority: boolean;
  readonly timeoutMs: number;
}

export interface UpgradeMachineResponse {
  readonly version: string;
  readonly before: string;
}

/** The first message of an export has the facts, each later one only data. */
export interface ExportResponse {
  /** Of the last entry that the file holds. */
  readonly index: number;
  readonly term: number;
  readonly bytes: number;
  /** SHA-256 of the file, hex. */
  readonly digest: string;
  readonly node: number;
  readonly data: Uint8Array;
}

export interface DigestRequest {
  /** Of the first: SQLite's own check too. */
  readonly deep: boolean;
  /** Take the snapshot. */
  readonly open: boolean;
}

/** `kind` says which of the other fields it has. */
export interface DigestResponse {
  /** ready, opened, progress, table, damage, done. */
  readonly kind: string;
  readonly node: number;
  readonly index: number;
  readonly term: number;
  readonly table: string;
  readonly rows: number;
  readonly hash: string;
  readonly damage: string;
}

export const LAG_NEVER: number = Number.MAX_SAFE_INTEGER;

/** A negative one is not known. */
export function lagOnWire(lagMs: number): number {
  return lagMs < 0 ? LAG_NEVER : Math.round(lagMs);
}

const AS_OBJECT: protobuf.IConversionOptions = { longs: Number, defaults: true, arrays: true };

export interface ClusterMessages {
  readonly StatusResponse: StatusResponse;
  readonly ChangeMembersRequest: ChangeMembersRequest;
  readonly ChangeMembersResponse: { readonly configurationIndex: number };
  readonly TransferLeadershipRequest: TransferLeadershipRequest;
  readonly TransferLeadershipResponse: { readonly leader: number };
  readonly UpgradeMachineRequest: UpgradeMachineRequest;
  readonly UpgradeMachineResponse: UpgradeMachineResponse;
  readonly ExportRequest: { readonly stale: boolean };
  readonly ExportResponse: ExportResponse;
  readonly DigestRequest: DigestRequest;
  readonly DigestResponse: DigestResponse;
}

export function encodeCluster<N extends keyof ClusterMessages>(
  name: N,
  message: ClusterMessages[N],
): Uint8Array {
  const type = messageType(name);
  return type.encode(type.fromObject(message)).finish();
}

/** @throws BalsaError PROTOCOL */
export function decodeCluster<N extends keyof ClusterMessages>(
  name: N,
  bytes: Uint8Array,
): ClusterMessages[N] {
  const type = messageType(name);
  try {
    // The types' fields are those of the interfaces; a test compares them.
    return type.toObject(type.decode(bytes), AS_OBJECT) as ClusterMessages[N];
  } catch (error) {
    throw malformed(error instanceof Error ? error.message : String(error));
  }
}

export function encodeStatusResponse(status: StatusResponse): Uint8Array {
  return encodeCluster("StatusResponse", status);
}

export function decodeStatusResponse(bytes: Uint8Array): StatusResponse {
  return decodeCluster("StatusResponse", bytes);
}
