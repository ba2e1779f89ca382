/**
 * What clients did and what they were told, in the order in which it happened. One process records all of it, so that
 * the times of all clients are comparable. It judges nothing: see linearizability.ts.
 */

export interface Operation {
  /** Who did it: shown to a human, of no weight for the verdict. */
  readonly client: string;
  /** Operations on different keys have nothing to do with each other. */
  readonly key: string;
  readonly kind: string;
  readonly input: unknown;
  /** null: never learned. */
  readonly output: unknown;
  /** Milliseconds from any origin, the same for all clients. */
  readonly invokedAt: number;
  /** null: no answer, or one that leaves it open. It may take effect at any time from invokedAt on, or never. */
  readonly returnedAt: number | null;
}

/** An operation under way. Exactly one of its methods is called, once; if none is, its outcome is unknown. */
export interface Pending<Op extends Operation> {
  returned(output: NonNullable<Op["output"]>): void;
  /** It took effect before now, but what it answered is lost. */
  applied(): void;
  /** It is certain that it took no effect and said nothing about the state. */
  nothing(): void;
}

type Start<Op extends Operation> = Op extends Operation
  ? Omit<Op, "output" | "invokedAt" | "returnedAt">
  : never;

interface Slot {
  operation: Operation;
  dropped: boolean;
}

export class History<Op extends Operation> {
  readonly #slots: Slot[] = [];
  readonly #now: () => number;
  #last = Number.NEGATIVE_INFINITY;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  invoke(start: Start<Op>): Pending<Op> {
    const invoked = { ...start, output: null, invokedAt: this.#tick(), returnedAt: null };
    const slot: Slot = { operation: invoked, dropped: false };
    this.#slots.push(slot);
    const finish = (output: unknown) => {
      if (slot.operation.returnedAt !== null || slot.dropped) throw new Error("ended twice");
      slot.operation = { ...slot.operation, output, returnedAt: this.#tick() };
    };
    return {
      returned: finish,
      applied: () => finish(null),
      nothing: () => {
        finish(null);
        slot.dropped = true;
      },
    };
  }

  /** All but those that certainly did nothing, by the time of their invocation. */
  operations(): Op[] {
    return this.#slots.filter((slot) => !slot.dropped).map((slot) => slot.operation as Op);
  }

  /** Strictly rising: what happened in one turn of the loop keeps its order. */
  #tick(): number {
    this.#last = Math.max(this.#now(), this.#last + 1e-6);
    return this.#last;
  }
}
