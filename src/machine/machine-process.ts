/** The program of every child process: loads all it may need, waits for its role, and runs it. */

import { join } from "node:path";
import { unreachable } from "../sql/invariant.ts";
import { awaitRole } from "./child-role.ts";
import { openReaderEngine, openWriterEngine } from "./engines.ts";
import { runExtensionCheck } from "./extension-check.ts";
import { FileSeal } from "./file-seal.ts";
import { runReader } from "./reader-loop.ts";
import { runSnapshotTask } from "./snapshot-task.ts";
import { WalCopier } from "./wal-copier.ts";
import { takeWriterLock } from "./writer-lock.ts";
import { runWriter } from "./writer-loop.ts";

const given = awaitRole();
const path = join(given.dir, "main.db");
switch (given.role) {
  case "writer": {
    const seal = new FileSeal(path);
    runWriter(given, {
      takeLock: (onSlow) => takeWriterLock(given.dir, given.lockWaitMs, onSlow),
      open: () => openWriterEngine(path, given),
      seal,
      copier: (engine) => {
        const demandSameFiles = (): void => {
          engine.look();
          seal.demandSameFile();
        };
        return new WalCopier({ path, demandSameFiles });
      },
    });
    break;
  }
  case "reader":
    runReader(() => openReaderEngine(path, given.limits, given.extensions));
    break;
  case "snapshot":
    await runSnapshotTask(given, path);
    break;
  case "extensions":
    runExtensionCheck(given);
    break;
  default:
    unreachable(given.role);
}
