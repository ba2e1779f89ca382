/**
 * Linearizable reads, of counters that only rise: which makes it cheap. A read lies between what was acknowledged, or
 * read, before it began and what was attempted before it ended.
 */

import { demand } from "./violation.ts";

interface Counter {
  attempted: number;
  acknowledged: number;
  /** Highest value that any finished read returned. */
  read: number;
}

export interface ReadTicket {
  readonly key: number;
  readonly atLeast: number;
}

export class LinearizableReads {
  readonly #counters = new Map<number, Counter>();

  attempted(key: number): void {
    this.#of(key).attempted += 1;
  }

  acknowledged(key: number): void {
    this.#of(key).acknowledged += 1;
  }

  /** It will never be applied. */
  refused(key: number): void {
    this.#of(key).attempted -= 1;
  }

  begin(key: number): ReadTicket {
    const { acknowledged, read } = this.#of(key);
    return { key, atLeast: Math.max(acknowledged, read) };
  }

  end({ key, atLeast }: ReadTicket, value: number): void {
    const counter = this.#of(key);
    demand(value >= atLeast, "linearizable reads", () => {
      return `counter ${key} read ${value}, but ${atLeast} was known before it began`;
    });
    demand(value <= counter.attempted, "reads invent nothing", () => {
      return `counter ${key} read ${value}, only ${counter.attempted} were attempted`;
    });
    counter.read = Math.max(counter.read, value);
  }

  #of(key: number): Counter {
    let found = this.#counters.get(key);
    if (found === undefined) {
      found = { attempted: 0, acknowledged: 0, read: 0 };
      this.#counters.set(key, found);
    }
    return found;
  }
}
