/** Random schemas, and what statements need to know of them. */

import { BLOB_TABLES } from "../../src/client/blob-tables.ts";
import { splitStatements } from "../../src/machine/tokenizer.ts";
import type { Dice } from "./dice.ts";
import type { Expressions } from "./expressions.ts";
import { CONFLICTS, type Position } from "./plan.ts";

export interface Column {
  readonly name: string;
  readonly type: string;
  readonly generated: boolean;
}

export interface Table {
  readonly name: string;
  readonly columns: readonly Column[];
  /** Columns of the primary key, or of a UNIQUE constraint: what an upsert may name. */
  readonly keys: readonly string[];
  readonly rowid: boolean;
}

export interface View {
  readonly name: string;
  readonly columns: readonly string[];
  readonly writable: boolean;
}

export interface Schema {
  readonly tables: Table[];
  readonly views: View[];
  readonly indexes: string[];
  readonly fts: string[];
  readonly rtrees: string[];
  /** Groups of tables that have statements of their own, see mixtures.ts. */
  readonly extras: ("keys" | "replaced" | "blobs")[];
  readonly ddl: string[];
  readonly covers: string[];
}

const TYPES = ["INTEGER", "TEXT", "REAL", "BLOB", "NUMERIC", ""];
const STRICT_TYPES = ["INTEGER", "INT", "TEXT", "REAL", "BLOB", "ANY"];
const ACTIONS = ["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT"] as const;
const FTS5_OPTIONS = [
  "",
  ", prefix='2'",
  ", detail=column",
  ", tokenize='trigram'",
  ", tokenize='porter unicode61'",
  ", columnsize=0",
  ", detail=none",
  ", locale=1",
  ", tokenize=\"unicode61 remove_diacritics 2 tokenchars '-'\"",
  ", content='', contentless_delete=1",
];
const FTS4_OPTIONS = [
  "",
  ", prefix='2,3'",
  ", order=desc",
  ", notindexed=y",
  ", matchinfo=fts3",
  ", tokenize=porter",
];
/** Rows that replace others under triggers that recurse, unless the cluster is set otherwise. */
const REPLACED = [
  "CREATE TABLE rep(id INTEGER PRIMARY KEY, u UNIQUE, v)",
  `CREATE TRIGGER rep_d AFTER DELETE ON rep BEGIN
     INSERT INTO sink VALUES (old.u, random(), changes(), last_insert_rowid());
   END`,
  `CREATE TRIGGER rep_i AFTER INSERT ON rep WHEN new.v > 0 BEGIN
     INSERT OR REPLACE INTO rep(u, v) VALUES ((new.u + 3) % 7, new.v - 1);
   END`,
];
const KEYS = [
  "CREATE TABLE par(id INTEGER PRIMARY KEY, at)",
  `CREATE TABLE kid(p REFERENCES par(id) ON UPDATE NO ACTION DEFERRABLE INITIALLY DEFERRED,
     v DEFAULT (random()))`,
];
const RTREES = [
  "rtree(id, x0, x1, y0, y1, +note)",
  "rtree_i32(id, x0, x1, y0, y1, +note)",
] as const;
const NAMES = ["t0", "t1", "t2", "t3", "t4"];

