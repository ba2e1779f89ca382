/** Concurrent writers that number their own rows and remember which were acknowledged. Checks nothing. */

import { BalsaError, type Database } from "balsa";

/** No UNIQUE constraint: a write that took effect twice must show. */
export const LEDGER = `CREATE TABLE ledger (
  id INTEGER PRIMARY KEY,
  writer INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
  dice INTEGER NOT NULL DEFAULT (random())
)`;

export class Writers {
  /** `acknowledged[w]`: the numbers that writer w was told are written. */
  readonly acknowledged: number[][];
  /** Those whose fate it was not told. */
  readonly unknown: Set<number>[];
  /** Told to have failed without a trace. */
  refused = 0;
  count = 0;
  readonly #db: Database;
  #running: Promise<unknown> = Promise.resolve();
  #stopping = false;
  #lastAt = 0;
  #gapMs = 0;

  constructor(db: Database, writers: number) {
    this.#db = db;
    this.acknowledged = Array.from({ length: writers }, () => []);
    this.unknown = Array.from({ length: writers }, () => new Set());
  }

  start(): void {
    this.#lastAt = performance.now();
    this.#running = Promise.all(this.acknowledged.map((_, writer) => this.#write(writer)));
  }

  /** Measures anew: the longest time without any acknowledgement, from the last one before this call. */
  resetGap(): void {
    this.#gapMs = 0;
  }

  get gapMs(): number {
    return this.#gapMs;
  }

  /** Each writer finishes the row that it is at. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#gapMs = Math.max(this.#gapMs, performance.now() - this.#lastAt);
    await this.#running;
  }

  async #write(writer: number): Promise<void> {
    const insert = this.#db.prepare("INSERT INTO ledger (writer, seq) VALUES (?, ?)");
    for (let seq = 1; !this.#stopping; seq++) {
      try {
        await insert.run(writer, seq);
        this.#acknowledge(writer, seq);
      } catch (error) {
        if (!(error instanceof BalsaError)) throw error;
        if (error.outcome === "unknown") this.unknown[writer]?.add(seq);
        else this.refused++;
      }
    }
  }

  #acknowledge(writer: number, seq: number): void {
    const now = performance.now();
    this.#gapMs = Math.max(this.#gapMs, now - this.#lastAt);
    this.#lastAt = now;
    this.acknowledged[writer]?.push(seq);
    this.count++;
  }
}
