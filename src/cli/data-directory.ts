/** Checks, before anything starts, that a directory can hold data; the message says what is wrong and the way out. */

import { accessSync, constants, existsSync, mkdirSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { CliError, EXIT } from "./exit-code.ts";

/** Makes the directory if it is missing. @throws CliError */
export function prepareDirectory(dir: string): void {
  try {
    makeWithParents(resolve(dir));
    if (!statSync(dir).isDirectory()) throw Object.assign(new Error(), { code: "ENOTDIR" });
    accessSync(dir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new CliError(EXIT.failed, directoryMessage(dir, error), error);
  }
}

/** Not `recursive: true`: in a file system that makes no directories (/proc), that never returns in Node 20. */
function makeWithParents(path: string): void {
  if (existsSync(path)) return;
  makeWithParents(dirname(path));
  try {
    mkdirSync(path);
  } catch (error) {
    // Somebody else made it meanwhile.
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

function directoryMessage(dir: string, error: unknown): string {
  const wayOut = "choose another with --dir";
  switch ((error as NodeJS.ErrnoException).code) {
    case "EACCES":
    case "EPERM":
      return `cannot write to the data directory ${dir}: permission denied; change its owner, or ${wayOut}`;
    case "EROFS":
      return `cannot write to the data directory ${dir}: its file system is read-only; ${wayOut}`;
    case "ENOTDIR":
    case "EEXIST":
      return `the data directory ${dir} is a file, or lies below one; ${wayOut}`;
    case "ENOSPC":
      return `cannot make the data directory ${dir}: no space left on the device`;
    default:
      return `cannot make the data directory ${dir}: ${(error as Error).message}; ${wayOut}`;
  }
}
