/**
 * Which interactive transaction the running code belongs to, however many calls deep: a write of the database inside it
 * would wait for the transaction, and the transaction for it.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { BalsaError } from "../sql/errors.ts";

interface Scope {
  /** The client that has it open. */
  readonly client: object;
  isOpen: boolean;
  readonly outer: Scope | undefined;
}

const scopes = new AsyncLocalStorage<Scope>();

/** Runs the function of a transaction of this client. */
export async function runInScope<T>(client: object, run: () => Promise<T>): Promise<T> {
  const scope: Scope = { client, isOpen: true, outer: scopes.getStore() };
  try {
    return await scopes.run(scope, run);
  } finally {
    scope.isOpen = false;
  }
}

/** @throws BalsaError NESTED_CALL inside the function of a transaction that writes and is still open. */
export function refuseInside(client: object, what: string): void {
  for (let scope = scopes.getStore(); scope !== undefined; scope = scope.outer) {
    if (scope.client !== client || !scope.isOpen) continue;
    const message =
      `${what} inside db.transaction would wait for that transaction, and it for this call: ` +
      "use the tx that the function is given";
    throw new BalsaError("NESTED_CALL", message);
  }
}
