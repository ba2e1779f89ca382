/** The methods of balsa.v1 as grpc-js wants them: bytes in, bytes out. The handlers decode, so that they can refuse. */

import type { ServerUnaryCall, ServiceDefinition, sendUnaryData } from "@grpc/grpc-js";
import { type Failure, toFailure } from "../sql/errors.ts";
import { toGrpc } from "../wire/status.ts";

function same(bytes: Buffer): Buffer {
  return bytes;
}

function method(path: string, streams: { readonly request: boolean; readonly response: boolean }) {
  return {
    path,
    requestStream: streams.request,
    responseStream: streams.response,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
}

const UNARY = { request: false, response: false };

export const SQL_METHODS = {
  connect: method("/balsa.v1.Sql/Connect", { request: true, response: true }),
  execute: method("/balsa.v1.Sql/Execute", UNARY),
  query: method("/balsa.v1.Sql/Query", { request: false, response: true }),
  openSession: method("/balsa.v1.Sql/OpenSession", UNARY),
} satisfies ServiceDefinition;

export const CLUSTER_METHODS = {
  status: method("/balsa.v1.Cluster/Status", UNARY),
  changeMembers: method("/balsa.v1.Cluster/ChangeMembers", UNARY),
  transferLeadership: method("/balsa.v1.Cluster/TransferLeadership", UNARY),
  digest: method("/balsa.v1.Cluster/Digest", { request: true, response: true }),
  upgradeMachine: method("/balsa.v1.Cluster/UpgradeMachine", UNARY),
  export: method("/balsa.v1.Cluster/Export", { request: false, response: true }),
} satisfies ServiceDefinition;

export type UnaryCall = ServerUnaryCall<Buffer, Buffer>;
export type UnaryCallback = sendUnaryData<Buffer>;

/** Ends the call with its failure. */
export function refuse(callback: UnaryCallback, reason: unknown): void {
  callback(toGrpc(asFailure(reason)));
}

/** A failure as it is, an error as what it stands for. */
export function asFailure(reason: unknown): Failure {
  return isFailure(reason) ? reason : toFailure(reason);
}

function isFailure(reason: unknown): reason is Failure {
  if (typeof reason !== "object" || reason === null || reason instanceof Error) return false;
  return "statementIndex" in reason && "outcome" in reason && "facts" in reason;
}

/**
 * What a call may take: the least of what its request says and what is left of its gRPC deadline. 0 if neither says
 * anything; null if the deadline has passed.
 */
export function remainingMs(timeoutMs: number, deadline: Date | number): number | null {
  const untilMs = typeof deadline === "number" ? deadline : deadline.getTime();
  if (untilMs === Number.POSITIVE_INFINITY) return timeoutMs;
  const leftMs = Math.floor(untilMs - Date.now());
  if (leftMs <= 0) return null;
  return timeoutMs === 0 ? leftMs : Math.min(timeoutMs, leftMs);
}
