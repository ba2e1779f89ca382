/** The commands of blobs, with their options. What they do stands in blob.ts, which is loaded only when one is called. */

import type { Command } from "commander";
import type { ExitCode } from "./exit-code.ts";
import type { Output } from "./output.ts";
import type { SharedOptions } from "./program-data.ts";

const DEADLINE_MS = 10_000;

export function addBlobCommands(
  program: Command,
  shared: SharedOptions,
  output: Output,
  finish: (status: ExitCode) => void,
): void {
  const blob = program.command("blob").description("large values: see docs/SQL.md");
  const add = (name: string, what: string): Command =>
    blob
      .command(name)
      .description(what)
      .addOption(shared.endpoints())
      .addOption(shared.deadline("how long each step may take", DEADLINE_MS));
  add("put", "write a file as a blob, instead of an older one of that name")
    .argument("<name>", "of the blob")
    .argument("<file>", "the file to read, or - for standard input")
    .option("--type <type>", "what it is, such as image/png")
    .action(async (name: string, file: string, options) => {
      const { putBlob } = await import("./blob.ts");
      finish(await putBlob(name, file, options, output));
    });
  add("get", "read a blob into a file")
    .argument("<name>", "of the blob")
    .argument("<file>", "the file to make, or - for standard output")
    .option("--force", "replace the file if it is there")
    .action(async (name: string, file: string, options) => {
      const { getBlob } = await import("./blob.ts");
      finish(await getBlob(name, file, options));
    });
  add("list", "list blobs by name")
    .argument("[prefix]", "those whose name begins with it (default: all)")
    .option("--json", "JSON, a line for each blob")
    .action(async (prefix: string | undefined, options) => {
      const { listBlobs } = await import("./blob.ts");
      finish(await listBlobs(prefix, options, output));
    });
  add("rm", "remove a blob")
    .argument("<name>", "of the blob")
    .action(async (name: string, options) => {
      const { removeBlob } = await import("./blob.ts");
      finish(await removeBlob(name, options, output));
    });
}
