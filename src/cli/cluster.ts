/**
 * `balsa cluster`: the nodes of a development cluster as child processes on this machine, in the foreground. It shows
 * what they say and reports elections and deaths; it restarts nothing and knows nothing of what they store.
 */

import { join, relative } from "node:path";
import { formatAddress } from "../rpc/addresses.ts";
import { formatLogRecord, parseLogRecord } from "../service/log-line.ts";
import { toNodeEvent } from "../service/node-event.ts";
import type { ExtensionOptions } from "../sql/extension.ts";
import { prepareDirectory } from "./data-directory.ts";
import { EXIT, type ExitCode } from "./exit-code.ts";
import { describeExit, type NodeExit, NodeProcess } from "./node-process.ts";
import { formatExtension } from "./option-values.ts";
import type { Output } from "./output.ts";
import { checkFree } from "./port-check.ts";
import { onStopSignals } from "./shutdown.ts";
import { formatTable } from "./table.ts";

export interface ClusterOptions {
  readonly nodes: number;
  readonly dir: string;
  /** Of the first node; the others follow. */
  readonly port: number;
  readonly logLevel: string;
  readonly extension?: readonly ExtensionOptions[];
  readonly autoVacuum?: string;
  readonly acceptChangedFile?: boolean;
}

const HOST = "127.0.0.1";
/** Time the nodes have to stop in order. */
const STOP_MS_MAX = 10_000;

export async function runCluster(options: ClusterOptions, output: Output): Promise<ExitCode> {
  const ports = Array.from({ length: options.nodes }, (_, at) => options.port + at);
  for (const port of ports) {
    const wayOut = "stop what uses it, or choose others with --port";
    await checkFree({ host: HOST, port }, wayOut);
  }
  for (const at of ports.keys()) prepareDirectory(join(options.dir, `${at + 1}`));
  return new Cluster(options, ports, output).run();
}

class Cluster {
  readonly #output: Output;
  readonly #nodes: readonly NodeProcess[];
  readonly #endpoints: readonly string[];
  readonly #listening = new Set<number>();
  #announced = false;
  #stopping = false;
  #newestTerm = 0;
  #status: ExitCode = EXIT.ok;
  #finished: (status: ExitCode) => void = () => {};
  #stopTimer: NodeJS.Timeout | undefined;

  constructor(options: ClusterOptions, ports: readonly number[], output: Output) {
    this.#output = output;
    this.#endpoints = ports.map((port) => formatAddress({ host: HOST, port }));
    const peers = this.#endpoints.map((address, at) => `${at + 1}=${address}`).join(",");
    const given = options.extension ?? [];
    const extensions = given.flatMap((one) => ["--extension", formatExtension(one)]);
    this.#nodes = this.#endpoints.map((listen, at) => {
      const id = at + 1;
      const dir = join(options.dir, `${id}`);
      const { autoVacuum } = options;
      const vacuum = autoVacuum === undefined ? [] : ["--auto-vacuum", autoVacuum];
      const accept = options.acceptChangedFile === true ? ["--accept-changed-file"] : [];
      const flags = ["--log-level", options.logLevel, ...extensions, ...vacuum, ...accept];
      return new NodeProcess(
        { id, listen, dir, peers, flags },
        { line: (text) => this.#onLine(id, text), exited: (how) => this.#onExit(id, how) },
      );
    });
  }

  /** Resolves when no node runs any more. */
  run(): Promise<ExitCode> {
    const killAll = () => {
      for (const node of this.#nodes) node.kill();
    };
    process.once("exit", killAll);
    const stopListening = onStopSignals(() => this.#stop("stopping the nodes"), killAll);
    return new Promise<ExitCode>((resolve) => {
      this.#finished = resolve;
      for (const node of this.#nodes) node.start();
    }).finally(() => {
      clearTimeout(this.#stopTimer);
      stopListening();
      process.off("exit", killAll);
    });
  }

  #onLine(id: number, text: string): void {
    const record = parseLogRecord(text);
    const shown = record === null ? text : formatLogRecord(withoutNode(record));
    this.#output.err(`[${id}] ${shown}\n`);
    const event = record === null ? null : toNodeEvent(record.facts);
    if (event?.event === "listening") this.#onListening(id);
    // All nodes tell of the same election: the first to do so is believed.
    if (event?.event === "leader" && event.leader !== 0 && event.term > this.#newestTerm) {
      this.#newestTerm = event.term;
      this.#report(`node ${event.leader} leads in term ${event.term}`);
    }
  }

  #onListening(id: number): void {
    this.#listening.add(id);
    if (this.#announced || this.#listening.size < this.#nodes.length) return;
    this.#announced = true;
    this.#output.out(this.#introduction());
  }

  #onExit(id: number, how: NodeExit): void {
    const running = this.#nodes.filter((node) => node.isRunning).length;
    if (!this.#stopping && !this.#announced) {
      this.#status = EXIT.failed;
      this.#stop(`node ${id} did not start (${describeExit(how)}); stopping the others`);
    } else if (!this.#stopping) {
      const count = this.#nodes.length;
      const quorum = running > count / 2 ? "the others go on" : "too few are left to go on";
      this.#report(`node ${id} died (${describeExit(how)}): ${running} of ${count} run, ${quorum}`);
      if (running > 0) this.#report("it is not restarted by itself: stop and start the cluster");
    }
    if (running > 0) return;
    if (!this.#stopping) this.#status = EXIT.failed;
    this.#report("all nodes have stopped");
    this.#finished(this.#status);
  }

  #stop(why: string): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#report(why);
    for (const node of this.#nodes) node.stop();
    this.#stopTimer = setTimeout(() => {
      for (const node of this.#nodes.filter((each) => each.isRunning)) {
        this.#report(`node ${node.options.id} does not stop; killing it`);
        node.kill();
      }
    }, STOP_MS_MAX);
  }

  #report(text: string): void {
    this.#output.out(`-- ${text}\n`);
  }

  #introduction(): string {
    const columns = [{ title: "NODE" }, { title: "ADDRESS" }, { title: "PID" }, { title: "DATA" }];
    const rows = this.#nodes.map(({ options, pid }) => {
      return [`${options.id}`, options.listen, `${pid}`, relative(".", options.dir) || "."];
    });
    const list = this.#endpoints.map((endpoint) => `"${endpoint}"`).join(", ");
    const flag = `--endpoints ${this.#endpoints.join(",")}`;
    return [
      "",
      formatTable(columns, rows),
      `connect   connect({ endpoints: [${list}] })`,
      `query     balsa sql "SELECT sqlite_version()" ${flag}`,
      `status    balsa status ${flag}`,
      "stop      Ctrl-C",
      "\n",
    ].join("\n");
  }
}

/** The prefix names the node already, and a child's process id is in the table. */
function withoutNode(record: NonNullable<ReturnType<typeof parseLogRecord>>) {
  const { node: _node, event: _event, ...facts } = record.facts;
  return { ...record, facts };
}
