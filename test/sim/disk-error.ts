/** How a simulated disk refuses: with what the file system would say. */

import type { Operation } from "./disk.ts";

/** As the file system gives it. */
export class DiskError extends Error {
  override readonly name = "DiskError";
  readonly code: "EIO" | "ENOSPC";
  readonly syscall: string;
  /** What was asked has happened all the same. */
  readonly hasEffect: boolean;

  constructor(code: "EIO" | "ENOSPC", operation: Operation, path: string, hasEffect = false) {
    super(`${code}: ${operation} of ${path}`);
    this.code = code;
    this.syscall = SYSCALLS[operation];
    this.hasEffect = hasEffect;
  }
}

const SYSCALLS: { readonly [name in Operation]: string } = {
  write: "write",
  writeDurably: "write",
  sync: "fdatasync",
  create: "open",
  open: "open",
  rename: "rename",
  remove: "unlink",
  syncDirectory: "fsync",
  read: "read",
};
