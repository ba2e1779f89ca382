/** The door for reads: each gets its bounds, waits until this node is as fresh as it must be, and goes to a reader. */

import type { Failure } from "../sql/errors.ts";
import type { Admission } from "./admission.ts";
import type { NodeConfig } from "./config.ts";
import { PendingQuery, type PendingQueryParts, queryBounds } from "./pending-query.ts";
import type { Environment, Machine, RunningQuery } from "./ports.ts";
import type { Waiter } from "./read-gate.ts";
import type { QueryCall, QueryCallSink } from "./service.ts";
import { failure } from "./write-request.ts";

export interface ReadsParts {
  readonly environment: Environment;
  readonly machine: Machine;
  appliedIndex(): number;
  /** Why nothing can be read here now. */
  refuseRead(): Failure | null;
  /** Lets a read pass when this node is as fresh as it must be. */
  admit(call: QueryCall, waiter: Waiter): void;
}

export class Reads {
  readonly #config: NodeConfig;
  readonly #admission: Admission;
  readonly #parts: ReadsParts;
  readonly #pending: PendingQueryParts;

  constructor(config: NodeConfig, admission: Admission, parts: ReadsParts) {
    this.#config = config;
    this.#admission = admission;
    this.#parts = parts;
    const { machine, appliedIndex } = parts;
    this.#pending = {
      dispatch: (statement, limits, sink) => machine.readers.query(statement, limits, sink),
      served: (lagMs) => ({ node: config.id, index: appliedIndex(), lagMs }),
      ended: (query) => admission.leaveRead(query.bytes),
    };
  }

  query(call: QueryCall, sink: QueryCallSink): RunningQuery {
    const { environment, refuseRead, admit } = this.#parts;
    const bounds = queryBounds(call, this.#config.readDeadlineMs, environment.monotonicMs());
    const query = new PendingQuery(call, bounds, sink, this.#pending);
    const full = this.#admission.enterRead(query.bytes);
    // To a reader it would mean a snapshot to be held, by nobody who would let it go.
    const isEmpty = call.statement.length === 0;
    const empty = isEmpty ? failure("INVALID_ARGUMENT", "the statement is empty") : null;
    const refusal = empty ?? refuseRead() ?? full;
    if (refusal === null) admit(call, query);
    else environment.soon(() => query.refuse(refusal));
    return query;
  }
}
