/** What clients were told, handed to the checkers of what clients may rely on; and how much there was. */

import { ExactlyOnce } from "./checkers/exactly-once.ts";
import { LinearizableReads, type ReadTicket } from "./checkers/linearizable-reads.ts";

export class ClientHistory {
  readonly #reads = new LinearizableReads();
  readonly #rows = new ExactlyOnce();
  acknowledged = 0;
  reads = 0;
  refused = 0;

  attempt(key: number, row: number): void {
    this.#reads.attempted(key);
    this.#rows.attempted(row);
  }

  acknowledge(key: number, row: number): void {
    this.#reads.acknowledged(key);
    this.#rows.acknowledged(row);
    this.acknowledged += 1;
  }

  /** Some node said that nothing was applied, no other attempt is open, and there will be no further one. */
  refuse(key: number, row: number): void {
    this.#reads.refused(key);
    this.#rows.refused(row);
    this.refused += 1;
  }

  beginRead(key: number): ReadTicket {
    return this.#reads.begin(key);
  }

  endRead(ticket: ReadTicket, value: number): void {
    this.#reads.end(ticket, value);
    this.reads += 1;
  }

  checkRows(node: number, found: ReadonlyMap<number, number>): void {
    this.#rows.check(node, found);
  }
}
