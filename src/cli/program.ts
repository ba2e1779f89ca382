/**
 * The commands with their options, and how each ends. Flags win over BALSA_* variables, those over defaults. What a
 * command does stands in its own file, which is loaded only when the command is called.
 */

import { createRequire } from "node:module";
import { Command, CommanderError, Option } from "commander";
import { LOG_FORMATS, LOG_LEVELS } from "../service/logger.ts";
import { BalsaError, SqlError } from "../sql/errors.ts";
import { DEFAULT_LIMITS, LIMITS_MAX, type Limits } from "../sql/limits.ts";
import { AUTO_VACUUM } from "../sql/settings.ts";
import { CONSISTENCIES } from "../sql/statement.ts";
import { EXIT, type ExitCode, exitCodeOf } from "./exit-code.ts";
import {
  addressOption,
  endpointsOption,
  extensionsOption,
  idOption,
  peersOption,
  wholeOption,
} from "./option-values.ts";
import type { Output } from "./output.ts";
import { addBlobCommands } from "./program-blob.ts";
import { addDataCommands } from "./program-data.ts";

const DAY_MS = 86_400_000;
const DEFAULT_ENDPOINTS = ["127.0.0.1:4001", "127.0.0.1:4002", "127.0.0.1:4003"];

const EXIT_CODES = `
Exit status: 0 done, 1 failed, 2 wrong usage, 3 no cluster answers.
Every option that names a variable (env: BALSA_…) may be given by it; the flag wins.`;

/** Sets the status with which the process is to end. */
type Finish = (status: ExitCode) => void;

