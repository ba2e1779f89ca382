/** How the command ends: one meaning a number, and the error that carries it. Prints nothing. */

import { type BalsaCode, BalsaError } from "../sql/errors.ts";

export const EXIT = {
  ok: 0,
  /** The command could not do what it was told. */
  failed: 1,
  /** It was told something that it does not understand. */
  usage: 2,
  /** Nobody answered, or nobody leads. */
  noCluster: 3,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** A failure whose message is all that the user needs to see. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.exitCode = exitCode;
  }
}

const NO_CLUSTER: ReadonlySet<BalsaCode> = new Set(["UNAVAILABLE", "NO_LEADER", "PROTOCOL"]);

/** The exit code for whatever a command threw. */
export function exitCodeOf(reason: unknown): ExitCode {
  if (reason instanceof CliError) return reason.exitCode;
  if (!(reason instanceof BalsaError)) return EXIT.failed;
  if (reason.code === "INVALID_ARGUMENT") return EXIT.usage;
  if (NO_CLUSTER.has(reason.code)) return EXIT.noCluster;
  return EXIT.failed;
}