export class SchemaMaker {
  readonly #dice: Dice;
  readonly #expressions: Expressions;
  readonly #schema: Schema = {
    tables: [],
    views: [],
    indexes: [],
    fts: [],
    rtrees: [],
    extras: [],
    ddl: [],
    covers: [],
  };

  constructor(dice: Dice, expressions: Expressions) {
    this.#dice = dice;
    this.#expressions = expressions;
  }

  make(): Schema {
    const dice = this.#dice;
    for (const name of NAMES.slice(0, dice.between(2, NAMES.length))) this.#table(name);
    this.#add("table", "CREATE TABLE sink(a, b, c, d)");
    this.#schema.tables.push(plainTable("sink", ["a", "b", "c", "d"]));
    for (const table of this.#schema.tables.slice(0, -1)) {
      for (let i = dice.between(0, 3); i > 0; i--) this.#index(table, `${table.name}_i${i}`);
    }
    if (dice.chance(0.6)) this.#fullText();
    if (dice.chance(0.4)) this.#rtree();
    this.#extras();
    for (let i = dice.between(0, 2); i > 0; i--) this.#view(`v${i}`);
    for (let i = dice.between(0, 4); i > 0; i--) this.#trigger(`tr${i}`);
    return this.#schema;
  }

  #add(kind: string, sql: string): void {
    this.#schema.covers.push(`schema: ${kind}`);
    this.#schema.ddl.push(sql);
  }

  #cover(kind: string): void {
    this.#schema.covers.push(`schema: ${kind}`);
  }

  /** An expression where parameters may not stand. */
  #expression(position: Position, columns: readonly string[]): string {
    const scope = { columns, position, args: null, covers: this.#schema.covers };
    return this.#expressions.any(scope);
  }

  // --- tables ---------------------------------------------------------------------------------------------------

  #table(name: string): void {
    const dice = this.#dice;
    const strict = dice.chance(0.25);
    const kind = dice.weighted<"rowid" | "auto" | "plain" | "without">([
      [4, "rowid"],
      [2, "auto"],
      [2, "plain"],
      [2, "without"],
    ]);
    const columns: Column[] = [];
    const parts: string[] = [];
    const keys: string[] = [];
    if (kind !== "plain") {
      columns.push({ name: "id", type: kind === "without" ? "TEXT" : "INTEGER", generated: false });
      parts.push(primaryKey(kind));
      keys.push("id");
    }
    if (kind === "auto") this.#cover("AUTOINCREMENT");
    const types = strict ? STRICT_TYPES : TYPES;
    for (let i = 0, count = dice.between(2, 5); i < count; i++) {
      const column = { name: `c${i}`, type: dice.pick(types), generated: false };
      parts.push(this.#column(column, keys));
      columns.push(column);
    }
    this.#generated(columns, parts);
    this.#constraints(columns, parts);
    const options = [
      ...(kind === "without" ? ["WITHOUT ROWID"] : []),
      ...(strict ? ["STRICT"] : []),
    ];
    for (const option of options) this.#cover(option);
    this.#add("table", `CREATE TABLE ${name}(${parts.join(", ")}) ${options.join(", ")}`.trim());
    this.#schema.tables.push({ name, columns, keys, rowid: kind !== "without" });
  }

  #column({ name, type }: Column, keys: string[]): string {
    const dice = this.#dice;
    let sql = `${name} ${type}`.trim();
    if (dice.chance(0.12)) sql += " NOT NULL";
    if (dice.chance(0.18)) {
      const clause = dice.chance(0.5) ? dice.pick(CONFLICTS) : null;
      if (clause !== null) this.#cover(`ON CONFLICT ${clause}`);
      sql += clause === null ? " UNIQUE" : ` UNIQUE ON CONFLICT ${clause}`;
      keys.push(name);
    }
    if (dice.chance(0.2)) sql += ` DEFAULT (${this.#expression("default", [])})`;
    if (dice.chance(0.12)) {
      this.#cover("COLLATE");
      sql += " COLLATE NOCASE";
    }
    return sql;
  }

  #generated(columns: Column[], parts: string[]): void {
    const dice = this.#dice;
    if (!dice.chance(0.35)) return;
    const stored = dice.chance(0.5);
    this.#cover(stored ? "generated stored column" : "generated virtual column");
    const sources = columns.filter(({ name }) => name !== "id").map(({ name }) => name);
    const expression = `length(${dice.pick(sources)}) + coalesce(${dice.pick(sources)}, 2)`;
    parts.push(`g INTEGER AS (CAST(${expression} AS INTEGER)) ${stored ? "STORED" : "VIRTUAL"}`);
    columns.push({ name: "g", type: "INTEGER", generated: true });
  }

  #constraints(columns: readonly Column[], parts: string[]): void {
    const dice = this.#dice;
    const names = columns.filter(({ generated }) => !generated).map(({ name }) => name);
    if (dice.chance(0.35)) {
      this.#cover("CHECK");
      const scope = { columns: [], position: "check" as const, args: null, covers: [] };
      const dated = dice.chance(0.4);
      if (dated) this.#schema.covers.push("date in check");
      const rest = dated
        ? `${dice.pick(names)} < datetime('now')`
        : this.#expressions.condition(scope, 2);
      parts.push(`CHECK (coalesce(${dice.pick(names)}, 0) < 10 OR ${rest})`);
    }
    const parents = this.#schema.tables.filter((table) => table.keys.length > 0);
    if (parents.length > 0 && dice.chance(0.5)) {
      const parent = dice.pick(parents);
      const action = dice.pick(ACTIONS);
      this.#cover(`foreign key ${action}`);
      let sql = `FOREIGN KEY (${dice.pick(names)}) REFERENCES ${parent.name}(${dice.pick(parent.keys)})`;
      sql += ` ON DELETE ${action} ON UPDATE ${dice.pick(ACTIONS)}`;
      if (dice.chance(0.35)) {
        this.#cover("foreign key deferred");
        sql += " DEFERRABLE INITIALLY DEFERRED";
      }
      parts.push(sql);
    }
  }

  #index(table: Table, name: string): void {
    const dice = this.#dice;
    const columns = table.columns.map((column) => column.name);
    const unique = dice.chance(0.15);
    const expression = dice.chance(0.3);
    const partial = dice.chance(0.3);
    if (unique) this.#cover("unique index");
    if (expression) this.#cover("expression index");
    if (partial) this.#cover("partial index");
    const first = expression
      ? dice.pick([
          `lower(${dice.pick(columns)})`,
          `${dice.pick(columns)} % 4`,
          `abs(${dice.pick(columns)})`,
        ])
      : dice.pick(columns);
    const list = dice.chance(0.4) ? `${first}, ${dice.pick(columns)} DESC` : first;
    const where = partial ? ` WHERE ${dice.pick(columns)} IS NOT NULL` : "";
    this.#schema.indexes.push(name);
    this.#schema.ddl.push(
      `CREATE ${unique ? "UNIQUE " : ""}INDEX ${name} ON ${table.name}(${list})${where}`,
    );
  }

  // --- what is built on tables --------------------------------------------------------------------------------------

  #fullText(): void {
    const dice = this.#dice;
    this.#add("FTS5", `CREATE VIRTUAL TABLE f USING fts5(x, y${dice.pick(FTS5_OPTIONS)})`);
    this.#schema.fts.push("f");
    if (dice.chance(0.5)) {
      this.#schema.ddl.push("CREATE VIRTUAL TABLE fv USING fts5vocab(f, row)");
      this.#schema.fts.push("fv");
    }
    if (dice.chance(0.4)) {
      this.#add("FTS4", `CREATE VIRTUAL TABLE f4 USING fts4(x, y${dice.pick(FTS4_OPTIONS)})`);
      this.#schema.fts.push("f4");
    }
    if (!dice.chance(0.5)) return;
    const content = "CREATE TABLE doc(id INTEGER PRIMARY KEY, x, y)";
    this.#add("table", content);
    this.#schema.tables.push({ ...plainTable("doc", ["id", "x", "y"]), keys: ["id"] });
    this.#add(
      "FTS5 external content",
      "CREATE VIRTUAL TABLE fx USING fts5(x, y, content='doc', content_rowid='id')",
    );
    this.#schema.ddl.push(
      "CREATE TRIGGER doc_i AFTER INSERT ON doc BEGIN INSERT INTO fx(rowid, x, y) VALUES (new.id, new.x, new.y); END",
      `CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN
         INSERT INTO fx(fx, rowid, x, y) VALUES ('delete', old.id, old.x, old.y);
       END`,
      `CREATE TRIGGER doc_u AFTER UPDATE ON doc BEGIN
         INSERT INTO fx(fx, rowid, x, y) VALUES ('delete', old.id, old.x, old.y);
         INSERT INTO fx(rowid, x, y) VALUES (new.id, new.x, new.y);
       END`,
    );
    this.#schema.fts.push("fx");
  }

  #extras(): void {
    const dice = this.#dice;
    if (dice.chance(0.4)) {
      this.#schema.ddl.push(...REPLACED);
      this.#schema.tables.push({ ...plainTable("rep", ["id", "u", "v"]), keys: ["id", "u"] });
      this.#schema.extras.push("replaced");
    }
    if (dice.chance(0.4)) {
      this.#schema.ddl.push(...KEYS);
      this.#schema.extras.push("keys");
    }
    if (dice.chance(0.3)) {
      this.#schema.ddl.push(...splitStatements(BLOB_TABLES).map(({ text }) => text));
      this.#schema.extras.push("blobs");
    }
  }

  #rtree(): void {
    this.#add("R*Tree", `CREATE VIRTUAL TABLE r USING ${this.#dice.pick(RTREES)}`);
    this.#schema.rtrees.push("r");
  }

  #view(name: string): void {
    const dice = this.#dice;
    const table = dice.pick(this.#schema.tables);
    const columns = table.columns.map((column) => column.name);
    const [a, b] = [dice.pick(columns), dice.pick(columns)];
    const extra = this.#expression("view", columns);
    const order = dice.chance(0.3) ? " ORDER BY random()" : "";
    if (order !== "") this.#schema.covers.push("random in view");
    this.#add(
      "view",
      `CREATE VIEW ${name}(p, q, r) AS SELECT ${a}, ${b}, ${extra} FROM ${table.name}${order}`,
    );
    const writable = dice.chance(0.6);
    if (writable) {
      const [target, source] = [
        dice.pick(columns.filter((column) => column !== "g")),
        dice.pick(["p", "q"]),
      ];
      this.#add(
        "trigger INSTEAD OF",
        `CREATE TRIGGER ${name}_ins INSTEAD OF INSERT ON ${name} BEGIN
           INSERT INTO ${table.name}(${target}) VALUES (new.${source});
         END`,
      );
    }
    this.#schema.views.push({ name, columns: ["p", "q", "r"], writable });
  }

  #trigger(name: string): void {
    const dice = this.#dice;
    const table = dice.pick(this.#schema.tables);
    const target = dice.pick(this.#schema.tables);
    const time = dice.pick(["BEFORE", "AFTER", "AFTER"] as const);
    const event = dice.pick(["INSERT", "UPDATE", "DELETE"]);
    const row = event === "INSERT" ? "new" : event === "DELETE" ? "old" : dice.pick(["old", "new"]);
    const column = dice.pick(table.columns).name;
    const into = dice.pick(target.columns.filter(({ generated }) => !generated)).name;
    const value = this.#expression("trigger", [`${row}.${column}`]);
    const verb = dice.pick(["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE", "REPLACE"]);
    const body = dice.weighted([
      [5, `${verb} INTO ${target.name}(${into}) VALUES (${value})`],
      [2, `UPDATE ${target.name} SET ${into} = ${value} WHERE ${into} = ${row}.${column}`],
      [1, `DELETE FROM ${target.name} WHERE ${into} = ${row}.${column} AND ${into} > 6`],
      [
        1,
        `SELECT RAISE(${dice.pick(["ABORT", "FAIL", "IGNORE", "ROLLBACK"])}, 'raised') WHERE ${row}.${column} > 9`,
      ],
      [2, `INSERT INTO sink VALUES (changes(), last_insert_rowid(), ${value}, '${name}')`],
    ]);
    const when = dice.chance(0.4) ? ` WHEN ${row}.${column} > 2` : "";
    this.#add(
      `trigger ${time}`,
      `CREATE TRIGGER ${name} ${time} ${event} ON ${table.name}${when} BEGIN ${body}; END`,
    );
  }
}

function primaryKey(kind: "rowid" | "auto" | "without"): string {
  if (kind === "without") return "id TEXT PRIMARY KEY";
  return kind === "auto" ? "id INTEGER PRIMARY KEY AUTOINCREMENT" : "id INTEGER PRIMARY KEY";
}

function plainTable(name: string, columns: readonly string[]): Table {
  return {
    name,
    columns: columns.map((column) => ({ name: column, type: "", generated: false })),
    keys: [],
    rowid: true,
  };
}
