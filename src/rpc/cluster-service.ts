/** balsa.v1.Cluster for gRPC: what an operator asks of one node. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import type { SnapshotFiles } from "../node/ports.ts";
import type { ChangeCall, MemberStep, NodeService, NodeStatus } from "../node/service.ts";
import { BalsaError, type Failure } from "../sql/errors.ts";
import {
  type ChangeMembersRequest,
  decodeCluster,
  encodeCluster,
  encodeStatusResponse,
  lagOnWire,
} from "../wire/cluster-codec.ts";
import { formatAddress, parseAddress } from "./addresses.ts";
import { type DigestCall, serveDigest } from "./digest-stream.ts";
import { type ExportCall, serveExport } from "./export-stream.ts";
import { refuse, remainingMs, type UnaryCall, type UnaryCallback } from "./grpc-methods.ts";

/** Where package.json lies, seen from src/rpc and from dist/rpc. */
const PACKAGE_FILE = fileURLToPath(new URL("../../package.json", import.meta.url));

/** Of a call that names no time. */
const DEFAULT_TIMEOUT_MS = 10_000;
const STEP_KINDS: readonly string[] = ["add", "promote", "remove"] satisfies MemberStep["kind"][];
/** No cluster has so many members; a longer list is a mistake. */
const STEPS_MAX = 64;

/** `files`: the node's copies of its database, once it has them. */
export function clusterService(
  node: NodeService,
  files: () => SnapshotFiles | null,
): UntypedServiceImplementation {
  const version = packageVersion();
  return {
    status: (_call: UnaryCall, callback: UnaryCallback) => {
      const status = node.status();
      const lagMs = lagOnWire(status.lagMs);
      const told = { ...status, lagMs, version, pid: process.pid };
      callback(null, Buffer.from(encodeStatusResponse(told)));
    },
    digest: (call: DigestCall) => serveDigest(call, node, files()),
    export: (call: ExportCall) => serveExport(call, node, files()),
    changeMembers: (call: UnaryCall, callback: UnaryCallback) => {
      answer(callback, () => {
        const request = checkChange(decodeCluster("ChangeMembersRequest", call.request));
        const timeoutMs = timeoutOf(call, request.timeoutMs);
        node.changeMembers(
          { ...request, timeoutMs },
          sinkOf(callback, (configurationIndex: number) =>
            encodeCluster("ChangeMembersResponse", { configurationIndex }),
          ),
        );
      });
    },
    upgradeMachine: (call: UnaryCall, callback: UnaryCallback) => {
      answer(callback, () => {
        const request = decodeCluster("UpgradeMachineRequest", call.request);
        node.upgrade(
          { ...request, timeoutMs: timeoutOf(call, request.timeoutMs) },
          {
            done: (version, before) =>
              callback(
                null,
                Buffer.from(encodeCluster("UpgradeMachineResponse", { version, before })),
              ),
            failed: (why) => refuse(callback, why),
          },
        );
      });
    },
    transferLeadership: (call: UnaryCall, callback: UnaryCallback) => {
      answer(callback, () => {
        const { to, timeoutMs } = decodeCluster("TransferLeadershipRequest", call.request);
        node.transferLeadership(
          { to, timeoutMs: timeoutOf(call, timeoutMs) },
          sinkOf(callback, (leader: number) =>
            encodeCluster("TransferLeadershipResponse", { leader }),
          ),
        );
      });
    },
  };
}

function answer(callback: UnaryCallback, run: () => void): void {
  try {
    run();
  } catch (error) {
    refuse(callback, error);
  }
}

function sinkOf<T>(callback: UnaryCallback, encode: (value: T) => Uint8Array) {
  return {
    done: (value: T) => callback(null, Buffer.from(encode(value))),
    failed: (why: Failure) => refuse(callback, why),
  };
}

/** @throws BalsaError DEADLINE_EXCEEDED */
function timeoutOf(call: UnaryCall, timeoutMs: number): number {
  const left = remainingMs(timeoutMs === 0 ? DEFAULT_TIMEOUT_MS : timeoutMs, call.getDeadline());
  if (left === null) throw new BalsaError("DEADLINE_EXCEEDED", "the deadline has passed");
  return left;
}

/** @throws BalsaError INVALID_ARGUMENT */
function checkChange({ steps, expected, timeoutMs }: ChangeMembersRequest): ChangeCall {
  if (steps.length > STEPS_MAX) throw invalid(`a change of more than ${STEPS_MAX} steps`);
  const checked = steps.map(({ kind, id, address, learner }) => {
    if (!STEP_KINDS.includes(kind)) throw invalid(`"${kind}" is no step: ${STEP_KINDS.join(", ")}`);
    if (id < 1 || id > 2 ** 32) throw invalid(`${id} is no node's id`);
    const where = kind === "add" ? formatAddress(parseAddress(address)) : "";
    return { kind: kind as MemberStep["kind"], id, address: where, isLearner: learner };
  });
  return { steps: checked, expected: expected ?? null, timeoutMs };
}

function invalid(message: string): BalsaError {
  return new BalsaError("INVALID_ARGUMENT", message);
}

/** True when clients should be sent here: it knows a leader and nothing keeps it from serving. */
export function isServing(status: NodeStatus): boolean {
  return status.trouble === "" && status.leader !== 0;
}

function packageVersion(): string {
  const content: unknown = JSON.parse(readFileSync(PACKAGE_FILE, "utf8"));
  if (typeof content !== "object" || content === null || !("version" in content)) return "";
  return String(content.version);
}
