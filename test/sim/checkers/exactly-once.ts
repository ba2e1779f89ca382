/**
 * Each write adds one row with a number of its own: once if it was acknowledged, however often it was tried; never if
 * the last word was that it was not applied; at most once if nobody knows.
 */

import { demand } from "./violation.ts";

export type RowState = "acknowledged" | "unknown" | "refused";

export class ExactlyOnce {
  readonly #rows = new Map<number, RowState>();

  attempted(row: number): void {
    demand(!this.#rows.has(row), "row numbers are used once", () => `row ${row}`);
    this.#rows.set(row, "unknown");
  }

  acknowledged(row: number): void {
    demand(this.#rows.get(row) === "unknown", "one answer a write", () => `row ${row}`);
    this.#rows.set(row, "acknowledged");
  }

  refused(row: number): void {
    demand(this.#rows.get(row) === "unknown", "one answer a write", () => `row ${row}`);
    this.#rows.set(row, "refused");
  }

  /** `found`: the rows of a node's database, with how often each is there. */
  check(node: number, found: ReadonlyMap<number, number>): void {
    for (const [row, state] of this.#rows) {
      const count = found.get(row) ?? 0;
      demand(count <= 1, "exactly once", () => `row ${row} is ${count} times on node ${node}`);
      const kept = state !== "acknowledged" || count === 1;
      demand(kept, "nothing acknowledged is lost", () => `row ${row} is missing on node ${node}`);
      const refused = state !== "refused" || count === 0;
      demand(refused, "not-applied means not applied", () => `row ${row} is on node ${node}`);
    }
    for (const row of found.keys()) {
      demand(this.#rows.has(row), "nothing is invented", () => `row ${row} on node ${node}`);
    }
  }
}
