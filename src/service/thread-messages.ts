/** What an app's thread and its node's thread say to each other. */

import type { NodeOptions } from "../node/config.ts";
import type { Failure } from "../sql/errors.ts";
import type { LogLevel } from "./logger.ts";
import type { Addresses } from "./serve-node.ts";

/** What the thread is started with. */
export interface ThreadData {
  readonly options: Omit<NodeOptions, "advertise" | "onCore">;
  readonly addresses: Addresses;
  readonly logLevel: LogLevel;
}

export type FromThread =
  | { readonly kind: "open"; readonly port: number }
  | { readonly kind: "failed"; readonly failure: Failure }
  | { readonly kind: "halted"; readonly message: string };

/** The one thing that the app says: end in order. */
export const STOP = "stop";
