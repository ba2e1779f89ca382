/**
 * The one interactive transaction that the leader may have open, step by step; and a follower's replay of one. What it comes to
 * is told to the state machine, which proposes and remembers it.
 */

import type { ExecuteJob, ExecuteOutcome } from "../node/ports.ts";
import type { Failure } from "../sql/errors.ts";
import { invariant } from "../sql/invariant.ts";
import type { Limits } from "../sql/limits.ts";
import type { Command } from "../wire/log-codec.ts";
import type { BoundBatch } from "../wire/statement-codec.ts";
import type { FailedStatement, LoggedTransaction } from "../wire/transaction-codec.ts";
import type { DeterministicFunctions } from "./deterministic-functions.ts";
import type { BatchEnding, StepBounds, TransactionExecutor } from "./transaction-executor.ts";
import type { Work } from "./work.ts";

/** `detail`: how it came to another end than on the leader; empty: to the same, with this digest. */
export interface ReplayEnding {
  readonly digest: number;
  readonly detail: string;
}

export type StepOutcome =
  | Exclude<ExecuteOutcome, { kind: "proposal" | "apart" }>
  /** It wrote, and belongs into the log. */
  | {
      readonly kind: "committed";
      readonly work: Work;
      readonly digest: number;
      readonly transaction: LoggedTransaction;
    };

const EMPTY = Buffer.alloc(0);
const DONE: StepOutcome = { kind: "answer", result: EMPTY, index: 0 };

const SPOILED: Failure = {
  code: "TRANSACTION_ABORTED",
  message: "a transaction that changed the schema was rolled back",
  outcome: "not-applied",
  statementIndex: 0,
  facts: { reason: "schema" },
};

/** What the beginning of a transaction is answered with whose number is known. */
export const ALREADY_ENDED: ExecuteOutcome = {
  kind: "failure",
  failure: {
    code: "SEQUENCE_EXPIRED",
    message: "a late duplicate: the transaction of this number has ended",
    outcome: "unknown",
    statementIndex: 0,
    facts: {},
  },
};

export class InteractiveTransactions {
  readonly #executor: TransactionExecutor;
  readonly #functions: DeterministicFunctions;
  readonly #limits: Limits;
  #work: Work | null = null;

  constructor(executor: TransactionExecutor, functions: DeterministicFunctions, limits: Limits) {
    this.#executor = executor;
    this.#functions = functions;
    this.#limits = limits;
  }

  get isOpen(): boolean {
    return this.#work !== null;
  }

  begin(work: Work): ExecuteOutcome {
    this.#functions.beginRequest(work.timeMs, work.seedHigh, work.seedLow);
    this.#executor.begin();
    this.#work = work;
    return { kind: "answer", result: EMPTY, index: 0 };
  }

  /** A verb for the open one. */
  continue({ verb, batch }: ExecuteJob): StepOutcome {
    const work = this.#work;
    invariant(work !== null, `${verb}: a transaction is open`);
    switch (verb) {
      case "run":
        return this.#run(batch);
      case "commit":
        return this.#commit(work);
      case "rollback":
        this.#work = null;
        return this.#executor.rollback() === "clean" ? DONE : { kind: "broken", failure: SPOILED };
      case "savepoint":
      case "release":
      case "rollbackTo": {
        const failure = this.#executor.nest(verb);
        if (failure === null) return DONE;
        return { kind: this.#executor.isOpen ? "failure" : "broken", failure };
      }
      default:
        return invariant(false, `${verb} is nothing to do in a transaction`) as never;
    }
  }

  #run(batch: Uint8Array): StepOutcome {
    const limits = this.#limits;
    const outcome = this.#executor.run(batch, { limits, resultBytesMax: limits.resultBytes });
    if (outcome.kind === "done") return { kind: "answer", result: outcome.result, index: 0 };
    return { kind: outcome.kind, failure: outcome.failure };
  }

  #commit(work: Work): StepOutcome {
    const { steps } = this.#executor;
    this.#work = null;
    const ending = this.#executor.finish();
    if (ending.kind !== "done") return ending;
    if (!ending.wrote) return DONE;
    const transaction = { steps, notApplied: false };
    return { kind: "committed", work, digest: ending.digest, transaction };
  }

  /** Follower. */
  replay(command: Command, { steps }: LoggedTransaction, limits: Limits): ReplayEnding {
    this.#functions.beginRequest(command.timeMs, command.seedHigh, command.seedLow);
    this.#executor.begin();
    const bounds = { limits, resultBytesMax: Number.POSITIVE_INFINITY };
    for (const [at, step] of steps.entries()) {
      const detail = this.#executor.replay(step, bounds);
      if (detail !== null) return { digest: 0, detail: `step ${at}: ${detail}` };
    }
    const ending = this.#executor.finish();
    if (ending.kind === "done") return { digest: ending.digest, detail: "" };
    return { digest: 0, detail: `${ending.failure.code}: ${ending.failure.message}` };
  }

  /** A batch that goes on behind statements that fail: a transaction without a caller in between. */
  runBatch(
    batch: BoundBatch,
    batchBytes: number,
    bounds: StepBounds,
    expected: readonly FailedStatement[] | null,
  ): BatchEnding {
    return this.#executor.runBatch(batch, batchBytes, bounds, expected);
  }
}
