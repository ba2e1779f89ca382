/**
 * The interactive transactions of one client's stream, by the ids of their beginnings. They end with the stream: a client
 * that vanishes keeps nobody waiting. It knows of no other requests, and writes to no socket.
 */

import type { ExecuteSink, NodeService, RunningTransaction } from "../node/service.ts";
import type { Failure } from "../sql/errors.ts";
import type { TransactionTerms } from "../sql/transaction.ts";
import { lagOnWire } from "../wire/cluster-codec.ts";
import type { ResponseBody } from "../wire/sql-codec.ts";
import type { StepRequest } from "../wire/transaction-codec.ts";
import type { RunningWrite } from "./write-gate.ts";

export interface StreamTransactionsParts {
  readonly node: NodeService;
  /** Transactions on one stream, the waiting ones included; one more is OVERLOADED. */
  readonly most: number;
  answer(id: number, body: ResponseBody): void;
}

export class StreamTransactions {
  readonly #parts: StreamTransactionsParts;
  readonly #open = new Map<number, RunningTransaction>();

  constructor(parts: StreamTransactionsParts) {
    this.#parts = parts;
  }

  get size(): number {
    return this.#open.size;
  }

  has(id: number): boolean {
    return this.#open.has(id);
  }

  begin(id: number, request: TransactionTerms): void {
    const { node, most, answer } = this.#parts;
    if (this.#open.size >= most) {
      const message = `${most} transactions are open or waiting on this stream; end some, then try again`;
      return answer(id, { kind: "failure", failure: refusal("OVERLOADED", message) });
    }
    const running: RunningTransaction = node.begin(request, {
      opened: ({ node: servedBy, index, lagMs }) => {
        if (this.#open.get(id) !== running) return;
        answer(id, { kind: "begin", node: servedBy, index, lagMs: lagOnWire(lagMs) });
      },
      failed: (failure) => {
        if (this.#open.get(id) !== running) return;
        this.#open.delete(id);
        answer(id, { kind: "failure", failure });
      },
    });
    this.#open.set(id, running);
  }

  /** The sink is called once, never inside this call. */
  step({ transaction, step, batch, timeoutMs }: StepRequest, sink: ExecuteSink): RunningWrite {
    const running = this.#open.get(transaction);
    if (running === undefined) {
      const message = `no transaction ${transaction} is open on this stream`;
      const timer = setImmediate(() => sink.failed(refusal("TRANSACTION_ABORTED", message)));
      return { cancel: () => clearImmediate(timer) };
    }
    if (step === "commit") this.#open.delete(transaction);
    return running.step({ verb: step, batch, timeoutMs }, sink);
  }

  /** Rolls it back, if it is one. */
  cancel(id: number): void {
    const running = this.#open.get(id);
    this.#open.delete(id);
    running?.cancel();
  }

  cancelAll(): void {
    for (const id of [...this.#open.keys()]) this.cancel(id);
  }
}

function refusal(code: "OVERLOADED" | "TRANSACTION_ABORTED", message: string): Failure {
  return { code, message, outcome: "not-applied", statementIndex: 0, facts: {} };
}
