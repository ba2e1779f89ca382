/** Statements that change the schema, the statistics or a PRAGMA, and some that must be refused. */

import type { Dice } from "./dice.ts";
import type { Schema } from "./schemas.ts";
import type { Made } from "./statements.ts";

function made(sql: string, ...covers: readonly string[]): Made {
  return { statement: { sql }, covers };
}

const REFUSED = [
  "VACUUM",
  "PRAGMA foreign_keys = OFF",
  "PRAGMA writable_schema = ON",
  "PRAGMA case_sensitive_like = ON",
  "INSERT INTO sink(a) VALUES (total_changes())",
  "INSERT INTO sink(a) SELECT file FROM pragma_database_list",
  "CREATE TEMP TABLE x(a)",
  "ATTACH ':memory:' AS other",
  "UPDATE balsa_meta SET applied_index = 0",
  "SAVEPOINT s",
];

export class SchemaChanges {
  readonly #dice: Dice;
  readonly #schema: Schema;
  #count = 0;

  constructor(dice: Dice, schema: Schema) {
    this.#dice = dice;
    this.#schema = schema;
  }

  make(): Made {
    const dice = this.#dice;
    const table = dice.pick(this.#schema.tables);
    const n = ++this.#count;
    const make = dice.weighted<() => Made>([
      [5, () => this.analyze()],
      [1, () => made(dice.pick(["REINDEX", `REINDEX ${table.name}`]), "REINDEX")],
      [3, () => this.#createIndex(n)],
      [3, () => this.#dropIndex()],
      [1, () => this.#createAs(n, table.name)],
      [
        1,
        () =>
          made(`ALTER TABLE ${table.name} ADD COLUMN added${n} DEFAULT ${n}`, "ALTER TABLE ADD"),
      ],
      [
        1,
        () =>
          made(
            `ALTER TABLE copy${dice.between(1, n)} RENAME COLUMN a TO a${n}`,
            "ALTER TABLE RENAME",
          ),
      ],
      [
        1,
        () =>
          made(`ALTER TABLE copy${dice.between(1, n)} DROP COLUMN b`, "ALTER TABLE DROP COLUMN"),
      ],
      [1, () => made(`DROP TABLE IF EXISTS copy${dice.between(1, n)}`, "DROP TABLE")],
      [
        1,
        () =>
          made(`PRAGMA ${dice.pick(["user_version", "application_id"])} = ${n}`, "PRAGMA write"),
      ],
      [1, () => made(`PRAGMA table_info(${table.name})`, "PRAGMA read")],
      [2, () => made(dice.pick(REFUSED), "refused")],
    ]);
    return make();
  }

  analyze(): Made {
    const dice = this.#dice;
    const what = dice.chance(0.6)
      ? ""
      : ` ${dice.pick([...this.#schema.tables.map(({ name }) => name), ...this.#schema.indexes])}`;
    return made(`ANALYZE${what}`, "ANALYZE");
  }

  #createIndex(n: number): Made {
    const dice = this.#dice;
    const table = dice.pick(this.#schema.tables);
    const name = `late${n}`;
    this.#schema.indexes.push(name);
    const columns = table.columns.map((column) => column.name);
    const second = dice.chance(0.4) ? `, ${dice.pick(columns)}` : "";
    return made(
      `CREATE INDEX ${name} ON ${table.name}(${dice.pick(columns)}${second})`,
      "CREATE INDEX",
    );
  }

  #dropIndex(): Made {
    const { indexes } = this.#schema;
    const name = indexes.length === 0 ? "none" : this.#dice.pick(indexes);
    return made(`DROP INDEX IF EXISTS ${name}`, "DROP INDEX");
  }

  #createAs(n: number, table: string): Made {
    return made(
      `CREATE TABLE copy${n} AS SELECT random() AS a, date('now') AS b, * FROM ${table} LIMIT 5`,
      "CREATE TABLE AS",
    );
  }
}
