/** What a node says of itself, as balsa.v1.StatusResponse. Asked seldom, so by protobufjs, not by hand. */

import type protobuf from "protobufjs";
import { malformed } from "./message-reader.ts";
import { messageType } from "./proto.ts";

export interface MemberStatus {
  readonly id: number;
  /** Where clients reach it; empty if not yet known. */
  readonly address: string;
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
  readonly lagMs: number;
  readonly databaseBytes: number;
  readonly clusterId: string;
  readonly version: string;
  readonly address: string;
  readonly members: readonly MemberStatus[];
  /** Why it does not serve; empty when it does. */
  readonly trouble: string;
  readonly pid: number;
}

const AS_OBJECT: protobuf.IConversionOptions = { longs: Number, defaults: true, arrays: true };

export function encodeStatusResponse(status: StatusResponse): Uint8Array {
  const type = messageType("StatusResponse");
  return type.encode(type.fromObject(status)).finish();
}

export function decodeStatusResponse(bytes: Uint8Array): StatusResponse {
  const type = messageType("StatusResponse");
  try {
    // The type's fields are those of the interface; a test compares them.
    return type.toObject(type.decode(bytes), AS_OBJECT) as StatusResponse;
  } catch (error) {
    throw malformed(error instanceof Error ? error.message : String(error));
  }
}
