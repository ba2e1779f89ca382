/**
 * Judges whether a recorded history is linearizable: whether every operation can be given one moment between its
 * invocation and its return at which it took effect, so that the answers are those of a single copy used by one client at
 * a time. Operations on different keys are judged apart. It says nothing about session or stale reads: leave them out.
 */

import type { Operation } from "./history.ts";
import type { Model } from "./linearizability-models.ts";
import { describeViolation } from "./linearizability-report.ts";
import { search } from "./linearizability-search.ts";

export interface CheckOptions {
  /** Configurations to visit for one key before giving up; default 2,000,000 (some hundred megabytes). */
  readonly configurationsMax?: number;
}

export interface CheckResult {
  /** `undecided`: a key needed more configurations than allowed, and no other key is in violation. */
  readonly kind: "linearizable" | "violation" | "undecided";
  readonly operations: number;
  readonly keys: number;
  /** Operations whose outcome nobody learned. */
  readonly unknown: number;
  readonly configurations: number;
  /** For a human: each key that is not linearizable with the operations that show it. Empty if linearizable. */
  readonly report: string;
}

export function checkLinearizable<Op extends Operation>(
  model: Model<Op>,
  operations: readonly Op[],
  options: CheckOptions = {},
): CheckResult {
  const limit = options.configurationsMax ?? 2_000_000;
  const keys = byKey(operations);
  const reports: string[] = [];
  let kind: CheckResult["kind"] = "linearizable";
  let configurations = 0;
  for (const [key, own] of keys) {
    const verdict = search(model.of(own), own, limit);
    configurations += verdict.configurations;
    if (verdict.kind === "linearizable") continue;
    if (verdict.kind === "violation") {
      kind = "violation";
      reports.push(describeViolation(model, key, own, verdict.stuck as Op));
    } else {
      if (kind === "linearizable") kind = "undecided";
      reports.push(`key ${key}: undecided after ${verdict.configurations} configurations`);
    }
  }
  return {
    kind,
    operations: operations.length,
    keys: keys.size,
    unknown: operations.filter((operation) => operation.returnedAt === null).length,
    configurations,
    report: reports.join("\n\n"),
  };
}

/** Throws with the report unless the history is linearizable. */
export function assertLinearizable<Op extends Operation>(
  model: Model<Op>,
  operations: readonly Op[],
  options: CheckOptions = {},
): CheckResult {
  const result = checkLinearizable(model, operations, options);
  if (result.kind === "linearizable") return result;
  throw new Error(`the history is not linearizable (${model.name})\n${result.report}`);
}

function byKey<Op extends Operation>(operations: readonly Op[]): Map<string, Op[]> {
  const keys = new Map<string, Op[]>();
  for (const operation of operations) {
    const own = keys.get(operation.key);
    if (own === undefined) keys.set(operation.key, [operation]);
    else own.push(operation);
  }
  return keys;
}
