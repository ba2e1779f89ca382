/**
 * The commands that carry whole databases in and out, with their options. What a command does stands in its own file, which
 * is loaded only when the command is called.
 */

import { type Command, Option } from "commander";
import type { ExitCode } from "./exit-code.ts";
import { directoryOption, idOption } from "./option-values.ts";
import type { Output } from "./output.ts";

/** Sets the status with which the process is to end. */
type Finish = (status: ExitCode) => void;

/** Options that other commands have, too. */
export interface SharedOptions {
  endpoints(): Option;
  deadline(what: string, defaultMs: number): Option;
  /** Of SQLite, for what cannot be read without. */
  extension(): Option;
}

const SILENCE_MS = 600_000;

export function addDataCommands(
  program: Command,
  shared: SharedOptions,
  output: Output,
  finish: Finish,
): void {
  addExport(program, shared, output, finish);
  addDump(program, shared, output, finish);
  addImport(program, shared, output, finish);
  addVerify(program, shared, output, finish);
}

function addSource(command: Command, shared: SharedOptions): Command {
  return command
    .addOption(shared.endpoints())
    .addOption(new Option("--dir <dir>", "instead: the data directory of a node that is stopped"))
    .addOption(
      new Option("--node <id>", "the node to copy (default: a follower)").argParser(idOption),
    )
    .addOption(shared.extension())
    .option("--stale", "what that node has, also when it hears of no leader")
    .addOption(shared.deadline("how long nothing may come from the node", SILENCE_MS));
}

function addExport(program: Command, shared: SharedOptions, output: Output, finish: Finish): void {
  const command = program
    .command("export")
    .description("write a plain SQLite file with all data as of one log index; nobody waits for it")
    .argument("<file>", "the file to make")
    .option("--compact", "without free pages, rows in order (VACUUM INTO)")
    .option("--force", "replace the file if it is there");
  addSource(command, shared)
    .option("--json", "JSON instead of a sentence")
    .action(async (file: string, options) => {
      const { exportFile } = await import("./export.ts");
      finish(await exportFile(file, options, output));
    });
}

function addDump(program: Command, shared: SharedOptions, output: Output, finish: Finish): void {
  const command = program
    .command("dump")
    .description("write all data as SQL, as of one log index; nobody waits for it")
    .argument("[file]", "the file to make (default: standard output)", "-")
    .option("--force", "replace the file if it is there");
  addSource(command, shared).action(async (file: string, options) => {
    const { dumpSql } = await import("./dump.ts");
    finish(await dumpSql(file, options, output));
  });
}

function addImport(program: Command, shared: SharedOptions, output: Output, finish: Finish): void {
  program
    .command("import")
    .description("prepare empty directories of a new cluster's first nodes with a SQLite file")
    .argument("<file>", "the file; nobody may have it open")
    .addOption(
      new Option(
        "--node <id=dir>",
        "a first node and its data directory; once for each. On several machines: run it on each, with the same file",
      )
        .argParser(directoryOption)
        .makeOptionMandatory(),
    )
    .addOption(shared.extension())
    .action(async (file: string, options) => {
      const { importFile } = await import("./import.ts");
      finish(await importFile(file, options, output));
    });
}

function addVerify(program: Command, shared: SharedOptions, output: Output, finish: Finish): void {
  program
    .command("verify")
    .description("compare all nodes' content at one log index, table by table, while writes go on")
    .addOption(shared.endpoints())
    .addOption(shared.deadline("how long nothing may come from a node", 30_000))
    .option("--deep", "SQLite's own check of each node's file, too: pages and indexes")
    .option("--json", "JSON instead of sentences")
    .action(async (options) => {
      const { verifyNodes } = await import("./verify.ts");
      finish(await verifyNodes(options, output));
    });
}
