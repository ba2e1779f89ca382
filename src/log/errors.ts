/** Why a log cannot be opened, or cannot go on. Each means that the node must not run on this directory as it is. */

/**
 * What the disk holds may not be what was acknowledged: serving or voting on it could lose committed data (traps F2, F3).
 * The way on is to set the log aside and to have the cluster take the node in anew.
 */
export abstract class LogUntrustedError extends Error {
  abstract readonly code: "LOG_CORRUPTED" | "LOG_POISONED";
  readonly reason: string;

  constructor(message: string, reason: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.reason = reason;
  }
}

/** Bytes that were acknowledged are not there as they were written. Never repaired by cutting (trap F3). */
export class LogCorruptionError extends LogUntrustedError {
  override readonly name = "LogCorruptionError";
  readonly code = "LOG_CORRUPTED";
  /** Path of the damaged file. */
  readonly file: string;
  /** Byte offset in it at which the damage was noticed. */
  readonly offset: number;

  constructor(file: string, offset: number, reason: string, cause?: unknown) {
    super(
      `LOG_CORRUPTED: ${file} at byte ${offset}: ${reason}. Nothing was changed. The other ` +
        "nodes go on without this one; keep its directory, and see docs/OPERATING.md",
      reason,
      cause,
    );
    this.file = file;
    this.offset = offset;
  }
}

/**
 * A write or a sync failed. It is never repeated, and until the machine is restarted what is read back may come from
 * memory and not from the disk (trap F2).
 */
export class LogPoisonedError extends LogUntrustedError {
  override readonly name = "LogPoisonedError";
  readonly code = "LOG_POISONED";
  readonly directory: string;

  constructor(directory: string, reason: string, cause?: unknown) {
    super(
      `LOG_POISONED: a write or sync of the log in ${directory} failed: ${reason}. It is not repeated, and what ` +
        "the disk holds cannot be told before the machine is restarted. The other nodes go on without this " +
        "one; check the disk, and see docs/OPERATING.md",
      reason,
      cause,
    );
    this.directory = directory;
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

/** The disk refused to give a file's bytes: as good as other bytes than were written. Other errors stay what they are. */
export function unreadable(error: unknown, file: string, offset: number): unknown {
  if (codeOf(error) !== "EIO") return error;
  return new LogCorruptionError(file, offset, "the disk cannot read it (EIO)", error);
}

/** There is no room, or no more is granted to us. */
export function isOutOfSpace(error: unknown): boolean {
  return codeOf(error) === "ENOSPC" || codeOf(error) === "EDQUOT";
}

/** Calls that put no bytes on the disk: their failure says nothing of what is there. */
const HARMLESS_CALLS = new Set(["open", "rename", "unlink", "close", "mkdir", "scandir"]);

/** What a failed call of the running log means. An error that is no reason for distrust stays what it is. */
export function judgeFailure(error: Error, directory: string): Error {
  if (error instanceof LogUntrustedError) return error;
  const { syscall } = error as NodeJS.ErrnoException;
  const isHarmless = HARMLESS_CALLS.has(syscall ?? "") && codeOf(error) !== "EIO";
  return isHarmless ? error : new LogPoisonedError(directory, error.message, error);
}

function codeOf(error: unknown): string {
  return error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? "") : "";
}
