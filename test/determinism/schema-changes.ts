/** Statements that change the schema, the statistics or a PRAGMA, and some that must be refused. */

import type { Dice } from "./dice.ts";
import { type Made, made } from "./draft.ts";
import type { Schema, Table } from "./schemas.ts";

const REFUSED = [
  "VACUUM",
  "PRAGMA defer_foreign_keys = ON",
  "PRAGMA writable_schema = ON",
  "PRAGMA case_sensitive_like = ON",
  "INSERT INTO sink(a) VALUES (total_changes())",
  "INSERT INTO sink(a) SELECT file FROM pragma_database_list",
  "CREATE TEMP TABLE x(a)",
  "ATTACH ':memory:' AS other",
  "UPDATE balsa_meta SET applied_index = 0",
  "SAVEPOINT s",
  "ANALYZE temp",
  "INSERT INTO sink(a) SELECT rootpage FROM sqlite_schema",
  "INSERT INTO sink(a) VALUES (sqlite_version())",
  "PRAGMA optimize",
  "INSERT INTO sink(a) VALUES (fts5_locale('en', 'x'))",
];

export class SchemaChanges {
  readonly #dice: Dice;
  readonly #schema: Schema;
  readonly #added: [table: string, column: string][] = [];
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
      [
        1,
        () =>
          made(dice.pick(["REINDEX", `REINDEX ${table.name}`, "REINDEX EXPRESSIONS"]), "REINDEX"),
      ],
      [3, () => this.#createIndex(n)],
      [3, () => this.#dropIndex()],
      [1, () => this.#createAs(n, table.name)],
      [3, () => this.#column(n, table.name)],
      [1.5, () => this.#constraint(n, table)],
      [1, () => made(`DROP TABLE IF EXISTS copy${dice.between(1, n)}`, "DROP TABLE")],
      [
        1,
        () =>
          made(`PRAGMA ${dice.pick(["user_version", "application_id"])} = ${n}`, "PRAGMA write"),
      ],
      [1, () => made(`PRAGMA table_info(${table.name})`, "PRAGMA read")],
      [1.5, () => this.setting()],
      [2, () => made(dice.pick(REFUSED), "refused")],
      [1.5, () => this.#lateTrigger(n)],
      [
        1,
        () =>
          made(
            `DROP TRIGGER IF EXISTS ${dice.pick(["tr1", "tr2", "doc_i", `late_tr${n - 1}`])}`,
            "DROP TRIGGER",
          ),
      ],
      [1, () => this.#lateView(n)],
      [1, () => made(`DROP VIEW IF EXISTS ${dice.pick(["v1", `late_v${n - 1}`])}`, "DROP VIEW")],
      [1, () => this.#uniqueIndex(n)],
      [1, () => this.#child(n)],
      [0.7, () => made(`ALTER TABLE ${table.name} RENAME TO ${table.name}`, "ALTER TABLE RENAME")],
      [
        0.7,
        () =>
          made(`UPDATE sqlite_sequence SET seq = seq + ${dice.below(50)}`, "sqlite_sequence write"),
      ],
      [0.5, () => made("EXPLAIN QUERY PLAN SELECT * FROM sink, t0", "EXPLAIN")],
    ]);
    return make();
  }

  /** One that was added goes again: real tables, with all that stands on them. */
  #column(n: number, table: string): Made {
    const dice = this.#dice;
    const known = dice.chance(0.5)
      ? this.#added.splice(dice.below(this.#added.length), 1)[0]
      : undefined;
    if (known !== undefined) {
      const [name, column] = known;
      return made(`ALTER TABLE ${name} DROP COLUMN ${column}`, "ALTER TABLE DROP COLUMN");
    }
    this.#added.push([table, `added${n}`]);
    const rest = dice.pick([
      `DEFAULT ${n}`,
      "CHECK (random() IS NOT NULL)",
      `NOT NULL DEFAULT 'x${n}'`,
      "AS (abs(1)) VIRTUAL",
      "COLLATE RTRIM",
    ]);
    return made(`ALTER TABLE ${table} ADD COLUMN added${n} ${rest}`, "ALTER TABLE ADD");
  }

  #constraint(n: number, { name, columns }: Table): Made {
    const dice = this.#dice;
    const column = dice.pick(columns).name;
    const what = dice.pick([
      `ALTER COLUMN ${column} SET NOT NULL`,
      `ALTER COLUMN ${column} DROP NOT NULL`,
      `ADD CONSTRAINT late${n} CHECK (${column} IS NULL OR length(${column}) < 400)`,
      `DROP CONSTRAINT late${dice.between(1, n)}`,
    ]);
    return made(`ALTER TABLE ${name} ${what}`, "ALTER TABLE constraint");
  }

  /** Alone it is set between transactions; among others it is refused. Mostly on, or keys would never fail. */
  setting(): Made {
    const dice = this.#dice;
    const name = dice.pick(["foreign_keys", "recursive_triggers"]);
    return made(`PRAGMA ${name} = ${dice.pick(["ON", "ON", "OFF"])}`, `PRAGMA ${name}`);
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

  #lateTrigger(n: number): Made {
    const dice = this.#dice;
    const table = dice.pick(this.#schema.tables);
    const event = dice.pick(["INSERT", "DELETE", "UPDATE"]);
    const body = dice.pick([
      "INSERT INTO sink VALUES (random(), date('now'), last_insert_rowid(), changes())",
      "UPDATE sink SET b = strftime('%f', 'now') WHERE rowid = (SELECT max(rowid) FROM sink)",
      "DELETE FROM sink WHERE rowid = (SELECT min(rowid) FROM sink)",
    ]);
    return made(
      `CREATE TRIGGER late_tr${n} AFTER ${event} ON ${table.name} BEGIN ${body}; END`,
      "CREATE TRIGGER",
    );
  }

  #lateView(n: number): Made {
    const dice = this.#dice;
    const [a, b] = [dice.pick(this.#schema.tables), dice.pick(this.#schema.tables)];
    const on = `x.${dice.pick(a.columns).name} = y.${dice.pick(b.columns).name}`;
    const name = `late_v${n}`;
    this.#schema.views.push({ name, columns: ["p", "q", "r"], writable: false });
    const list = `x.${dice.pick(a.columns).name}, y.${dice.pick(b.columns).name}, random()`;
    return made(
      `CREATE VIEW ${name}(p, q, r) AS SELECT ${list} FROM ${a.name} AS x LEFT JOIN ${b.name} AS y ON ${on}`,
      "CREATE VIEW",
    );
  }

  /** Often it cannot be: rows are alike. */
  #uniqueIndex(n: number): Made {
    const dice = this.#dice;
    const table = dice.pick(this.#schema.tables);
    const column = dice.pick(table.columns).name;
    this.#schema.indexes.push(`late_u${n}`);
    const where = dice.chance(0.7) ? ` WHERE ${column} > 10` : "";
    return made(
      `CREATE UNIQUE INDEX late_u${n} ON ${table.name}(${column}, abs(${column}))${where}`,
      "CREATE UNIQUE INDEX",
    );
  }

  /** Keys of a table that is made late, and rows for it; a composite primary key. */
  #child(n: number): Made {
    const dice = this.#dice;
    const parents = this.#schema.tables.filter(({ keys }) => keys.length > 0);
    if (parents.length === 0) return this.#createIndex(n);
    const parent = dice.pick(parents);
    const name = `child${n}`;
    const column = (each: string) => ({ name: each, type: "", generated: false });
    this.#schema.tables.push({
      name,
      columns: ["a", "b", "p"].map(column),
      keys: [],
      rowid: false,
    });
    const action = dice.pick(["CASCADE", "SET NULL", "RESTRICT"]);
    const key = `${parent.name}(${dice.pick(parent.keys)}) ON DELETE ${action} ON UPDATE CASCADE`;
    return made(
      `CREATE TABLE ${name}(a, b, p REFERENCES ${key}, PRIMARY KEY (b, a)) WITHOUT ROWID`,
      "CREATE TABLE",
    );
  }

  #createAs(n: number, table: string): Made {
    return made(
      `CREATE TABLE copy${n} AS SELECT random() AS a, date('now') AS b, * FROM ${table} LIMIT 5`,
      "CREATE TABLE AS",
    );
  }
}
