/**
 * Requests whose statements belong together: rows and full text in one, keys that are violated and healed, conflicts that
 * replace rows under recursive triggers, blobs, names that go and come back. Each is a list of statements of one request.
 */

import {
  ABANDON,
  BEGIN_CONTENT,
  DISCARD,
  PUBLISH,
  PUT_CHUNK,
  REMOVE_CHUNKS,
  REMOVE_CONTENT,
} from "../../src/client/blob-tables.ts";
import type { Dice } from "./dice.ts";
import { type Made, made } from "./draft.ts";
import type { Schema } from "./schemas.ts";
import type { StatementMaker } from "./statements.ts";

export class Mixtures {
  readonly #dice: Dice;
  readonly #schema: Schema;
  readonly #statements: StatementMaker;
  #names = 0;

  constructor(dice: Dice, schema: Schema, statements: StatementMaker) {
    this.#dice = dice;
    this.#schema = schema;
    this.#statements = statements;
  }

  make(): Made[] {
    const { fts, extras } = this.#schema;
    return this.#dice.weighted<() => Made[]>([
      [fts.length > 0 ? 5 : 0, () => this.fullText()],
      [extras.includes("keys") ? 2 : 0, () => this.#keys()],
      [extras.includes("replaced") ? 2 : 0, () => this.#replaced()],
      [extras.includes("blobs") ? 3 : 0, () => this.#blobs()],
      [2, () => this.#renamed()],
      [1, () => this.#freed()],
    ])();
  }

  /** What FTS5 and FTS4 gather is written at a savepoint or commit: between them stand what makes rows and what rebuilds. */
  fullText(): Made[] {
    const dice = this.#dice;
    const list = dice.list(dice.between(2, 6), () =>
      dice.weighted<() => Made>([
        [2, () => this.#statements.fullText.make()],
        [2, () => this.#statements.fullText.command()],
        [1, () => this.#statements.fullText.write()],
        [2, () => this.#rows()],
      ])(),
    );
    const covers = ["rows and full text in one request"];
    return [{ ...this.#rows(), covers }, ...list];
  }

  #rows(): Made {
    const dice = this.#dice;
    const { name, columns } = dice.pick(this.#schema.tables);
    const column = dice.pick(columns.filter(({ generated }) => !generated)).name;
    return dice.chance(0.6)
      ? made(`UPDATE ${name} SET ${column} = ${column} WHERE rowid % 3 = 1`, "UPDATE")
      : made(`DELETE FROM ${name} WHERE ${column} > ${dice.between(5, 12)}`, "DELETE");
  }

  #keys(): Made[] {
    const dice = this.#dice;
    const key = dice.below(9);
    const heals = dice.chance(0.6);
    const violate = dice.pick([
      `INSERT INTO kid VALUES (${key}, random())`,
      `DELETE FROM par WHERE id = ${key}`,
      `UPDATE par SET id = id + 20 WHERE id = ${key}`,
    ]);
    const heal = `INSERT OR IGNORE INTO par VALUES (${key}, date('now'))`;
    return heals
      ? [made(violate, "deferred key violated and healed"), made(heal)]
      : [made(violate), this.#rows()];
  }

  #replaced(): Made[] {
    const dice = this.#dice;
    const value = `${dice.below(7)}, ${dice.below(4)}`;
    return [
      made(
        dice.pick([
          `INSERT OR REPLACE INTO rep(u, v) VALUES (${value}), (${dice.below(7)}, random() % 3)`,
          `REPLACE INTO rep(id, u, v) VALUES (${dice.below(9)}, ${value})`,
          `UPDATE OR REPLACE rep SET u = u % ${dice.between(2, 5)} WHERE v > 0`,
        ]),
        "REPLACE with triggers",
      ),
    ];
  }

  #blobs(): Made[] {
    const dice = this.#dice;
    const content = dice.between(1, 9);
    const blob = (
      sql: string,
      args: Record<string, string | number | Uint8Array | null>,
    ): Made => ({
      statement: { sql, args },
      covers: ["blobs"],
    });
    const data = new Uint8Array(dice.list(dice.between(1, 6), () => dice.below(256)));
    const terms = { name: dice.pick(["a", "b", "c"]), type: null, size: 4, sha256: "x" };
    return dice.list(dice.between(1, 3), () =>
      dice.weighted<Made>([
        [4, made(BEGIN_CONTENT, "blobs")],
        [4, blob(PUT_CHUNK, { content, part: dice.below(3), data })],
        [4, blob(PUBLISH, { ...terms, chunkBytes: 2, content })],
        [1, blob(DISCARD, { content })],
        [1, blob(ABANDON, { content })],
        [1, blob(REMOVE_CHUNKS, { content, chunks: 2 })],
        [1, blob(REMOVE_CONTENT, { content })],
        [1, made(`DELETE FROM db_blob WHERE name = '${terms.name}'`, "blobs")],
      ]),
    );
  }

  /** Rows, keys, triggers and views must follow the name to and fro. */
  #renamed(): Made[] {
    const dice = this.#dice;
    const { name, columns } = dice.pick(this.#schema.tables);
    const other = `other${++this.#names}`;
    if (dice.chance(0.5)) {
      return [
        made(`ALTER TABLE ${name} RENAME TO ${other}`, "ALTER TABLE RENAME"),
        this.#rows(),
        made(`ALTER TABLE ${other} RENAME TO ${name}`),
      ];
    }
    const column = dice.pick(columns).name;
    return [
      made(`ALTER TABLE ${name} RENAME COLUMN ${column} TO ${other}`, "ALTER TABLE RENAME COLUMN"),
      made(`ALTER TABLE ${name} RENAME COLUMN ${other} TO ${column}`),
    ];
  }

  #freed(): Made[] {
    const dice = this.#dice;
    const { name } = dice.pick(this.#schema.tables);
    return [
      made(`DELETE FROM ${name} WHERE rowid % 2 = ${dice.below(2)}`, "DELETE"),
      made(`PRAGMA incremental_vacuum(${dice.below(5)})`, "PRAGMA incremental_vacuum"),
    ];
  }
}
