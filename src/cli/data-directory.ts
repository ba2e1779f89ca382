/** Checks, before anything starts, that a directory can hold data; the message says what is wrong and the way out. */

import { accessSync, constants, statSync } from "node:fs";
import { resolve } from "node:path";
import { makeDataDirectory } from "../node/open-node.ts";
import { CliError, EXIT } from "./exit-code.ts";

/** Makes the directory if it is missing. @throws CliError */
export function prepareDirectory(dir: string): void {
  try {
    makeDataDirectory(resolve(dir));
    if (!statSync(dir).isDirectory()) throw Object.assign(new Error(), { code: "ENOTDIR" });
    accessSync(dir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new CliError(EXIT.failed, directoryMessage(dir, error), error);
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
