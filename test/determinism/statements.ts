/** Random statements over a random schema. Each names the kinds of thing that it is an example of. */

import type { Dice } from "./dice.ts";
import { Draft, type Made } from "./draft.ts";
import type { Expressions } from "./expressions.ts";
import { FullTextMaker } from "./full-text.ts";
import { CONFLICTS, type Position } from "./plan.ts";
import type { Schema, Table } from "./schemas.ts";

export class StatementMaker {
  readonly #dice: Dice;
  readonly #expressions: Expressions;
  readonly #schema: Schema;
  readonly fullText: FullTextMaker;

  constructor(dice: Dice, expressions: Expressions, schema: Schema) {
    this.#dice = dice;
    this.#expressions = expressions;
    this.#schema = schema;
    this.fullText = new FullTextMaker(dice, schema);
  }

  make(): Made {
    const make = this.#dice.weighted<() => Made>([
      [9, () => this.#insert()],
      [3, () => this.#insertSelect()],
      [2, () => this.bulk()],
      [3, () => this.#upsert()],
      [4, () => this.#update()],
      [2, () => this.#updateFrom()],
      [3, () => this.#delete()],
      [3, () => this.#with()],
      [5, () => this.#planDependent()],
      [2, () => this.#select()],
      [1, () => this.#window()],
      [1, () => this.#aggregate()],
      [1.5, () => this.#view()],
      [2.5, () => this.#fullText()],
      [1.5, () => this.#rtree()],
    ]);
    return make();
  }

  #table(): Table {
    return this.#dice.pick(this.#schema.tables);
  }

  #writable(table: Table): readonly { name: string; type: string }[] {
    return table.columns.filter(({ generated }) => !generated);
  }

  #names(table: Table, prefix = ""): string[] {
    return table.columns.map(({ name }) => prefix + name);
  }

  #condition(draft: Draft, columns: readonly string[], position: Position = "where"): string {
    return this.#expressions.condition(draft.scope(position, columns));
  }

  #returning(draft: Draft, table: Table): string {
    if (!this.#dice.chance(0.25)) return "";
    draft.covers.push("RETURNING");
    const value = this.#expressions.any(draft.scope("returning", this.#names(table)));
    return ` RETURNING ${this.#dice.pick(["*", this.#dice.pick(table.columns).name])}, ${value}`;
  }

  /** Keys are left out often, so that SQLite chooses rowids; many rows sometimes, so that some statement fails half-way. */
  #row(draft: Draft, columns: readonly { name: string; type: string }[]): string {
    const values = columns.map(({ name, type }) => {
      if (name !== "id") return this.#expressions.of(type, draft.scope("values", []));
      if (type === "INTEGER" && this.#dice.chance(0.2)) return "NULL";
      draft.args.push(type === "TEXT" ? `k${this.#dice.below(25)}` : this.#dice.below(40));
      return "?";
    });
    return `(${values.join(", ")})`;
  }

  #chosen(table: Table): { name: string; type: string }[] {
    const columns = this.#writable(table).filter(({ name, type }) =>
      this.#dice.chance(name === "id" ? (type === "TEXT" ? 0.95 : 0.35) : 0.75),
    );
    return columns.length > 0 ? columns : [this.#dice.pick(this.#writable(table))];
  }

  // --- statements of one table --------------------------------------------------------------------------------------

  #insert(): Made {
    const dice = this.#dice;
    const draft = new Draft();
    const table = this.#table();
    const conflict = dice.chance(0.4) ? dice.pick(CONFLICTS) : null;
    let verb = conflict === null ? "INSERT" : `INSERT OR ${conflict}`;
    if (conflict !== null) draft.covers.push(verb);
    if (dice.chance(0.08)) {
      verb = "REPLACE";
      draft.covers.push(verb);
    }
    if (dice.chance(0.04)) {
      const sql = `${verb} INTO ${table.name} DEFAULT VALUES${this.#returning(draft, table)}`;
      return draft.done(sql, "INSERT DEFAULT VALUES");
    }
    const columns = this.#chosen(table);
    let names = columns.map(({ name }) => name).join(", ");
    const rows = dice.chance(0.4) ? dice.between(2, 5) : 1;
    draft.covers.push(rows > 1 ? "INSERT many rows" : "INSERT VALUES");
    let values = dice.list(rows, () => this.#row(draft, columns)).join(", ");
    if (
      rows === 1 &&
      table.rowid &&
      !table.columns.some(({ name }) => name === "id") &&
      dice.chance(0.2)
    ) {
      draft.covers.push("INSERT explicit rowid");
      names = `rowid, ${names}`;
      values = `(${dice.pick(["7", "12", "1000", "-5", "4294967299"])}, ${values.slice(1)}`;
    }
    return draft.done(
      `${verb} INTO ${table.name}(${names}) VALUES ${values}${this.#returning(draft, table)}`,
    );
  }

  #insertSelect(): Made {
    const dice = this.#dice;
    const draft = new Draft();
    const [table, source] = [this.#table(), this.#table()];
    const columns = this.#chosen(table).filter(({ name }) => name !== "id" || dice.chance(0.3));
    const into = columns.length > 0 ? columns : [this.#writable(table).at(-1)!];
    const list = into.map(() =>
      this.#expressions.any(draft.scope("select list", this.#names(source))),
    );
    const where = this.#condition(draft, this.#names(source));
    const order = dice.chance(0.5)
      ? ` ORDER BY ${this.#expressions.any(draft.scope("order by", this.#names(source)))}`
      : "";
    const limit = this.#limit(draft);
    const verb = dice.pick(["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"]);
    const sql = `${verb} INTO ${table.name}(${into.map(({ name }) => name).join(", ")})`;
    return draft.done(
      `${sql} SELECT ${list.join(", ")} FROM ${source.name} WHERE ${where}${order}${limit}`,
      "INSERT SELECT",
    );
  }

  /** Many rows with few different values: what statistics are made of. */
  bulk(): Made {
    const dice = this.#dice;
    const table = this.#table();
    const columns = this.#writable(table).filter(({ name }) => name !== "id" || !table.rowid);
    const values = columns.map(({ name, type }) => {
      if (name === "id") return "'b' || i";
      const [modulus, shift] = [dice.between(1, 40), dice.below(5)];
      const number = `(i * ${dice.between(1, 9)} + ${shift}) % ${modulus}`;
      if (type === "TEXT") return `char(97 + (${number}) % 26)`;
      if (type === "BLOB") return `CAST(char(97 + (${number}) % 26) AS BLOB)`;
      return type === "REAL" ? `(${number}) / 4.0` : number;
    });
    const names = columns.map(({ name }) => name).join(", ");
    const sql = `WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ${dice.between(20, 200)})
      INSERT OR IGNORE INTO ${table.name}(${names}) SELECT ${values.join(", ")} FROM n`;
    return { statement: { sql }, covers: ["INSERT bulk"] };
  }

  #limit(draft: Draft): string {
    const dice = this.#dice;
    if (dice.chance(0.1)) {
      draft.covers.push("random in limit");
      return " LIMIT abs(random()) % 6";
    }
    if (dice.chance(0.1)) {
      draft.covers.push("date in limit");
      return " LIMIT unixepoch('now') % 5";
    }
    return ` LIMIT ${dice.between(1, 12)}`;
  }

  #upsert(): Made {
    const dice = this.#dice;
    const draft = new Draft();
    const keyed = this.#schema.tables.filter(({ keys }) => keys.length > 0);
    if (keyed.length === 0) return this.#insert();
    const table = dice.pick(keyed);
    const key = dice.pick(table.keys);
    const columns = this.#writable(table).filter(({ name }) => name === key || dice.chance(0.6));
    const rows = dice.list(dice.between(1, 3), () => this.#row(draft, columns)).join(", ");
    const names = columns.map(({ name }) => name).join(", ");
    const head = `INSERT INTO ${table.name}(${names}) VALUES ${rows} ON CONFLICT`;
    if (dice.chance(0.3)) {
      const target = dice.chance(0.5) ? `(${key})` : "";
      return draft.done(
        `${head}${target} DO NOTHING${this.#returning(draft, table)}`,
        "upsert DO NOTHING",
      );
    }
    const set = dice.pick(this.#writable(table)).name;
    const scope = draft.scope("upsert", [
      `${table.name}.${set}`,
      `excluded.${dice.pick(columns).name}`,
    ]);
    const value = this.#expressions.any(scope);
    const where = dice.chance(0.3) ? ` WHERE ${this.#expressions.condition(scope)}` : "";
    return draft.done(
      `${head}(${key}) DO UPDATE SET ${set} = ${value}${where}${this.#returning(draft, table)}`,
      "upsert DO UPDATE",
    );
  }

  #update(): Made {
    const dice = this.#dice;
    const draft = new Draft();
    const table = this.#table();
    const conflict = dice.chance(0.35) ? dice.pick(CONFLICTS) : null;
    if (conflict !== null) draft.covers.push(`UPDATE OR ${conflict}`);
    const { name, type } = dice.pick(this.#writable(table));
    if (name === "id") draft.covers.push("UPDATE of a key");
    const columns = this.#names(table);
    const value = dice.chance(0.5)
      ? this.#expressions.any(draft.scope("set", columns))
      : this.#expressions.of(type, draft.scope("set", columns));
    const where = this.#condition(draft, columns);
    const verb = conflict === null ? "UPDATE" : `UPDATE OR ${conflict}`;
    const returning = this.#returning(draft, table);
    let tail = "";
    if (returning === "" && dice.chance(0.2)) {
      draft.covers.push("UPDATE LIMIT");
      tail = ` ORDER BY ${this.#expressions.any(draft.scope("order by", columns))} LIMIT ${dice.between(1, 4)}`;
    }
    return draft.done(
      `${verb} ${table.name} SET ${name} = ${value} WHERE ${where}${returning}${tail}`,
      "UPDATE",
    );
  }

  #updateFrom(): Made {
    const draft = new Draft();
    const [table, source] = [this.#table(), this.#table()];
    const { name } = this.#dice.pick(this.#writable(table));
    const columns = this.#names(source, "s.");
    const value = this.#expressions.any(draft.scope("set", columns));
    const on = `s.${this.#dice.pick(source.columns).name} = ${table.name}.${this.#dice.pick(table.columns).name}`;
    const where = this.#condition(draft, columns);
    return draft.done(
      `UPDATE ${table.name} SET ${name} = ${value} FROM ${source.name} AS s WHERE ${on} AND ${where}`,
      "UPDATE FROM",
    );
  }

  #delete(): Made {
    const dice = this.#dice;
    const draft = new Draft();
    const table = this.#table();
    const columns = this.#names(table);
    if (dice.chance(0.05)) return draft.done(`DELETE FROM ${table.name}`, "DELETE", "DELETE all");
    if (dice.chance(0.3)) {
      const order = this.#expressions.any(draft.scope("order by", columns));
      return draft.done(
        `DELETE FROM ${table.name} ORDER BY ${order} LIMIT ${dice.between(1, 3)}`,
        "DELETE LIMIT",
      );
    }
    const where = `${this.#condition(draft, columns)} AND ${dice.pick(columns)} > 4`;
    return draft.done(
      `DELETE FROM ${table.name} WHERE ${where}${this.#returning(draft, table)}`,
      "DELETE",
    );
  }

  #with(): Made {
    const dice = this.#dice;
    if (dice.chance(0.25)) return this.#recursive();
    const draft = new Draft();
    const [table, source] = [this.#table(), this.#table()];
    const value = this.#expressions.any(draft.scope("cte", this.#names(source)));
    const cte = `WITH w(v, n) AS (SELECT ${value}, ${dice.pick(source.columns).name} FROM ${source.name}${this.#limit(draft)})`;
    const { name } = dice.pick(this.#writable(table));
    switch (dice.below(3)) {
      case 0:
        return draft.done(
          `${cte} INSERT OR IGNORE INTO ${table.name}(${name}) SELECT v FROM w`,
          "WITH INSERT",
        );
      case 1: {
        const where = this.#condition(draft, this.#names(table));
        const sql = `${cte} UPDATE ${table.name} SET ${name} = (SELECT max(v) FROM w) WHERE ${where}`;
        return draft.done(sql, "WITH UPDATE");
      }
      default:
        return draft.done(
          `${cte} DELETE FROM ${table.name} WHERE ${name} IN (SELECT n FROM w) AND ${name} > 7`,
          "WITH DELETE",
        );
    }
  }

  #recursive(): Made {
    const draft = new Draft();
    const step = this.#expressions.random(draft.scope("cte", []));
    const rows = this.#dice.between(2, 30);
    return draft.done(
      `WITH RECURSIVE n(i, v) AS (
         VALUES (1, 0) UNION ALL SELECT i + 1, ${step} FROM n WHERE i < ${rows}
       ) INSERT INTO sink(a, b, c) SELECT i, v, i % 5 FROM n`,
      "WITH RECURSIVE",
    );
  }

  /** Which rows it takes depends on the plan: on indexes, on statistics, on bound values. */
  #planDependent(): Made {
    const dice = this.#dice;
    const draft = new Draft();
    const tables = dice.list(dice.between(1, 3), () => this.#table());
    const from = tables.map(({ name }, i) => `${name} AS j${i}`).join(", ");
    const columns = tables.flatMap((table, i) => this.#names(table, `j${i}.`));
    const joins = tables.slice(1).map((table, i) => {
      const left = dice.pick(this.#names(tables[i]!, `j${i}.`));
      return `${left} = ${dice.pick(this.#names(table, `j${i + 1}.`))}`;
    });
    if (dice.chance(0.2)) joins.push(`${this.#expressions.date(draft.scope("join", []))} > '1'`);
    if (dice.chance(0.1))
      joins.push(`abs(${this.#expressions.random(draft.scope("join", []))}) >= 0`);
    const boxes = this.#schema.rtrees.length > 0 && dice.chance(0.4);
    if (boxes)
      joins.push(
        `j0.${dice.pick(tables[0]!.columns).name} = r.id AND r.x0 < ${dice.between(1, 30)}`,
      );
    const where = [...joins, this.#condition(draft, columns)].join(" AND ");
    const list = dice.list(3, () => dice.pick(columns)).join(", ");
    return draft.done(
      `INSERT INTO sink(a, b, c) SELECT ${list} FROM ${from}${boxes ? ", r" : ""} WHERE ${where} LIMIT ${dice.between(1, 5)}`,
      "plan-dependent INSERT",
    );
  }

  // --- reads, views, virtual tables -----------------------------------------------------------------------------------

  #select(): Made {
    const draft = new Draft();
    const table = this.#table();
    const columns = this.#names(table);
    const list = this.#dice.list(2, () =>
      this.#expressions.any(draft.scope("select list", columns)),
    );
    const where = this.#condition(draft, columns);
    return draft.done(
      `SELECT ${list.join(", ")} FROM ${table.name} WHERE ${where} LIMIT 20`,
      "SELECT",
    );
  }

  #window(): Made {
    const draft = new Draft();
    const table = this.#table();
    const columns = this.#names(table);
    const [a, b, c] = [
      this.#dice.pick(columns),
      this.#dice.pick(columns),
      this.#dice.pick(columns),
    ];
    return draft.done(
      `INSERT INTO sink SELECT ${a}, row_number() OVER (ORDER BY ${b}), sum(${c}) OVER (PARTITION BY ${a}),
         group_concat(${b}) OVER (ORDER BY ${c} ROWS 2 PRECEDING) FROM ${table.name} LIMIT 6`,
      "window function",
    );
  }

  /** In the order of the plan, where none is asked for; and of JSON. */
  #aggregate(): Made {
    const dice = this.#dice;
    const draft = new Draft();
    const table = this.#table();
    const columns = this.#names(table).filter((name) => !name.startsWith("x"));
    const [a, b, c] = [dice.pick(columns), dice.pick(columns), dice.pick(columns)];
    const value = dice.pick([
      `group_concat(${a}, ' ')`,
      `string_agg(${a}, ',' ORDER BY ${c} DESC)`,
      `json_group_array(CAST(${a} AS TEXT))`,
      `sum(${a} * 0.1)`,
      `percentile(length(${a}), 40)`,
      `printf('%!.17g', avg(length(${a}) / 3.0))`,
    ]);
    if (dice.chance(0.3)) {
      const array = `(SELECT json_group_array(CAST(${a} AS TEXT)) FROM ${table.name})`;
      return draft.done(
        `INSERT INTO sink(a, b, c) SELECT value, id, fullkey FROM json_tree(${array}) LIMIT 9`,
        "INSERT SELECT",
        "json_tree",
      );
    }
    return draft.done(
      `INSERT INTO sink(a, b) SELECT ${b}, ${value} FROM ${table.name} GROUP BY ${b} LIMIT 5`,
      "INSERT SELECT",
      "aggregate",
    );
  }

  #view(): Made {
    const draft = new Draft();
    if (this.#schema.views.length === 0) return this.#select();
    const { name, writable } = this.#dice.pick(this.#schema.views);
    if (writable && this.#dice.chance(0.5)) {
      const values = this.#dice.list(2, () => this.#expressions.of("", draft.scope("values", [])));
      return draft.done(`INSERT INTO ${name}(p, q) VALUES (${values.join(", ")})`, "view INSERT");
    }
    return draft.done(
      `INSERT INTO sink(a, b, c) SELECT p, q, r FROM ${name} LIMIT 4`,
      "INSERT SELECT",
    );
  }

  #fullText(): Made {
    return this.fullText.exists ? this.fullText.make() : this.#select();
  }

  #rtree(): Made {
    const dice = this.#dice;
    const draft = new Draft();
    if (this.#schema.rtrees.length === 0) return this.#select();
    switch (dice.below(5)) {
      case 4:
        return draft.done(
          `UPDATE r SET x1 = x1 + ${dice.below(9)}, note = random() WHERE id % 6 = ${dice.below(6)}`,
          "R*Tree write",
        );
      case 0:
        return draft.done(
          `INSERT INTO sink(a, b) SELECT id, x0 FROM r WHERE x1 > ${dice.below(50)} AND y0 < ${dice.below(90)} LIMIT 4`,
          "R*Tree query",
        );
      case 1:
        return draft.done(`DELETE FROM r WHERE id % 7 = ${dice.below(7)}`, "R*Tree write");
      case 2: {
        const sql = `WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ${dice.between(5, 60)})
          INSERT OR REPLACE INTO r SELECT i, abs(random()) % 50, 60, i, i + 5, date('now') FROM n`;
        return draft.done(sql, "R*Tree write");
      }
      default: {
        const [x, y] = [dice.below(60), dice.below(60)];
        draft.args.push(
          dice.chance(0.5) ? null : dice.below(60),
          x,
          x + dice.between(-1, 9),
          y,
          y + 3,
        );
        return draft.done("INSERT INTO r VALUES (?, ?, ?, ?, ?, unixepoch())", "R*Tree write");
      }
    }
  }
}
