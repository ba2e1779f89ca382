/**
 * Every write that comes over the network, whatever way: checks its size, hands it to the node, and passes it on to
 * the leader when this node is none. A write that was passed on once is never passed on again.
 */

import type { ExecuteCall, ExecuteSink, NodeService } from "../node/service.ts";
import type { Failure } from "../sql/errors.ts";
import type { Limits } from "../sql/limits.ts";
import type { ExecuteRequest } from "../wire/sql-codec.ts";
import type { Forwarder } from "./forwarder.ts";

export interface WriteRequest extends ExecuteCall {
  /** Answer NOT_LEADER rather than ask the leader. */
  readonly noForward: boolean;
}

/** A write as it came. Field by field: a spread would take V8's slow way, for each request. */
export function toWrite(request: ExecuteRequest): WriteRequest {
  return {
    batch: request.batch,
    openSession: false,
    session: request.session,
    sequence: request.sequence,
    acknowledgedThrough: request.acknowledgedThrough,
    timeoutMs: request.timeoutMs,
    noForward: request.noForward,
    verb: request.settle === true ? "settle" : undefined,
  };
}

export interface RunningWrite {
  /** Nobody waits any longer; the sink is not called again. */
  cancel(): void;
}

export interface WriteGateParts {
  readonly node: NodeService;
  readonly limits: Limits;
  readonly forwarder: Forwarder;
  /** What a write without a timeout may take. */
  readonly defaultTimeoutMs: number;
}

export class WriteGate {
  readonly #parts: WriteGateParts;

  constructor(parts: WriteGateParts) {
    this.#parts = parts;
  }

  /** Too many wait for the leader already, should it have to go there. */
  overloaded({ noForward, batch }: WriteRequest): Failure | null {
    return noForward ? null : this.#parts.forwarder.full(batch.length);
  }

  /** The sink is called once, never inside this call. */
  execute(request: WriteRequest, sink: ExecuteSink): RunningWrite {
    const { node, limits, forwarder, defaultTimeoutMs } = this.#parts;
    const excess = requestTooLarge(request.batch.length, limits);
    if (excess !== null) return failSoon(excess, sink);
    if (request.noForward) return node.execute(request, sink);
    const allowedMs = request.timeoutMs === 0 ? defaultTimeoutMs : request.timeoutMs;
    const elsewhere = node.leaderElsewhere();
    if (elsewhere !== "") return forwarder.forward(elsewhere, request, allowedMs, sink);
    // It leads, or is about to say why not: which may be that it has just ceased to.
    const startedMs = performance.now();
    let cancelled = false;
    let running = node.execute(request, {
      done: (result, index) => sink.done(result, index),
      failed: (failure) => {
        const leader = cancelled ? "" : this.#leaderFor(failure);
        if (leader === "") {
          sink.failed(failure);
          return;
        }
        const leftMs = Math.floor(allowedMs - (performance.now() - startedMs));
        running = forwarder.forward(leader, request, Math.max(leftMs, 1), sink);
      },
    });
    return {
      cancel: () => {
        cancelled = true;
        running.cancel();
      },
    };
  }

  /** Whom to ask instead; empty if nobody. */
  #leaderFor(failure: Failure): string {
    if (failure.code !== "NOT_LEADER" || failure.outcome !== "not-applied") return "";
    const { leaderAddress, address } = this.#parts.node.status();
    const leader = leaderAddress === "" ? (failure.facts["leader"] ?? "") : leaderAddress;
    return leader === address ? "" : leader;
  }
}

/** What the size alone shows; the statements inside are judged where they are decoded. */
export function requestTooLarge(bytes: number, limits: Limits): Failure | null {
  if (bytes <= limits.requestBytes) return null;
  const message =
    `the request has ${bytes} bytes, more than the ${limits.requestBytes} that requestBytes ` +
    "allows: split it into several";
  const facts = {
    limit: "requestBytes",
    value: String(limits.requestBytes),
    actual: String(bytes),
  };
  return { code: "LIMIT_EXCEEDED", message, outcome: "not-applied", statementIndex: 0, facts };
}

function failSoon(failure: Failure, sink: ExecuteSink): RunningWrite {
  let cancelled = false;
  queueMicrotask(() => {
    if (!cancelled) sink.failed(failure);
  });
  return {
    cancel: () => {
      cancelled = true;
    },
  };
}
