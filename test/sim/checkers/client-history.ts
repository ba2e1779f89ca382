/**
 * What clients were told. Each write adds one row with a number of its own and raises a counter by one; so a write
 * lost, doubled or seen too early or too late shows. Counters only rise, which makes linearizability cheap to check:
 * a read must lie between what was acknowledged (or read) before it began and what was attempted before it ended.
 */

import { demand } from "./violation.ts";

interface Key {
  attempted: number;
  acknowledged: number;
  /** Highest value that any finished read returned. */
  read: number;
}

export interface ReadTicket {
  readonly key: number;
  readonly atLeast: number;
}

export class ClientHistory {
  readonly #keys = new Map<number, Key>();
  /** Row number → what became of it as the client knows. */
  readonly rows = new Map<number, "acknowledged" | "unknown" | "refused">();
  acknowledged = 0;
  reads = 0;
  failures = 0;

  #key(key: number): Key {
    let found = this.#keys.get(key);
    if (found === undefined) {
      found = { attempted: 0, acknowledged: 0, read: 0 };
      this.#keys.set(key, found);
    }
    return found;
  }

  attempt(key: number, row: number): void {
    this.#key(key).attempted += 1;
    this.rows.set(row, "unknown");
  }

  acknowledge(key: number, row: number): void {
    demand(this.rows.get(row) === "unknown", "one answer a write", () => `row ${row}`);
    this.#key(key).acknowledged += 1;
    this.rows.set(row, "acknowledged");
    this.acknowledged += 1;
  }

  /** The node said that nothing was applied, and the client will not try again. */
  refuse(row: number): void {
    this.rows.set(row, "refused");
    this.failures += 1;
  }

  beginRead(key: number): ReadTicket {
    const known = this.#key(key);
    return { key, atLeast: Math.max(known.acknowledged, known.read) };
  }

  endRead(ticket: ReadTicket, value: number): void {
    const known = this.#key(ticket.key);
    demand(value >= ticket.atLeast, "linearizable reads", () => {
      return `counter ${ticket.key} read ${value}, but ${ticket.atLeast} was known before it began`;
    });
    demand(value <= known.attempted, "reads invent nothing", () => {
      return `counter ${ticket.key} read ${value}, only ${known.attempted} were attempted`;
    });
    known.read = Math.max(known.read, value);
    this.reads += 1;
  }

  /** At the end: `rows` found on a node, with how often each. */
  checkRows(node: number, found: ReadonlyMap<number, number>): void {
    for (const [row, state] of this.rows) {
      const count = found.get(row) ?? 0;
      demand(count <= 1, "exactly once", () => `row ${row} is ${count} times on node ${node}`);
      const kept = state !== "acknowledged" || count === 1;
      demand(kept, "nothing acknowledged is lost", () => `row ${row} is missing on node ${node}`);
      const refused = state !== "refused" || count === 0;
      demand(refused, "not-applied means not applied", () => `row ${row} is on node ${node}`);
    }
    for (const row of found.keys()) {
      demand(this.rows.has(row), "nothing is invented", () => `row ${row} on node ${node}`);
    }
  }
}
