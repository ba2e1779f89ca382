/** Opens what the processes' loops drive, with its defaults: the state machine, and a reader's executor. */

import type { KnownExtension } from "../sql/extension.ts";
import { DEFAULT_LIMITS, type Limits } from "../sql/limits.ts";
import { MachineCore } from "./machine-core.ts";
import type { MachineCoreOptions } from "./machine-options.ts";
import type { ReaderEngine, WriterEngine } from "./process-engines.ts";
import { ReadExecutor } from "./read-executor.ts";

/** @throws MachineFault if the file cannot be opened or taken over. */
export function openWriterEngine(
  path: string,
  options: Omit<MachineCoreOptions, "path"> = {},
): WriterEngine {
  return MachineCore.open({ ...options, path });
}

/** The file must have been made by a writer. */
export function openReaderEngine(
  path: string,
  limits: Limits = DEFAULT_LIMITS,
  extensions: readonly KnownExtension[] = [],
): ReaderEngine {
  return ReadExecutor.open({ path, limits, extensions });
}
