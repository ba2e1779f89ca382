/** `balsa recover`: the way out when a majority is lost for good. Asks to be sure, and says what it has done. */

import { recoverNode } from "../node/recover-node.ts";
import { CliError, EXIT, type ExitCode } from "./exit-code.ts";
import type { Output } from "./output.ts";

export interface RecoverOptions {
  readonly dir: string;
  readonly yes?: boolean;
  readonly acceptChangedFile?: boolean;
}

const WARNING =
  "This makes the node the only member of a new cluster. Writes that only other nodes have are lost, and no other node of " +
  "the old cluster can come back with its data. Choose the node whose log is the longest (balsa log list DIR), stop all " +
  "others for good, and say --yes";

/** @throws CliError without `yes`; BalsaError */
export async function recover(options: RecoverOptions, output: Output): Promise<ExitCode> {
  const { dir, yes, acceptChangedFile = false } = options;
  if (yes !== true) throw new CliError(EXIT.usage, WARNING);
  const { id, clusterId, lastIndex } = await recoverNode(dir, acceptChangedFile);
  output.out(
    `node ${id} is the only member of the new cluster ${clusterId}, with all up to log entry ${lastIndex}.\n` +
      `Start it with --peers ${id}=HOST:PORT or the flags it had, then add nodes: balsa member add\n`,
  );
  return EXIT.ok;
}
