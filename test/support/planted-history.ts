/**
 * Makes long histories of a register whose verdict is known: a true register serves clients on virtual time, faults
 * lose answers, and on demand one anomaly is planted. To check the checker; no database is involved.
 */

import type { Cell, RegisterOperation } from "./linearizability-models.ts";
import { randomOf } from "./random.ts";

export interface PlantedOptions {
  readonly operations: number;
  readonly keys: number;
  readonly clients: number;
  /** Each makes every operation then under way one of unknown outcome. */
  readonly faults: number;
  readonly seed: number;
  readonly anomaly?: "stale-read" | "lost-write" | "doubled-write" | "future-read" | "early-error";
}

export function plantedHistory(options: PlantedOptions): RegisterOperation[] {
  const dice = randomOf(options.seed);
  const operations = serve(options, dice);
  return options.anomaly === undefined
    ? operations
    : [...operations.slice(0, -8), ...anomalyOf(options.anomaly, dice() * 900)];
}

function serve(options: PlantedOptions, dice: () => number): RegisterOperation[] {
  const state = new Map<string, Cell>();
  const clients = Array.from({ length: options.clients }, () => dice());
  const length = options.operations / options.clients;
  const faults = Array.from({ length: options.faults }, () => dice() * length * 1.2);
  const planned = Array.from({ length: options.operations }, (_, at) => {
    const own = at % options.clients;
    const invokedAt = clients[own] as number;
    const effectAt = invokedAt + dice();
    const returnedAt = effectAt + dice() * 0.4;
    clients[own] = returnedAt + dice() * 0.1;
    const lost = faults.some((fault) => invokedAt < fault && fault < returnedAt);
    // A lost one may take effect much later, or never.
    const late = lost ? effectAt + (dice() < 0.5 ? dice() * 5 : Infinity) : effectAt;
    const key = `k${Math.floor(dice() * options.keys)}`;
    return { at, client: `c${own}`, key, invokedAt, effectAt: late, returnedAt, lost };
  });
  planned.sort((a, b) => a.effectAt - b.effectAt);
  return planned.map(({ at, client, key, invokedAt, effectAt, returnedAt, lost }) => {
    const operation = effect(state, key, at, dice, effectAt === Infinity);
    const times = { client, key, invokedAt, returnedAt: lost ? null : returnedAt };
    return { ...operation, ...times, ...(lost ? { output: null } : {}) } as RegisterOperation;
  });
}

function effect(
  state: Map<string, Cell>,
  key: string,
  value: number,
  dice: () => number,
  never: boolean,
): Pick<RegisterOperation, "kind" | "input" | "output"> {
  const now = state.get(key) ?? null;
  const set = (next: Cell | null) => {
    if (never) return;
    if (next === null) state.delete(key);
    else state.set(key, next);
  };
  const choice = dice();
  if (choice < 0.45) return { kind: "read", input: null, output: { value: now } };
  if (choice < 0.75) {
    set(value);
    return { kind: "write", input: value, output: "ok" };
  }
  if (choice < 0.88) {
    if (now === null) set(value);
    return { kind: "insert", input: value, output: now === null ? "ok" : "exists" };
  }
  if (choice < 0.93) {
    set(null);
    return { kind: "delete", input: null, output: now === null ? "absent" : "ok" };
  }
  const expected = dice() < 0.6 && now !== null ? now : value - 40;
  if (now === expected) set(value);
  return {
    kind: "compare-and-set",
    input: { expected, next: value },
    output: now === expected ? "ok" : "differs",
  };
}

/** Eight operations on a key of their own. */
function anomalyOf(anomaly: NonNullable<PlantedOptions["anomaly"]>, from: number) {
  const at = (invokedAt: number, returnedAt: number | null) => ({
    client: "planted",
    key: "anomaly",
    invokedAt: from + invokedAt,
    returnedAt: returnedAt === null ? null : from + returnedAt,
  });
  const write = (input: number, a: number, b: number | null): RegisterOperation => ({
    ...at(a, b),
    kind: "write",
    input,
    output: b === null ? null : "ok",
  });
  const read = (value: number | null, a: number, b: number): RegisterOperation => ({
    ...at(a, b),
    kind: "read",
    input: null,
    output: { value },
  });
  const insert = (input: number, output: "ok" | "exists" | null, a: number, b: number | null) =>
    ({ ...at(a, b), kind: "insert", input, output }) as RegisterOperation;
  const quiet = [write(1, 10, 11), read(1, 12, 13), write(2, 14, 15), write(9, 14, null)];
  switch (anomaly) {
    case "stale-read":
      return [...quiet, write(3, 16, 17), read(3, 17.5, 18), read(2, 18.5, 20), read(3, 21, 22)];
    case "lost-write":
      return [...quiet, write(3, 16, 17), read(2, 18, 19), read(2, 20, 21), read(2, 22, 23)];
    case "doubled-write":
      return [...quiet, read(9, 16, 17), write(3, 18, 19), read(9, 20, 21), read(9, 22, 23)];
    case "future-read":
      return [...quiet, read(5, 16, 17), write(5, 18, 19), read(5, 20, 21), read(5, 22, 23)];
    case "early-error":
      return [
        insert(1, null, 10, null),
        insert(2, "exists", 11, 12),
        read(null, 13, 14),
        read(null, 15, 16),
        read(null, 17, 18),
        insert(3, "ok", 19, 20),
        read(3, 21, 22),
        read(3, 23, 24),
      ];
  }
}
