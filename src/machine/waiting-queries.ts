/**
 * Queries that wait for a reader, in order. Those whose callers take nothing at the moment wait apart: nobody would be served
 * by them. Those withdrawn are not taken out one by one: a client that goes away leaves thousands. Gives them to nobody.
 */

import type { PooledQuery } from "./pooled-query.ts";

/** Places before the first are given back when there are so many, and no fewer than in use. */
const SPENT_MIN = 1_024;

export class WaitingQueries {
  /** From `#head` on, with those withdrawn among them. */
  #line: PooledQuery[] = [];
  #head = 0;
  #withdrawn = 0;
  readonly #apart = new Set<PooledQuery>();

  /** Also those that wait apart. */
  get size(): number {
    return this.#line.length - this.#head - this.#withdrawn + this.#apart.size;
  }

  add(query: PooledQuery): void {
    query.isWaiting = true;
    this.#line.push(query);
  }

  /** Before all others, in this order. */
  putBack(queries: readonly PooledQuery[]): void {
    if (queries.length === 0) return;
    for (const query of queries) query.isWaiting = true;
    this.#line = [...queries, ...this.#line.slice(this.#head)];
    this.#head = 0;
  }

  /** The first whose caller takes its rows; stays here. */
  first(): PooledQuery | null {
    for (let query = this.#line[this.#head]; query !== undefined; query = this.#line[this.#head]) {
      if (!query.ended && !query.isHeld) return query;
      this.#skip();
      if (query.ended) this.#withdrawn -= 1;
      else this.#apart.add(query);
    }
    return null;
  }

  /** Takes out what `first` gave. */
  shift(): void {
    const query = this.#line[this.#head];
    if (query === undefined) return;
    query.isWaiting = false;
    this.#skip();
  }

  /** It has ended. Does nothing if it does not wait. Amortised constant time. */
  withdraw(query: PooledQuery): void {
    if (!query.isWaiting) return;
    query.isWaiting = false;
    if (this.#apart.delete(query)) return;
    this.#withdrawn += 1;
    if (this.#withdrawn * 2 <= this.#line.length - this.#head) return;
    this.#line = this.#line.slice(this.#head).filter(({ ended }) => !ended);
    this.#head = 0;
    this.#withdrawn = 0;
  }

  /** Its caller takes rows again: it goes to the end. */
  rejoin(query: PooledQuery): void {
    if (this.#apart.delete(query)) this.#line.push(query);
  }

  /** Takes all out. */
  drain(): PooledQuery[] {
    const queries = [...this.#line.slice(this.#head), ...this.#apart].filter(({ ended }) => !ended);
    for (const query of queries) query.isWaiting = false;
    this.#line = [];
    this.#head = 0;
    this.#withdrawn = 0;
    this.#apart.clear();
    return queries;
  }

  #skip(): void {
    this.#head += 1;
    if (this.#head < SPENT_MIN || this.#head * 2 < this.#line.length) return;
    this.#line = this.#line.slice(this.#head);
    this.#head = 0;
  }
}