/** `argv`: without the interpreter and the script. Never throws. */
export async function runProgram(argv: readonly string[], output: Output): Promise<ExitCode> {
  let status: ExitCode = EXIT.ok;
  const program = makeProgram(output, (code) => {
    status = code;
  });
  try {
    await program.parseAsync(argv, { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    output.err(`balsa: ${describe(error)}\n`);
    return exitCodeOf(error);
  }
}

function describe(error: unknown): string {
  if (error instanceof BalsaError || error instanceof SqlError) {
    const at = error.statementIndex;
    return `${error.code}: ${at > 0 ? `statement ${at + 1}: ` : ""}${error.message}`;
  }
  return error instanceof Error ? error.message : String(error);
}

function makeProgram(output: Output, finish: Finish): Command {
  const program = new Command("balsa")
    .description("SQLite on a Raft: a replicated SQLite for Node services")
    .version(packageVersion(), "--version", "print the version")
    .helpOption("--help", "show this help")
    .exitOverride()
    .configureOutput({ writeOut: output.out, writeErr: output.err })
    .showHelpAfterError("(balsa --help lists the commands, balsa COMMAND --help its options)")
    .addHelpText("after", EXIT_CODES);
  addServe(program, output, finish);
  addCluster(program, output, finish);
  addStatus(program, output, finish);
  addSql(program, output, finish);
  addLog(program, output, finish);
  addMember(program, output, finish);
  addTransfer(program, output, finish);
  addUpgrade(program, output, finish);
  addRecover(program, output, finish);
  const shared = {
    endpoints: endpointsOptionWithDefault,
    deadline: deadlineOption,
    extension: extensionOption,
  };
  addDataCommands(program, shared, output, finish);
  addBlobCommands(program, shared, output, finish);
  return program;
}

function packageVersion(): string {
  const manifest: unknown = createRequire(import.meta.url)("../../package.json");
  return (manifest as { readonly version: string }).version;
}

function addServe(program: Command, output: Output, finish: Finish): void {
  const command = program.command("serve").description("run one node of a cluster");
  const required = (flags: string, what: string, variable: string) =>
    new Option(flags, what).env(variable).makeOptionMandatory();
  command
    .addOption(required("--id <id>", "this node's id, from 1", "BALSA_ID").argParser(idOption))
    .addOption(required("--dir <dir>", "its data directory, made if missing", "BALSA_DIR"))
    .addOption(
      required("--listen <host:port>", "where it listens", "BALSA_LISTEN").argParser(addressOption),
    )
    .addOption(
      new Option("--peers <list>", "all first members: 1=HOST:PORT,2=…, this one too")
        .env("BALSA_PEERS")
        .argParser(peersOption),
    )
    .option("--join", "instead of --peers: wait until a running cluster adds this node")
    .addOption(
      new Option("--advertise <host:port>", "where others reach it (default: --listen)")
        .env("BALSA_ADVERTISE")
        .argParser(addressOption),
    )
    .option(
      "--insecure",
      "listen beyond this machine, unencrypted and open to all (env: BALSA_INSECURE=1)",
    )
    .option("--until-eof", "stop when standard input ends, as it does when the parent dies");
  addTuning(command);
  command
    .addOption(extensionOption())
    .addOption(logLevelOption("info"))
    .addOption(
      new Option("--log-format <format>", "of the log on standard error")
        .env("BALSA_LOG_FORMAT")
        .choices(LOG_FORMATS)
        .default("auto"),
    )
    .addOption(autoVacuumOption())
    .addOption(acceptOption())
    .addOption(new Option("--plant <fault>", "a fault on purpose, for tests").hideHelp())
    .addOption(new Option("--machine-version <text>", "as if it ran that, for tests").hideHelp())
    .action(async (options) => {
      const { serve } = await import("./serve.ts");
      finish(await serve({ ...options, limits: limitsOf(options) }, output));
    });
}

/** Options whose defaults the node knows; shown here so that --help tells all. */
function addTuning(command: Command): void {
  const whole = (flag: string, what: string, shown: number, min: number, max: number) => {
    const variable = `BALSA_${flag.replaceAll("-", "_").toUpperCase()}`;
    const option = new Option(`--${flag} <n>`, `${what} (default: ${shown})`);
    command.addOption(option.env(variable).argParser(wholeOption(min, max)));
  };
  whole("heartbeat-ms", "between two heartbeats of the leader", 100, 10, 10_000);
  whole("election-ms", "silence after which a node may stand for leader", 500, 30, 600_000);
  whole("readers-min", "reader processes kept", 1, 1, 64);
  whole("readers-max", "reader processes at most", 4, 1, 64);
  whole("snapshot-ms-max", "age of a streamed read's snapshot", 60_000, 100, DAY_MS);
  whole("read-deadline-ms", "running time of one read", 10_000, 1, DAY_MS);
  whole("write-deadline-ms", "running time of one write", 30_000, 1, DAY_MS);
  whole("transaction-idle-ms", "most that a transaction may be idle", 30_000, 1, DAY_MS);
  whole("transaction-total-ms", "most that a transaction may be open", 120_000, 1, DAY_MS);
  const mib = 1024 * 1024;
  whole(
    "snapshot-bytes-max",
    "bytes of WAL that such reads may hold back",
    256 * mib,
    mib,
    2 ** 40,
  );
  whole("log-tail-entries", "log entries kept for nodes that were away", 100_000, 1, 10_000_000);
  whole("log-tail-bytes", "bytes of these, if that is less", 64 * mib, 4096, 2 ** 40);
  whole("log-hold-bytes", "kept at most for followers behind", 1024 * mib, 4096, 2 ** 40);
  whole("min-free-bytes", "with less, take no writes; 0 off", 64 * mib, 0, 2 ** 40);
  whole("checksum-interval-ms", "for range checksums of 2,000 rows, 0 off", 250, 0, 3_600_000);
  whole("scrub-interval-ms", "between two checks of the stored log, 0 off", 3_600_000, 0, DAY_MS);
  for (const [name, what] of Object.entries(LIMIT_TEXTS)) {
    const limit = name as keyof Limits;
    whole(flagOf(limit), what, DEFAULT_LIMITS[limit], 1, LIMITS_MAX[limit] ?? 2 ** 40);
  }
}

const LIMIT_TEXTS: { readonly [name in keyof Limits]: string } = {
  requestBytes: "bytes of one request's statements and parameters",
  valueBytes: "bytes of one text or blob",
  statementBytes: "bytes of one statement or script",
  statements: "statements in one batch or script",
  parameters: "parameters of one statement",
  resultBytes: "bytes of rows that a write returns",
  pendingWrites: "writes waiting on the node",
  pendingReads: "reads waiting on the node",
  pendingBytes: "bytes of requests waiting on the node",
};

/** `requestBytes` → `max-request-bytes`; commander gives it back as `maxRequestBytes`. */
function flagOf(limit: string): string {
  return `max-${limit.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function limitsOf(options: { readonly [name: string]: unknown }): Partial<Limits> {
  const limits: { [name: string]: number } = {};
  for (const name of Object.keys(LIMIT_TEXTS)) {
    const given = options[`max${name.charAt(0).toUpperCase()}${name.slice(1)}`];
    if (typeof given === "number") limits[name] = given;
  }
  return limits;
}

function addCluster(program: Command, output: Output, finish: Finish): void {
  program
    .command("cluster")
    .description("run a development cluster on this machine, in the foreground")
    .addOption(
      new Option("--nodes <n>", "how many")
        .argParser(wholeOption(1, 9))
        .default(3)
        .env("BALSA_NODES"),
    )
    .addOption(
      new Option("--dir <dir>", "holds a directory for each node, kept between runs")
        .env("BALSA_DIR")
        .default("balsa-data"),
    )
    .addOption(
      new Option("--port <port>", "of the first node; the others follow")
        .env("BALSA_PORT")
        .argParser(wholeOption(1, 65_527))
        .default(4001),
    )
    .addOption(extensionOption())
    .addOption(autoVacuumOption())
    .addOption(acceptOption())
    .addOption(logLevelOption("info"))
    .action(async (options) => {
      const { runCluster } = await import("./cluster.ts");
      finish(await runCluster(options, output));
    });
}

function addStatus(program: Command, output: Output, finish: Finish): void {
  program
    .command("status")
    .description("show each node: role, term, log, lag, size, leader")
    .addOption(endpointsOptionWithDefault())
    .addOption(
      new Option("--deadline-ms <n>", "how long a node may take to answer")
        .env("BALSA_DEADLINE_MS")
        .argParser(wholeOption(1, DAY_MS))
        .default(2_000),
    )
    .option("--json", "one JSON array instead of a table")
    .action(async (options) => {
      const { showStatus } = await import("./status.ts");
      finish(await showStatus(options, output));
    });
}

function addSql(program: Command, output: Output, finish: Finish): void {
  program
    .command("sql")
    .description("run SQL: one statement, or a script that takes effect as a whole")
    .argument("<sql>", "the SQL, or - to read it from standard input")
    .addOption(endpointsOptionWithDefault())
    .addOption(
      new Option("--consistency <kind>", "of reads")
        .env("BALSA_CONSISTENCY")
        .choices(CONSISTENCIES)
        .default("linearizable"),
    )
    .addOption(
      new Option("--max-staleness-ms <n>", "with stale: how far behind a node may be")
        .env("BALSA_MAX_STALENESS_MS")
        .argParser(wholeOption(1, DAY_MS)),
    )
    .addOption(
      new Option("--deadline-ms <n>", "how long it may take, retries included")
        .env("BALSA_DEADLINE_MS")
        .argParser(wholeOption(1, DAY_MS))
        .default(10_000),
    )
    .option("--json", 'JSON, a line for each row; a blob is {"base64":"…"}')
    .action(async (sql: string, options) => {
      const { runSql } = await import("./sql.ts");
      finish(await runSql(sql, options, output));
    });
}

function addLog(program: Command, output: Output, finish: Finish): void {
  const log = program
    .command("log")
    .description("look into the log of a stopped node; it changes nothing");
  const on = (name: string, what: string) =>
    log.command(name).description(what).argument("<dir>", "the node's data directory");
  const index = (flag: string, what: string) =>
    new Option(`--${flag} <index>`, what).argParser(wholeOption(1, Number.MAX_SAFE_INTEGER));
  on("list", "its segments: state, size, entries").action(async (dir: string) => {
    const { listLog } = await import("./log.ts");
    finish(listLog(dir, output));
  });
  on("dump", "its entries, readably")
    .addOption(index("from", "the first to show"))
    .addOption(index("to", "the last to show"))
    .option("--json", "JSON, a line for each entry")
    .action(async (dir: string, options) => {
      const { dumpLog } = await import("./log.ts");
      finish(dumpLog(dir, options, output));
    });
  on("verify", "check every checksum; tell what a start would do").action(async (dir: string) => {
    const { verifyLog } = await import("./log.ts");
    finish(verifyLog(dir, output));
  });
}

function addMember(program: Command, output: Output, finish: Finish): void {
  const member = program
    .command("member")
    .description("list, add, promote or remove the members of a running cluster");
  const id = () => new Option("--id <id>", "the node").argParser(idOption).makeOptionMandatory();
  const command = (name: string, description: string) =>
    member
      .command(name)
      .description(description)
      .addOption(endpointsOptionWithDefault())
      .addOption(deadlineOption("how long it may take; of add: without progress", 30_000));
  command("list", "who is a member, as the leader sees it")
    .option("--json", "JSON instead of a table")
    .action(async (options) => {
      finish(await (await import("./member.ts")).listMembers(options, output));
    });
  command(
    "add",
    "add a node that was started with --join; it becomes a voter when it has caught up",
  )
    .addOption(id())
    .addOption(
      new Option("--address <host:port>", "where peers and clients reach it")
        .argParser(addressOption)
        .makeOptionMandatory(),
    )
    .option("--learner", "it stays a learner: it has the data and no vote")
    .action(async (options) => {
      finish(await (await import("./member.ts")).addMember(options, output));
    });
  command("promote", "give a learner that has caught up a vote")
    .addOption(id())
    .action(async (options) => {
      finish(await (await import("./member.ts")).promoteMember(options, output));
    });
  command("remove", "remove a voter or a learner, the leader too")
    .addOption(id())
    .action(async (options) => {
      finish(await (await import("./member.ts")).removeMember(options, output));
    });
}

function addTransfer(program: Command, output: Output, finish: Finish): void {
  program
    .command("transfer")
    .description("hand the leadership to another voter")
    .addOption(endpointsOptionWithDefault())
    .addOption(
      new Option("--to <id>", "the next leader (default: the voter that is furthest)").argParser(
        idOption,
      ),
    )
    .addOption(deadlineOption("how long it may take", 10_000))
    .action(async (options) => {
      const { transferLeadership } = await import("./member.ts");
      finish(await transferLeadership(options, output));
    });
}

function addUpgrade(program: Command, output: Output, finish: Finish): void {
  program
    .command("upgrade")
    .description(
      "after nodes were replaced by newer ones: let those lead, once every voter runs the new version",
    )
    .addOption(endpointsOptionWithDefault())
    .option(
      "--to <version>",
      "the machine version (default: the one that voters run and the cluster does not)",
    )
    .option(
      "--majority",
      "also when only a majority of the voters runs it: the others follow, and never lead",
    )
    .addOption(deadlineOption("how long it may take", 10_000))
    .action(async (options) => {
      const { upgradeMachine } = await import("./member.ts");
      finish(await upgradeMachine(options, output));
    });
}

function addRecover(program: Command, output: Output, finish: Finish): void {
  program
    .command("recover")
    .description(
      "a majority is lost for good: make a stopped node the only member of a new cluster",
    )
    .requiredOption("--dir <dir>", "its data directory")
    .option("--yes", "it is understood what is lost")
    .addOption(acceptOption())
    .action(async (options) => {
      const { recover } = await import("./recover.ts");
      finish(await recover(options, output));
    });
}

/** Not from the environment: it is for one start, after a look at what was changed. */
function acceptOption(): Option {
  return new Option(
    "--accept-changed-file",
    "take a main.db that was changed from outside as it stands; with several nodes they must hold the same then (balsa verify)",
  );
}

function autoVacuumOption(): Option {
  return new Option(
    "--auto-vacuum <mode>",
    "of a database that is made now: what becomes of free pages",
  )
    .env("BALSA_AUTO_VACUUM")
    .choices(AUTO_VACUUM);
}

function deadlineOption(what: string, deadlineMs: number): Option {
  return new Option("--deadline-ms <n>", what)
    .env("BALSA_DEADLINE_MS")
    .argParser(wholeOption(1, DAY_MS))
    .default(deadlineMs);
}

function endpointsOptionWithDefault(): Option {
  return new Option("--endpoints <list>", "nodes to ask: HOST:PORT,HOST:PORT,…")
    .env("BALSA_ENDPOINTS")
    .argParser(endpointsOption)
    .default(DEFAULT_ENDPOINTS, DEFAULT_ENDPOINTS.join(","));
}

function extensionOption(): Option {
  const what = "an extension of SQLite to load; more than once for several";
  return new Option("--extension <path[#deterministic,sha256=…,entry=…]>", what)
    .env("BALSA_EXTENSIONS")
    .argParser(extensionsOption);
}

function logLevelOption(level: string): Option {
  return new Option("--log-level <level>", "of the log on standard error")
    .env("BALSA_LOG_LEVEL")
    .choices(LOG_LEVELS)
    .default(level);
}
