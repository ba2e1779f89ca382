/** Statements over FTS5 and FTS4 tables: rows, queries, and the commands that merge and rebuild what is beneath. */

import type { Dice } from "./dice.ts";
import { Draft, type Made, made } from "./draft.ts";
import type { Schema } from "./schemas.ts";

const WORDS = ["lisbon", "raft", "balsa", "wood", "now", "log", "river", "Zürich"];
const COMMANDS = ["('optimize')", "('rebuild')", "('integrity-check')", "('flush')"];
const SETTINGS = [
  "('merge', 4)",
  "('merge', -4)",
  "('automerge', 2)",
  "('crisismerge', 3)",
  "('pgsz', 64)",
  "('rank', 'bm25(10.0, 1.0)')",
  "('secure-delete', 1)",
  "('usermerge', 2)",
];
const COMMANDS4 = ["optimize", "rebuild", "integrity-check", "merge=4,2", "automerge=2"];

export class FullTextMaker {
  readonly #dice: Dice;
  readonly #schema: Schema;

  constructor(dice: Dice, schema: Schema) {
    this.#dice = dice;
    this.#schema = schema;
  }

  get exists(): boolean {
    return this.#schema.fts.length > 0;
  }

  make(): Made {
    const { fts } = this.#schema;
    return this.#dice.weighted<() => Made>([
      [2, () => this.#query()],
      [1, () => this.command()],
      [4, () => this.write()],
      [fts.includes("f4") ? 2 : 0, () => this.#fts4()],
      [fts.includes("fx") ? 2 : 0, () => this.#document()],
    ])();
  }

  /** Of any of the tables. */
  command(): Made {
    const dice = this.#dice;
    const table = dice.pick(this.#schema.fts.filter((name) => name !== "fv"));
    if (table === "f4") {
      return made(`INSERT INTO f4(f4) VALUES ('${dice.pick(COMMANDS4)}')`, "FTS4 command");
    }
    if (dice.chance(0.08)) return made("INSERT INTO f(f) VALUES ('delete-all')", "FTS5 command");
    return dice.chance(0.55)
      ? made(`INSERT INTO ${table}(${table}) VALUES ${dice.pick(COMMANDS)}`, "FTS5 command")
      : made(`INSERT INTO ${table}(${table}, rank) VALUES ${dice.pick(SETTINGS)}`, "FTS5 command");
  }

  write(): Made {
    const dice = this.#dice;
    const draft = new Draft();
    switch (dice.below(4)) {
      case 0:
        return draft.done(`DELETE FROM f WHERE rowid % 5 = ${dice.below(5)}`, "FTS5 write");
      case 1:
        draft.args.push(this.#text());
        return draft.done(`UPDATE f SET x = ? WHERE rowid = ${dice.below(20)}`, "FTS5 write");
      default:
        draft.args.push(this.#text(), this.#text());
        return draft.done(
          "INSERT INTO f(x, y) VALUES (?, ?), ('raft ' || hex(randomblob(2)), datetime('now'))",
          "FTS5 write",
        );
    }
  }

  #text(): string {
    const dice = this.#dice;
    return dice.list(dice.between(1, 6), () => dice.pick(WORDS)).join(" ");
  }

  #query(): Made {
    const dice = this.#dice;
    const draft = new Draft();
    if (this.#schema.fts.includes("fv") && dice.chance(0.3)) {
      return draft.done(
        "INSERT INTO sink(a, b, c) SELECT term, doc, cnt FROM fv ORDER BY cnt DESC LIMIT 4",
        "fts5vocab",
      );
    }
    draft.args.push(dice.pick(WORDS));
    return draft.done(
      dice.pick([
        "INSERT INTO sink(a, b) SELECT rowid, x FROM f WHERE f MATCH ? ORDER BY rank LIMIT 3",
        "INSERT INTO sink(a, b) SELECT rowid, highlight(f, 0, '<', '>') FROM f WHERE f MATCH ? LIMIT 3",
        "INSERT INTO sink(a, b) SELECT rowid, bm25(f) FROM f WHERE f MATCH ? LIMIT 3",
      ]),
      "FTS5 query",
    );
  }

  #fts4(): Made {
    const dice = this.#dice;
    const draft = new Draft();
    switch (dice.below(5)) {
      case 0:
        return draft.done(`DELETE FROM f4 WHERE docid % 4 = ${dice.below(4)}`, "FTS4 write");
      case 1:
        draft.args.push(this.#text());
        return draft.done(`UPDATE f4 SET y = ? WHERE docid = ${dice.below(20)}`, "FTS4 write");
      case 2:
        draft.args.push(dice.pick(WORDS));
        return draft.done(
          "INSERT INTO sink(a, b, c) SELECT docid, offsets(f4), hex(matchinfo(f4)) FROM f4 WHERE f4 MATCH ? LIMIT 3",
          "FTS4 query",
        );
      default:
        draft.args.push(this.#text(), this.#text());
        return draft.done("INSERT INTO f4(x, y) VALUES (?, ?)", "FTS4 write");
    }
  }

  /** Into the table that full text is over; triggers keep it. */
  #document(): Made {
    const dice = this.#dice;
    const draft = new Draft();
    switch (dice.below(4)) {
      case 0:
        return draft.done(`DELETE FROM doc WHERE id = ${dice.below(15)}`, "DELETE");
      case 1:
        draft.args.push(this.#text());
        return draft.done(`UPDATE doc SET y = ? WHERE id % 4 = ${dice.below(4)}`, "UPDATE");
      default:
        draft.args.push(dice.below(15), this.#text(), this.#text());
        return draft.done(
          `INSERT OR ${dice.pick(["IGNORE", "REPLACE"])} INTO doc(id, x, y) VALUES (?, ?, ?)`,
          "INSERT VALUES",
        );
    }
  }
}
