/** A whole run from one seed: a schema, then requests, and between them what happens to leaders. */

import { Dice } from "./dice.ts";
import type { Made } from "./draft.ts";
import { Expressions } from "./expressions.ts";
import { Mixtures } from "./mixtures.ts";
import type { Part, Plan, Step } from "./plan.ts";
import { SchemaChanges } from "./schema-changes.ts";
import { type Schema, SchemaMaker } from "./schemas.ts";
import { StatementMaker } from "./statements.ts";

export function makePlan(seed: number): Plan {
  const dice = new Dice(seed);
  const expressions = new Expressions(dice);
  const schema = new SchemaMaker(dice, expressions).make();
  const statements = new StatementMaker(dice, expressions, schema);
  const changes = new SchemaChanges(dice, schema);
  const mixtures = new Mixtures(dice, schema, statements);
  const steps: Step[] = [...schemaSteps(dice, schema)];
  // Rows first: plans and conflicts need some.
  for (let i = 0; i < 5; i++) steps.push(requestStep(dice, [statements.bulk()]));
  for (let i = 0; i < 8; i++) steps.push(requestStep(dice, [statements.make()]));
  for (let i = dice.between(40, 90); i > 0; i--) {
    steps.push(
      dice.weighted<() => Step>([
        [52, () => requestStep(dice, [statements.make()])],
        [
          16,
          () =>
            requestStep(
              dice,
              dice.list(dice.between(2, 5), () => statements.make()),
            ),
        ],
        [12, () => requestStep(dice, [changes.make()])],
        [2, () => requestStep(dice, [changes.setting()])],
        [12, () => requestStep(dice, mixtures.make())],
        [4, () => requestStep(dice, [statements.make(), changes.make(), statements.make()])],
        [3, () => requestStep(dice, [changes.analyze(), failing()])],
        [3, () => scriptStep(dice, changes)],
        [7, () => transactionStep(dice, { statements, changes, mixtures })],
        [14, () => ({ kind: "commit" })],
        [5, () => ({ kind: "lose", share: dice.pick([0, 0.5, 1]) })],
        [3, () => ({ kind: "handover" })],
        [8, () => ({ kind: "checksum" })],
      ])(),
    );
  }
  return { seed, steps };
}

/** Most DDL in a request of its own, so that one that fails costs no other. */
function schemaSteps(dice: Dice, { ddl, covers }: Schema): Step[] {
  const steps: Step[] = ddl.map((sql, i) => ({
    kind: "request",
    statements: [{ sql }],
    session: false,
    goOn: false,
    dtMs: 1,
    covers: i === 0 ? covers : [],
  }));
  if (dice.chance(0.7)) steps.push({ kind: "commit" });
  return steps;
}

function requestStep(dice: Dice, list: readonly Made[]): Step {
  return {
    kind: "request",
    statements: list.map(({ statement }) => statement),
    session: dice.chance(0.4),
    goOn: list.length > 1 && dice.chance(0.3),
    dtMs: dice.chance(0.02) ? 90_061_000 : dice.pick([0, 1, 137, 5_000, -40_000]),
    covers: list.flatMap(({ covers }) => [...covers]),
  };
}

function scriptStep(dice: Dice, changes: SchemaChanges): Step {
  const list = [
    changes.make(),
    { statement: { sql: "INSERT INTO sink VALUES (1, random(), date(), 2)" }, covers: [] },
  ];
  if (dice.chance(0.5)) list.push(changes.make());
  const sql = list.map(({ statement }) => statement.sql).join(";\n");
  return { kind: "script", sql, covers: list.flatMap(({ covers }) => [...covers]) };
}

interface Makers {
  readonly statements: StatementMaker;
  readonly changes: SchemaChanges;
  readonly mixtures: Mixtures;
}

/** Nested transactions are closed as often as they are opened. */
function transactionStep(dice: Dice, { statements, changes, mixtures }: Makers): Step {
  const parts: Part[] = [];
  let depth = 0;
  for (let i = dice.between(2, 8); i > 0; i--) {
    const list = dice.chance(0.25)
      ? mixtures.make()
      : dice.list(dice.chance(0.2) ? 2 : 1, () => statements.make());
    if (dice.chance(0.08)) list.push(dice.pick([changes.make(), changes.analyze()]));
    const covers = list.flatMap((made) => [...made.covers]);
    parts.push({ kind: "run", statements: list.map(({ statement }) => statement), covers });
    if (dice.chance(0.25)) {
      parts.push({ kind: "savepoint" });
      depth += 1;
    } else if (depth > 0 && dice.chance(0.4)) {
      parts.push({ kind: dice.pick(["release", "rollbackTo"]) });
      depth -= 1;
    }
  }
  for (; depth > 0; depth--) parts.push({ kind: dice.pick(["release", "rollbackTo"]) });
  return { kind: "transaction", parts, commits: dice.chance(0.8) };
}

function failing(): Made {
  return {
    statement: { sql: "INSERT INTO sink VALUES (abs(-9223372036854775808), 1, 2, 3)" },
    covers: [],
  };
}
