/** What running a request, or an entry, comes to. Words only. */

import type { Failure } from "../sql/errors.ts";
import type { Setting } from "../sql/settings.ts";
import type { FailedStatement } from "../wire/transaction-codec.ts";
import type { RequestOutcome } from "./request-executor.ts";

type Done = Extract<RequestOutcome, { kind: "done" }>;

/** A request's outcome, and what failed in it without stopping it. */
export type RunOutcome =
  | (Pick<Done, "kind" | "result" | "digest" | "wrote"> & {
      readonly failed?: readonly FailedStatement[];
    })
  | { readonly kind: "failure"; readonly failure: Failure; readonly setting?: Setting }
  | Extract<RequestOutcome, { kind: "broken" }>;

/** What an entry did here. */
export type Effect = Pick<Done, "digest" | "wrote"> & { readonly result: Uint8Array };

export function describe(failure: Failure): string {
  return `${failure.code}: ${failure.message}`;
}
