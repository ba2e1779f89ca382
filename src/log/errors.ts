/** Why a log cannot be opened or read. Both mean that the node must not run on this directory as it is. */

/**
 * What the disk holds is not what was acknowledged: serving or voting on it could lose committed data, so it is never
 * repaired by cutting (trap F3).
 */
export class LogCorruptionError extends Error {
  override readonly name = "LogCorruptionError";
  readonly code = "LOG_CORRUPTED";
  /** Path of the damaged file. */
  readonly file: string;
  /** Byte offset in it at which the damage was noticed. */
  readonly offset: number;
  readonly reason: string;

  constructor(file: string, offset: number, reason: string) {
    super(
      `LOG_CORRUPTED: ${file} at byte ${offset}: ${reason}. Nothing was changed. The other ` +
        "nodes go on without this one; keep its directory, and see docs/OPERATING.md",
    );
    this.file = file;
    this.offset = offset;
    this.reason = reason;
  }
}

export type LogOpenCode =
  /** The path, or a part of it, is a file. */
  | "NOT_A_DIRECTORY"
  /** It cannot be made, read or written. */
  | "UNUSABLE_DIRECTORY"
  /** Written by another version of Balsa. */
  | "UNKNOWN_VERSION"
  /** It belongs to a node with another id. */
  | "OTHER_NODE";

export class LogOpenError extends Error {
  override readonly name = "LogOpenError";
  readonly code: LogOpenCode;

  constructor(code: LogOpenCode, message: string, cause?: unknown) {
    super(`${code}: ${message}`, cause === undefined ? {} : { cause });
    this.code = code;
  }
}
